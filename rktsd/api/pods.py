"""What is asked about pods and done to them: the methods by their names. They may take their time.

Each is called with the directories and the arguments as they came, and returns what it answers. All
raise RktError.
"""

from __future__ import annotations

import re
import signal
from functools import partial

from rktsd.api import filters, objects
from rktsd.api.errors import NO_SUCH_POD, Refused
from rktsd.api.interfaces import pod_path
from rktsd.api.options import invalid, read
from rktsd.api.values import Typed, only
from rktsd.errors import NotFound, SystemdError
from rktsd.pods import control, processes, query, stale
from rktsd.pods.process import signal_number
from rktsd.pods.query import RUNNING, PodStatus
from rktsd.systemd.bus import Bus
from rktsd.systemd.names import pod_and_app, pod_slice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rktsd.paths import Paths
    from rktsd.pods.query import Place

_STOP = {"force": "b", "signal": "s", "timeout": "d"}
_COLLECTOR = "rkt-gc.service"


def named(paths: Paths, pod: str) -> Place:
    """The pod that somebody means. Raises Refused when there is none, BadInput for several."""
    try:
        return query.find(paths, pod)
    except NotFound as error:
        raise Refused(NO_SUCH_POD, str(error)) from error


def properties(paths: Paths, uuid: str) -> dict[str, Typed]:
    """All properties of a pod."""
    place = next((each for each in query.places(paths) if each.uuid == uuid), None)
    if place is None:
        raise Refused(NO_SUCH_POD, f"there is no pod {uuid}")
    return described(paths, query.status(place, query.running(paths, [place])))


def described(paths: Paths, status: PodStatus) -> dict[str, Typed]:
    """The same of a pod that was looked at."""
    pid = processes.main_process(status) if status.state == RUNNING else 0
    return {
        **objects.pod(status),
        "Pid": Typed("u", pid),
        "ControlGroup": Typed("s", group_of(status)),
        "PodFile": Typed("s", stale.pod_file(paths, status.place) or ""),
    }


def group_of(status: PodStatus) -> str:
    """The control group of all that a pod is, as systemd has it; empty for one that has ended."""
    if status.state != RUNNING:
        return ""
    try:
        with Bus() as bus:
            found = bus.property(pod_slice(status.place.pod), "Slice", "ControlGroup", "s")
    except SystemdError:
        return ""
    return str(found.decode(errors="replace"))


def every(paths: Paths, *, warn: Any) -> dict[str, dict[str, Typed]]:
    """All properties of all pods, by UUID."""
    return {
        status.place.uuid: described(paths, status)
        for status in query.all_statuses(paths, warn=warn)
    }


def list_pods(
    paths: Paths, given: Sequence[Mapping[str, Typed]], detail: bool
) -> tuple[list[tuple[str, dict[str, Typed]]]]:
    """Those that fit one of the filters; a damaged one hides no other."""
    wanted = filters.parse(given, filters.POD_FIELDS)
    found = []
    for status in query.all_statuses(paths, warn=lambda line: None):
        if filters.pod_matches(status, wanted, group=partial(group_of, status)):
            shown = described(paths, status) if detail else objects.pod(status)
            chosen = shown if detail else only(shown, objects.POD_IN_BRIEF)
            found.append((pod_path(status.place.uuid), chosen))
    return (found,)


def get(paths: Paths, pod: str) -> tuple[str]:
    """By a name, a UUID or the beginning of one."""
    return (pod_path(named(paths, pod).uuid),)


def get_by_pid(paths: Paths, pid: int) -> tuple[str]:
    """By a process of the pod."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            groups = [line.rstrip("\n").split(":", 2)[2] for line in file]
    except OSError as error:
        raise Refused(NO_SUCH_POD, f"there is no process {pid}") from error
    for group in groups:
        pod = _pod_in(group)
        if pod is not None:
            return _current(paths, pod, f"process {pid}")
    raise Refused(NO_SUCH_POD, f"process {pid} is of no pod")


def get_by_group(paths: Paths, group: str) -> tuple[str]:
    """By a control group: that of the pod, or one in it."""
    places = query.places(paths)
    live = query.running(paths, places)
    for place in places:
        if place.uuid in live.pods and filters.is_below(
            group_of(query.status(place, live)), [group]
        ):
            return (pod_path(place.uuid),)
    raise Refused(NO_SUCH_POD, f'the control group "{group}" is of no pod that runs')


def _pod_in(group: str) -> str | None:
    for part in group.split("/"):
        # What a pod is started by is not in its slice.
        found = pod_and_app(re.sub(r"\._[a-z]+(?=\.service$)", ".any", part))
        if found is not None:
            return found[0]
    return None


def _current(paths: Paths, pod: str, what: str) -> tuple[str]:
    uuid = query.current_run(paths, pod)
    if uuid is None:
        raise Refused(NO_SUCH_POD, f"{what} is of pod {pod}, which is not there any more")
    return (pod_path(uuid),)


def start(paths: Paths, pod: str) -> tuple[str]:
    """Start it; of a run of a pod file that is a new run."""
    return _started(paths, pod, again=False)


def restart(paths: Paths, pod: str) -> tuple[str]:
    """Stop it if it runs, and start it."""
    return _started(paths, pod, again=True)


def _started(paths: Paths, pod: str, *, again: bool) -> tuple[str]:
    try:
        place = control.start(paths, pod, again=again)
    except NotFound as error:
        raise Refused(NO_SUCH_POD, str(error)) from error
    return ("/" if place is None else pod_path(place.uuid),)


def stop(paths: Paths, pod: str, options: Mapping[str, Typed]) -> tuple[()]:
    """Stop it; one that has ended is no error."""
    given = read(options, _STOP, "option")
    force, timeout = given.get("force", False), given.get("timeout")
    if force and len(given) > 1:
        raise invalid("force kills at once: signal and timeout have no meaning with it")
    if timeout is not None and not 0 <= timeout < 1e9:
        raise invalid(f"timeout {timeout} is no number of seconds")
    number = given.get("signal")
    place = named(paths, pod)
    control.stop(
        paths,
        place.uuid,
        force=force,
        signal=None if number is None else _signal(number),
        timeout=timeout,
    )
    return ()


def kill(paths: Paths, pod: str, word: str, apps: Sequence[str]) -> tuple[()]:
    """Send a signal to the first processes of apps, or of all that run."""
    number, place = _signal(word), _running(paths, pod)
    with Bus() as bus:
        control.kill(bus, place, number, apps=apps or None)
    return ()


def pause(paths: Paths, pod: str, apps: Sequence[str]) -> tuple[()]:
    """Stop all processes where they are."""
    return _pause(paths, pod, apps, go_on=False)


def resume(paths: Paths, pod: str, apps: Sequence[str]) -> tuple[()]:
    """Let them go on."""
    return _pause(paths, pod, apps, go_on=True)


def _pause(paths: Paths, pod: str, apps: Sequence[str], *, go_on: bool) -> tuple[()]:
    place = _running(paths, pod)
    with Bus() as bus:
        control.pause(bus, place, apps=apps or None, go_on=go_on)
    return ()


def _running(paths: Paths, pod: str) -> Place:
    return processes.running_place(paths, named(paths, pod).uuid)


def remove(paths: Paths, pod: str) -> tuple[()]:
    """Remove one that is at rest."""
    control.remove(paths, named(paths, pod).uuid)
    return ()


def collect_garbage(paths: Paths) -> tuple[()]:
    """What the timer starts every day, now."""
    with Bus() as bus:
        result = bus.wait(bus.start(_COLLECTOR))
    if result != "done":
        raise SystemdError(f"{_COLLECTOR} ended as {result}", hint=f"journalctl -u {_COLLECTOR}")
    return ()


def _signal(text: str) -> signal.Signals:
    number = signal_number(text)
    try:
        if number is not None:
            return signal.Signals(number)
    except ValueError:
        pass
    raise invalid(f'"{text}" is not a signal')
