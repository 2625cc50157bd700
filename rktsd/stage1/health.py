"""Health checks: a timer of an app, and the unit that it starts. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rktsd import paths
from rktsd.systemd import names

if TYPE_CHECKING:
    from rktsd.stage1.types import AppFacts, PodFacts, UnitPlan

_NOTICE = 5
_MICROSECONDS = 10**6


def directory(pod: PodFacts) -> str:
    """Where the states of a pod's apps are."""
    return f"{pod.directory}/health"


def files(pod: PodFacts, facts: AppFacts) -> list[tuple[str, str]]:
    """What the check is told, and the state before the first one.

    Environment and rights are in the bundle.
    """
    health = facts.health
    assert health is not None
    order = {
        "command": list(health.command),
        "timeout": health.timeout,
        "retries": health.retries,
        "start-period": health.start_period,
        "action": health.action,
    }
    name = facts.runtime.name
    return [
        (f"{pod.run_directory}/health-{name}", json.dumps(order)),
        (f"{directory(pod)}/{name}", "starting 0 0 0\n"),
    ]


def health_units(pod: PodFacts, facts: AppFacts) -> list[UnitPlan]:
    """The check, and the timer that lives as long as the app does."""
    health, name = facts.health, facts.runtime.name
    assert health is not None
    app = names.app_unit(pod.name, name)
    interval = int(health.interval * _MICROSECONDS)
    program = f"{paths.LIBEXEC}/pod-health"
    service = names.health_service(pod.name, name)
    return [
        {
            "name": service,
            "properties": [
                ("Description", "s", f"Health check of {name} of pod {pod.name}"),
                ("Type", "s", "oneshot"),
                ("CollectMode", "s", "inactive-or-failed"),
                ("Slice", "s", names.pod_slice(pod.name)),
                # What systemd says of every check would drown the journal.
                ("LogLevelMax", "i", _NOTICE),
                ("SyslogIdentifier", "s", f"{name}-health"),
                # A little above the check's own.
                ("TimeoutStartUSec", "t", int((health.timeout + 10) * _MICROSECONDS)),
                ("ExecStart", "a(sasb)", [(program, [program, pod.name, name], False)]),
            ],
        },
        {
            "name": names.health_timer(pod.name, name),
            "properties": [
                ("Description", "s", f"Health checks of {name} of pod {pod.name}"),
                ("CollectMode", "s", "inactive-or-failed"),
                ("BindsTo", "as", [app]),
                ("After", "as", [app]),
                (
                    "TimersMonotonic",
                    "a(st)",
                    [("OnActiveSec", interval), ("OnUnitInactiveSec", interval)],
                ),
                ("AccuracyUSec", "t", min(_MICROSECONDS, interval // 10)),
            ],
        },
    ]
