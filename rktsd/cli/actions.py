"""``rkt start``, ``restart``, ``stop``, ``rm`` and ``gc``."""

import os
import sys
from typing import NamedTuple

from rktsd.cli.arguments import none, pods, positive_span, signal_number
from rktsd.cli.context import Context, require_systemd
from rktsd.cli.parse import Parsed
from rktsd.errors import NotFound, RktError, UsageError
from rktsd.pods import cache, control


class _Wish(NamedTuple):
    """How to stop pods; ``timeout`` in seconds."""

    force: bool
    signal: int | None
    timeout: float | None


def stop(context: Context, parsed: Parsed) -> int:
    """Stop the units of pods; one that does not run is no error."""
    require_systemd()
    if parsed.values.on("force") and {"signal", "timeout"} & parsed.values.keys():
        raise UsageError("--force kills at once: --signal and --timeout have no meaning with it")
    timeout, number = parsed.values.last("timeout"), parsed.values.last("signal")
    wish = _Wish(
        parsed.values.on("force"),
        None if number is None else signal_number(number, "signal"),
        None if timeout is None else positive_span(timeout, "timeout"),
    )
    return _each(context, parsed, lambda pod: _stop(context, pod, wish))


def start(context: Context, parsed: Parsed) -> int:
    """Start pods that have a file, and those made before; one that runs is no error."""
    require_systemd()
    return _each(context, parsed, lambda pod: _start(context, pod, again=False))


def restart(context: Context, parsed: Parsed) -> int:
    """Stop pods that run, and start them."""
    require_systemd()
    return _each(context, parsed, lambda pod: _start(context, pod, again=True))


def _start(context: Context, word: str, *, again: bool) -> None:
    place = control.start(context.paths, word, again=again)
    if place is not None:
        sys.stdout.write(f'"{place.uuid}"\n')


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


def _stop(context: Context, pod: str, wish: _Wish) -> None:
    place, stopped = control.stop(
        context.paths, pod, force=wish.force, signal=wish.signal, timeout=wish.timeout
    )
    if stopped:
        sys.stdout.write(f'"{place.uuid}"\n')
    else:
        context.note(f'pod "{place.uuid}" is already stopped')


def rm(context: Context, parsed: Parsed) -> int:
    """Remove pods."""
    return _each(context, parsed, lambda pod: _remove(context, pod))


def _remove(context: Context, pod: str) -> None:
    sys.stdout.write(f'"{control.remove(context.paths, pod).uuid}"\n')


def gc(context: Context, parsed: Parsed) -> int:
    """Remove ended pods, then what of the store nobody needs."""
    from rktsd.pods.remove import Ages, collect, free_images
    from rktsd.store.store import Store

    none(parsed)
    usual = Ages()
    given = parsed.values.last("grace-period"), parsed.values.last("expire-prepared")
    ages = Ages(
        grace=usual.grace if given[0] is None else positive_span(given[0], "grace-period"),
        prepared=usual.prepared if given[1] is None else positive_span(given[1], "expire-prepared"),
    )
    mark_only = parsed.values.on("mark-only")
    problems = collect(context.paths, ages, mark_only=mark_only, say=context.note)
    if not mark_only:
        cache.forget_orphans(context.paths)
        try:
            if os.path.isdir(context.paths.users):
                from rktsd.pods.userranges import release_unused

                release_unused(context.paths)
            free_images(context.paths, Store.open(context.paths.store), warn=context.note)
        except NotFound:
            pass
        except RktError as error:
            problems.append(error)
    for problem in problems:
        context.fail(problem)
    return problems[0].exit_code if problems else 0
