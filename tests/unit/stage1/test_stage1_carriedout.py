"""Settings of systemd that rktsd carries out itself: what is read, and what is refused."""

from __future__ import annotations

import pytest

from rktsd.errors import BadInput
from rktsd.stage1 import carriedout


@pytest.mark.parametrize(
    ("value", "mask"), [("0022", None), ("22", None), ("0027", 0o27), ("777", 0o777), ("0", 0)]
)
def test_umask(value: str, mask: int | None) -> None:
    assert carriedout.umask({"UMask": value}, "x") == mask
    assert carriedout.umask({}, "x") is None


def test_inaccessible_paths() -> None:
    table = {"InaccessiblePaths": "/a -/b/../c +/d//e -+/f"}
    assert carriedout.inaccessible(table, "x") == [
        ("/a", False), ("/c", True), ("/d/e", False), ("/f", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"UMask": "8"}, 'x.UMask: "8" is not octal digits'),
        ({"UMask": "1000"}, 'x.UMask: "1000" is not octal digits'),
        ({"UMask": 22}, "x.UMask: 22 is not octal digits"),
        ({"InaccessiblePaths": ["a"]}, 'x.InaccessiblePaths: "a" is not an absolute path'),
        ({"InaccessiblePaths": "/"}, "x.InaccessiblePaths: / is not a part of the image"),
        ({"InaccessiblePaths": "/srv/../proc/1"}, "/proc/1 is not a part of the image"),
        ({"PrivateTmp": "no"}, "x.PrivateTmp: no app can do without"),
        ({"ProtectHome": "perhaps"}, 'x.ProtectHome: "perhaps" is not yes or no'),
    ],
)
def test_what_is_refused(table: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadInput) as caught:
        carriedout.check(table, "x")
    assert complaint in str(caught.value)


def test_what_is_so_anyway() -> None:
    carriedout.check({"PrivateTmp": "disconnected", "ProtectHome": "tmpfs", "UMask": "7"}, "x")
