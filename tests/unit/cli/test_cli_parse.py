"""How a command line is read: flags as pflag did, apps behind their images."""

from __future__ import annotations

import pytest

from rktsd.cli.commands import COMMANDS, IMAGES, IMAGES_WITH_ARGUMENTS, PLAIN
from rktsd.cli.flags import GLOBAL
from rktsd.cli.parse import AppArguments, Parsed, Values, leading, parse
from rktsd.errors import RktError, UsageError


def _parse(command: str, line: str) -> Parsed:
    flags = (*GLOBAL, *COMMANDS[command].flags)
    return parse(line.split(), flags, grammar=COMMANDS[command].grammar)


def test_grammars() -> None:
    assert COMMANDS["run"].grammar == COMMANDS["prepare"].grammar == IMAGES_WITH_ARGUMENTS
    assert COMMANDS["fetch"].grammar == IMAGES
    assert COMMANDS["run-prepared"].grammar == PLAIN


def test_flags_of_the_pod_and_of_apps() -> None:
    parsed = _parse(
        "run",
        "--net=none --mount volume=a,target=/a one --user 33 --mount volume=b,target=/b"
        " -- -x --user=1 -- --- two --name=second --set-env=A=1",
    )
    assert parsed.values == {
        "net": ["none"],
        "mount": ["volume=a,target=/a"],
        "set-env": ["A=1"],
    }
    assert parsed.apps == [
        AppArguments(
            "one",
            Values({"user": ["33"], "mount": ["volume=b,target=/b"]}),
            ["-x", "--user=1", "--"],
        ),
        AppArguments("two", Values({"name": ["second"]}), []),
    ]


def test_a_separator_alone_is_passed_over() -> None:
    assert [app.image for app in _parse("run", "one --- two").apps] == ["one", "two"]


def test_an_optional_value_needs_an_equals_sign() -> None:
    parsed = _parse("run", "--net one")
    assert (parsed.values["net"], parsed.apps[0].image) == (["default"], "one")
    assert _parse("status", "--wait=10s web").values["wait"] == ["10s"]
    assert _parse("status", "--wait web").arguments == ["web"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [("--full", True), ("--full=false", False), ("--full=T", True), ("", False)],
)
def test_a_flag_that_is_on_or_off(line: str, expected: bool) -> None:
    assert _parse("list", line).values.on("full") is expected


def test_flags_and_words_may_alternate() -> None:
    parsed = _parse("stop", "one --force two -- --three")
    assert (parsed.arguments, parsed.values) == (["one", "two", "--three"], {"force": ["true"]})


@pytest.mark.parametrize(
    ("line", "follow", "lines"),
    [
        ("-f web", True, None),
        ("-n 5 web", False, "5"),
        ("-n5 web", False, "5"),
        ("-n=5 web", False, "5"),
    ],
)
def test_short_flags(line: str, follow: bool, lines: str | None) -> None:
    parsed = _parse("logs", line)
    assert parsed.arguments == ["web"]
    assert (parsed.values.on("follow"), parsed.values.last("lines")) == (follow, lines)


@pytest.mark.parametrize(
    ("command", "line", "message"),
    [
        ("list", "--colour", "unknown flag: --colour"),
        ("list", "--formt=json", "unknown flag: --formt (did you mean --format?)"),
        ("list", "-x", "unknown shorthand flag: -x"),
        ("list", "--format", "flag needs an argument: --format"),
        ("list", "--full=perhaps", 'invalid argument "perhaps" for --full: not true or false'),
        ("run", "--exec=/x", "--exec must follow an image"),
        ("run", "-- a", "an image is required before any app arguments"),
        ("run", "one -- a --- -- b", "only one set of app arguments allowed per image"),
        ("fetch", "one -- a", "app arguments unsupported"),
        ("run", "one --user=1 --user=2", "--user specified multiple times for the same image"),
        (
            "run",
            "--stage1-hash=sha512-x one",
            "--stage1-hash is not done by this version: no hash tells a flavor; use --stage1-name",
        ),
    ],
)  # fmt: skip
def test_refused(command: str, line: str, message: str) -> None:
    with pytest.raises(RktError) as caught:
        _parse(command, line)
    assert str(caught.value) == message
    assert caught.value.exit_code == 254


def test_global_flags_lead() -> None:
    values, at = leading(["--dir", "/d", "--debug", "run", "--dir=/e"], GLOBAL)
    assert (values, at) == ({"dir": ["/d"], "debug": ["true"]}, 3)
    with pytest.raises(UsageError, match="unknown flag: --net"):
        leading(["--net", "run"], GLOBAL)
