"""Decompression: every format, in pieces, damaged, cut off and bomb-shaped."""

import bz2
import gzip
import lzma
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rktsd.errors import BadInput
from rktsd.store.compression import OUTPUT, detect, open_stream

# Larger than any buffer, and not the same all over.
DATA = os.urandom(3 << 20) + bytes(5 << 20) + b"end"
SKIPPED = b"\x5a\x2a\x4d\x18\4\0\0\0skip"


def zstd(data: bytes, *options: str) -> bytes:
    command = ["zstd", "-c", "-1", *options]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": zstd,
}


def unpack(path: Path, data: bytes) -> bytes:
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        read = open_stream(descriptor, "a.aci")
        parts = []
        while part := read():
            assert len(part) <= OUTPUT
            parts.append(part)
        assert read() == b""
        return b"".join(parts)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("kind", PACK)
def test_formats(tmp_path: Path, kind: str) -> None:
    packed = PACK[kind](DATA)
    assert detect(packed) == kind
    assert unpack(tmp_path / "a", packed) == DATA


def test_plain(tmp_path: Path) -> None:
    assert detect(DATA) == "plain"
    assert unpack(tmp_path / "a", DATA) == DATA


@pytest.mark.parametrize("kind", PACK)
def test_several_streams_are_one(tmp_path: Path, kind: str) -> None:
    pack = PACK[kind]
    members = [DATA[i : i + 100_000] for i in range(0, 1_000_000, 100_000)]
    packed = b"".join(map(pack, members))
    assert unpack(tmp_path / "a", packed) == DATA[:1_000_000]


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("cut", [1, 4, 9, 1000, 200_000])
def test_truncated(tmp_path: Path, kind: str, cut: int) -> None:
    with pytest.raises(BadInput, match=r"^a\.aci: archive is truncated$"):
        unpack(tmp_path / "a", PACK[kind](DATA)[:-cut])


@pytest.mark.parametrize("kind", PACK)
def test_followed_by_something_else(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BadInput, match="followed by something else"):
        unpack(tmp_path / "a", PACK[kind](DATA) + b"garbage that is no stream")


@pytest.mark.parametrize("kind", PACK)
def test_damaged(tmp_path: Path, kind: str) -> None:
    packed = bytearray(PACK[kind](DATA))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(BadInput, match=r"damaged|truncated"):
        unpack(tmp_path / "a", bytes(packed))


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a"
    zeros = subprocess.Popen(["head", "-c", "1G", "/dev/zero"], stdout=subprocess.PIPE)
    with path.open("wb") as file:
        subprocess.run(["gzip", "-1"], stdin=zeros.stdout, stdout=file, check=True)
    zeros.wait()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    descriptor = os.open(path, os.O_RDONLY)
    read = open_stream(descriptor, "a")
    total = 0
    while part := read():
        total += len(part)
    os.close(descriptor)
    assert total == 1 << 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10


@pytest.mark.parametrize("kind", PACK)
def test_cut_off_anywhere(tmp_path: Path, kind: str) -> None:
    packed = PACK[kind](DATA[:200] + bytes(300_000))
    for cut in range(6, len(packed)):
        with pytest.raises(BadInput, match=r"^a\.aci: archive is truncated$"):
            unpack(tmp_path / "a", packed[:cut])


@pytest.mark.parametrize("kind", PACK)
def test_the_smallest_things_that_may_follow(tmp_path: Path, kind: str) -> None:
    packed = PACK[kind](b"data")
    tails = [b"x", b"\0", bytes(4), bytes(512)]
    tails += [packed[:count] for count in range(1, len(packed))]
    for tail in tails:
        with pytest.raises(BadInput, match=r"truncated|damaged|followed by something else"):
            unpack(tmp_path / "a", packed + tail)


def test_frames_of_zstd(tmp_path: Path) -> None:
    """Empty ones, those to be skipped, with and without a checksum and the size of the content."""
    unsized = subprocess.run(
        "printf data | zstd -c --no-check | cat", shell=True, capture_output=True, check=True
    ).stdout
    frames = [SKIPPED, zstd(b""), zstd(b"data"), SKIPPED, zstd(b""), unsized, SKIPPED]
    assert unpack(tmp_path / "a", b"".join(frames)) == b"datadata"
    assert unpack(tmp_path / "a", zstd(b"") * 3) == b""
    with pytest.raises(BadInput, match="truncated"):
        unpack(tmp_path / "a", zstd(b"data") + SKIPPED[:-1])
    large = zstd(bytes(64 << 20))
    assert len(unpack(tmp_path / "a", large)) == 64 << 20
