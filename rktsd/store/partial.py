"""Downloads that were cut off, for the next one to go on with.

Each is a directory ``partial-KEY`` in the store's tmp, locked (flock) while somebody writes it. A
collection removes those that nobody holds, as it does with all that lies in tmp.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator

from rktsd.errors import NotFound, StoreError
from rktsd.host.files import read_limited, write_atomic
from rktsd.store.temporary import scratch
from rktsd.store.tree import remove_tree

_LIMIT = 4096


class Partial:
    """The beginning of a download in ``path``; ``kept`` says whether it outlives its use."""

    __slots__ = ("kept", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.kept = False

    @property
    def body(self) -> str:
        """The file with what came so far."""
        return f"{self.path}/body"

    def size(self) -> int:
        """How much came so far, in bytes."""
        try:
            return os.stat(self.body).st_size
        except FileNotFoundError:
            return 0

    def validator(self) -> str | None:
        """What the server called the version that this is the beginning of."""
        try:
            return read_limited(f"{self.path}/validator", _LIMIT).decode("ascii", "replace")
        except NotFound:
            return None

    def begin(self, validator: str | None) -> None:
        """Drop what there is; what comes next is of the version ``validator``."""
        for name in ("validator", "body"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.path}/{name}")
        if validator is not None:
            write_atomic(f"{self.path}/validator", validator, mode=0o600, durable=False)


@contextlib.contextmanager
def partial(root: str, url: str) -> Iterator[Partial]:
    """What the store in ``root`` has of ``url``, for us alone.

    A download that somebody else is at is begun anew, beside his. Raises StoreError.
    """
    path = f"{root}/tmp/partial-{hashlib.sha256(url.encode()).hexdigest()[:40]}"
    lock = _acquire(path)
    if lock is None:
        with scratch(f"{root}/tmp") as place:
            yield Partial(place)
        return
    found = Partial(path)
    try:
        yield found
    finally:
        if not (found.kept and found.validator() and found.size()):
            with contextlib.suppress(StoreError):
                remove_tree(path)
        os.close(lock)


def _acquire(path: str) -> int | None:
    """The locked directory ``path``, made when it is not there; None when somebody has it."""
    try:
        while True:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            try:
                lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A collection may have been quicker than we between open and flock.
                if os.path.samestat(os.fstat(lock), os.stat(path)):
                    return lock
            except BlockingIOError:
                os.close(lock)
                return None
            except FileNotFoundError:
                pass
            os.close(lock)
    except OSError as error:
        raise StoreError(f"cannot write to {path}: {error.strerror}") from error
