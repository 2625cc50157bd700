"""Durable file operations: whatever has a name on disk is complete and synced."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from rktsd.errors import BadInput, NotFound, StoreError

_CHUNK = 1 << 16


def sync_directory(path: str) -> None:
    """Make names created in, or renamed into, ``path`` survive a crash."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: str, data: bytes | str, *, mode: int = 0o644, durable: bool = True) -> None:
    """Replace ``path`` by ``data``, or leave it as it was.

    ``durable=False`` skips the syncs: for files under /run, which a crash removes anyway.
    Raises StoreError naming the path.
    """
    content = data.encode() if isinstance(data, str) else data
    directory = os.path.dirname(path) or "."
    temporary = f"{directory}/.{os.path.basename(path)}.{os.getpid()}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
        if durable:
            sync_directory(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def write(path: str, text: str, *, mode: int = 0o644) -> None:
    """Write a file that nobody reads before it is complete and that need not survive a crash.

    Raises StoreError naming the path.
    """
    try:
        with open(path, "w") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def rename_durable(source: str, target: str) -> None:
    """rename(2), then sync both directories. Raises OSError."""
    os.rename(source, target)
    sync_directory(os.path.dirname(target))
    if os.path.dirname(source) != os.path.dirname(target):
        sync_directory(os.path.dirname(source))


def read_limited(path: str, limit: int, *, pipes: bool = False) -> bytes:
    """The whole of the regular file ``path``, with ``pipes`` of whatever can be read.

    Raises NotFound, or StoreError: not a regular file, larger than ``limit``, unreadable.
    """
    try:
        # To open a FIFO that nobody writes to would wait for ever.
        flags = os.O_RDONLY | os.O_CLOEXEC | (0 if pipes else os.O_NONBLOCK)
        descriptor = os.open(path, flags)
        try:
            mode = os.fstat(descriptor).st_mode
            if not pipes and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise StoreError(f"cannot read {path}: not a regular file")
            data = _read(descriptor, limit + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        kind = NotFound if error.errno == errno.ENOENT else StoreError
        raise kind(f"cannot read {path}: {error.strerror}") from error
    if len(data) > limit:
        raise StoreError(f"cannot read {path}: larger than {limit} bytes")
    return data


def _read(descriptor: int, limit: int) -> bytes:
    """Up to ``limit`` bytes. Without the io module: ``rkt list`` reads a manifest of every pod."""
    parts, left = list[bytes](), limit
    while left and (part := os.read(descriptor, min(left, _CHUNK))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def require_regular(path: str) -> None:
    """Raise NotFound unless ``path`` is there, StoreError unless it is a regular file."""
    if os.path.isfile(path):
        return
    if os.path.exists(path):
        raise StoreError(f"cannot read {path}: not a regular file")
    raise NotFound(f"cannot read {path}: no such file")


@contextlib.contextmanager
def locked(path: str, *, shared: bool = False, blocking: bool = True) -> Iterator[int]:
    """Hold flock(2) on the existing file or directory ``path``; yields its descriptor.

    With ``blocking=False`` raises BlockingIOError at once when somebody else holds it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, operation if blocking else operation | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def arriving(path: str, *, replace: bool = False) -> Iterator[BinaryIO]:
    """A file to be written that is complete and synced when it gets the name ``path``.

    Raises BadInput when it exists and is not to be replaced, StoreError naming the path.
    """
    if os.path.isdir(path):
        raise BadInput(f"{path}: is a directory")
    if not replace and os.path.lexists(path):
        raise BadInput(f"{path}: exists", hint="--overwrite replaces it")
    if os.path.exists(path) and not os.path.isfile(path):
        # The machine would have a file in place of its /dev/null.
        raise BadInput(f"{path}: is not a regular file")
    place = f"{path}.{os.getpid()}.new"
    try:
        with open(place, "xb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.rename(place, path)
                sync_directory(os.path.dirname(path) or ".")
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(place)
                raise
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
