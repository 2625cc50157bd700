"""The events of pods as they happen, from the signals of systemd."""

from __future__ import annotations

import time
from contextlib import closing
from typing import NamedTuple

from rktsd.pods import endings, query, runs
from rktsd.pods.events import ENDED, FAILED, REMOVED, STARTING, Event, Told, events_of, judged
from rktsd.pods.locate import looks_like_uuid
from rktsd.pods.removals import Removals
from rktsd.systemd.bus import Bus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from rktsd.paths import Paths

# Of a watch that lasts for months: what of the oldest units is forgotten is their end.
_UNITS = 4096


class _Run(NamedTuple):
    """A run of a pod, and where its directory is."""

    uuid: str
    directory: str


def follow(paths: Paths, until: float | None) -> Generator[Event | None, None, None]:
    """None when the watch begins, then events as they happen, up to ``until`` (of time.time()).

    Raises SystemdError.
    """
    with Bus() as bus, closing(Removals(paths)) as removals:
        now = time.monotonic_ns() // 1000
        begun = Told(now, now)
        bus.watch_units("rkt")
        runs = _current_runs(paths)
        yield None
        told: dict[str, Told] = {}
        known: dict[str, dict[str, Any]] = {}
        while until is None or time.time() < until:
            wait = None if until is None else max(0.0, until - time.time())
            for unit, properties in bus.changes(wait, wake=removals.descriptor):
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
                    yield _complete(paths, event, runs)
            for place in removals.read():
                yield Event(time.time_ns(), place.pod, None, REMOVED, uuid=place.uuid)


def _current_runs(paths: Paths) -> dict[str, _Run]:
    """What runs, by pod, as far as we may look."""
    found = {pod: _look(paths, pod) for pod in runs.begun(paths)}
    return {pod: run for pod, run in found.items() if run}


def _look(paths: Paths, pod: str) -> _Run | None:
    uuid, directory = query.current_run(paths, pod), query.current_directory(paths, pod)
    return _Run(uuid, directory) if uuid and directory else None


def _complete(paths: Paths, event: Event, runs: dict[str, _Run]) -> Event:
    """An event with its run, and the end of an app with what was recorded of it.

    What was the run of a pod is gone by its end, so ``runs`` keeps it.
    """
    pod, of_pod = event.pod, event.app is None
    if of_pod and event.kind == STARTING:
        runs.pop(pod, None)
    run = runs.get(pod) or _look(paths, pod)
    if run is None:
        return event._replace(uuid=pod if looks_like_uuid(pod) else None)
    runs[pod] = run
    if of_pod and event.kind in (ENDED, FAILED):
        del runs[pod]
    event = event._replace(uuid=run.uuid)
    if event.app is None:
        return event
    recorded = endings.result(run.directory, event.app)
    return judged(event, recorded, endings.exit_code(run.directory, event.app))
