"""``rkt events``: what happens to pods and apps, while it happens."""

import sys
import time
from collections.abc import Collection
from contextlib import closing
from typing import Any

from rktsd.appc.names import check_ac_name
from rktsd.cli import table
from rktsd.cli.arguments import moment, output_format, pods
from rktsd.cli.context import Context, require_systemd
from rktsd.cli.parse import Parsed, Values
from rktsd.errors import NotFound, RktError, UsageError
from rktsd.paths import Paths
from rktsd.pods import query
from rktsd.pods.events import Event
from rktsd.pods.locate import find_pod_file, looks_like_uuid
from rktsd.pods.watch import follow

_LEGEND = ("TIME", "POD", "APP", "EVENT")
# What most names fit in: a line is printed before the next one is known.
_WIDTHS = (29, 15, 15, 0)


def events(context: Context, parsed: Parsed) -> int:
    """Print events as they come, until enough, until a time, or until interrupted."""
    values = parsed.values
    style, count, until = output_format(values), _count(values), _until(values)
    apps = [check_ac_name(each, "--app") for each in values.words("app")]
    given = pods(parsed) if parsed.arguments or "uuid-file" in values else []
    wanted = [_selection(context.paths, pod) for pod in given]
    require_systemd()
    number = 0
    with closing(follow(context.paths, until)) as stream:
        for event in stream:
            if event is None:
                if style is None and not values.on("no-legend"):
                    sys.stdout.write(_line(_LEGEND))
            elif _is_wanted(event, wanted, apps):
                number += 1
                text = _line(_row(event)) if style is None else table.as_json(_json(event), style)
                sys.stdout.write(text)
            sys.stdout.flush()
            if number == count:
                break
    return 0


def _count(values: Values) -> int | None:
    text = values.last("count")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise UsageError(f'invalid argument "{text}" for --count: not a number above 0')
    return int(text)


def _until(values: Values) -> float | None:
    text = values.last("until")
    if text is None:
        return None
    until = moment(text, "until")
    if until <= time.time():
        raise UsageError(
            f'--until: "{text}" is over, and events are shown as they happen',
            hint="the journal has what was: rkt logs, journalctl -u rkt@POD",
        )
    return until


def _selection(paths: Paths, pod: str) -> tuple[str, str | None]:
    """What systemd knows a pod by, and the run if one is meant. Raises RktError."""
    try:
        place = query.find(paths, pod)
    except NotFound as error:
        try:
            find_pod_file(paths, pod)
        except RktError:
            raise error from None
        return pod, None
    return place.pod, None if place.name == pod else place.uuid


def _is_wanted(
    event: Event, wanted: Collection[tuple[str, str | None]], apps: Collection[str]
) -> bool:
    if apps and event.app not in apps:
        return False
    return not wanted or any(event.pod == pod and run in (None, event.uuid) for pod, run in wanted)


def _line(cells: tuple[str, ...]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return f"{' '.join(padded).rstrip()}\n"


def _row(event: Event) -> tuple[str, ...]:
    kind, pod = event.kind, event.pod
    if event.exit_code is not None:
        kind += f", exit code {event.exit_code}"
    if event.result not in (None, "success", "oom-kill", "watchdog", "exit-code"):
        kind += f", {event.result}"
    if event.restarts:
        kind += f", {event.restarts} so far"
    name = pod[:8] if looks_like_uuid(pod) else pod
    local = time.localtime(event.time // 10**9)
    when = time.strftime("%Y-%m-%dT%H:%M:%S", local)
    when += f".{event.time // 10**6 % 1000:03d}{time.strftime('%z', local)}"
    return when, name, event.app or "-", kind


def _json(event: Event) -> dict[str, Any]:
    members: dict[str, Any] = {"time": event.time, "event": event.kind}
    if not looks_like_uuid(event.pod):
        members["pod_name"] = event.pod
    optional = {
        "pod": event.uuid,
        "app": event.app,
        "exit_code": event.exit_code,
        "result": event.result,
        "restarts": event.restarts,
    }
    return members | {key: value for key, value in optional.items() if value is not None}
