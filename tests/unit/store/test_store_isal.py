"""ISA-L inflates what zlib inflates, refuses what zlib refuses, and ends where zlib ends."""

import ctypes
import gzip
import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from rktsd.store import isal

LIMIT = 10_000


def new() -> Any:
    made = isal.inflater()
    assert made is not None, "libisal2 is not installed"
    return made()


def inflate(engine: Any, data: bytes, steps: Callable[[], int]) -> tuple[bytes, bool, bytes]:
    """What comes out when ``data`` goes in by pieces, whether it ended, and what was behind."""
    out, at = b"", 0
    while not engine.eof:
        piece = data[at : at + steps()]
        at += len(piece)
        ended = not piece
        while True:
            part = engine.decompress(piece, LIMIT)
            assert len(part) <= LIMIT
            out += part
            piece = engine.unconsumed_tail
            if engine.eof or (not piece and not part):
                break
        if ended and not part:
            break
    return out, engine.eof, engine.unused_data + data[at:] if engine.eof else b""


def contents() -> list[bytes]:
    noise = random.Random(1)
    text = b" ".join(str(noise.random()).encode() for _ in range(20_000))
    return [b"", b"x", bytes(300_000), noise.randbytes(100_000), text, text * 3]


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("level", [0, 1, 6, 9])
@pytest.mark.parametrize("step", [1, 7, 100, 4096, 1 << 20])
def test_the_same_as_zlib(number: int, level: int, step: int) -> None:
    content = contents()[number][: 3000 if step < 100 else None]
    behind = b"\x1f\x8bmore than eight bytes"
    packed = gzip.compress(content, level) + behind
    assert inflate(new(), packed, lambda: step) == (content, True, behind)


def test_headers_with_names_and_all_that() -> None:
    content = contents()[3]
    body = zlib.compress(content, 6, -15)
    end = zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    extras = b"\x05\x00extra" + b"name.tar\0" + b"a comment\0"
    head = b"\x1f\x8b\x08\x1c" + bytes(6) + extras
    assert inflate(new(), head + body + end, lambda: 1 << 20) == (content, True, b"")
    assert inflate(new(), head + body + end, lambda: 5) == (content, True, b"")


def test_what_is_damaged() -> None:
    """Whatever byte it is: as zlib says, unless that is one that no one looks at."""
    noise = random.Random(2)
    content = contents()[4][:20_000]
    packed = gzip.compress(content, 6)
    refused = 0
    places = [*range(3), *range(len(packed) - 8, len(packed))]
    for place in [*places, *noise.sample(range(10, len(packed)), 300)]:
        bad = bytearray(packed)
        bad[place] ^= 1 << noise.randrange(8)
        verdicts = []
        for engine, error in ((zlib.decompressobj(31), zlib.error), (new(), isal.InflateError)):
            try:
                verdicts.append(inflate(engine, bytes(bad), lambda: 1000)[:2])
            except error:
                verdicts.append((b"", False))
        # One of them may hand out more before it sees that something is wrong.
        assert verdicts[0][1] == verdicts[1][1] or verdicts == [(content, True)] * 2
        refused += not verdicts[1][1]
    assert refused > 300


@pytest.mark.parametrize("cut", [1, 5, 10, 18, 1000, -9, -8, -1])
def test_what_is_cut_off_does_not_end(cut: int) -> None:
    packed = gzip.compress(contents()[4], 6)
    found, ended, _ = inflate(new(), packed[:cut], lambda: 1 << 20)
    assert not ended
    assert contents()[4].startswith(found)


def test_a_lot_of_noise_is_survived() -> None:
    noise = random.Random(3)
    for _ in range(3000):
        data = b"\x1f\x8b\x08\0" + bytes(6) + noise.randbytes(noise.randrange(200))
        try:
            inflate(new(), data, lambda: noise.randrange(1, 50))
        except isal.InflateError:
            continue


def test_another_library_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose structure is another, or that is not there."""
    fields = [each for each in isal._State._fields_ if each[0] != "dict_length"]
    moved = type("Moved", (ctypes.Structure,), {"_fields_": fields})
    monkeypatch.setattr(isal, "_State", moved)
    for library in ("libisal.so.2", "libisal-that-is-not.so"):
        monkeypatch.setattr(isal, "_LIBRARY", library)
        assert isal.inflater.__wrapped__() is None
