"""How fetching tells how far it is; who shows it is told by the caller."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

Moved = Callable[[int], None]
"""Told of every number of bytes that were moved, in any thread."""

Watch = Callable[[str, int | None], AbstractContextManager[Moved]]
"""Told what begins, a URL, a digest, or what ``unpacking`` makes of them, and its size in bytes
where that is known."""

UNPACKING = "unpacking "


def unpacking(what: str) -> str:
    """How a ``Watch`` is told that ``what`` is unpacked and not downloaded."""
    return UNPACKING + what


@contextlib.contextmanager
def unwatched(what: str, total: int | None) -> Iterator[Moved]:
    """For callers that nobody looks at."""
    yield lambda count: None
