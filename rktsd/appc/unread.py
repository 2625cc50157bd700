"""Which fields of a document nobody asked for."""

from collections.abc import Iterator
from typing import Any

from rktsd.appc.cursor import Cursor


def watched(document: Cursor) -> Cursor:
    """The document, for readers whose questions are remembered."""
    return document._replace(value=_watch(document.value))


class _Watched(dict[str, Any]):
    """An object that knows which of its members somebody asked for.

    So the readers of manifests are themselves the list of known fields.
    """

    def __init__(self, members: dict[str, Any]) -> None:
        super().__init__(members)
        self.read: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def items(self) -> Any:
        self.read.update(self)
        return super().items()


def _watch(value: object) -> object:
    if isinstance(value, dict):
        return _Watched({name: _watch(member) for name, member in value.items()})
    return [_watch(element) for element in value] if isinstance(value, list) else value


def unread(place: Cursor) -> Iterator[Cursor]:
    """The members below ``place``, which is ``watched``, that nobody asked for, in their order."""
    if isinstance(place.value, list):
        for element in place.elements():
            yield from unread(element)
    elif isinstance(place.value, _Watched):
        read = frozenset(place.value.read)
        for name, member in place.members():
            if name in read:
                yield from unread(member)
            else:
                yield member


def mark(place: Cursor) -> None:
    """Take all below ``place`` as asked for."""
    if isinstance(place.value, dict):
        for _, member in place.members():
            mark(member)
    elif isinstance(place.value, list):
        for element in place.elements():
            mark(element)
