"""Pods without a name: prepared once, started by their UUID, also again after they ended."""

from __future__ import annotations

import contextlib
import os

from rktsd.errors import BadInput, NotFound
from rktsd.host.files import locked
from rktsd.paths import Paths
from rktsd.pods import directories, runs
from rktsd.pods import spec as specs
from rktsd.pods.compile import Compiled, compile_pod
from rktsd.pods.spec import PodSpec


def prepare(spec: PodSpec, paths: Paths, *, uuid: str) -> list[str]:
    """Make a prepared pod. Returns what this machine cannot do of what it asks for.

    It is compiled once for the sake of its errors: what cannot run is not prepared.
    """
    directory = directories.stage_directory(paths, directories.RUN, uuid)
    with locked(paths.store, shared=True):
        runs.check_layers(paths, sorted(spec.layers()), pod=uuid)
        compiled = compile_pod(spec, pod=uuid, uuid=uuid, directory=directory, paths=paths)
        runs.check(paths, compiled)
        directories.create(paths, directories.PREPARED, uuid, compiled["files"])
    return compiled["plan"]["unapplied"]


def compile_prepared(uuid: str, paths: Paths) -> Compiled:
    """Compile a prepared or ended pod and move it among those that run. Its root is kept."""
    found = directories.find(paths, uuid)
    if found is None:
        raise NotFound(f"pod {uuid}: no such pod")
    stage, directory = found
    if stage not in (directories.PREPARED, directories.RUN):
        raise BadInput(f"pod {uuid} is not prepared: it lies in {directory}")
    target = directories.stage_directory(paths, directories.RUN, uuid)
    try:
        # Whoever frees layers locks the store, and who collects garbage locks what it moves.
        with locked(paths.store, shared=True), locked(directory):
            spec = specs.load(directory)
            runs.check_layers(paths, sorted(spec.layers()), pod=uuid)
            compiled = compile_pod(spec, pod=uuid, uuid=uuid, directory=target, paths=paths)
            runs.check(paths, compiled)
            runs.announce(compiled)
            if stage == directories.PREPARED:
                directories.move(paths, uuid, stage, directories.RUN)
            _forget_last_end(target)
    except FileNotFoundError as error:
        raise NotFound(f"pod {uuid}: removed while it was being started") from error
    return compiled


def _forget_last_end(directory: str) -> None:
    for name in ("started", "ended"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{directory}/{name}")
    for app in os.listdir(f"{directory}/status"):
        os.unlink(f"{directory}/status/{app}")
