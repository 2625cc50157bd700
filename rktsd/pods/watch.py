"""The events of pods as they happen, from the signals of systemd."""

from __future__ import annotations

import os
import time

from rktsd.pods import query
from rktsd.pods.events import ENDED, FAILED, STARTING, Event, Told, events_of
from rktsd.pods.locate import looks_like_uuid
from rktsd.systemd.bus import Bus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from rktsd.paths import Paths

# Of a watch that lasts for months: what of the oldest units is forgotten is their end.
_UNITS = 4096


def follow(paths: Paths, until: float | None) -> Generator[Event | None, None, None]:
    """None when the watch begins, then events as they happen, up to ``until`` (of time.time()).

    Raises SystemdError.
    """
    with Bus() as bus:
        now = time.monotonic_ns() // 1000
        begun = Told(now, now)
        bus.watch_units("rkt")
        runs = _current_runs(paths)
        yield None
        told: dict[str, Told] = {}
        known: dict[str, dict[str, Any]] = {}
        while until is None or time.time() < until:
            wait = None if until is None else max(0.0, until - time.time())
            for unit, properties in bus.changes(wait):
                merged = known.pop(unit, {}) | dict(properties)
                if "ActiveState" not in properties:
                    # The first of two signals, about the service; the one about the unit follows.
                    known[unit] = merged
                    continue
                events, seen = events_of(unit, merged, told.pop(unit, begun))
                told[unit] = seen
                if len(told) > _UNITS:
                    del told[next(iter(told))]
                for event in events:
                    yield event._replace(uuid=_run(paths, event, runs))


def _current_runs(paths: Paths) -> dict[str, str]:
    """The UUID of each pod that runs, as far as we may look."""
    try:
        pods = os.listdir(f"{paths.run}/pods")
    except OSError:
        return {}
    found = {pod: query.current_run(paths, pod) for pod in pods}
    return {pod: uuid for pod, uuid in found.items() if uuid}


def _run(paths: Paths, event: Event, runs: dict[str, str]) -> str | None:
    """The run that an event is of. What it was is gone by the end of it, so ``runs`` keeps it."""
    pod = event.pod
    if looks_like_uuid(pod):
        return pod
    if event.app is None and event.kind == STARTING:
        runs.pop(pod, None)
    if pod not in runs:
        uuid = query.current_run(paths, pod)
        if uuid is None:
            return None
        runs[pod] = uuid
    if event.app is None and event.kind in (ENDED, FAILED):
        return runs.pop(pod)
    return runs[pod]
