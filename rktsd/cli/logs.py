"""``rkt logs``: journalctl with the right matches."""

import os
from collections.abc import Sequence

from rktsd.cli.arguments import moment, read_uuid_file
from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed, Values
from rktsd.errors import NotFound, RktError, UsageError
from rktsd.pods import query
from rktsd.systemd import journal

FORMATS = (
    "short", "short-iso", "short-iso-precise", "short-precise", "short-full", "short-monotonic",
    "short-unix", "with-unit", "verbose", "export", "json", "json-pretty", "json-sse", "json-seq",
    "cat",
)  # fmt: skip
_NAME, _RUN, _APP = "RKT_POD", "RKT_POD_UUID", "RKT_APP"


def logs(context: Context, parsed: Parsed) -> int:
    """Become journalctl, which has it all."""
    from rktsd.host.process import replace

    values = parsed.values
    file = values.last("uuid-file")
    if len(parsed.arguments) != (1 if file is None else 0):
        raise UsageError("must provide one pod UUID or name")
    pod = parsed.arguments[0] if file is None else read_uuid_file(file)
    command = ["journalctl", "--quiet", *_options(values)]
    field, value, apps = _pod(context, pod)
    run = values.last("run")
    if run is not None:
        field, value = _RUN, _earlier(field, value, run)
    command.append(f"{field}={value}")
    for app in values.words("app"):
        if app not in apps:
            raise NotFound(f'pod {pod} has no app "{app}", only {", ".join(apps)}')
        command.append(f"{_APP}={app}")
    replace(command)


def _options(values: Values) -> list[str]:
    """What journalctl is told but for the matches. Raises UsageError."""
    style = values.last("format") or "short"
    if style not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(f'--format: unknown format "{style}", not one of {known}')
    found = [f"--output={style}"]
    if not os.isatty(1):
        found.append("--no-pager")
    lines = _lines(values)
    if lines is not None:
        found.append(f"--lines={lines}")
    if values.on("follow"):
        found += ["--follow", *(() if lines is not None else ("--no-tail",))]
    for flag in ("since", "until"):
        text = values.last(flag)
        if text is not None:
            moment(text, flag)
            found.append(f"--{flag}={text}")
    return found


def _lines(values: Values) -> str | None:
    given = [flag for flag in ("lines", "tail") if flag in values]
    if len(given) > 1:
        raise UsageError("--lines and --tail cannot be combined")
    for flag in given:
        text = values.last(flag) or ""
        if not text.isdigit():
            raise UsageError(f'invalid argument "{text}" for --{flag}: not a number')
        return text
    return None


def _pod(context: Context, pod: str) -> tuple[str, str, Sequence[str]]:
    """(field, value, apps) of a pod that is there, or that the journal still tells of."""
    try:
        place = query.find(context.paths, pod)
    except NotFound as error:
        return _removed(pod, error)
    apps = [each.name for each in query.status(place, query.Live()).apps]
    if place.name is not None and place.name == pod:
        return _NAME, pod, apps
    return _RUN, place.uuid, apps


def _removed(pod: str, error: RktError) -> tuple[str, str, Sequence[str]]:
    """The same of a pod that is no more. Raises ``error`` when the journal knows none."""
    if pod in journal.values(_NAME):
        field, value = _NAME, pod
    else:
        wanted = pod.lower()
        runs = [each for each in journal.values(_RUN) if wanted and each.startswith(wanted)]
        if len(wanted) < 2 or not runs:
            raise error
        if len(runs) > 1:
            raise UsageError(f'"{pod}" is the beginning of {len(runs)} pods in the journal')
        field, value = _RUN, runs[0]
    return field, value, sorted(set(journal.backwards(_APP, f"{field}={value}")))


def _earlier(field: str, value: str, run: str) -> str:
    """The UUID of the last run (0), or of one before it (-1, -2...)."""
    number = run.removeprefix("-")
    if not number.isdigit() or (run[:1] != "-" and number != "0"):
        raise UsageError(f'invalid argument "{run}" for --run: not 0, -1, -2 and so on')
    if field != _NAME:
        raise UsageError("--run: a UUID means one run, give the name of a pod")
    seen: list[str] = []
    for uuid in journal.backwards(_RUN, f"{field}={value}"):
        if uuid not in seen:
            seen.append(uuid)
        if len(seen) > int(number):
            return seen[-1]
    raise NotFound(f"pod {value}: the journal knows of {len(seen)} runs only")
