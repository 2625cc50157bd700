"""A place in decoded JSON or TOML that knows its path: every error names file, field and value.

Absent, ``null`` and missing are one thing here, as they are for the reference implementation of
appc, which writes ``null`` for lists without elements.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, TypeVar

from rktsd.errors import BadInput

Value = TypeVar("Value")

MAX_DEPTH = 64
MAX_BYTES = 4 << 20
MAX_VALUES = 200_000

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHOWN = 60


def shown(value: object) -> str:
    """``value`` for an error message: JSON on one line of ASCII, cut to a bearable length."""
    text = json.dumps(value, default=str)
    if len(text) <= _SHOWN:
        return text
    # A backslash at the cut would take the quote behind it for its own.
    return (
        f'{text[: _SHOWN - 4].rstrip(chr(92))}..."'
        if text[0] == '"'
        else f"{text[: _SHOWN - 3]}..."
    )


class Cursor(NamedTuple):
    """``value`` as found at ``path`` (``apps[0].name``; empty for the whole) of ``source``."""

    source: str
    path: str
    value: object

    @property
    def where(self) -> str:
        """``SOURCE: PATH``, the beginning of every message."""
        return f"{self.source}: {self.path}" if self.path else self.source

    @property
    def given(self) -> bool:
        """Whether there is a value at all."""
        return self.value is not None

    def only(self, names: Collection[str], complaint: str, *, hint: str | None = None) -> None:
        """Refuse members that are not among ``names``. Raises BadInput with the complaint."""
        for name, member in self.members():
            if name not in names:
                raise member.problem(complaint, hint=hint)

    def problem(self, text: str, *, hint: str | None = None) -> BadInput:
        """The error ``SOURCE: PATH: TEXT``, to be raised."""
        return BadInput(f"{self.where}: {text}", hint=hint)

    def wrong(self, expected: str) -> BadInput:
        """The error ``SOURCE: PATH: VALUE is not EXPECTED``, or that it is missing."""
        if self.value is None:
            return self.problem("missing")
        return self.problem(f"{shown(self.value)} is not {expected}")

    def get(self, name: str) -> "Cursor":
        """The member ``name`` of an object; its value is None when it is absent."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return Cursor(self.source, self._below(name), self.value.get(name))

    def members(self) -> "list[tuple[str, Cursor]]":
        """Names and members of an object; none when it is absent."""
        if self.value is None:
            return []
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return [
            (name, Cursor(self.source, self._below(name), value))
            for name, value in self.value.items()
        ]

    def elements(self) -> "list[Cursor]":
        """The elements of a list; none when it is absent."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [
            Cursor(self.source, f"{self.path}[{index}]", value)
            for index, value in enumerate(self.value)
        ]

    def text(self) -> str:
        """A string that can be handed to the kernel: without NUL."""
        if not isinstance(self.value, str):
            raise self.wrong("a string")
        if "\0" in self.value:
            raise self.problem(f"{shown(self.value)} contains a NUL")
        return self.value

    def filled(self) -> str:
        """A string that is not empty."""
        text = self.text()
        if not text:
            raise self.problem("empty")
        return text

    def line(self) -> str:
        """A string that can stand in a line-based file: not empty, no control characters."""
        text = self.filled()
        if _CONTROL.search(text):
            raise self.problem(f"{shown(text)} contains a control character")
        return text

    def absolute(self) -> str:
        """An absolute path."""
        text = self.text()
        if not text.startswith("/"):
            raise self.wrong("an absolute path")
        return text

    def integer(self, low: int, high: int, *, what: str = "a number") -> int:
        """A whole number of ``low`` to ``high``."""
        if type(self.value) is not int or not low <= self.value <= high:
            raise self.wrong(f"{what} ({low} to {high})")
        return self.value

    def boolean(self, default: bool = False) -> bool:
        """true or false, ``default`` when absent."""
        if self.value is None:
            return default
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def one_of(self, *words: str) -> str:
        """One of ``words``."""
        text = self.text()
        if text not in words:
            raise self.wrong(" or ".join(words))
        return text

    def checked(self, check: "Callable[[str, str], Value]") -> Value:
        """The string as ``check(text, where)`` takes it."""
        return check(self.text(), self.where)

    def below(self, step: str | int, value: object) -> "Cursor":
        """The member or element ``step``, which is ``value``."""
        path = f"{self.path}[{step}]" if isinstance(step, int) else self._below(step)
        return Cursor(self.source, path, value)

    def _below(self, name: str) -> str:
        step = name if _PLAIN_KEY.fullmatch(name) else f"[{shown(name)}]"
        if not self.path:
            return step
        return f"{self.path}{step}" if step.startswith("[") else f"{self.path}.{step}"


def unique(items: list[tuple[Cursor, str]]) -> None:
    """Refuse a name that occurs twice; the cursor is where to point at."""
    seen: set[str] = set()
    for place, name in items:
        if name in seen:
            raise place.problem(f"{shown(name)} is given twice")
        seen.add(name)


def decode_json(data: bytes, source: str) -> Cursor:
    """The JSON document in ``data``, at most 4 MiB of UTF-8, nested at most 64 levels.

    Keys given twice, NaN and infinities, and halves of surrogate pairs are refused: other readers
    would see another document. Raises BadInput.
    """
    if len(data) > MAX_BYTES:
        raise BadInput(f"{source}: larger than {MAX_BYTES} bytes")

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            # Kept once each in ``found``: the first that is not the next of them came before.
            names = iter(found)
            twice = next(name for name, _ in pairs if name != next(names, None))
            raise BadInput(f"{source}: the key {shown(twice)} is given twice in one object")
        return found

    def constant(text: str) -> object:
        raise BadInput(f"{source}: {text} is not a JSON value")

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=members, parse_constant=constant)
    except UnicodeDecodeError as error:
        raise BadInput(f"{source}: not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadInput(f"{source}: {place}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise BadInput(f"{source}: nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:
        raise BadInput(f"{source}: a number with too many digits") from error
    document = Cursor(source, "", value)
    check_tree(document)
    return document


def decode_toml(text: bytes, source: str) -> Cursor:
    """The root of a TOML document. Raises BadInput naming the place of an error."""
    import tomllib

    try:
        document = Cursor(source, "", tomllib.loads(text.decode("utf-8")))
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{source}: line {line}: not UTF-8") from error
    except RecursionError as error:
        raise BadInput(f"{source}: nested too deep") from error
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).rpartition(" (at ")
        raise BadInput(f"{source}: {place.rstrip(')')}: not TOML: {reason}") from error
    except ValueError as error:
        raise BadInput(f"{source}: not TOML: {error}") from error
    check_tree(document)
    return document


def check_tree(document: Cursor) -> None:
    """Refuse what could not be written again as UTF-8 JSON, what is nested too deep, and what would
    take too much memory to look at."""
    _check_scalar(document, document.value)
    count = 0
    trail = [(document, _items(document.value))]
    while trail:
        place, items = trail[-1]
        for step, value in items:
            count += 1
            if count > MAX_VALUES:
                raise BadInput(f"{document.source}: more than {MAX_VALUES} values")
            if len(trail) > MAX_DEPTH:
                raise BadInput(f"{document.source}: nested more than {MAX_DEPTH} levels deep")
            if isinstance(step, str) and not step.isascii():
                _check_scalar(place.below(step, value), step)
            if isinstance(value, dict | list):
                trail.append((place.below(step, value), _items(value)))
                break
            if isinstance(value, str | float):
                _check_scalar(place.below(step, value), value)
        else:
            trail.pop()


def _items(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value) if isinstance(value, list) else iter(())


def _check_scalar(place: Cursor, value: object) -> None:
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise place.problem(f"{shown(value)} is not valid Unicode") from error
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise place.problem("not a finite number")
