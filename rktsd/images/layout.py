"""OCI image layouts: directories as skopeo and buildah write them (OCI image-layout.md 1.1)."""

import os
import stat

from rktsd.appc.cursor import Cursor, decode_json
from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.host.files import read_limited
from rktsd.images.digests import Check, Descriptor, check_bytes, read_descriptor
from rktsd.images.oci import INDEXES, MANIFESTS

INDEX_LIMIT = 4 << 20
CHUNK = 1 << 20
REF_NAME = "org.opencontainers.image.ref.name"


class Layout:
    """The layout in ``directory``. Raises NotFound or BadInput when it is none."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        marker = f"{directory}/oci-layout"
        version = decode_json(read_limited(marker, INDEX_LIMIT), marker).get("imageLayoutVersion")
        if version.text() != "1.0.0":
            raise version.wrong("a version of the image layout that is known")

    def choose(self, selector: str | None) -> Descriptor:
        """The manifest or index with this tag or digest; without one, the only one there is.

        Raises NotFound naming the tags there are.
        """
        index = f"{self.directory}/index.json"
        places = decode_json(read_limited(index, INDEX_LIMIT), index).get("manifests").elements()
        places = [p for p in places if p.get("mediaType").text() in INDEXES + MANIFESTS]
        wanted = [p for p in places if selector in (None, p.get("digest").value, _tag(p))]
        if len({place.get("digest").value for place in wanted}) == 1:
            return read_descriptor(wanted[0])
        tags = ", ".join(sorted(filter(None, map(_tag, places)))) or "none has a tag"
        if selector is None:
            raise BadInput(f"{index}: {len(places)} images, choose one by its tag ({tags})")
        if wanted:
            raise BadInput(f"{index}: the tag {selector!r} is given to {len(wanted)} images")
        raise NotFound(f"{index}: no image {selector!r} (there are: {tags})")

    def read(self, descriptor: Descriptor) -> bytes:
        """A small piece of content, verified. Raises TrustError."""
        path = self._blob(descriptor)
        return check_bytes(read_limited(path, INDEX_LIMIT), descriptor, path)

    def save(self, descriptor: Descriptor, path: str) -> None:
        """Copy a piece of content to the new file ``path``, verified on the way."""
        blob = self._blob(descriptor)
        check = Check(descriptor, blob)
        try:
            with open(blob, "rb") as source, open(path, "xb") as target:
                try:
                    while part := source.read(CHUNK):
                        check.update(part)
                        target.write(part)
                    check.finish()
                except BaseException:
                    os.unlink(path)
                    raise
        except OSError as error:
            raise StoreError(f"cannot copy {blob}: {error.strerror}") from error

    def _blob(self, descriptor: Descriptor) -> str:
        path = f"{self.directory}/blobs/{descriptor.digest.replace(':', '/', 1)}"
        try:
            if stat.S_ISREG(os.stat(path).st_mode):
                return path
        except OSError as error:
            raise NotFound(f"cannot read {path}: {error.strerror}") from error
        raise BadInput(f"{path}: not a regular file")


def _tag(place: Cursor) -> str | None:
    found = place.get("annotations").get(REF_NAME) if place.get("annotations").given else None
    return found.text() if found and found.given else None
