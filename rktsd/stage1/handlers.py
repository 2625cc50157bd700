"""Event handlers (appc spec, aci.md): programs that run before and after an app, in its root. Pure.

systemd-nspawn executes no hooks, so each handler is a bundle of its own that the app's unit starts
as ExecStartPre= or ExecStopPost=. As in rkt a handler runs as user and group 0 whatever the app is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rktsd.stage1.flavors import app_bundle
from rktsd.stage1.mounts import BindMount
from rktsd.stage1.types import AppFacts, BundlePlan, Handler, PodFacts

if TYPE_CHECKING:
    from rktsd.systemd.bus import Property

_FOREVER = 2**64 - 1


def handler_bundles(
    pod: PodFacts, facts: AppFacts, directory: str, binds: Sequence[BindMount]
) -> list[BundlePlan]:
    """The bundles of an app's handlers, inside the app's own bundle in ``directory``."""
    return [
        app_bundle(pod, _as_root(facts, each), f"{directory}/{each.name}", binds, handler=True)
        for each in facts.handlers
    ]


def _as_root(facts: AppFacts, handler: Handler) -> AppFacts:
    # Of the unit's settings limits hold for handlers too; readiness and credentials are the app's.
    limits = {
        name: value for name, value in (facts.systemd or {}).items() if name.startswith("Limit")
    }
    app = replace(facts.app, exec=handler.arguments, supplementary_gids=())
    return replace(
        facts,
        app=app,
        executable=handler.executable,
        uid=0,
        gid=0,
        systemd=limits,
        terminal=False,
        input=None,
        streams=None,
        listeners=(),
    )


def commands(facts: AppFacts, directory: str, record: Sequence[str]) -> list[Property]:
    """What the unit executes before and after the app; ``record`` writes down how it ended.

    That comes first, for a post-stop that fails would keep it from being done; and what the app
    itself came to is its end, whatever post-stop says. A pre-start may take its time (rkt).
    """
    found: list[Property] = []
    after: list[tuple[str, list[str], bool]] = [(record[0], list(record), False)]
    for handler in facts.handlers:
        run = f"{directory}/{handler.name}/run"
        if handler.name == "pre-start":
            found.append(("ExecStartPre", "a(sasb)", [("/bin/sh", ["/bin/sh", run], False)]))
            found.append(("TimeoutStartUSec", "t", _FOREVER))
        else:
            after.append(("/bin/sh", ["/bin/sh", run], True))
    return [*found, ("ExecStopPost", "a(sasb)", after)]
