"""Until when a key is good, read from its packets; the same as gpg was told."""

import time
from pathlib import Path

import pytest

from rktsd.images.keystore import dearmor, key_end
from tests.material.keys import SigningKey

DAY = 86400


@pytest.mark.parametrize(
    ("expires", "days", "signing_subkey"),
    [("never", None, False), ("2d", 2, False), ("3d", 3, True), ("10y", 3650, False)],
)
def test_the_end_is_what_gpg_was_told(
    tmp_path: Path, expires: str, days: int | None, signing_subkey: bool
) -> None:
    before = int(time.time())
    key = SigningKey.create(
        tmp_path / "gnupg", "A <a@example.com>", expires=expires, signing_subkey=signing_subkey
    )
    end = key_end(dearmor(key.public.encode(), "a"), "a")
    if days is None:
        assert end == 0
    else:
        assert before + days * DAY <= end <= time.time() + days * DAY


def test_an_end_that_is_over_is_none_to_come(tmp_path: Path) -> None:
    """gpgv says so itself, at once."""
    key = SigningKey.create(tmp_path / "gnupg", "A <a@example.com>", expires="1d",
                            when="20200101T000000")  # fmt: skip
    assert key_end(dearmor(key.public.encode(), "a"), "a") == 0


@pytest.mark.parametrize(
    "area", [b"", b"\x05", b"\x05\x02", b"\xff", b"\xc0", b"\xff\0\0\0\x05", b"\x05\x09\0\0", b"\0"]
)
def test_broken_subpackets_are_no_end(area: bytes) -> None:
    key = b"\x99\x00\x06\x04\0\0\0\0\0"
    body = b"\x04\x13\x16\x08" + len(area).to_bytes(2, "big") + area
    signature = b"\x88" + bytes([len(body)]) + body
    assert key_end(key + signature, "a") == 0
