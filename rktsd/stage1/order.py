"""Which apps of a pod wait for which. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from rktsd.errors import BadInput


def check_order(waits: Mapping[str, Collection[str]], where: Mapping[str, str]) -> None:
    """Refuse apps that wait for themselves, also by way of others, or for one that is not there.

    ``waits`` has the apps that each app waits for, ``where`` the beginning of its messages.
    Raises BadInput.
    """
    for app, others in waits.items():
        for other in sorted(others):
            if other not in waits:
                raise BadInput(f"{where[app]}: waits for app {other}, which the pod does not have")
    for app in waits:
        circle = _way_back(app, waits)
        if circle:
            words = " and ".join(f"{one} for {other}" for one, other in _pairs(circle))
            raise BadInput(f"{where[app]}: waits for itself: {words}")


def _way_back(app: str, waits: Mapping[str, Collection[str]]) -> list[str]:
    """The shortest way from an app to itself, [] when there is none."""
    ways: list[list[str]] = [[app]]
    seen: set[str] = set()
    for way in ways:
        for other in sorted(waits[way[-1]]):
            if other == app:
                return [*way, app]
            if other not in seen:
                seen.add(other)
                ways.append([*way, other])
    return []


def _pairs(way: Sequence[str]) -> list[tuple[str, str]]:
    return list(pairwise(way))
