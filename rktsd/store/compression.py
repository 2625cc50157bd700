"""Decompress a file by what it is, in bounded memory: gzip, bzip2, xz, zstd or plain."""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rktsd.errors import BadInput, Unsupported

INPUT = 128 << 10
# What stays in the processor's cache until it is hashed and written.
OUTPUT = 256 << 10
_XZ_MEMORY = 256 << 20
_ZSTD_WINDOW = 128 << 20

_MAGIC = (
    ("gzip", b"\x1f\x8b"),
    ("bzip2", b"BZh"),
    ("xz", b"\xfd7zXZ\0"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
    # A frame to be skipped has any of sixteen numbers.
    *(("zstd", bytes((number, 0x2A, 0x4D, 0x18))) for number in range(0x50, 0x60)),
)
_LONGEST_MAGIC = max(len(magic) for _, magic in _MAGIC)


def detect(head: bytes) -> str:
    """The format of a file that begins with ``head``; "plain" for none that we know."""
    return next((name for name, magic in _MAGIC if head.startswith(magic)), "plain")


def open_stream(descriptor: int, label: str) -> Callable[[], bytes]:
    """A function that returns the next uncompressed chunk (at most 256 KiB), b"" at the end.

    Reads ``descriptor`` from its position and imports what it needs at once, so that it works in a
    process that has lost sight of the file system. The function raises BadInput when the data is
    damaged, truncated or followed by something else; this one raises Unsupported.
    """
    head = _head(descriptor)
    kind = detect(head)
    if kind == "plain":
        return _plain(descriptor, head)
    if kind == "gzip":
        return _gzip(descriptor, head, label)
    if kind == "zstd":
        return _zstd(descriptor, head, label)
    return _bzip2_or_xz(descriptor, head, kind, label)


def _head(descriptor: int) -> bytes:
    """What a file begins with; a pipe may give less at once than it takes to know the format."""
    head = os.read(descriptor, INPUT)
    while len(head) < _LONGEST_MAGIC and (more := os.read(descriptor, INPUT)):
        head += more
    return head


def compressed(pieces: Iterable[bytes], kind: str) -> Iterator[bytes]:
    """``pieces`` as a file of format ``kind`` (gzip, bzip2, xz, none); same input, same bytes.

    Raises BadInput for another format.
    """
    engine: Any
    if kind == "none":
        yield from pieces
        return
    if kind == "gzip":
        # Such a header has neither a name nor a time.
        engine = zlib.compressobj(6, zlib.DEFLATED, 31)
    elif kind == "bzip2":
        import bz2

        engine = bz2.BZ2Compressor()
    elif kind == "xz":
        import lzma

        engine = lzma.LZMACompressor()
    else:
        raise BadInput(f'compression "{kind}": not gzip, bzip2, xz or none')
    for piece in pieces:
        if data := engine.compress(piece):
            yield data
    yield engine.flush()


def _plain(descriptor: int, head: bytes) -> Callable[[], bytes]:
    first = [head]

    def read() -> bytes:
        return first.pop() if first else os.read(descriptor, OUTPUT)

    return read


def _gzip(descriptor: int, head: bytes, label: str) -> Callable[[], bytes]:
    new, failure = _inflater()
    engine = new()
    pending = head

    def read() -> bytes:
        nonlocal engine, pending
        while True:
            if not pending:
                pending = os.read(descriptor, INPUT)
                if not pending and engine is None:
                    return b""
            ended = not pending
            if engine is None:
                if pending[0] != 0x1F:
                    raise _trailing(label)
                engine = new()
            try:
                output: bytes = engine.decompress(pending, OUTPUT)
            except failure as error:
                raise _damaged(label, "gzip") from error
            if engine.eof:
                pending = engine.unused_data
                engine = None
            else:
                pending = engine.unconsumed_tail
            if output:
                return output
            # At the end of the file the engine was asked once more for what it still held back.
            if ended and engine is not None:
                raise _truncated(label)

    return read


def _inflater() -> tuple[Callable[[], Any], type[Exception]]:
    """ISA-L inflates more than twice as fast as zlib, with the same interface."""
    try:
        from isal import isal_zlib
    except ImportError:
        from rktsd.store import isal

        found = isal.inflater()
        return (found, isal.InflateError) if found else (lambda: zlib.decompressobj(31), zlib.error)
    return (lambda: isal_zlib.decompressobj(31)), isal_zlib.error


def _bzip2_or_xz(descriptor: int, head: bytes, kind: str, label: str) -> Callable[[], bytes]:
    new: Callable[[], Any]
    failures: tuple[type[Exception], ...]
    if kind == "xz":
        import lzma

        def new() -> Any:
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

        failures = (lzma.LZMAError,)
    else:
        import bz2

        new, failures = bz2.BZ2Decompressor, (OSError, ValueError)
    engine = new()
    pending = head

    def read() -> bytes:
        nonlocal engine, pending
        while True:
            if not pending and (engine is None or engine.needs_input):
                pending = os.read(descriptor, INPUT)
                if not pending:
                    if engine is None:
                        return b""
                    raise _truncated(label)
            if engine is None:
                if detect(pending) != kind and len(pending) > 6:
                    raise _trailing(label)
                engine = new()
            try:
                output: bytes = engine.decompress(pending, OUTPUT)
            except failures as error:
                if "Memory usage limit" in str(error):
                    raise _greedy(label, _XZ_MEMORY) from error
                raise _damaged(label, kind) from error
            pending = b""
            if engine.eof:
                pending = engine.unused_data
                engine = None
            if output:
                return output

    return read


def _zstd(descriptor: int, head: bytes, label: str) -> Callable[[], bytes]:
    try:
        import zstandard
    except ImportError:
        raise Unsupported(
            f"{label}: compressed with zstd", hint="install python3-zstandard"
        ) from None

    from rktsd.store.zstdframes import Frames, Stranger

    frames = Frames()

    class Source:
        """What zstandard reads from: the head again, then the file."""

        first = head
        ended = False

        def read(self, size: int) -> bytes:
            data = self.first[:size] or os.read(descriptor, size)
            self.first = self.first[size:]
            self.ended = not data
            frames.feed(data)
            return data

    # Any: zstandard's types want a whole file object, its code only read().
    source: Any = Source()
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    reader = decompressor.stream_reader(source, read_size=INPUT, read_across_frames=True)

    def read() -> bytes:
        try:
            output: bytes = reader.read(OUTPUT)
            # Frames may be empty.
            while not output and not source.ended:
                output = reader.read(OUTPUT)
        except Stranger as error:
            raise _trailing(label) from error
        except zstandard.ZstdError as error:
            if "too much memory" in str(error):
                raise _greedy(label, _ZSTD_WINDOW) from error
            raise _damaged(label, "zstd") from error
        if not output and not frames.whole:
            raise _truncated(label)
        return output

    return read


def _truncated(label: str) -> BadInput:
    return BadInput(f"{label}: archive is truncated")


def _trailing(label: str) -> BadInput:
    return BadInput(f"{label}: archive is followed by something else")


def _greedy(label: str, limit: int) -> BadInput:
    return BadInput(f"{label}: more than {limit >> 20} MiB of memory are needed to decompress it")


def _damaged(label: str, kind: str) -> BadInput:
    return BadInput(f"{label}: damaged {kind} data")
