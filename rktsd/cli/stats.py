"""``rkt stats`` and ``top``: what apps use, from the accounting of systemd."""

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rktsd.cli import table
from rktsd.cli.arguments import output_format, read_uuid_file, span
from rktsd.cli.context import Context, require_systemd
from rktsd.cli.parse import Parsed
from rktsd.errors import SystemdError, UsageError
from rktsd.paths import Paths
from rktsd.pods import processes, query
from rktsd.pods.query import Place
from rktsd.systemd.bus import Bus
from rktsd.systemd.names import app_unit, pod_slice

_LEGEND = ("POD", "APP", "CPU", "CPU TIME", "MEMORY", "LIMIT", "READ", "WRITTEN", "TASKS")
_UNKNOWN = (1 << 64) - 1
_PROPERTIES = {
    "cpu": "CPUUsageNSec",
    "memory": "MemoryCurrent",
    "memory_limit": "MemoryMax",
    "read": "IOReadBytes",
    "written": "IOWriteBytes",
    "tasks": "TasksCurrent",
}
_SECOND = 10**9
_CLEAR = "\x1b[H\x1b[2J"


class Usage(NamedTuple):
    """A pod, or with ``app`` one of its apps.

    ``found`` has the keys of ``_PROPERTIES`` that systemd knows: nanoseconds, bytes, numbers;
    ``at`` is when that was, in nanoseconds of the monotonic clock.
    """

    place: Place
    app: str
    found: Mapping[str, int]
    at: int


def stats(context: Context, parsed: Parsed) -> int:
    """Print the use of resources once."""
    require_systemd()
    style = output_format(parsed.values)
    with Bus() as bus:
        usages = list(_usages(context.paths, bus, _wanted(parsed)))
    _print(parsed, usages, {}, style)
    return 0


def top(context: Context, parsed: Parsed) -> int:
    """Print it again and again, with the processor time between."""
    require_systemd()
    style, wanted = output_format(parsed.values), _wanted(parsed)
    pause = span(parsed.values.last("interval") or "2s", "interval")
    if pause <= 0:
        raise UsageError("--interval: not more than 0")
    rounds = parsed.values.last("count")
    if rounds is not None and not rounds.isdigit():
        raise UsageError(f'invalid argument "{rounds}" for --count: not a number')
    before: dict[tuple[str, str], Usage] = {}
    number = 0
    with Bus() as bus:
        while rounds is None or number < int(rounds):
            if number:
                time.sleep(pause)
            usages = list(_usages(context.paths, bus, wanted))
            if sys.stdout.isatty() and style is None:
                sys.stdout.write(_CLEAR)
            _print(parsed, usages, before, style)
            sys.stdout.flush()
            before = {(each.place.uuid, each.app): each for each in usages}
            number += 1
    return 0


def _wanted(parsed: Parsed) -> list[str]:
    file = parsed.values.last("uuid-file")
    if file is not None and parsed.arguments:
        raise UsageError("give a pod or --uuid-file, not both")
    return list(parsed.arguments) if file is None else [read_uuid_file(file)]


def _usages(paths: Paths, bus: Bus, wanted: list[str]) -> Iterator[Usage]:
    """Pods, each followed by its apps; without ``wanted`` those that run. Raises UsageError."""
    if wanted:
        places = [processes.running_place(paths, pod) for pod in wanted]
    else:
        places = query.places(paths)
        live = query.running(paths, places)
        places = [place for place in places if place.uuid in live.pods]
    for place in sorted(places, key=lambda each: each.pod):
        yield Usage(place, "", _found(bus, pod_slice(place.pod), "Slice"), time.monotonic_ns())
        for app in query.status(place, query.Live()).apps:
            found = _found(bus, app_unit(place.pod, app.name), "Service")
            if found:
                yield Usage(place, app.name, found, time.monotonic_ns())


def _found(bus: Bus, unit: str, interface: str) -> Mapping[str, int]:
    found = {}
    for key, name in _PROPERTIES.items():
        try:
            value = int(bus.property(unit, interface, name, "t"))
        except SystemdError:
            # It has ended since.
            return {}
        if value != _UNKNOWN:
            found[key] = value
    return found


def _share(usage: Usage, before: Mapping[tuple[str, str], Usage]) -> float | None:
    """Processors used since ``before``, 1.0 for one all the time."""
    earlier = before.get((usage.place.uuid, usage.app))
    if earlier is None or "cpu" not in usage.found or "cpu" not in earlier.found:
        return None
    return (usage.found["cpu"] - earlier.found["cpu"]) / max(1, usage.at - earlier.at)


def _print(
    parsed: Parsed,
    usages: list[Usage],
    before: Mapping[tuple[str, str], Usage],
    style: str | None,
) -> None:
    if style is not None:
        sys.stdout.write(table.as_json([_described(each, before) for each in usages], style))
        return
    rows = [] if parsed.values.on("no-legend") else [list(_LEGEND)]
    rows += [_row(each, before) for each in usages]
    sys.stdout.write(table.columns(rows))


def _described(usage: Usage, before: Mapping[tuple[str, str], Usage]) -> dict[str, Any]:
    members: dict[str, Any] = {"pod": usage.place.uuid}
    if usage.place.name is not None:
        members["pod_name"] = usage.place.name
    if usage.app:
        members["app"] = usage.app
    names = {"cpu": "cpu_nanoseconds", "read": "read_bytes", "written": "written_bytes"}
    members |= {names.get(key, key): value for key, value in usage.found.items()}
    share = _share(usage, before)
    return members if share is None else {**members, "cpu_share": round(share, 4)}


def _row(usage: Usage, before: Mapping[tuple[str, str], Usage]) -> list[str]:
    found, share = usage.found, _share(usage, before)

    def size(key: str) -> str:
        return table.size(found[key]) if key in found else "-"

    name = usage.place.name or usage.place.uuid[:8]
    return [
        name,
        usage.app or "-",
        "-" if share is None else f"{share * 100:.1f}%",
        f"{found['cpu'] / _SECOND:.2f}s" if "cpu" in found else "-",
        size("memory"),
        size("memory_limit"),
        size("read"),
        size("written"),
        str(found.get("tasks", "-")),
    ]
