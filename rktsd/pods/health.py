"""The ``health`` table of an app: how to find out whether it is well, and what to do if not."""

from __future__ import annotations

from collections.abc import Callable

from rktsd.appc.cursor import Cursor
from rktsd.stage1.types import Health

KEYS = ("command", "interval", "timeout", "retries", "start-period", "action")
ACTIONS = ("restart", "stop", "none")


def health_at(place: Cursor, span: Callable[[Cursor], float]) -> Health | None:
    """The table at ``place``; None when there is none. Raises BadInput.

    ``span`` reads a time in seconds.
    """
    if not place.given:
        return None
    retries, action, start = place.get("retries"), place.get("action"), place.get("start-period")
    command = place.get("command")
    words = tuple(each.text() for each in command.elements())
    if not words or not words[0].startswith("/"):
        raise command.problem("not a list that begins with the whole path of a program in the app")
    interval, timeout = place.get("interval"), place.get("timeout")
    return Health(
        command=words,
        interval=span(interval) if interval.given else 30.0,
        timeout=span(timeout) if timeout.given else 30.0,
        retries=retries.integer(1, 1000) if retries.given else 3,
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
