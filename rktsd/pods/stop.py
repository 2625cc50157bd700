"""Stop a pod: as its apps ask for, with another signal, after a time of one's own, or by force."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from rktsd.errors import SystemdError, UsageError
from rktsd.paths import Paths
from rktsd.pods import processes
from rktsd.pods.query import LIVE, Place
from rktsd.pods.run import kill
from rktsd.systemd.bus import Bus
from rktsd.systemd.names import app_unit, pod_and_app, pod_slice, pod_unit

_LOOK_AGAIN = 1.0


def stop(
    place: Place,
    paths: Paths,
    *,
    force: bool = False,
    signal: int | None = None,
    timeout: float | None = None,
) -> None:
    """Stop a running pod, and return when it is stopped. Raises SystemdError.

    ``signal`` goes to the apps first, and they have ``timeout`` seconds (or as long as they take)
    to end by it. Apps that the stop itself has not ended after ``timeout`` seconds are killed; None
    leaves that to their units.
    """
    unit = pod_unit(place.pod)
    with Bus() as bus:
        let_go_on(bus, [pod_slice(place.pod), *bus.active_states([app_unit(place.pod, "*")])])
        try:
            if force:
                kill(bus, paths, place.pod)
            elif signal is not None and _end_by(bus, place, signal, timeout):
                timeout = 0.0
            job = bus.stop(unit)
            result = bus.wait(job, timeout)
            if not result:
                kill(bus, paths, place.pod)
                result = bus.wait(job)
        except SystemdError as error:
            hint = "only root may stop pods" if os.geteuid() else None
            raise SystemdError(f"{unit}: {error}", hint=hint) from error
    if result != "done":
        raise SystemdError(f'pod "{place.uuid}" could not be stopped: the job ended as {result}')


def _end_by(bus: Bus, place: Place, signal: int, timeout: float | None) -> bool:
    """Send the signal to all apps. Whether one is still there after ``timeout`` seconds."""
    import select
    import time
    from signal import pidfd_send_signal

    waiting = set()
    with contextlib.ExitStack() as stack:
        for app in _running(bus, place):
            with contextlib.suppress(UsageError, OSError):
                descriptor = os.pidfd_open(processes.first_process(bus, place.pod, app))
                stack.callback(os.close, descriptor)
                pidfd_send_signal(descriptor, signal)
                waiting.add(descriptor)
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        for descriptor in waiting:
            poll.register(descriptor, select.POLLIN)
        while waiting:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            ended = poll.poll(left)
            if not ended:
                return True
            for descriptor, _ in ended:
                poll.unregister(descriptor)
                waiting.discard(descriptor)
    return False


def _running(bus: Bus, place: Place) -> list[str]:
    states = bus.active_states([app_unit(place.pod, "*")])
    found = [pod_and_app(unit) for unit, state in states.items() if state in LIVE]
    return [each[1] for each in found if each is not None and each[1] is not None]


def let_go_on(bus: Bus, units: Iterable[str]) -> None:
    """What is frozen cannot end (rkt pause)."""
    for unit in units:
        with contextlib.suppress(SystemdError):
            # Anybody may look; only who may thaw is to.
            if bus.property(unit, "Unit", "FreezerState", "s") != b"running":
                bus.thaw(unit)
