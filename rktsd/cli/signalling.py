"""``rkt kill``, ``pause`` and ``unpause``."""

import signal
import sys
from collections.abc import Callable, Iterable

from rktsd.cli.arguments import pods, signal_number
from rktsd.cli.context import Context, require_systemd
from rktsd.cli.parse import Parsed
from rktsd.errors import NotFound, RktError, SystemdError, Unsupported
from rktsd.pods import processes, query
from rktsd.pods.query import Place
from rktsd.systemd.bus import Bus
from rktsd.systemd.names import app_unit, pod_slice

_UNIFIED = "/sys/fs/cgroup/cgroup.controllers"


def kill(context: Context, parsed: Parsed) -> int:
    """Send a signal to the first processes of apps."""
    number = signal_number(parsed.values.last("signal") or "KILL", "signal")

    def send(bus: Bus, place: Place) -> None:
        apps = _apps(parsed, bus, place)
        for pid in [processes.first_process(bus, place.pod, app) for app in apps]:
            _send(pid, number)

    return _each(context, parsed, send)


def pause(context: Context, parsed: Parsed) -> int:
    """Stop all processes of pods or apps where they are."""
    _require_freezer()
    return _each(context, parsed, lambda bus, place: _for_units(parsed, bus, place, bus.freeze))


def unpause(context: Context, parsed: Parsed) -> int:
    """Let them go on."""
    _require_freezer()
    return _each(context, parsed, lambda bus, place: _for_units(parsed, bus, place, bus.thaw))


def _each(context: Context, parsed: Parsed, action: Callable[[Bus, Place], None]) -> int:
    """Carry on with the others when one fails, and say so in the exit status."""
    require_systemd()
    status = 0
    with Bus() as bus:
        for pod in pods(parsed):
            try:
                place = processes.running_place(context.paths, pod)
                action(bus, place)
            except RktError as error:
                context.fail(error)
                status = error.exit_code
                continue
            sys.stdout.write(f'"{place.uuid}"\n')
    return status


def _apps(parsed: Parsed, bus: Bus, place: Place) -> list[str]:
    """Those that are named; without any those that run."""
    if "app" in parsed.values:
        return [processes.choose_app(place, name) for name in parsed.values.words("app")]
    live = query.Live(frozenset({place.uuid}), _live_units(bus, place))
    return [each.name for each in query.status(place, live).apps if each.state != "exited"]


def _live_units(bus: Bus, place: Place) -> frozenset[str]:
    states = bus.active_states([app_unit(place.pod, "*")])
    return frozenset(unit for unit, state in states.items() if state == "active")


def _send(pid: int, number: signal.Signals) -> None:
    import os

    try:
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NotFound(f"cannot send {number.name}: {error.strerror}") from error


def _require_freezer() -> None:
    from os.path import exists

    if not exists(_UNIFIED):
        raise Unsupported(
            "systemd pauses units only on the unified hierarchy of control groups (cgroup v2),"
            " which this machine does not have"
        )


def _for_units(parsed: Parsed, bus: Bus, place: Place, action: Callable[[str], None]) -> None:
    units: Iterable[str] = [pod_slice(place.pod)]
    if "app" in parsed.values:
        units = [app_unit(place.pod, app) for app in _apps(parsed, bus, place)]
    for unit in units:
        try:
            action(unit)
        except SystemdError as error:
            raise SystemdError(f"{unit}: {error}") from error
