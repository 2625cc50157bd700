"""Maps of sparse files in tar: GNU's old format, and GNU's PAX formats 0.1 and 1.0.

Sources: the GNU tar manual, "Storing Sparse Files"; tar(5). Nothing here reads the archive itself.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

BLOCK = 512
_PREFIX = b"GNU.sparse."
_FIRST, _FIRST_AT = 4, 386
_MORE = 21
_MAP_LIMIT = 1 << 20
_MAX_SIZE = 1 << 62


class Sparse(NamedTuple):
    """A file of ``size`` bytes with data in ``parts`` (offset, length), which ascend."""

    size: int
    parts: tuple[tuple[int, int], ...]


class Malformed(Exception):
    """The map is not what a map is; the message is a reason."""


def old_map(
    block: bytes, next_block: Callable[[], bytes], number: Callable[[bytes], int]
) -> Sparse:
    """The map in a header of type ``S`` and in the blocks behind it. Raises Malformed."""
    parts = _entries(block, _FIRST_AT, _FIRST, number)
    more, size = block[482], number(block[483:495])
    taken = 0
    while more:
        taken += BLOCK
        if taken > _MAP_LIMIT:
            raise Malformed("too many parts of a sparse file")
        block = next_block()
        parts += _entries(block, 0, _MORE, number)
        more = block[504]
    return Sparse(size, tuple(parts))


def _entries(
    block: bytes, start: int, count: int, number: Callable[[bytes], int]
) -> list[tuple[int, int]]:
    found = []
    for at in range(start, start + count * 24, 24):
        if block[at] == 0:
            break
        found.append((number(block[at : at + 12]), number(block[at + 12 : at + 24])))
    return found


def is_sparse(pax: Mapping[bytes, bytes]) -> bool:
    """Whether an extended header describes a sparse file."""
    return any(key.startswith(_PREFIX) for key in pax)


def name_of(pax: Mapping[bytes, bytes]) -> bytes | None:
    """The real name of a sparse file, where the header's is made up."""
    return pax.get(_PREFIX + b"name")


def pax_map(pax: Mapping[bytes, bytes], next_block: Callable[[], bytes]) -> tuple[Sparse, int]:
    """The map of an extended header, and how many bytes of data it took.

    ``next_block`` gives the data block by block; format 1.0 begins with the map. Raises Malformed,
    also for format 0.0, which nothing has written since 2006.
    """
    version = (pax.get(_PREFIX + b"major"), pax.get(_PREFIX + b"minor"))
    if version == (b"1", b"0"):
        numbers, taken = _read_map(next_block)
        size = _decimal(pax.get(_PREFIX + b"realsize", b""))
    elif version == (None, None) and _PREFIX + b"map" in pax:
        text = pax[_PREFIX + b"map"]
        numbers, taken = [_decimal(each) for each in text.split(b",")] if text else [], 0
        size = _decimal(pax.get(_PREFIX + b"size", b""))
        if _decimal(pax.get(_PREFIX + b"numblocks", b"")) * 2 != len(numbers):
            raise Malformed("map of a sparse file of another length")
    else:
        raise Malformed("sparse file of an unknown format")
    return Sparse(size, tuple(zip(numbers[::2], numbers[1::2], strict=False))), taken


def _read_map(next_block: Callable[[], bytes]) -> tuple[list[int], int]:
    blocks: list[bytes] = []
    found = wanted = 0
    while not wanted or found < wanted:
        if len(blocks) * BLOCK > _MAP_LIMIT:
            raise Malformed("too many parts of a sparse file")
        blocks.append(next_block())
        found += blocks[-1].count(b"\n")
        if found and not wanted:
            wanted = 1 + 2 * _decimal(b"".join(blocks).partition(b"\n")[0])
    lines = b"".join(blocks).split(b"\n")
    return [_decimal(line) for line in lines[1:wanted]], len(blocks) * BLOCK


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise Malformed("bad number in the map of a sparse file")
    return int(text)


def check(sparse: Sparse, stored: int) -> None:
    """Raise Malformed unless the parts ascend, fit the file and are as long as what is stored."""
    end = total = 0
    for offset, length in sparse.parts:
        if offset < end:
            raise Malformed("parts of a sparse file overlap")
        end = offset + length
        total += length
    if not end <= sparse.size <= _MAX_SIZE or total != stored:
        raise Malformed("parts of a sparse file do not fit its size")


def spread(parts: Sequence[tuple[int, int]], read: Callable[[], bytes | memoryview],
           write: Callable[[bytes | memoryview, int], int]) -> None:  # fmt: skip
    """Put the data that ``read`` yields where ``parts`` say, by ``write``(data, offset)."""
    data: bytes | memoryview = b""
    for offset, length in parts:
        while length:
            if not data:
                data = memoryview(read())
            written = write(data[:length], offset)
            data = data[written:]
            offset += written
            length -= written
