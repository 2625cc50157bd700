"""Reading a stream ahead changes neither what is read nor where it fails."""

import hashlib
import threading
from collections.abc import Callable, Sequence

import pytest

from rktsd.errors import BadInput
from rktsd.store.ahead import ahead

TOO_MUCH = BadInput("too much")
CHUNKS = [bytes([number % 256]) * (1 + number) for number in range(500)]


def source_of(chunks: Sequence[bytes], error: Exception | None = None) -> Callable[[], bytes]:
    rest = iter(chunks)

    def read() -> bytes:
        try:
            return next(rest)
        except StopIteration:
            if error:
                raise error from None
            return b""

    return read


def test_all_chunks_come_in_order_and_are_hashed_by_the_end() -> None:
    digest = hashlib.sha512()
    with ahead(source_of(CHUNKS), digest.update, limit=1 << 30, error=TOO_MUCH) as read:
        assert list(iter(read, b"")) == CHUNKS
        assert digest.digest() == hashlib.sha512(b"".join(CHUNKS)).digest()
        assert read() == b""


def test_an_error_comes_where_it_would_have_come() -> None:
    source = source_of(CHUNKS, BadInput("damaged"))
    with ahead(source, lambda data: None, limit=1 << 30, error=TOO_MUCH) as read:
        for chunk in CHUNKS:
            assert read() == chunk
        with pytest.raises(BadInput, match="damaged"):
            read()


def test_more_than_the_limit_is_not_handed_out() -> None:
    with ahead(source_of([b"12", b"34", b"5"]), lambda data: None, limit=4, error=TOO_MUCH) as read:
        assert [read(), read()] == [b"12", b"34"]
        with pytest.raises(BadInput, match="too much"):
            read()


def test_who_gives_up_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    with ahead(lambda: b"endless", lambda data: None, limit=1 << 60, error=TOO_MUCH) as read:
        assert read() == b"endless"
        assert len(threading.enumerate()) == len(before) + 2
    assert set(threading.enumerate()) == before
