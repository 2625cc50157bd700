"""Room that a store keeps for itself, so that things can be removed where the disk is full.

To remove an image the index has to be written, which takes room before it gives any. A few files
of zeros in <store>/reserve are given up for that, and made again as soon as there is room.
"""

import contextlib
import os
from collections.abc import Iterator

from rktsd.errors import StoreError
from rktsd.store.tree import remove_tree

# As many files as SQLite and we make at a time, for a disk may run out of inodes as well.
FILES = 4
SIZE = 64 << 10
_SCARCE = 2 * FILES * SIZE


@contextlib.contextmanager
def room(root: str) -> Iterator[None]:
    """The reserve of the store in ``root`` may be used; it is made again at the end if it can be.

    The caller holds the store's lock exclusively, and raises OSError as StoreError.
    """
    found = os.statvfs(root)
    if found.f_bfree * found.f_frsize < _SCARCE or (found.f_files and found.f_ffree < 2 * FILES):
        remove_tree(_path(root))
    try:
        yield
    finally:
        make(root)


def make(root: str) -> None:
    """Lay up the reserve, unless it is there or there is no room for it."""
    if os.path.isdir(_path(root)):
        return
    try:
        os.mkdir(_path(root), 0o700)
        for number in range(FILES):
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(f"{_path(root)}/{number}", flags, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, SIZE)
            finally:
                os.close(descriptor)
    except OSError:
        with contextlib.suppress(StoreError):
            remove_tree(_path(root))


def _path(root: str) -> str:
    return f"{root}/reserve"
