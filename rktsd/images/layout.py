"""OCI image layouts, as directories or in archives (OCI image-layout.md 1.1)."""

import os
import stat
from collections.abc import Iterable

from rktsd.appc.cursor import Cursor, decode_json
from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.host.files import read_limited
from rktsd.images.archive import Archive
from rktsd.images.digests import Check, Descriptor, check_bytes, read_descriptor
from rktsd.images.oci import INDEXES, MANIFESTS
from rktsd.images.progress import Moved, Watch, unwatched

INDEX_LIMIT = 4 << 20
CHUNK = 1 << 20
_SHOWN = 20
REF_NAME = "org.opencontainers.image.ref.name"


class Layout:
    """The layout in ``directory``, or the one unpacked from an archive of that name.

    Raises NotFound or BadInput when it is none.
    """

    def __init__(self, directory: str, *, archive: Archive | None = None) -> None:
        self.directory = directory
        self._archive = archive
        marker = self._document("oci-layout")
        version = marker.get("imageLayoutVersion")
        if version.text() != "1.0.0":
            raise version.wrong("a version of the image layout that is known")

    def choose(self, selector: str | None) -> Descriptor:
        """The manifest or index with this tag or digest; without one, the only one there is.

        Raises NotFound naming the tags there are.
        """
        index = f"{self.directory}/index.json"
        places = self._document("index.json").get("manifests").elements()
        places = [p for p in places if p.get("mediaType").text() in INDEXES + MANIFESTS]
        wanted = [p for p in places if selector in (None, p.get("digest").value, _tag(p))]
        if len({place.get("digest").value for place in wanted}) == 1:
            return read_descriptor(wanted[0])
        tags = some_of(filter(None, map(_tag, places))) or "none has a tag"
        if selector is None:
            raise BadInput(f"{index}: {len(places)} images, choose one by its tag ({tags})")
        if wanted:
            raise BadInput(f"{index}: the tag {selector!r} is given to {len(wanted)} images")
        raise NotFound(f"{index}: no image {selector!r} (there are: {tags})")

    def read(self, descriptor: Descriptor) -> bytes:
        """A small piece of content, verified. Raises TrustError."""
        if self._archive:
            data = self._archive.read(_name(descriptor), INDEX_LIMIT)
            return check_bytes(data, descriptor, f"{self.directory}: {descriptor.digest}")
        path = self._blob(descriptor)
        return check_bytes(read_limited(path, INDEX_LIMIT), descriptor, path)

    def save(self, descriptor: Descriptor, path: str, *, watch: Watch = unwatched) -> None:
        """Copy a piece of content to the new file ``path``, verified on the way."""
        blob, ours = self._blob(descriptor), self._archive is not None
        where = f"{self.directory}: {descriptor.digest}" if ours else blob
        with watch(descriptor.digest, descriptor.size) as moved:
            take_file(blob, path, expected=descriptor, where=where, ours=ours, moved=moved)

    def _document(self, name: str) -> Cursor:
        path = f"{self.directory}/{name}"
        archive = self._archive
        data = archive.read(name, INDEX_LIMIT) if archive else read_limited(path, INDEX_LIMIT)
        return decode_json(data, path)

    def _blob(self, descriptor: Descriptor) -> str:
        name = _name(descriptor)
        if self._archive:
            return self._archive.path(name)
        path = f"{self.directory}/{name}"
        try:
            if stat.S_ISREG(os.stat(path).st_mode):
                return path
        except OSError as error:
            raise NotFound(f"cannot read {path}: {error.strerror}") from error
        raise BadInput(f"{path}: not a regular file")


def _name(descriptor: Descriptor) -> str:
    return f"blobs/{descriptor.digest.replace(':', '/', 1)}"


def some_of(names: Iterable[str]) -> str:
    """Names for a message, without end only where there are few."""
    found = sorted(set(names))
    return ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")


def take_file(
    path: str, target: str, *, expected: Descriptor, where: str, ours: bool, moved: Moved
) -> None:
    """``path`` as the new file ``target``, verified: linked if it is ``ours``, else copied.

    ``where`` begins messages, ``moved`` is told of bytes. Raises TrustError, StoreError.
    """
    check = Check(expected, where)
    try:
        with open(path, "rb") as source:
            if ours:
                while part := source.read(CHUNK):
                    check.update(part)
                    moved(len(part))
                check.finish()
                os.link(path, target)
                return
            with open(target, "xb") as copy:
                try:
                    while part := source.read(CHUNK):
                        check.update(part)
                        copy.write(part)
                        moved(len(part))
                    check.finish()
                except BaseException:
                    os.unlink(target)
                    raise
    except OSError as error:
        raise StoreError(f"cannot copy {path}: {error.strerror}") from error


def _tag(place: Cursor) -> str | None:
    found = place.get("annotations").get(REF_NAME) if place.get("annotations").given else None
    return found.text() if found and found.given else None
