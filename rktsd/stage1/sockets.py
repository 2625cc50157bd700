"""Socket activation: systemd listens, and the first connection starts the app. Pure.

One socket unit per app, called as its service, since systemd knows no other way to connect two
transient units. It keeps the pod up, also while the app does not run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rktsd.systemd import names

if TYPE_CHECKING:
    from rktsd.stage1.types import AppFacts, PodFacts, UnitPlan
    from rktsd.systemd.bus import Property


def socket_unit(pod: PodFacts, facts: AppFacts) -> UnitPlan:
    """The unit that listens for an app with ``listeners``."""
    name = facts.runtime.name
    properties: list[Property] = [
        ("Description", "s", f"Sockets of {name} of pod {pod.name}"),
        ("Slice", "s", names.pod_slice(pod.name)),
        ("After", "as", ["network.target"]),
        ("CollectMode", "s", "inactive-or-failed"),
        ("Listen", "a(ss)", [(each.kind, each.address) for each in facts.listeners]),
    ]
    if any(each.inside for each in facts.listeners) and pod.namespace is not None:
        properties.append(("NetworkNamespacePath", "s", pod.namespace))
    return {"name": names.app_socket(pod.name, name), "properties": properties}


def socket_environment(facts: AppFacts) -> dict[str, str]:
    """What systemd-nspawn does not hand on: sd_listen_fds(3) tells sockets apart by it."""
    if not facts.listeners:
        return {}
    return {"LISTEN_FDNAMES": ":".join(each.name for each in facts.listeners)}
