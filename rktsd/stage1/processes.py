"""What a pod whose apps share a PID namespace has beside others, and what it cannot have. Pure.

``stage1.sharing`` is what its units execute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rktsd import paths
from rktsd.errors import Unsupported
from rktsd.stage1.readiness import readiness
from rktsd.systemd import names

if TYPE_CHECKING:
    from rktsd.stage1.types import AppFacts, PodFacts, UnitPlan
    from rktsd.systemd.bus import Property

SHARED = "shared"

_SIGKILL = 9
_PROGRAM = f"{paths.LIBEXEC}/share-processes"


def check(pod: PodFacts, facts: AppFacts, capabilities: Sequence[str]) -> None:
    """Raise Unsupported for what would break, or lead an app with ``capabilities`` to the host.

    systemd-nspawn stays beside each app, with all rights, and is among the processes that the apps
    see. CAP_SYS_PTRACE would let them into it.
    """
    if pod.pid != SHARED:
        return
    for where, why in _contradictions(pod, facts, capabilities):
        raise Unsupported(f"{where}: not with shared processes: {why}", hint='pid = "private"')


def _contradictions(
    pod: PodFacts, facts: AppFacts, capabilities: Sequence[str]
) -> Iterator[tuple[str, str]]:
    app = f"app {facts.runtime.name}"
    if "CAP_SYS_PTRACE" in capabilities:
        yield f"{app}: CAP_SYS_PTRACE", "it would lead to the host by way of systemd-nspawn"
    if pod.users is not None:
        yield "private-users", "the kernel shows no processes of another user namespace's"
    if pod.register:
        yield "register", "systemd-machined would be told numbers that are not the host's"
    if facts.listeners:
        yield f"{app}: socket-activated", "sockets are for process 1"
    if facts.streams is not None and facts.streams.terminal:
        yield f"{app}: a terminal of its own", "it would go with the first process of the unit"
    if readiness(facts).unit_type == "oneshot":
        yield f'{app}: systemd.Type: "oneshot"', "systemd knows one main process of it only"


def _place(pod: PodFacts) -> str:
    return f"{pod.run_directory}/processes"


def joining(pod: PodFacts, command: Sequence[str]) -> list[str]:
    """``command``, in the namespace of the pod if that is shared."""
    if pod.pid != SHARED:
        return list(command)
    return [_PROGRAM, "join", _place(pod), names.holder_unit(pod.name), *command]


def dependencies(pod: PodFacts) -> list[Property]:
    """What the unit of an app has to have."""
    if pod.pid != SHARED:
        return []
    holder = [names.holder_unit(pod.name)]
    return [("Requires", "as", holder), ("After", "as", holder)]


def holder(pod: PodFacts) -> list[UnitPlan]:
    """The unit that holds the namespace as long as there is an app."""
    if pod.pid != SHARED:
        return []
    properties: list[Property] = [
        ("Description", "s", f"Processes of pod {pod.name}"),
        ("Slice", "s", names.pod_slice(pod.name)),
        ("CollectMode", "s", "inactive-or-failed"),
        ("StopWhenUnneeded", "b", True),
        ("Type", "s", "notify"),
        # The first process of a namespace hears no other signal.
        ("KillSignal", "i", _SIGKILL),
        ("SuccessExitStatus", "(aiai)", ([], [_SIGKILL])),
        ("ExecStart", "a(sasb)", [(_PROGRAM, [_PROGRAM, "hold", _place(pod)], False)]),
    ]
    return [{"name": names.holder_unit(pod.name), "properties": properties}]
