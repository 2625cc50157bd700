"""How to find out whether an app is well, and what to do if not: ``health``, or HEALTHCHECK."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rktsd.appc.cursor import Cursor
from rktsd.appc.types import value_of
from rktsd.errors import BadInput, NotFound
from rktsd.stage1.types import Health
from rktsd.store.executables import find_executable

if TYPE_CHECKING:
    from rktsd.appc.types import App
    from rktsd.store.rootview import RootView

KEYS = ("command", "interval", "timeout", "retries", "start-period", "action")
ACTIONS = ("restart", "stop", "none")
HEALTHCHECK = "appc.io/docker/healthcheck"
"""The annotation that has the HEALTHCHECK of an OCI image."""

_INTERVAL, _TIMEOUT, _RETRIES = 30.0, 30.0, 3
_NANOSECONDS = 10**9
# An image does not keep the machine busy, nor a check from ever being done.
_SHORTEST, _LONGEST, _MOST_RETRIES = 1.0, 86400.0, 1000


def find_health(
    said: Health | None,
    annotations: Mapping[str, str],
    view: RootView,
    *,
    app: App,
    mounted: Sequence[str],
    name: str,
) -> tuple[Health | None, tuple[str, ...]]:
    """(the check of an app, what stays undone): ``said`` of it, or what an OCI image has.

    The program of a check is found now; what cannot be would otherwise look like an app that is not
    well. Raises NotFound and BadInput for ``said``; what an image says is no error of the user's.
    """
    path = value_of("PATH", app.environment)

    def found(health: Health) -> Health:
        program = find_executable(
            view,
            health.command[0],
            working_directory=app.working_directory or "/",
            path=path,
            mounted=mounted,
            app=name,
        )
        return replace(health, command=(program, *health.command[1:]))

    if said is not None:
        found(said)
        return said, ()
    try:
        health = of_image(annotations.get(HEALTHCHECK, ""))
        return (None if health is None else found(health)), ()
    except (NotFound, BadInput) as error:
        return None, (f"HEALTHCHECK of the image: {error}",)


def of_image(text: str) -> Health | None:
    """The HEALTHCHECK of an OCI image, as JSON of Docker's image configuration; None without one.

    Times are in nanoseconds, 0 is the default (Docker, Podman). As with Podman nothing is done with
    an app that is not well. Raises BadInput.
    """
    if not text:
        return None
    try:
        place = Cursor("HEALTHCHECK", "", json.loads(text))
    except ValueError as error:
        raise BadInput(f"not JSON: {error}") from error
    test = place.get("Test")
    kind, *words = [each.text() for each in test.elements()] or ["NONE"]
    if kind == "NONE":
        return None
    if kind == "CMD-SHELL" and len(words) == 1:
        words = ["/bin/sh", "-c", words[0]]
    elif kind != "CMD" or not words or not words[0]:
        raise test.problem("neither CMD, CMD-SHELL nor NONE with what belongs to it")
    retries = place.get("Retries")
    return Health(
        command=tuple(words),
        interval=_seconds(place.get("Interval"), _INTERVAL),
        timeout=_seconds(place.get("Timeout"), _TIMEOUT),
        retries=(retries.integer(0, _MOST_RETRIES) if retries.given else 0) or _RETRIES,
        start_period=_seconds(place.get("StartPeriod"), 0.0),
        action="none",
    )


def _seconds(place: Cursor, default: float) -> float:
    given = place.integer(0, 2**63 - 1) if place.given else 0
    return min(_LONGEST, max(_SHORTEST, given / _NANOSECONDS)) if given else default


def health_at(place: Cursor, span: Callable[[Cursor], float]) -> Health | None:
    """The table at ``place``; None when there is none, or false. Raises BadInput.

    ``span`` reads a time in seconds.
    """
    if not place.given or place.value is False:
        return None
    retries, action, start = place.get("retries"), place.get("action"), place.get("start-period")
    command = place.get("command")
    words = tuple(each.text() for each in command.elements())
    if not words or not words[0].startswith("/"):
        raise command.wrong("a list that begins with the whole path of a program in the app")
    interval, timeout = place.get("interval"), place.get("timeout")
    return Health(
        command=words,
        interval=span(interval) if interval.given else _INTERVAL,
        timeout=span(timeout) if timeout.given else _TIMEOUT,
        retries=retries.integer(1, _MOST_RETRIES) if retries.given else _RETRIES,
        start_period=span(start) if start.given else 0.0,
        action=action.one_of(*ACTIONS) if action.given else "restart",
    )


def health_json(health: Health | None) -> dict[str, object] | None:
    """What ``health_at`` reads."""
    if health is None:
        return None
    members: dict[str, object] = {
        "command": list(health.command),
        "interval": health.interval,
        "timeout": health.timeout,
        "retries": health.retries,
        "action": health.action,
    }
    return members | ({"start-period": health.start_period} if health.start_period else {})
