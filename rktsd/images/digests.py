"""Digests as the OCI image specification writes them, checked while bytes pass by."""

import hashlib
from typing import NamedTuple, Protocol

from rktsd.appc.cursor import Cursor
from rktsd.errors import TrustError
from rktsd.images.references import is_digest


class Descriptor(NamedTuple):
    """A piece of content: its media type, digest and size in bytes (OCI descriptor)."""

    media_type: str
    digest: str
    size: int


class Witness(Protocol):
    """What is to see every byte of a download."""

    def update(self, data: bytes) -> None:
        """The next bytes. May raise TrustError."""

    def finish(self) -> None:
        """These were all. May raise TrustError."""


class Check:
    """Feed it bytes with ``update``; ``finish`` says whether they are what ``expected`` is."""

    def __init__(self, expected: Descriptor, source: str) -> None:
        algorithm, self._hex = expected.digest.split(":", 1)
        self._expected = expected
        self._source = source
        self._hash = hashlib.new(algorithm)
        self._size = 0

    def update(self, data: bytes) -> None:
        """Raises TrustError as soon as there is more than was promised."""
        self._size += len(data)
        if self._size > self._expected.size:
            raise TrustError(f"{self._source}: larger than its {self._expected.size} bytes")
        self._hash.update(data)

    def finish(self) -> None:
        """Raises TrustError when size or digest differ from what was promised."""
        if self._size != self._expected.size:
            promised = self._expected.size
            raise TrustError(f"{self._source}: {self._size} bytes where {promised} were promised")
        if self._hash.hexdigest() != self._hex:
            actual = f"{self._hash.name}:{self._hash.hexdigest()}"
            raise TrustError(
                f"{self._source}: content has digest {actual}, not {self._expected.digest}"
            )


def check_bytes(data: bytes, expected: Descriptor, source: str) -> bytes:
    """``data`` itself, once it is what ``expected`` promises. Raises TrustError."""
    check = Check(expected, source)
    check.update(data)
    check.finish()
    return data


def read_descriptor(place: Cursor) -> Descriptor:
    """The descriptor at ``place``. Raises BadInput naming source and field."""
    digest = place.get("digest")
    if not is_digest(digest.text()):
        raise digest.wrong("a sha256 or sha512 digest")
    return Descriptor(
        place.get("mediaType").line(),
        digest.text(),
        place.get("size").integer(0, (1 << 63) - 1, what="a size"),
    )
