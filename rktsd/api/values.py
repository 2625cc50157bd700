"""Values as D-Bus has them, without a library of D-Bus: a variant is a ``Typed``."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Typed(NamedTuple):
    """A variant: a D-Bus signature of one type, and a value of that type."""

    signature: str
    value: Any


def microseconds(nanoseconds: int | None) -> Typed:
    """A time as the interfaces of systemd have it: µs since the epoch, 0 for never."""
    return Typed("t", (nanoseconds or 0) // 1000)


def texts(pairs: object) -> dict[str, str]:
    """Names and values as manifests have them, a list of both; what is damaged is left out."""
    found = {}
    if isinstance(pairs, dict):
        found = {str(name): str(value) for name, value in pairs.items()}
    elif isinstance(pairs, list):
        for each in pairs:
            if isinstance(each, dict) and "name" in each and "value" in each:
                found[str(each["name"])] = str(each["value"])
    return found


def only(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Of ``values`` those with one of the ``names``."""
    return {name: values[name] for name in names}
