"""What people do to pods that are there: start, stop, remove, send a signal, pause.

A pod is said by its name, its UUID or the beginning of one.
"""

from __future__ import annotations

import contextlib
import os

from rktsd.errors import NotFound, SystemdError, Unsupported, UsageError
from rktsd.pods import processes, query
from rktsd.pods.query import Place
from rktsd.systemd.names import app_unit, pod_slice

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence

    from rktsd.paths import Paths
    from rktsd.systemd.bus import Bus

_UNIFIED = "/sys/fs/cgroup/cgroup.controllers"


def start(paths: Paths, word: str, *, again: bool = False) -> Place | None:
    """Start a pod that has a file, or one made before; with ``again`` stop it first if it runs.

    Returns the run; None when it ended at once and was removed. Raises RktError.
    """
    from rktsd.pods.kept import startable
    from rktsd.pods.run import start as start_pod

    pod = startable(paths, word, again=again)
    if again:
        from rktsd.pods import podfile

        # What runs is not stopped for a file that cannot be started from.
        with contextlib.suppress(NotFound):
            podfile.load(paths, pod)
    start_pod(pod, paths, again=again)
    with contextlib.suppress(NotFound):
        return query.find(paths, pod)
    return None


def stop(
    paths: Paths,
    word: str,
    *,
    force: bool = False,
    signal: int | None = None,
    timeout: float | None = None,
) -> tuple[Place, bool]:
    """Stop a pod as ``pods.stop.stop`` does. Returns the run, and whether it had to be stopped.

    Raises UsageError for a pod that never ran, NotFound, BadInput, SystemdError.
    """
    from rktsd.pods import stop as stopping

    place = query.find(paths, word)
    if place.uuid not in query.running(paths, [place]).pods:
        if place.stage != "run":
            raise UsageError(
                f'pod "{place.uuid}" is not running: it is {query.state(place, query.Live())}'
            )
        return place, False
    stopping.stop(place, paths, force=force, signal=signal, timeout=timeout)
    return place, True


def remove(paths: Paths, word: str) -> Place:
    """Remove a pod that is at rest, and return what it was. Raises RktError."""
    from rktsd.pods.remove import remove as remove_place

    place = query.find(paths, word)
    remove_place(paths, place, live=query.running(paths, [place]))
    if os.path.isdir(paths.users):
        from rktsd.pods.userranges import release_unused

        release_unused(paths, blocking=False)
    return place


def kill(
    bus: Bus, place: Place, number: signal.Signals, *, apps: Sequence[str] | None = None
) -> None:
    """Send a signal to the first processes of apps of a running pod; with None to all that run.

    Raises NotFound, UsageError.
    """
    for pid in [processes.first_process(bus, place.pod, app) for app in _apps(bus, place, apps)]:
        _send(pid, number)


def pause(
    bus: Bus, place: Place, *, apps: Sequence[str] | None = None, go_on: bool = False
) -> None:
    """Stop all processes of a running pod, or of apps of it, where they are; or let them go on.

    Raises Unsupported where systemd cannot, NotFound, SystemdError.
    """
    require_freezer()
    action: Callable[[str], None] = bus.thaw if go_on else bus.freeze
    units = [pod_slice(place.pod)]
    if apps is not None:
        units = [app_unit(place.pod, app) for app in _apps(bus, place, apps)]
    for unit in units:
        try:
            action(unit)
        except SystemdError as error:
            raise SystemdError(f"{unit}: {error}") from error


def require_freezer() -> None:
    """Raises Unsupported where systemd has nothing to pause units with."""
    if not os.path.exists(_UNIFIED):
        raise Unsupported(
            "systemd pauses units only on the unified hierarchy of control groups (cgroup v2),"
            " which this machine does not have"
        )


def _apps(bus: Bus, place: Place, apps: Sequence[str] | None) -> list[str]:
    """Those that are named; without any those that run."""
    if apps is not None:
        return [processes.choose_app(place, name) for name in apps]
    live = query.Live(frozenset({place.uuid}), _live_units(bus, place))
    return [
        each.name
        for each in query.status(place, live).apps
        if app_unit(place.pod, each.name) in live.units
    ]


def _live_units(bus: Bus, place: Place) -> frozenset[str]:
    states = bus.active_states([app_unit(place.pod, "*")])
    return frozenset(unit for unit, state in states.items() if state == "active")


def _send(pid: int, number: signal.Signals) -> None:
    import signal

    try:
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NotFound(f"cannot send {number.name}: {error.strerror}") from error
