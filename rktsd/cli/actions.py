"""``rkt stop``, ``rm``, ``gc`` and ``logs``."""

import os
import sys

from rktsd.cli.arguments import none, pods, span
from rktsd.cli.context import Context, require_systemd
from rktsd.cli.parse import Parsed
from rktsd.errors import NotFound, RktError, SystemdError, UsageError
from rktsd.pods import cache, query
from rktsd.systemd.names import pod_unit


def stop(context: Context, parsed: Parsed) -> int:
    """Stop the units of pods; one that does not run is no error."""
    require_systemd()
    return _each(context, parsed, lambda pod: _stop(context, pod, parsed.values.on("force")))


def _each(context: Context, parsed: Parsed, action: "Action") -> int:
    """Carry on with the others when one fails, and say so in the exit status."""
    status = 0
    for pod in pods(parsed):
        try:
            action(pod)
        except RktError as error:
            context.fail(error)
            status = error.exit_code
    return status


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Action = Callable[[str], None]


def _stop(context: Context, pod: str, force: bool) -> None:
    from rktsd.pods.run import kill
    from rktsd.systemd.bus import Bus

    place = query.find(context.paths, pod)
    if place.uuid not in query.running(context.paths, [place]).pods:
        if place.stage != "run":
            raise UsageError(
                f'pod "{place.uuid}" is not running: it is {query.state(place, query.Live())}'
            )
        context.note(f'pod "{place.uuid}" is already stopped')
        return
    with Bus() as bus:
        if force:
            kill(bus, context.paths, place.pod)
        try:
            result = bus.wait(bus.stop(pod_unit(place.pod)))
        except SystemdError as error:
            hint = "only root may stop pods" if os.geteuid() else None
            raise SystemdError(f"{pod_unit(place.pod)}: {error}", hint=hint) from error
    if result != "done":
        raise SystemdError(f'pod "{place.uuid}" could not be stopped: the job ended as {result}')
    sys.stdout.write(f'"{place.uuid}"\n')


def rm(context: Context, parsed: Parsed) -> int:
    """Remove pods."""
    return _each(context, parsed, lambda pod: _remove(context, pod))


def _remove(context: Context, pod: str) -> None:
    from rktsd.pods.remove import remove

    place = query.find(context.paths, pod)
    remove(context.paths, place, live=query.running(context.paths, [place]))
    sys.stdout.write(f'"{place.uuid}"\n')


def gc(context: Context, parsed: Parsed) -> int:
    """Remove ended pods, then what of the store nobody needs."""
    from rktsd.pods.remove import Ages, collect, free_images
    from rktsd.store.store import Store

    none(parsed)
    usual = Ages()
    given = parsed.values.last("grace-period"), parsed.values.last("expire-prepared")
    ages = Ages(
        grace=usual.grace if given[0] is None else span(given[0], "grace-period"),
        prepared=usual.prepared if given[1] is None else span(given[1], "expire-prepared"),
    )
    mark_only = parsed.values.on("mark-only")
    problems = collect(context.paths, ages, mark_only=mark_only, say=context.note)
    if not mark_only:
        cache.forget_orphans(context.paths)
        try:
            free_images(context.paths, Store.open(context.paths.store), warn=context.note)
        except NotFound:
            pass
        except RktError as error:
            problems.append(error)
    for problem in problems:
        context.fail(problem)
    return problems[0].exit_code if problems else 0


def _check_time(flag: str, text: str) -> None:
    """Raise UsageError for what systemd does not take for a time (systemd.time(7))."""
    from rktsd.host.process import run

    if run(["systemd-analyze", "timestamp", "--", text], check=False).returncode != 0:
        raise UsageError(f'--{flag}: "{text}" is not a time', hint="see man 7 systemd.time")


def logs(context: Context, parsed: Parsed) -> int:
    """Become journalctl, which has it all."""
    from rktsd.host.process import replace

    if len(parsed.arguments) != 1:
        raise UsageError("must provide one pod UUID or name")
    values = parsed.values
    times = {flag: values.last(flag) or "" for flag in ("since", "until") if flag in values}
    for flag, text in times.items():
        _check_time(flag, text)
    place = query.find(context.paths, parsed.arguments[0])
    command = ["journalctl", "--output=short", "--quiet"]
    if not os.isatty(1):
        command.append("--no-pager")
    lines = values.last("lines")
    if lines is not None:
        if not lines.isdigit():
            raise UsageError(f'invalid argument "{lines}" for --lines: not a number')
        command.append(f"--lines={lines}")
    elif values.on("follow"):
        command.append("--no-tail")
    if values.on("follow"):
        command.append("--follow")
    command += [f"--{flag}={text}" for flag, text in times.items()]
    by_name = place.name is not None and place.name == parsed.arguments[0]
    command.append(f"RKT_POD={place.name}" if by_name else f"RKT_POD_UUID={place.uuid}")
    app = values.last("app")
    if app is not None:
        known = [each.name for each in query.status(place, query.Live()).apps]
        if app not in known:
            names = ", ".join(known)
            raise NotFound(f'pod {place.pod} has no app "{app}", only {names}')
        command.append(f"RKT_APP={app}")
    replace(command)
