"""Digests as the OCI image specification writes them, checked while bytes pass by."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from rktsd.errors import BadInput, TrustError
from rktsd.images.references import is_digest


class Descriptor(NamedTuple):
    """A piece of content: its media type, digest and size in bytes (OCI descriptor)."""

    media_type: str
    digest: str
    size: int


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


def read_descriptor(value: object, source: str) -> Descriptor:
    """A descriptor from parsed JSON. Raises BadInput naming ``source`` and the field."""
    if not isinstance(value, Mapping):
        raise BadInput(f"{source}: is not a descriptor")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str):
        raise BadInput(f"{source}: mediaType: {media_type!r} is not a string")
    if not isinstance(digest, str) or not is_digest(digest):
        raise BadInput(f"{source}: digest: {digest!r} is not a sha256 or sha512 digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise BadInput(f"{source}: size: {size!r} is not a size")
    return Descriptor(media_type, digest, size)
