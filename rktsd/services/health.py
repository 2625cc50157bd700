"""One health check of an app: run by the timer of the app, and gone again."""

from __future__ import annotations

import json
import resource
import sys
import time

from rktsd.appc.isolators import CAPABILITIES_BY_NUMBER
from rktsd.errors import RktError, SystemdError
from rktsd.host.files import write_atomic
from rktsd.host.inside import TIMED_OUT, Confinement, run_inside
from rktsd.paths import Paths
from rktsd.stage1.launcher import PATH as LAUNCHER
from rktsd.systemd.bus import Bus
from rktsd.systemd.names import app_unit, pod_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

HEALTHY, UNHEALTHY, STARTING = "healthy", "unhealthy", "starting"


def main(arguments: Sequence[str]) -> int:
    """Check the app (second argument) of the pod (first). Returns the exit status of the unit."""
    pod, app = arguments
    try:
        _check(pod, app, Paths())
    except RktError as error:
        sys.stderr.write(f"<3>app {app}: health check: {error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"<3>app {app}: health check: {error.strerror or error}\n")
        return RktError.exit_code
    return 0


def _check(pod: str, app: str, paths: Paths) -> None:
    run_directory = paths.pod_run(pod)
    try:
        with open(f"{run_directory}/health-{app}") as file:
            wanted = json.load(file)
        with open(f"{run_directory}/directory") as file:
            directory = file.read().strip()
        with Bus() as bus:
            pid = _first_process(bus, app_unit(pod, app))
    except (FileNotFoundError, SystemdError):
        # The pod went while we came.
        return
    if pid is None:
        return
    status = run_inside(pid, **_order(wanted, f"{run_directory}/apps/{app}/config.json"))
    _judge(pod, app, pid, status, wanted=wanted, path=f"{directory}/health/{app}")


def _first_process(bus: Bus, unit: str) -> int | None:
    """The first process of the app: the only child of systemd-nspawn."""
    supervisor = int(bus.property(unit, "Service", "MainPID", "u"))
    with open(f"/proc/{supervisor}/task/{supervisor}/children") as file:
        children = file.read().split()
    return int(children[0]) if supervisor and children else None


def _order(wanted: dict[str, Any], bundle: str) -> dict[str, Any]:
    with open(bundle) as file:
        process = json.load(file)["process"]
    sets = {
        kind: frozenset(
            CAPABILITIES_BY_NUMBER.index(name) for name in process["capabilities"][kind]
        )
        for kind in ("bounding", "effective", "ambient")
    }
    # An app with a filter of its own starts through a program that loads it; so does its check.
    through = [LAUNCHER] if process["args"][0] == LAUNCHER else []
    infinity = 2**64 - 1
    limits = [
        (
            getattr(resource, each["type"]),
            *(-1 if each[side] == infinity else each[side] for side in ("soft", "hard")),
        )
        for each in process["rlimits"]
        if hasattr(resource, each["type"])
    ]
    return {
        "command": [*through, *wanted["command"]],
        "environment": dict(each.split("=", 1) for each in process["env"]),
        "timeout": wanted["timeout"],
        "confinement": Confinement(
            uid=process["user"]["uid"],
            gid=process["user"]["gid"],
            groups=process["user"]["additionalGids"],
            limits=limits,
            no_new_privileges=process["noNewPrivileges"],
            filter=bytes.fromhex(wanted["filter"]),
            directory=process["cwd"],
            **sets,
        ),
    }


def _judge(pod: str, app: str, pid: int, status: int, *, wanted: dict[str, Any], path: str) -> None:
    """Keep the state in ``path``: STATE FAILURES PID BEGIN. Act when the app became unhealthy."""
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
    write_atomic(path, f"{state} {failures} {pid} {begin:.0f}\n", durable=False)
    if state != UNHEALTHY or before == UNHEALTHY:
        return
    how = "timed out" if status == TIMED_OUT else f"ended with status {status}"
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
            state, failures, process, begin = file.read().split()
        if int(process) == pid:
            return state, int(failures), float(begin)
    except (FileNotFoundError, ValueError):
        pass
    return STARTING, 0, time.time()
