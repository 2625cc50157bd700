"""Inputs for parsers: honest ones with a few things changed, and noise."""

import json
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

_WORDS = (
    b"..", b"/", b"\0", b"\n", b"\xff", b'"', b"\\", b"{", b"[", b"%", b"-1", b"9" * 20, b"0x1",
    b"null", b"true", "\u202e\u00e9".encode(), b"\xed\xa0\x80", b"1e999", b" ", b",", b"=", b":",
)  # fmt: skip
_piece = st.one_of(st.sampled_from(_WORDS), st.binary(max_size=20))


@st.composite
def _edited(
    draw: Callable[[st.SearchStrategy[int] | st.SearchStrategy[bytes]], object], seed: bytes
) -> bytes:
    data = bytearray(seed)
    for _ in range(int(str(draw(st.integers(1, 4))))):
        at = int(str(draw(st.integers(0, len(data)))))
        length = int(str(draw(st.integers(0, 12))))
        piece = draw(_piece)
        assert isinstance(piece, bytes)
        data[at : at + length] = piece
    return bytes(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def _places(value: object, at: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [at] if at else []
    if isinstance(value, dict):
        for key, member in value.items():
            found += _places(member, (*at, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            found += _places(member, (*at, index))
    return found


def _replaced(document: object, at: Sequence[object], value: object) -> bytes:
    copy = json.loads(json.dumps(document))
    place = copy
    for step in at[:-1]:
        place = place[step]
    place[at[-1]] = value
    return json.dumps(copy).encode()


def _rewritten(seed: bytes) -> st.SearchStrategy[bytes] | None:
    """A JSON document with one of its values replaced by any other."""
    try:
        document = json.loads(seed)
    except ValueError:
        return None
    places = _places(document)
    if not places:
        return None
    return st.builds(_replaced, st.just(document), st.sampled_from(places), json_values)


def altered(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes that begin from ``seeds``, and some that begin from nothing."""
    rewritten = [found for found in map(_rewritten, seeds) if found is not None]
    edited = st.sampled_from(list(seeds)).flatmap(_edited)
    return st.one_of(*rewritten, edited, edited, st.binary(max_size=300))
