"""The bundle of an app, or of one of its handlers, in the flavor of its pod. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rktsd.config.flavors import FLY
from rktsd.stage1 import bundle, fly
from rktsd.stage1.mounts import BindMount
from rktsd.stage1.types import AppFacts, BundlePlan, PodFacts


def app_bundle(
    pod: PodFacts,
    facts: AppFacts,
    directory: str,
    binds: Sequence[BindMount],
    *,
    handler: bool = False,
) -> BundlePlan:
    """What is written to ``directory``. Raises BadInput and Unsupported naming the app."""
    if pod.flavor == FLY:
        config = fly.config(pod, facts, directory, binds, handler=handler)
        run = bundle.script(pod, facts, directory, fly.command(directory), handler=handler)
    else:
        if handler:
            # What runs before or after the app is not the main process of its unit.
            pod = replace(pod, pid="private")
        config = bundle.config(pod, facts)
        run = bundle.run_script(pod, facts, directory, binds, handler=handler)
    return {"app": facts.runtime.name, "directory": directory, "config": config, "run": run}
