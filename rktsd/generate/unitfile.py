"""Unit files as systemd reads them: sections, lines, words, specifiers (systemd.syntax(7))."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from rktsd.appc.cursor import Cursor, shown
from rktsd.errors import BadInput
from rktsd.generate.write import INSTANCE
from rktsd.host.files import read_limited

_MAX_FILE = 1 << 20
_SECTION = re.compile(r"\[([^\[\]\x00-\x1f]+)\]")
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " ",
    "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip
_NUMBER = re.compile(r"x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})")
_SPACE = " \t\n\r"
# What these are for units of the system (systemd.unit(5), SPECIFIERS).
_FIXED = {
    "%": "%", "t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc",
    "T": "/tmp", "V": "/var/tmp", "h": "/root", "u": "root", "U": "0", "g": "root", "G": "0",
    "s": "/bin/sh",
}  # fmt: skip


class Given(NamedTuple):
    """A value with specifiers and dollar signs resolved, and where it stands, as it is there.

    ``unknown`` is a specifier in it that only a unit knows.
    """

    text: str
    at: Cursor
    unknown: str = ""


class Unit(NamedTuple):
    """``name`` is that of the file without directory and suffix; ``sections`` hold, by key, all
    assignments that count, in their order."""

    path: str
    name: str
    sections: dict[str, dict[str, list[Given]]]

    @property
    def directory(self) -> str:
        return os.path.dirname(os.path.abspath(self.path))

    def beside(self, name: str) -> str:
        """The path of a file in the same directory, in the words of our own."""
        return os.path.join(os.path.dirname(self.path), name)

    def last(self, section: str, key: str) -> Given | None:
        """The assignment that counts of a key that has one value."""
        found = self.sections.get(section, {}).get(key)
        return found[-1] if found else None


def read_unit(path: str) -> Unit:
    """The file and its drop-ins, ``PATH.d/*.conf``. Raises BadInput, NotFound, StoreError."""
    unit = Unit(path, os.path.basename(path).rpartition(".")[0], {})
    files = [path]
    if os.path.isdir(f"{path}.d"):
        dropins = sorted(name for name in os.listdir(f"{path}.d") if name.endswith(".conf"))
        files += [f"{path}.d/{name}" for name in dropins]
    for each in files:
        read_into(unit, read_limited(each, _MAX_FILE), each)
    return unit


def read_into(unit: Unit, data: bytes, source: str) -> None:
    """Add what ``source`` says; an empty value forgets those before it. Raises BadInput."""
    section = None
    for number, line in _lines(data, source):
        at = Cursor(source, f"line {number}", line)
        found = _SECTION.fullmatch(line)
        if found:
            section = unit.sections.setdefault(found[1], {})
            continue
        key, equals, value = line.partition("=")
        key, value = key.rstrip(), value.strip()
        if not equals or not key or section is None:
            what = "before any [SECTION]" if section is None else "not KEY=VALUE"
            raise BadInput(f"{source}: line {number}: {shown(line)} is {what}")
        at = Cursor(source, f"line {number}: {key}", value)
        text, unknown = _resolved(value, unit)
        section.setdefault(key, [])
        if value:
            section[key].append(Given(text, at, unknown))
        else:
            section[key].clear()


def _lines(data: bytes, source: str) -> list[tuple[int, str]]:
    """Whole lines with the number of their first; comments may stand between their parts."""
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{source}: line {number}: not UTF-8") from error
    if "\0" in text:
        raise BadInput(f"{source}: line {text.count(chr(10), 0, text.index(chr(0))) + 1}: a NUL")
    found: list[tuple[int, str]] = []
    begun: list[str] = []
    first = 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        stripped = line.strip(_SPACE)
        if stripped[:1] in ("#", ";") or (not stripped and not begun):
            continue
        first = first if begun else number
        begun.append(line[:-1] if line.endswith("\\") else line)
        if not line.endswith("\\"):
            found.append((first, " ".join(begun).strip(_SPACE)))
            begun = []
    if begun:
        found.append((first, " ".join(begun).strip(_SPACE)))
    return found


def _resolved(value: str, unit: Unit) -> tuple[str, str]:
    """``value`` as the unit's command line has it, and the first specifier that is not known.

    ``$$`` is a dollar sign there. In a template, INSTANCE stands for the instance.
    """
    prefix, at, instance = unit.name.partition("@")
    own = {
        "i": (instance or INSTANCE) if at else "",
        "I": _unescaped(instance) if instance else INSTANCE if at else "",
        "p": prefix,
        "P": prefix,
        "N": f"{prefix}@{instance or INSTANCE}" if at else prefix,
        "j": prefix.rpartition("-")[2],
    }
    own["n"] = f"{own['N']}.service"
    known = {**_FIXED, **own}
    unknown: list[str] = []

    def specifier(found: re.Match[str]) -> str:
        if found[1] not in known:
            unknown.append(found[0])
        return known.get(found[1], "")

    text = re.sub("%(.?)", specifier, value).replace("$$", "$")
    return text, unknown[0] if unknown else ""


def _unescaped(text: str) -> str:
    text = text.replace("-", "/")
    return re.sub(r"\\x([0-7][0-9a-f])", lambda found: chr(int(found[1], 16)), text)


def words(text: str) -> list[str]:
    """The words of a value, with quotes and C escapes as systemd has them.

    Raises ValueError for a quote that is not closed.
    """
    found: list[str] = []
    word, begun, quote, at = "", False, "", 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "\\" and at < len(text):
            escaped, at = _escape(text, at)
            word, begun = word + escaped, True
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote, begun = character, True
        elif not quote and character in _SPACE:
            found += [word] if begun else []
            word, begun = "", False
        else:
            word, begun = word + character, True
    if quote:
        raise ValueError("a quote that is not closed")
    return [*found, word] if begun else found


def _escape(text: str, at: int) -> tuple[str, int]:
    """What an escape sequence means whose backslash is before ``at``, and the place behind it."""
    number = _NUMBER.match(text, at)
    if number:
        digits = next(each for each in number.groups() if each)
        code = int(digits, 8 if number[2] else 16)
        if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000:
            return chr(code), number.end()
    return _ESCAPES.get(text[at], f"\\{text[at]}"), at + 1
