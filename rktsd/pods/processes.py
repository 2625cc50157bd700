"""The processes of a running pod: which is the first one of an app, and what group it is in."""

import os

from rktsd.errors import NotFound, SystemdError, UsageError
from rktsd.paths import Paths
from rktsd.pods import query
from rktsd.pods.query import Place, PodStatus
from rktsd.systemd.bus import Bus
from rktsd.systemd.names import app_unit


def choose_app(place: Place, name: str | None) -> str:
    """The app that a command is about: the named one, or the only one.

    Raises UsageError, in rkt's words, and NotFound.
    """
    apps = [each.name for each in query.status(place, query.Live()).apps]
    if not apps:
        raise NotFound(f"pod {place.pod} has no app")
    if name is None:
        if len(apps) != 1:
            raise UsageError(
                f"pod has multiple apps: {', '.join(apps)}", hint="say which one with --app"
            )
        return apps[0]
    if name not in apps:
        raise NotFound(f'pod {place.pod} has no app "{name}", only {", ".join(apps)}')
    return name


def running_place(paths: Paths, pod: str) -> Place:
    """The pod that ``pod`` means. Raises NotFound, and UsageError when it does not run."""
    place = query.find(paths, pod)
    if place.uuid not in query.running(paths, [place]).pods:
        raise UsageError(f'pod "{place.uuid}" isn\'t currently running')
    return place


def main_process(status: PodStatus) -> int:
    """The process that systemd knows the first living app by; 0 when there is none."""
    with Bus() as bus:
        for app in status.apps:
            unit = app_unit(status.place.pod, app.name)
            try:
                pid = int(bus.property(unit, "Service", "MainPID", "u"))
            except SystemdError:
                continue
            if pid:
                return pid
    return 0


def first_process(bus: Bus, pod: str, app: str) -> int:
    """PID 1 of an app, as the host numbers it. Raises UsageError when the app does not run.

    With stage1 fly that is the unit's main process itself, once it has the root of the app.
    """
    main = int(bus.property(app_unit(pod, app), "Service", "MainPID", "u"))
    if main and _has_root_of_its_own(main):
        return main
    for pid in _children(main) if main else ():
        # The second where the apps of the pod share their processes.
        if _number_inside(pid) == 1 or _has_root_of_its_own(pid):
            return pid
    raise UsageError(f'app "{app}" of pod {pod} does not run')


def _has_root_of_its_own(pid: int) -> bool:
    try:
        return not os.path.samefile(f"/proc/{pid}/root/.", "/")
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _number_inside(pid: int) -> int:
    """What a process is called in its own PID namespace (NSpid of proc(5)); 0 when it is gone."""
    return int(status_fields(pid).get("NSpid", "0").split()[-1])


def status_fields(pid: int) -> dict[str, str]:
    """/proc/PID/status; empty when the process is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            pairs = (line.partition(":") for line in file)
            return {name: value.strip() for name, _, value in pairs}
    except OSError:
        return {}


def group_below(pid: int, unit_group: str) -> str:
    """Where below the control group of its unit a process is: "" or "/payload", say."""
    with open(f"/proc/{pid}/cgroup") as file:
        rows = [line.rstrip("\n").split(":", 2) for line in file]
    for _, controllers, path in rows:
        if controllers in ("", "name=systemd") and path.startswith(unit_group):
            return os.path.normpath(path[len(unit_group) :] or "/").rstrip("/")
    return ""
