"""Take images out of the store: as an archive, or as a directory."""

import contextlib
import os
from collections.abc import Iterator

from rktsd.errors import BadInput, StoreError, TrustError
from rktsd.store.copytree import copy_tree
from rktsd.store.merge import Entry, walk
from rktsd.store.records import UNLIMITED, ImageRecord
from rktsd.store.store import Store
from rktsd.store.tarwriter import END, tar_file, tar_tree
from rktsd.store.tree import remove_tree, sync_filesystem


def archive(store: Store, record: ImageRecord) -> Iterator[bytes]:
    """The image as an uncompressed ACI, piece by piece.

    Of an ACI it is what the ID is the hash of, and checked against it; the last piece comes after
    that. Of an OCI image it is made from its flattened root, with an ID of its own. Raises
    BadInput or TrustError when the archive in the store is damaged, and StoreError.
    """
    with store.shared():
        pieces = _stored(store, record) if record.kind == "aci" else _made(store, record)
        last = b""
        for piece in pieces:
            if last:
                yield last
            last = piece
        yield last


def _stored(store: Store, record: ImageRecord) -> Iterator[bytes]:
    import hashlib

    from rktsd.store.compression import open_stream

    path = blob_of(store, record)
    digest = hashlib.sha512()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    try:
        read = open_stream(descriptor, path)
        while data := read():
            digest.update(data)
            yield data
    finally:
        os.close(descriptor)
    if not record.id.endswith(f"-{digest.hexdigest()[:64]}"):
        raise TrustError(f"{path}: damaged: it is not the archive of image {record.id}")


def blob_of(store: Store, record: ImageRecord) -> str:
    """The archive of an ACI as it was downloaded. Raises BadInput for other images."""
    if record.kind != "aci" or not record.blobs:
        raise BadInput(f"image {record.id}: no ACI, its archive is not in the store")
    return store.blob_path(record.blobs[0])


def _made(store: Store, record: ImageRecord) -> Iterator[bytes]:
    yield tar_file("manifest", store.manifest_bytes(record.id))
    yield from tar_tree(_merged(store, record), "rootfs")
    yield END


def _merged(store: Store, record: ImageRecord) -> Iterator[Entry]:
    return walk([store.layer_path(layer) for layer in record.layers])


def extract(store: Store, record: ImageRecord, target: str, *, alone: bool, bare: bool) -> None:
    """Write the image to the new directory ``target``: ``manifest`` and ``rootfs``.

    With ``alone`` an ACI comes without its dependencies, from its archive; otherwise the root is
    what an app of the image would see. With ``bare`` ``target`` becomes the root itself. Raises
    StoreError, and BadInput when the archive in the store is damaged; nothing is left then.
    """
    with store.shared(), _arriving(target) as place:
        root = place if bare else f"{place}/rootfs"
        if not bare:
            os.mkdir(root, 0o755)
        if alone and record.kind == "aci":
            unpack_own(store, record, root)
        else:
            copy_tree(_merged(store, record), root)
        if not bare:
            with open(f"{place}/manifest", "wb") as file:
                file.write(store.manifest_bytes(record.id))
        sync_filesystem(place)


def unpack_own(store: Store, record: ImageRecord, root: str) -> None:
    """Fill ``root`` from an ACI's archive. Raises TrustError or BadInput when it is damaged."""
    from rktsd.store.unpack import unpack

    path = blob_of(store, record)
    unpacked = unpack(path, root, kind="aci", digest="sha512", limits=UNLIMITED)
    if f"sha512-{unpacked.digest[:64]}" != record.id:
        raise TrustError(f"{path}: damaged: it is not the archive of image {record.id}")


@contextlib.contextmanager
def _arriving(target: str) -> Iterator[str]:
    """A directory beside ``target`` that gets its name in the end, or is removed."""
    place = f"{target}.{os.getpid()}.new"
    try:
        os.mkdir(place, 0o755)
        try:
            os.chmod(place, 0o755)
            yield place
            os.rename(place, target)
        except BaseException:
            remove_tree(place)
            raise
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}") from error
