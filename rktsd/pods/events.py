"""What becomes of pods and apps, told by the properties of their units. Pure.

systemd sends what a unit has come to, not every step: of two quick steps one signal may tell. What
happened is therefore read from the moments that it records with its states.
"""

from __future__ import annotations

from typing import NamedTuple

from rktsd.systemd.names import pod_and_app

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

STARTING, STARTED, STOPPING, ENDED = "starting", "started", "stopping", "ended"
REMOVED = "removed"
"""Not of systemd's: the pod is no more (``pods.removals``)."""
RESTARTED, EXITED, FAILED, OOM, WATCHDOG = "restarted", "exited", "failed", "oom", "watchdog"

# The moments of a unit, in the order that one signal may tell of (org.freedesktop.systemd1(5)).
_BEGINS, _BEGUN, _ENDS, _ENDED = (
    "InactiveExitTimestamp",
    "ActiveEnterTimestamp",
    "ActiveExitTimestamp",
    "InactiveEnterTimestamp",
)
_POD_MOMENTS = {_BEGINS: STARTING, _BEGUN: STARTED, _ENDS: STOPPING, _ENDED: ENDED}
_APP_MOMENTS = {_BEGUN: STARTED, _ENDED: EXITED}
_RESULTS = {"success": EXITED, "oom-kill": OOM, "watchdog": WATCHDOG}
# Of waitid(2); killed and dumped are 2 and 3.
_CLD_EXITED = 1


class Event(NamedTuple):
    """Something that happened to a pod, or with ``app`` to an app of it.

    ``time`` is in nanoseconds since the epoch, ``pod`` what systemd knows the pod by, ``exit_code``
    as of a shell, ``result`` Result= of the unit (systemd.exec(5)), ``restarts`` how often systemd
    has restarted the app by itself. ``uuid`` is the run, None while that is unknown.
    """

    time: int
    pod: str
    app: str | None
    kind: str
    exit_code: int | None = None
    result: str | None = None
    restarts: int | None = None
    uuid: str | None = None


class Told(NamedTuple):
    """Up to when a unit's events are told, and its last end, in µs of the monotonic clock.

    Of a unit that is new to a watch both are the beginning of the watch.
    """

    until: int
    ended: int


def events_of(unit: str, properties: Mapping[str, Any], told: Told) -> tuple[list[Event], Told]:
    """What happened to the pod or app of ``unit`` that was not told before, oldest first.

    ``properties`` are those of the interfaces Unit and Service, strings as bytes, as the bus has
    them. Other units have no events.
    """
    found = pod_and_app(unit)
    if found is None:
        return [], told
    pod, app = found
    kinds = _POD_MOMENTS if app is None else _APP_MOMENTS
    moments = {name: int(properties.get(f"{name}Monotonic", 0)) for name in _POD_MOMENTS}
    new = [name for name in kinds if moments[name] > told.until]
    if app is not None and _ENDED in new and not _has_lived(properties, moments, told):
        new.remove(_ENDED)
    events = [
        Event(time=int(properties.get(name, 0)) * 1000, pod=pod, app=app, kind=kinds[name])
        # Of equal moments the order in the list is the right one, and a sort keeps it.
        ._replace(**dict(_more(name, app, properties, told)))
        for name in sorted(new, key=lambda each: moments[each])
    ]
    return events, Told(max(told.until, *moments.values()), max(told.ended, moments[_ENDED]))


def _more(
    name: str, app: str | None, properties: Mapping[str, Any], told: Told
) -> Iterator[tuple[str, Any]]:
    """The members of an event that its moment alone does not tell."""
    if name == _BEGUN and app is not None:
        restarts = int(properties.get("NRestarts", 0))
        if restarts:
            yield "kind", RESTARTED
            yield "restarts", restarts
    if name != _ENDED or not _is_over(properties):
        return
    result = _text(properties, "Result")
    if app is None:
        if _text(properties, "ActiveState") == "failed":
            yield "kind", FAILED
            yield "result", result
        return
    yield "kind", _RESULTS.get(result, FAILED)
    yield "result", result
    # What never came to its main process has the exit status of the time before.
    if int(properties.get("ExecMainExitTimestampMonotonic", 0)) > told.ended:
        status = int(properties.get("ExecMainStatus", 0))
        by_itself = properties.get("ExecMainCode") == _CLD_EXITED
        yield "exit_code", status if by_itself else 128 + status


def judged(event: Event, recorded: str | None, exit_code: int | None) -> Event:
    """The end of an app with what its unit recorded, which knows more than systemd.

    It has counted what the kernel killed for want of memory, and knows of health checks, and of
    the signal that an app died of (units/libexec/record-result). Other events stay as they are.
    """
    if event.app is None or event.result is None or recorded is None:
        return event
    if event.exit_code is not None:
        event = event._replace(exit_code=exit_code)
    return event._replace(kind=_RESULTS.get(recorded, FAILED), result=recorded)


def _has_lived(properties: Mapping[str, Any], moments: Mapping[str, int], told: Told) -> bool:
    """Whether an app was there, or a start was tried, since its last end.

    A service that waits for its restart is not inactive, and becomes so once more before it starts
    or when it is stopped. systemd looks at its conditions at every start.
    """
    tried = int(properties.get("ConditionTimestampMonotonic", 0))
    exited = int(properties.get("ExecMainExitTimestampMonotonic", 0))
    return max(moments[_ENDS], exited) > told.ended or told.ended < tried <= moments[_ENDED]


def _is_over(properties: Mapping[str, Any]) -> bool:
    """Whether what is said of the end is of the last one: a new start takes it back."""
    state, sub_state = _text(properties, "ActiveState"), _text(properties, "SubState")
    return state in ("inactive", "failed") or sub_state.startswith("auto-restart")


def _text(properties: Mapping[str, Any], name: str) -> str:
    value = properties.get(name, b"")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
