"""``rkt kill``, ``pause`` and ``unpause``."""

import sys
from collections.abc import Callable, Sequence

from rktsd.cli.arguments import pods, signal_number
from rktsd.cli.context import Context, require_systemd
from rktsd.cli.parse import Parsed
from rktsd.errors import RktError
from rktsd.pods import control, processes
from rktsd.pods.query import Place
from rktsd.systemd.bus import Bus


def kill(context: Context, parsed: Parsed) -> int:
    """Send a signal to the first processes of apps."""
    text = parsed.values.last("signal")
    # An empty one is the variable of a script that was not set: not to kill for.
    number = signal_number("KILL" if text is None else text, "signal")
    return _each(
        context, parsed, lambda bus, place, apps: control.kill(bus, place, number, apps=apps)
    )


def pause(context: Context, parsed: Parsed) -> int:
    """Stop all processes of pods or apps where they are."""
    return _pause(context, parsed, go_on=False)


def unpause(context: Context, parsed: Parsed) -> int:
    """Let them go on."""
    return _pause(context, parsed, go_on=True)


def _pause(context: Context, parsed: Parsed, *, go_on: bool) -> int:
    control.require_freezer()
    return _each(
        context, parsed, lambda bus, place, apps: control.pause(bus, place, apps=apps, go_on=go_on)
    )


def _each(
    context: Context, parsed: Parsed, action: Callable[[Bus, Place, Sequence[str] | None], None]
) -> int:
    """Carry on with the others when one fails, and say so in the exit status."""
    require_systemd()
    status = 0
    apps = parsed.values.words("app") if "app" in parsed.values else None
    with Bus() as bus:
        for pod in pods(parsed):
            try:
                place = processes.running_place(context.paths, pod)
                action(bus, place, apps)
            except RktError as error:
                context.fail(error)
                status = error.exit_code
                continue
            sys.stdout.write(f'"{place.uuid}"\n')
    return status
