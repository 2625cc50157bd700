"""Inflating by ISA-L (libisal2), which takes half the time of zlib, by way of ctypes.

There is no Python module for it in Debian 12. The structure is that of the library's igzip_lib.h,
which goes with its soname; that it fits is tried out before it is relied upon.
"""

import ctypes
import functools
import zlib
from collections.abc import Callable
from typing import Any

_LIBRARY = "libisal.so.2"
_GZIP = 1
_FINISHED = 5
_NO_MORE_INPUT = 1
_HEADER = 80 << 10


class InflateError(Exception):
    """Data that is not gzip's."""


class _State(ctypes.Structure):
    """``struct inflate_state``; what is inside of it nobody here looks at."""

    _fields_ = [
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_uint32),
        ("total_out", ctypes.c_uint32),
        ("next_in", ctypes.c_void_p),
        ("read_in", ctypes.c_uint64),
        ("avail_in", ctypes.c_uint32),
        ("read_in_length", ctypes.c_int32),
        ("literals", ctypes.c_uint32 * 4096),
        ("long_literals", ctypes.c_uint16 * 1264),
        ("distances", ctypes.c_uint16 * 1024),
        ("long_distances", ctypes.c_uint16 * 80),
        ("block_state", ctypes.c_uint32),
        ("dict_length", ctypes.c_uint32),
        ("bfinal", ctypes.c_uint32),
        ("crc_flag", ctypes.c_uint32),
        ("crc", ctypes.c_uint32),
        # Checks, histories and buffers, generously.
        ("inside", ctypes.c_uint8 * (256 << 10)),
    ]


class _Inflater:
    """One gzip member, with the interface of ``zlib.decompressobj``."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._inflate = library.isal_inflate
        self._state = _State()
        library.isal_inflate_init(ctypes.byref(self._state))
        self._state.crc_flag = _GZIP
        self._output = ctypes.create_string_buffer(0)
        # The library loses its way in headers that come in pieces.
        self._held: bytes | None = b""
        self.eof = False
        self.unused_data = b""
        self.unconsumed_tail = b""

    def decompress(self, data: bytes, limit: int) -> bytes:
        """At most ``limit`` bytes. Raises InflateError."""
        state = self._state
        if self._held is not None:
            self._held += data
            if data and len(self._held) < _HEADER:
                return b""
            data, self._held = self._held, None
        if len(self._output) != limit:
            self._output = ctypes.create_string_buffer(limit)
        state.next_in = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
        state.avail_in = len(data)
        state.next_out = ctypes.addressof(self._output)
        state.avail_out = limit
        status = self._inflate(ctypes.byref(state))
        if status < 0 or status > _NO_MORE_INPUT:
            raise InflateError(status)
        self.unconsumed_tail = data[len(data) - state.avail_in :]
        if state.block_state == _FINISHED:
            self.eof = True
            # Whole bytes behind the end that were taken in already.
            held, odd = divmod(state.read_in_length, 8)
            before = (state.read_in >> odd).to_bytes(8, "little")[:held]
            self.unused_data, self.unconsumed_tail = before + self.unconsumed_tail, b""
        return ctypes.string_at(self._output, limit - state.avail_out)


@functools.cache
def inflater() -> Callable[[], Any] | None:
    """What makes inflaters of one gzip member each, None where the library is not or is another."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        library.isal_inflate_init.restype = None
        library.isal_inflate.restype = ctypes.c_int
    except (OSError, AttributeError):
        return None
    new = functools.partial(_Inflater, library)
    return new if _works(new) else None


def _works(new: Callable[[], _Inflater]) -> bool:
    """Whether it inflates, ends where a member ends, and sees that a checksum is wrong."""
    content = bytes(range(256)) * 8
    engine = zlib.compressobj(wbits=31)
    packed = engine.compress(content) + engine.flush()
    good, bad = new(), new()
    try:
        data = good.decompress(packed + b"rest" + bytes(_HEADER), 1 << 16)
        if data != content or not good.unused_data.startswith(b"rest"):
            return False
        wrong = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
        bad.decompress(wrong + bytes(_HEADER), 1 << 16)
    except InflateError:
        return good.eof
    return False
