"""How the keys of a section of a Quadlet file become fields: what many of them have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from rktsd.appc.cursor import Cursor
from rktsd.errors import BadInput
from rktsd.generate import podman
from rktsd.generate.draft import Draft, append, put, tell
from rktsd.generate.unitfile import Given, Unit, words
from rktsd.systemd import values


class To(NamedTuple):
    """Where the keys of ``section`` go: ``app`` of ``draft``; ``unit`` is where they are from."""

    draft: Draft
    app: str
    unit: Unit
    section: Mapping[str, list[Given]]

    def given(self, key: str) -> list[Given]:
        """The assignments of a key whose values are known."""
        return [each for each in self.section.get(key, []) if not each.unknown]

    def last(self, key: str) -> Given | None:
        """The one that counts."""
        found = self.given(key)
        return found[-1] if found else None

    def texts(self, key: str) -> list[str]:
        """Their words."""
        return [word for each in self.given(key) for word in each.text.split()]


Handler = Callable[[To, str], None]


def each_word(to: To, key: str) -> Iterator[tuple[str, Cursor]]:
    """The words of all assignments, with quotes as systemd has them."""
    for given in to.given(key):
        try:
            found = words(given.text)
        except ValueError as error:
            tell(to.draft, given.at, str(error))
            continue
        for word in found:
            yield word, given.at


def parsed(to: To, key: str, parse: Callable[[str], object]) -> Iterator[tuple[object, Cursor]]:
    """What ``parse`` makes of each assignment; a ValueError of it is told."""
    for given in to.given(key):
        try:
            yield parse(given.text), given.at
        except ValueError as error:
            tell(to.draft, given.at, str(error))


def text(to: To, key: str, *, field: str, of_pod: bool = False) -> None:
    """A field that is the text itself."""
    given = to.last(key)
    if given is not None:
        put(to.draft, None if of_pod else to.app, field, given.text, given.at)


def several(to: To, key: str, *, field: str) -> None:
    """A list of the pod, a word for each assignment."""
    for given in to.given(key):
        append(to.draft, None, field, given.text, given.at)


def truth(to: To, key: str, *, field: str) -> None:
    """A field that is true or false."""
    given = to.last(key)
    if given is not None and (found := is_on(to, given)) is not None:
        put(to.draft, to.app, field, found, given.at)


def is_on(to: To, given: Given | None) -> bool | None:
    """The truth of an assignment; None where there is none, and for what is told to be neither."""
    if given is None:
        return None
    try:
        return values.boolean(given.text, "")
    except BadInput:
        tell(to.draft, given.at, "not true or false")
        return None


def number(to: To, key: str, *, field: str, of_pod: bool = False) -> None:
    """A field that is a whole number; -1 and 0 are no limit (Podman)."""
    for found, at in parsed(to, key, podman.whole):
        if found not in (0, -1):
            put(to.draft, None if of_pod else to.app, field, found, at)


def quantity(to: To, key: str, *, field: str, of_pod: bool = False) -> None:
    """A field that is a number of bytes."""
    for found, at in parsed(to, key, podman.size):
        put(to.draft, None if of_pod else to.app, field, found, at)
