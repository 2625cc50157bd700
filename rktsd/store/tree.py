"""Trees on disk: remove them whatever they hold, sync them, mark opaque directories safely."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable

from rktsd.errors import BadInput, StoreError
from rktsd.store.whiteouts import OPAQUE

_GROWN = 100
# Well below PATH_MAX, and cheap to look up: what lies deeper comes up to be removed.
_DEEP = 1000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> int:
    """Remove ``path`` with all below it; the bytes of disk that became free.

    What is not there any more is fine. Does not recurse, and moves what lies too deep for a path up
    to ``path`` itself, so that no depth stops it. Raises StoreError.
    """
    try:
        try:
            base = os.open(path, _DIRECTORY)
        except NotADirectoryError:
            size = os.lstat(path).st_blocks * 512
            os.unlink(path)
            return size
        try:
            freed = _empty(base)
        finally:
            os.close(base)
        os.rmdir(path)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror}") from error
    return freed


def _empty(base: int) -> int:
    freed = 0
    grown = 0
    # A directory is listed when first met and removed when met again, its children gone by then.
    pending: list[tuple[str, bool]] = [(".", False)]
    while pending:
        relative, listed = pending.pop()
        if listed:
            try:
                os.rmdir(relative, dir_fd=base)
            except OSError as error:
                # Whoever wrote there was killed a moment ago and had not quite ended.
                grown += 1
                if error.errno != errno.ENOTEMPTY or grown > _GROWN:
                    raise
                pending.append((relative, False))
            continue
        if relative != ".":
            pending.append((relative, True))
        directory = os.open(relative, _DIRECTORY, dir_fd=base)
        try:
            with os.scandir(directory) as entries:
                names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for name, is_directory in names:
                if is_directory:
                    below = f"{relative}/{name}"
                    if len(os.fsencode(below)) > _DEEP:
                        below = f"./{os.urandom(8).hex()}"
                        os.rename(name, below, src_dir_fd=directory, dst_dir_fd=base)
                    pending.append((below, False))
                    continue
                status = os.lstat(name, dir_fd=directory)
                freed += status.st_blocks * 512 // status.st_nlink
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)
    return freed


def sync_filesystem(path: str) -> None:
    """Write out all of the file system that holds ``path``: one wait instead of one per file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        from rktsd.host import kernel

        kernel.sync_filesystem(descriptor)
    except OSError as error:
        raise StoreError(f"cannot sync {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def mark_opaque(root: str, directories: Iterable[bytes]) -> None:
    """Mark as opaque the ``directories``, relative to ``root``, following no link.

    Raises BadInput when one is not a directory reached without links.
    """
    base = os.open(root, _DIRECTORY)
    try:
        for path in directories:
            descriptor = _open_beneath(base, path)
            try:
                os.setxattr(descriptor, OPAQUE, b"y")
            finally:
                os.close(descriptor)
    finally:
        os.close(base)


def _open_beneath(base: int, path: bytes) -> int:
    """Component by component, because a link in the middle would lead a plain open outside."""
    current = os.dup(base)
    try:
        for name in path.split(b"/") if path else ():
            if name in (b"", b".", b".."):
                raise BadInput(f"opaque directory {path!r}: bad name")
            try:
                below = os.open(name, _DIRECTORY, dir_fd=current)
            except OSError as error:
                shown = path.decode("utf-8", "backslashreplace")
                raise BadInput(f'opaque directory "{shown}": {error.strerror}') from error
            os.close(current)
            current = below
    except BaseException:
        os.close(current)
        raise
    return current


def is_directory(path: str) -> bool:
    """Whether ``path`` itself, not a link to it, is a directory."""
    with contextlib.suppress(OSError):
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return False
