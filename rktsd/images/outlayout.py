"""Images into OCI image layouts and archives of them (OCI image-layout.md 1.1)."""

import json
import os
from collections.abc import Iterator

from rktsd.appc.write import dumps
from rktsd.errors import BadInput, StoreError
from rktsd.host.files import arriving, locked, read_limited, write_atomic
from rktsd.images.layout import INDEX_LIMIT, REF_NAME
from rktsd.images.oci import OCI_INDEX
from rktsd.images.outgoing import Blob, Outgoing
from rktsd.images.to_oci import descriptor_json
from rktsd.store.archives import file_digest
from rktsd.store.tarwriter import END, tar_file, tar_header

_MARKER = b'{"imageLayoutVersion":"1.0.0"}'
Json = dict[str, object]


def write_layout(image: Outgoing, directory: str, tag: str | None) -> None:
    """Add an image to the layout in ``directory``, which is made unless it is there.

    An image with the same tag is replaced in the index. Raises BadInput when the directory is
    something else, StoreError.
    """
    try:
        os.makedirs(directory, exist_ok=True)
        if os.listdir(directory) and not os.path.exists(f"{directory}/oci-layout"):
            raise BadInput(f"{directory}: not empty, and not an OCI image layout")
        with locked(directory):
            for blob in (*image.blobs, image.manifest):
                _write_blob(directory, blob)
            entries = [] if not os.path.exists(f"{directory}/index.json") else _entries(directory)
            write_atomic(f"{directory}/index.json", _index(image, tag, entries))
            write_atomic(f"{directory}/oci-layout", _MARKER)
    except OSError as error:
        raise StoreError(f"cannot write {directory}: {error.strerror}") from error


def write_archive(image: Outgoing, path: str, tag: str | None, *, replace: bool) -> None:
    """Write the layout of an image as the tar archive ``path``. Raises BadInput, StoreError."""
    with arriving(path, replace=replace) as file:
        for piece in _archive(image, tag):
            file.write(piece)


def _archive(image: Outgoing, tag: str | None) -> Iterator[bytes]:
    import tarfile

    blobs = {_path(blob): blob for blob in (*image.blobs, image.manifest)}
    directories = sorted({"blobs", *(os.path.dirname(path) for path in blobs)})
    for path in directories:
        member = tarfile.TarInfo(path)
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        yield tar_header(member, {})
    for path, blob in sorted(blobs.items()):
        member = tarfile.TarInfo(path)
        member.size = blob.descriptor.size
        yield tar_header(member, {})
        yield from blob.pieces()
        yield bytes(-member.size % tarfile.BLOCKSIZE)
    yield tar_file("index.json", _index(image, tag, []))
    yield tar_file("oci-layout", _MARKER)
    yield END


def _path(blob: Blob) -> str:
    return f"blobs/{blob.descriptor.digest.replace(':', '/', 1)}"


def _write_blob(directory: str, blob: Blob) -> None:
    path = f"{directory}/{_path(blob)}"
    algorithm = blob.descriptor.digest.partition(":")[0]
    if os.path.isfile(path) and file_digest(path, algorithm) == blob.descriptor.digest:
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with arriving(path, replace=True) as file:
        for piece in blob.pieces():
            file.write(piece)


def _entries(directory: str) -> list[Json]:
    path = f"{directory}/index.json"
    try:
        found = json.loads(read_limited(path, INDEX_LIMIT))["manifests"]
        if all(isinstance(entry, dict) for entry in found):
            return list(found)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not the index of a layout") from error
    raise BadInput(f"{path}: not the index of a layout")


def _index(image: Outgoing, tag: str | None, entries: list[Json]) -> bytes:
    new = descriptor_json(image.manifest.descriptor)
    if tag:
        new["annotations"] = {REF_NAME: tag}

    def stays(entry: Json) -> bool:
        if _tag(entry) is None and entry.get("digest") == new["digest"]:
            return False
        return tag is None or _tag(entry) != tag

    listed = [*filter(stays, entries), new]
    return dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}).encode()


def _tag(entry: Json) -> object:
    found = entry.get("annotations")
    return found.get(REF_NAME) if isinstance(found, dict) else None
