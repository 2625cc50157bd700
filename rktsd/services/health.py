"""One health check of an app: run by the timer of the app, and gone again."""

from __future__ import annotations

import json
import sys
import time

from rktsd.errors import NotFound, RktError, SystemdError, UsageError
from rktsd.host.files import write_atomic
from rktsd.paths import Paths
from rktsd.pods.enter import Request, ended, entered, outcome
from rktsd.pods.processes import first_process
from rktsd.services import failed
from rktsd.systemd.bus import Bus
from rktsd.systemd.names import app_unit, pod_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

HEALTHY, UNHEALTHY, STARTING = "healthy", "unhealthy", "starting"
_TIMED_OUT = -1


def main(arguments: Sequence[str]) -> int:
    """Check the app (second argument) of the pod (first). Returns the exit status of the unit."""
    pod, app = arguments
    try:
        _check(pod, app, Paths())
    except (RktError, OSError) as error:
        return failed(error, f"app {app}: health check: ")
    return 0


def _check(pod: str, app: str, paths: Paths) -> None:
    run_directory = paths.pod_run(pod)
    try:
        with open(f"{run_directory}/health-{app}") as file:
            wanted = json.load(file)
        with open(f"{run_directory}/directory") as file:
            directory = file.read().strip()
        with Bus() as bus:
            pid = first_process(bus, pod, app)
            status = _run(bus, paths, pod, app, wanted)
    except (FileNotFoundError, NotFound, UsageError, SystemdError):
        # The pod went while we came.
        return
    _judge(pod, app, pid, status, wanted=wanted, path=f"{directory}/health/{app}")


def _run(bus: Bus, paths: Paths, pod: str, app: str, wanted: dict[str, Any]) -> int:
    """The status of the check, or _TIMED_OUT. What is left of it goes with our unit."""
    request = Request(tuple(wanted["command"]), own_group=True)
    with entered(bus, paths, pod, app=app, request=request) as begun:
        if not ended(begun, wanted["timeout"]):
            return _TIMED_OUT
        status, complaint = outcome(begun)
    if complaint:
        sys.stderr.write(f"<4>{complaint}\n")
    return status


def _judge(pod: str, app: str, pid: int, status: int, *, wanted: dict[str, Any], path: str) -> None:
    """Keep the state in ``path``: STATE FAILURES PID BEGIN ACTION. Act on who became unhealthy."""
    state, failures, begin = _last(path, pid)
    if status == 0:
        state, failures = HEALTHY, 0
    elif state == STARTING and time.time() < begin + wanted["start-period"]:
        failures = 0
    else:
        failures += 1
    before = state
    if failures >= wanted["retries"]:
        state = UNHEALTHY
    said = f"{state} {failures} {pid} {begin:.0f} {wanted['action']}\n"
    write_atomic(path, said, durable=False)
    if state != UNHEALTHY or before == UNHEALTHY:
        return
    how = "timed out" if status == _TIMED_OUT else f"ended with status {status}"
    sys.stderr.write(f"<4>app {app} is unhealthy: its check {how}\n")
    with Bus() as bus:
        if wanted["action"] == "restart":
            bus.restart(app_unit(pod, app))
        elif wanted["action"] == "stop":
            bus.stop(pod_unit(pod))


def _last(path: str, pid: int) -> tuple[str, int, float]:
    """State, failures in a row and begin of the app, of this process of it."""
    try:
        with open(path) as file:
            state, failures, process, begin = file.read().split()[:4]
        if int(process) == pid:
            return state, int(failures), float(begin)
    except (FileNotFoundError, ValueError):
        pass
    return STARTING, 0, time.time()
