"""The command line as rkt reads it: flags as of Go's pflag, and apps each behind their image.

``--flag=VALUE`` or ``--flag VALUE``; a flag whose value is optional takes it only after ``=``.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rktsd.cli.commands import IMAGES_WITH_ARGUMENTS, INNER, PLAIN
from rktsd.cli.flags import APP, BOOL, BOTH, VALUE, Flag
from rktsd.errors import Unsupported, UsageError

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Values(dict[str, list[str]]):
    """Flag name → what was given for it, in order."""

    def last(self, name: str) -> str | None:
        """The value given last."""
        given = self.get(name)
        return given[-1] if given else None

    def on(self, name: str, *, default: bool = False) -> bool:
        """Whether a flag that is true or false is on. Raises UsageError."""
        given = self.last(name)
        return default if given is None else truth(given, name)

    def words(self, name: str) -> list[str]:
        """All values, each a list separated by commas."""
        return [word for value in self.get(name, []) for word in value.split(",")]


class AppArguments(NamedTuple):
    """An image with what followed it."""

    image: str
    values: Values
    arguments: list[str]


class Parsed(NamedTuple):
    """``arguments`` are those of a plain command, ``apps`` the images of the others."""

    values: Values
    arguments: list[str]
    apps: list[AppArguments]


def truth(text: str, flag: str) -> bool:
    """A boolean as Go writes it. Raises UsageError."""
    if text not in _TRUE + _FALSE:
        raise UsageError(f'invalid argument "{text}" for --{flag}: not true or false')
    return text in _TRUE


def parse(arguments: Sequence[str], flags: Iterable[Flag], *, grammar: str = PLAIN) -> Parsed:
    """Read what follows the name of a command. Raises UsageError, and Unsupported for a flag that
    is known and refused."""
    known = {flag.name: flag for flag in flags}
    if grammar == PLAIN:
        return _plain(arguments, known)
    if grammar == INNER:
        values, at = leading(arguments, known.values())
        return Parsed(values, list(arguments[at:]), [])
    return _images(arguments, known, with_arguments=grammar == IMAGES_WITH_ARGUMENTS)


def leading(arguments: Sequence[str], flags: Iterable[Flag]) -> tuple[Values, int]:
    """The flags before the first word, and where that is."""
    known = {flag.name: flag for flag in flags}
    values, at = Values(), 0
    while at < len(arguments) and _is_flag(arguments[at]):
        flag, value, at = _take(arguments, at, known)
        values.setdefault(flag.name, []).append(value)
    return values, at


def _plain(arguments: Sequence[str], known: dict[str, Flag]) -> Parsed:
    values, words, at = Values(), list[str](), 0
    while at < len(arguments):
        if arguments[at] == "--":
            words += arguments[at + 1 :]
            break
        if _is_flag(arguments[at]):
            flag, value, at = _take(arguments, at, known)
            values.setdefault(flag.name, []).append(value)
        else:
            words.append(arguments[at])
            at += 1
    return Parsed(values, words, [])


def _images(arguments: Sequence[str], known: dict[str, Flag], *, with_arguments: bool) -> Parsed:
    values, apps, at = Values(), list[AppArguments](), 0
    closed = False
    while at < len(arguments):
        word = arguments[at]
        if word == "--":
            _check_arguments_allowed(apps, closed, with_arguments)
            end = at + 1
            while end < len(arguments) and arguments[end] != "---":
                end += 1
            apps[-1].arguments.extend(arguments[at + 1 : end])
            closed, at = True, end + 1
        elif word == "---":
            at += 1
        elif _is_flag(word):
            flag, value, at = _take(arguments, at, known)
            _file(flag, value, values, apps)
        else:
            apps.append(AppArguments(word, Values(), []))
            closed, at = False, at + 1
    return Parsed(values, [], apps)


def _check_arguments_allowed(apps: list[AppArguments], closed: bool, allowed: bool) -> None:
    if not allowed:
        raise UsageError("app arguments unsupported")
    if not apps:
        raise UsageError("an image is required before any app arguments")
    if closed:
        raise UsageError("only one set of app arguments allowed per image")


def _file(flag: Flag, value: str, values: Values, apps: list[AppArguments]) -> None:
    """Put a flag where it belongs: to the pod, or to the last image."""
    if flag.scope == APP and not apps:
        raise UsageError(f"--{flag.name} must follow an image")
    if flag.scope == APP or (flag.scope == BOTH and apps):
        given = apps[-1].values.setdefault(flag.name, [])
        if given and not flag.several:
            raise UsageError(f"--{flag.name} specified multiple times for the same image")
        given.append(value)
    else:
        values.setdefault(flag.name, []).append(value)


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word not in ("-", "--", "---")


def _take(arguments: Sequence[str], at: int, known: dict[str, Flag]) -> tuple[Flag, str, int]:
    """The flag at ``at``, its value, and the place behind it."""
    word = arguments[at]
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        flag = known.get(name)
        shown = f"--{name}"
    else:
        flag = next((flag for flag in known.values() if flag.short == word[1:2]), None)
        name, equals, value = word[1:2], word[2:], word[2:].removeprefix("=")
        shown = f"-{name}"
        if flag is not None and flag.kind == BOOL and value:
            flag = None
            shown = word
    if flag is None:
        kind = "flag" if shown.startswith("--") else "shorthand flag"
        raise UsageError(f"unknown {kind}: {shown}", hint=_close(name, known))
    if flag.refused is not None:
        raise Unsupported(flag.refused)
    if equals:
        if flag.kind == BOOL:
            truth(value, flag.name)
        return flag, value, at + 1
    if flag.kind != VALUE:
        return flag, flag.default, at + 1
    if at + 1 >= len(arguments):
        raise UsageError(f"flag needs an argument: {shown}")
    return flag, arguments[at + 1], at + 2


def _close(name: str, known: Iterable[str]) -> str | None:
    if len(name) < 3:
        return None
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), n=1)
    return f"did you mean --{found[0]}?" if found else None
