"""Scratch directories in the store that vanish with the process that owns them.

Each lies in <store>/tmp and is locked (flock) by its owner for as long as it lives; one without a
living owner is anybody's to remove. Files ``claim.NAME`` in a scratch directory keep layers and
blobs that no image refers to yet from being collected.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator

from rktsd.errors import StoreError
from rktsd.store.tree import remove_tree

_CLAIM = "claim."


class Scratch:
    """A locked directory; ``close`` removes it."""

    __slots__ = ("_lock", "path")

    def __init__(self, parent: str) -> None:
        """Raises StoreError."""
        try:
            while True:
                self.path = f"{parent}/{os.getpid()}-{os.urandom(6).hex()}"
                os.mkdir(self.path, 0o700)
                if self._acquire():
                    break
        except OSError as error:
            raise StoreError(f"cannot write to {parent}: {error.strerror}") from error
        # Neither a set-group-ID store (group rkt) nor a default ACL is to reach into images.
        os.chown(self.path, -1, os.getegid())
        os.chmod(self.path, 0o700)
        with contextlib.suppress(OSError):
            os.removexattr(self.path, "system.posix_acl_default")

    def _acquire(self) -> bool:
        """Lock it, unless a collection was quicker than we between mkdir and flock."""
        try:
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(self._lock), os.stat(self.path)):
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(self._lock)
        return False

    def claim(self, name: str) -> None:
        """Keep ``name`` from collection. Raises StoreError."""
        try:
            os.close(os.open(f"{self.path}/{_CLAIM}{name}", os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"cannot write to {self.path}: {error.strerror}") from error

    def release(self, names: Iterable[str]) -> bool:
        """Give up the claims on ``names``; whether none is left."""
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(f"{self.path}/{_CLAIM}{name}")
        return not os.listdir(self.path)

    def close(self) -> None:
        """Remove it; what cannot be removed is left to the next collection."""
        with contextlib.suppress(StoreError):
            remove_tree(self.path)
        os.close(self._lock)


@contextlib.contextmanager
def scratch(parent: str) -> Iterator[str]:
    """The path of a scratch directory that is removed at the end."""
    place = Scratch(parent)
    try:
        yield place.path
    finally:
        place.close()


def sweep(parent: str) -> tuple[int, int, set[str]]:
    """Remove what dead owners left in ``parent``: count, bytes, and the claims of living ones."""
    count = size = 0
    claims: set[str] = set()
    for name in os.listdir(parent):
        path = f"{parent}/{name}"
        try:
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size += remove_tree(path)
            count += 1
        except BlockingIOError:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                names = os.listdir(path)
                claims.update(n[len(_CLAIM) :] for n in names if n.startswith(_CLAIM))
        finally:
            os.close(lock)
    return count, size, claims
