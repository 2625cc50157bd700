"""Where the frames of a zstd file (RFC 8878, 3.1) end: its library hands out what there is of one
that is cut off, and does not tell.
"""

from collections.abc import Generator

_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPED = b"\x2a\x4d\x18"
_DICTIONARY_SIZES = (0, 1, 2, 4)
_CONTENT_SIZES = (0, 2, 4, 8)
_REPEATED = 1


class Stranger(Exception):
    """Where a frame should begin there is something else."""


class Frames:
    """Follows a file that is fed to it in pieces; it could end where ``whole`` is true."""

    __slots__ = ("_held", "_left", "_seeing", "_steps", "whole")

    def __init__(self) -> None:
        self.whole = True
        self._held = b""
        self._steps = self._walk()
        self._take(next(self._steps))

    def feed(self, data: bytes) -> None:
        """The next bytes of the file. Raises Stranger."""
        at = 0
        while at < len(data):
            self.whole = False
            count = min(self._left, len(data) - at)
            if self._seeing:
                self._held += data[at : at + count]
            at += count
            self._left -= count
            if not self._left:
                field, self._held = self._held, b""
                self._take(self._steps.send(field))

    def _take(self, step: int) -> None:
        self._seeing, self._left = step > 0, abs(step)

    def _walk(self) -> Generator[int, bytes, None]:
        """Yields how many bytes it wants to see; below 0 how many it does not look at."""
        while True:
            magic = yield 4
            if magic == _MAGIC:
                yield from self._frame()
            elif magic[1:] == _SKIPPED and magic[0] & 0xF0 == 0x50:
                if size := int.from_bytes((yield 4), "little"):
                    yield -size
            else:
                raise Stranger
            self.whole = True

    def _frame(self) -> Generator[int, bytes, None]:
        descriptor = (yield 1)[0]
        is_single, has_checksum = descriptor >> 5 & 1, descriptor & 4
        # A window or a size of the content there always is, so that this is never 0.
        fields = 0 if is_single else 1
        fields += _DICTIONARY_SIZES[descriptor & 3]
        fields += _CONTENT_SIZES[descriptor >> 6] or is_single
        yield -fields
        is_last = 0
        while not is_last:
            block = int.from_bytes((yield 3), "little")
            is_last, kind = block & 1, block >> 1 & 3
            if size := 1 if kind == _REPEATED else block >> 3:
                yield -size
        if has_checksum:
            yield -4
