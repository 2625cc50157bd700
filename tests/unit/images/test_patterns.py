"""What a stranger sends is read in time that grows with its length, and no faster."""

import time
from collections.abc import Callable

import pytest

from rktsd.appc.cursor import MAX_VALUES, decode_json
from rktsd.errors import RktError
from rktsd.images.challenges import parse_challenges
from rktsd.images.keystore import dearmor

_BEGIN = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n"
KEYS = b",".join(b'"%07d":1' % number for number in range(190_000))
LONG: dict[str, tuple[Callable[[], object], str]] = {
    "keys of JSON": (lambda: decode_json(b'{%s,"0189999":1}' % KEYS, "a"), '"0189999" is given'),
    "values of JSON": (
        lambda: decode_json(b"[" + b"[]," * 1_000_000 + b"0]", "a"),
        f"more than {MAX_VALUES} values",
    ),
    "parameters": (lambda: parse_challenges("Basic " + "a=b," * 200_000), ""),
    "many parameters": (
        lambda: parse_challenges("Basic " + ",".join(f"a{n}=b" for n in range(100_000))),
        "",
    ),
    "beginnings of keys": (lambda: dearmor(_BEGIN * 25_000, "a"), "not an OpenPGP public key"),
    "headers of a key": (lambda: dearmor(_BEGIN + b"a: b\n" * 180_000, "a"), "not an OpenPGP"),
    "empty lines of a key": (lambda: dearmor(_BEGIN + b"\n" * 900_000, "a"), "not an OpenPGP"),
}


@pytest.mark.parametrize("case", LONG)
def test_long_inputs_take_no_time(case: str) -> None:
    work, message = LONG[case]
    began = time.process_time()
    if message:
        with pytest.raises(RktError, match=message):
            work()
    else:
        work()
    assert time.process_time() - began < 5
