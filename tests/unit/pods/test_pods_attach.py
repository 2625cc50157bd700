"""What is attached to, and the keys that end it."""

from __future__ import annotations

import pytest

from rktsd.appc.types import RuntimeApp, RuntimeImage
from rktsd.errors import BadInput, UsageError
from rktsd.pods.attach import chosen, detach_keys, divided
from rktsd.pods.streams import as_annotations, streams_of
from rktsd.stage1.types import Streams

ALL = ["stdin", "stdout", "stderr"]
TERMINAL = ["tty-in", "tty-out"]


def app(**given: str) -> RuntimeApp:
    return RuntimeApp("one", RuntimeImage("sha512-1"), annotations=as_annotations(given))


@pytest.mark.parametrize(
    ("given", "streams"),
    [
        ({}, None),
        ({"stdin": "null", "stdout": "log"}, None),
        ({"stdout": "null"}, Streams(stdout="null")),
        ({"stdin": "stream", "stderr": "stream"}, Streams("stream", "log", "stream")),
        ({"stdin": "tty"}, Streams("tty", "tty", "tty")),
        ({"stderr": "tty"}, Streams("null", "tty", "tty")),
        ({"stdin": "null", "stdout": "tty"}, Streams("null", "tty", "tty")),
    ],
)
def test_streams(given: dict[str, str], streams: Streams | None) -> None:
    assert streams_of(app(**given)) == streams


@pytest.mark.parametrize(
    "given",
    [
        {"stdin": "interactive"},
        {"stdin": "log"},
        {"stdin": "stream", "stdout": "tty"},
        {"stdin": "tty", "stderr": "null"},
    ],
)
def test_streams_that_contradict_each_other(given: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=f"^app one: std.*{min(given.values())}"):
        streams_of(app(**given))


@pytest.mark.parametrize(
    ("mode", "there", "wanted"),
    [
        ("auto", ALL, ALL),
        ("stdin,stderr", ALL, ["stdin", "stderr"]),
        ("auto", TERMINAL, TERMINAL),
        ("tty", TERMINAL, TERMINAL),
        ("tty", ["tty-out"], ["tty-out"]),
        ("tty-in", TERMINAL, ["tty-in"]),
    ],
)
def test_modes(mode: str, there: list[str], wanted: list[str]) -> None:
    assert chosen(mode, there, app="one") == wanted


@pytest.mark.parametrize(
    "mode", ["", "all", "stdin,all", "stdin,tty", "tty,tty", "list,auto", "tty"]
)
def test_modes_that_are_none(mode: str) -> None:
    with pytest.raises(UsageError):
        chosen(mode, ALL, app="one")


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (None, b"\x10\x11"),
        ("", b""),
        ("ctrl-a,d", b"\x01d"),
        ("ctrl-[,ctrl-@", b"\x1b\0"),
        ("~", b"~"),
    ],
)
def test_detach_keys(text: str | None, keys: bytes) -> None:
    assert detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ctrl-pp", "p,", "\n", "\xe4", "alt-p"])
def test_keys_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        detach_keys(text)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"abc", (b"abc", b"", False)),
        (b"ab\x10", (b"ab", b"\x10", False)),
        (b"ab\x10\x11cd", (b"ab", b"", True)),
        (b"\x10\x10", (b"\x10", b"\x10", False)),
        (b"\x10\x10\x11", (b"\x10", b"", True)),
        (b"\x10a", (b"\x10a", b"", False)),
        (b"\x11", (b"\x11", b"", False)),
        (b"", (b"", b"", False)),
    ],
)
def test_the_keys_are_found_in_what_is_typed(data: bytes, found: tuple[bytes, bytes, bool]) -> None:
    assert divided(data, b"\x10\x11") == found


def test_without_keys_everything_is_passed_on() -> None:
    assert divided(b"a\x10\x11", b"") == (b"a\x10\x11", b"", False)
