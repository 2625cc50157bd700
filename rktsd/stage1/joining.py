"""Pods whose apps come and go, and an app that joins a pod while that lives. Pure.

Such a pod is held by a unit of its slice that has no process: a oneshot service that stays. Its IPC
namespace is the one that the apps join, whichever of them are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rktsd.appc import isolators
from rktsd.errors import Unsupported
from rktsd.systemd import names

if TYPE_CHECKING:
    from rktsd.stage1.types import PodFacts, PodPlan, UnitPlan
    from rktsd.systemd.bus import Property

POD_FILES = ("hosts", "hostname", "machine-id", "resolv.conf")


def pin(pod: PodFacts) -> list[UnitPlan]:
    """The unit that holds a pod also while it has no app."""
    if not pod.mutable:
        return []
    properties: list[Property] = [
        ("Description", "s", f"Pod {pod.name}, also while it has no app"),
        ("Type", "s", "oneshot"),
        ("RemainAfterExit", "b", True),
        ("CollectMode", "s", "inactive-or-failed"),
        ("Slice", "s", names.pod_slice(pod.name)),
        ("ExecStart", "a(sasb)", [("/bin/true", ["/bin/true"], False)]),
    ]
    if pod.ipc != "parent":
        properties.append(("PrivateIPC", "b", True))
    return [{"name": names.pin_unit(pod.name), "properties": properties}]


def check(pod: PodFacts, kernel: Mapping[str, str]) -> None:
    """Refuse kernel settings of the pod that an app would bring. Raises Unsupported."""
    if pod.mutable and kernel:
        raise Unsupported(
            f"pod {pod.name}: {isolators.SYSCTL}: {next(iter(kernel))}: not for a pod whose apps"
            " come and go"
        )


def dependencies(pod: PodFacts) -> list[Property]:
    """What the unit of an app has to have: no app comes to a pod that is being stopped."""
    if not pod.mutable:
        return []
    unit = [names.pin_unit(pod.name)]
    return [("Requires", "as", unit), ("After", "as", unit)]


def joined(plan: PodPlan) -> PodPlan:
    """Of the plan of a pod with one app what is made anew when that joins it: the rest is there.

    The unit to be started is the app's own, or its socket.
    """
    pod, (app,) = plan["pod"], plan["apps"]
    there = {names.pod_slice(pod), names.holder_unit(pod), names.pin_unit(pod)}
    units = {unit["name"]: unit for unit in plan["units"] if unit["name"] not in there}
    socket = names.app_socket(pod, app)
    main = units.pop(socket if socket in units else names.app_unit(pod, app))
    of_pod = {f"{plan['run_directory']}/{name}" for name in POD_FILES}
    return {
        **plan,
        "barrier": main,
        "units": list(units.values()),
        "files": [each for each in plan["files"] if each[0] not in of_pod],
        "bandwidth": None,
        "sysctl": {},
    }
