"""``rkt stop``, ``rm`` and ``gc``."""

import contextlib
import os
import sys

from rktsd.cli.arguments import none, pods, span
from rktsd.cli.context import Context, require_systemd
from rktsd.cli.parse import Parsed
from rktsd.errors import NotFound, RktError, SystemdError, UsageError
from rktsd.pods import cache, query
from rktsd.systemd.names import app_unit, pod_slice, pod_unit


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

    from rktsd.systemd.bus import Bus

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
        _let_go_on(bus, place.pod)
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


def _let_go_on(bus: "Bus", pod: str) -> None:
    """What is frozen cannot end (rkt pause)."""
    for unit in (pod_slice(pod), *bus.active_states([app_unit(pod, "*")])):
        with contextlib.suppress(SystemdError):
            # Anybody may look; only who may thaw is to.
            if bus.property(unit, "Unit", "FreezerState", "s") != b"running":
                bus.thaw(unit)


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
