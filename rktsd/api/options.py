"""What callers say in an ``a{sv}``: checked, and nothing of it ignored."""

from __future__ import annotations

from rktsd.api.errors import INVALID_ARGUMENTS, Refused
from rktsd.api.values import Typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

TEXT_LIMIT = 4096
MEMBERS_LIMIT = 1000
_DEPTH = 4


def read(given: Mapping[str, Typed], known: Mapping[str, str], what: str) -> dict[str, Any]:
    """The values of what is given, by name; ``known`` has the signature of each.

    Raises Refused for a name that is not known, and for a value of another type.
    """
    found = {}
    for name, variant in given.items():
        if name not in known:
            raise invalid(f'{what} "{name}" is not one of {", ".join(known)}')
        if variant.signature != known[name]:
            raise invalid(f'{what} "{name}" is of type {variant.signature}, not of {known[name]}')
        found[name] = variant.value
    return found


def check_size(value: object, depth: int = 0) -> None:
    """Raises Refused for more than anybody needs: long texts, long lists, deep ones."""
    if isinstance(value, Typed):
        value = value.value
    if depth > _DEPTH:
        raise invalid("the arguments are nested too deeply")
    if isinstance(value, (str, bytes)):
        if len(value) > TEXT_LIMIT:
            raise invalid(f"a text of more than {TEXT_LIMIT} characters")
        return
    if isinstance(value, (dict, list, tuple)):
        if len(value) > MEMBERS_LIMIT:
            raise invalid(f"a list of more than {MEMBERS_LIMIT} members")
        if isinstance(value, dict):
            for key in value:
                check_size(key, depth + 1)
        for each in value.values() if isinstance(value, dict) else value:
            check_size(each, depth + 1)


def invalid(message: str) -> Refused:
    """What is wrong with an argument."""
    return Refused(INVALID_ARGUMENTS, message)
