"""Look into the archives of ACIs as they are stored, without unpacking them."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rktsd.errors import BadInput, StoreError
from rktsd.store import tar
from rktsd.store.bounds import bound
from rktsd.store.compression import open_stream
from rktsd.store.records import UNLIMITED, Limits

_MANIFEST_LIMIT = 4 << 20


@contextmanager
def _opened(path: str, label: str | None = None) -> Iterator[Callable[[], bytes]]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield open_stream(descriptor, label or path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error


def archive_id(path: str, *, limits: Limits = UNLIMITED, label: str | None = None) -> str:
    """The image ID that an ACI has (rkt); errors call it by ``label``, else by its path.

    Raises BadInput when it is damaged, or its stream beyond ``limits``; StoreError.
    """
    digest, count = hashlib.sha512(), 0
    with _opened(path, label) as read:
        most, error = bound(os.stat(path).st_size, asdict(limits), label or path)
        while data := read():
            count += len(data)
            if count > most:
                raise error
            digest.update(data)
    return f"sha512-{digest.hexdigest()[:64]}"


def archive_manifest(path: str) -> bytes:
    """The manifest in an ACI. Raises BadInput, Unsupported, StoreError."""
    with _opened(path) as read:
        reader = tar.TarReader(read, path)
        while member := reader.next():
            if member.name == b"manifest" and member.kind == tar.FILE:
                if member.size > _MANIFEST_LIMIT:
                    break
                found = bytearray()
                while data := reader.chunk():
                    found += data
                return bytes(found)
    raise BadInput(f"{path}: has no manifest")


def file_digest(path: str, algorithm: str) -> str:
    """The digest of a file, "sha256:HEX". Raises StoreError."""
    try:
        with open(path, "rb") as file:
            return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
