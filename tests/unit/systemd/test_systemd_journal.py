"""The export format of the journal, in whatever pieces it arrives."""

from __future__ import annotations

import pytest

from rktsd.systemd.journal import Parser

BINARY = b"two\nlines\x00\xff"
STREAM = (
    b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=5\n_BOOT_ID=b\nMESSAGE=first\n\n"
    b"__CURSOR=s=2\nMESSAGE\n" + len(BINARY).to_bytes(8, "little") + BINARY + b"\n\n"
    b"__CURSOR=s=3\nMESSAGE=\n\n"
    b"__CURSOR=s=4\n_BOOT_ID=b\n\n"
    b"__CURSOR=s=5\nMESSAGE=a=b\n\n"
)
ENTRIES = [("s=1", b"first"), ("s=2", BINARY), ("s=3", b""), ("s=5", b"a=b")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, len(STREAM)])
def test_entries_whatever_the_pieces(size: int) -> None:
    parser = Parser()
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [entry for piece in pieces for entry in parser.feed(piece)] == ENTRIES


def test_an_entry_cut_short_is_not_given() -> None:
    assert list(Parser().feed(STREAM[:-1])) == ENTRIES[:-1]
