"""Walk the tree that a stack of overlay layers makes, without mounting it.

The rules are overlayfs's: an upper entry shadows lower ones, directories merge, a character device
0:0 is a whiteout, a directory with trusted.overlay.opaque=y hides all below it.
"""

import contextlib
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from rktsd.errors import StoreError
from rktsd.store.whiteouts import is_opaque, is_whiteout

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Entry(NamedTuple):
    """One file of the merged tree: ``path`` is relative to the open directory ``base``.

    The root itself is the first entry, with the path ``""``. ``path`` has surrogates for bytes
    that are no UTF-8. ``base`` is open only while the walk goes on.
    """

    path: str
    base: int
    status: os.stat_result


class _Child(NamedTuple):
    """The topmost file of a name, and the layers that merge there if it is a directory."""

    entry: Entry
    bases: list[int]


def walk(layers: Sequence[str], *, whiteouts: bool = False) -> Generator[Entry, None, None]:
    """Every file of the root that ``layers`` (directories, topmost first) make together.

    With ``whiteouts`` those are entries too, of a single layer. A directory comes before what is in
    it, names in order, directories after the files beside them. Opens each file relative to its
    layer, so that no path is too long. Raises StoreError.
    """
    with contextlib.ExitStack() as stack:
        try:
            bases = []
            for layer in layers:
                bases.append(os.open(layer, DIRECTORY))
                stack.callback(os.close, bases[-1])
            pending = [(Entry("", bases[0], os.fstat(bases[0])), bases)]
            while pending:
                entry, merged = pending.pop()
                yield entry
                below = []
                for _, child in sorted(_children(entry.path, merged).items()):
                    if is_whiteout(child.entry.status) and not whiteouts:
                        continue
                    if stat.S_ISDIR(child.entry.status.st_mode):
                        below.append((child.entry, child.bases))
                    else:
                        yield child.entry
                pending += reversed(below)
        except OSError as error:
            raise StoreError(f"cannot read {layers[0]}: {error.strerror}") from error


def _children(path: str, bases: Sequence[int]) -> dict[str, _Child]:
    found: dict[str, _Child] = {}
    closed: set[str] = set()
    for base in bases:
        directory = os.open(path or ".", DIRECTORY, dir_fd=base)
        try:
            with os.scandir(directory) as entries:
                listed = [(each.name, each.stat(follow_symlinks=False)) for each in entries]
            opaque = len(bases) > 1 and is_opaque(directory)
        finally:
            os.close(directory)
        for name, status in listed:
            is_directory = stat.S_ISDIR(status.st_mode)
            if name not in found:
                entry = Entry(f"{path}/{name}" if path else name, base, status)
                found[name] = _Child(entry, [])
            if not is_directory:
                # What lies deeper does not merge with what lies above this.
                closed.add(name)
            elif name not in closed:
                found[name].bases.append(base)
        if opaque:
            break
    return found


@contextlib.contextmanager
def opened(entry: Entry) -> Iterator[int]:
    """The regular file or directory of ``entry``, open for reading."""
    descriptor = os.open(entry.path or ".", _FILE, dir_fd=entry.base)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def xattrs(descriptor: int) -> dict[str, bytes]:
    """The extended attributes that images may carry: security.capability and user.*."""
    return {
        name: os.getxattr(descriptor, name)
        for name in sorted(os.listxattr(descriptor))
        if may_carry(name)
    }


def may_carry(attribute: str) -> bool:
    """Whether an image may carry this extended attribute."""
    if attribute == "security.capability":
        return True
    return attribute.startswith("user.") and not attribute.startswith("user.overlay.")


def order(path: str, is_directory: bool) -> list[tuple[bool, str]]:
    """A key by which ``walk`` ascends: in a directory files come before directories."""
    *parents, name = path.split("/")
    return [*[(True, parent) for parent in parents], (is_directory and bool(name), name)]


def segments(descriptor: int, status: os.stat_result) -> list[tuple[int, int]]:
    """Where a file has data, as (offset, length); all of it unless it has holes."""
    size = status.st_size
    if status.st_blocks * 512 >= size:
        return [(0, size)] if size else []
    found = []
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:
            break  # ENXIO: nothing but a hole up to the end
        position = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        found.append((start, position - start))
    return found
