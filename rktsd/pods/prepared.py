"""Pods without a name: prepared once, started by their UUID, also again after they ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from rktsd.errors import BadInput, NotFound
from rktsd.host.files import locked
from rktsd.paths import Paths
from rktsd.pods import directories, interactive, kept, runs
from rktsd.pods import spec as specs
from rktsd.pods.compile import Compiled, compile_pod
from rktsd.pods.moments import forget_starts
from rktsd.pods.query import Place
from rktsd.pods.spec import PodSpec


def prepare(
    spec: PodSpec,
    paths: Paths,
    *,
    uuid: str,
    name: str | None = None,
    replace: Callable[[Place], None] | None = None,
    remove: bool = False,
) -> list[str]:
    """Make a prepared pod. Returns what this machine cannot do of what it asks for.

    It is compiled once for the sake of its errors: what cannot run is not prepared. ``replace``
    removes the pod that has the ``name``. With ``remove`` the pod is removed when it has ended.
    """
    directory = directories.stage_directory(paths, directories.RUN, uuid)
    holder = None
    with contextlib.ExitStack() as stack:
        if name is not None:
            stack.enter_context(runs.lock(paths, name))
            holder = kept.holder(paths, name, replace=replace is not None)
        stack.enter_context(locked(paths.store, shared=True))
        runs.check_layers(paths, sorted(spec.layers()), pod=name or uuid)
        compiled = compile_pod(
            spec, pod=name or uuid, uuid=uuid, directory=directory, paths=paths, dry=True
        )
        runs.check(paths, compiled)
        files = dict(compiled["files"])
        if name is not None:
            files[kept.MARK] = ""
        if holder is not None and replace is not None:
            # Only now, when nothing is known to be in the way of the new one.
            replace(holder)
        if remove:
            files[kept.REMOVE] = ""
        directories.create(paths, directories.PREPARED, uuid, files)
    return compiled["plan"]["unapplied"]


def compile_kept(name: str, paths: Paths) -> Compiled | None:
    """The same as ``compile_prepared`` for the pod that was given ``name``; None for no such."""
    place = kept.find(paths, name)
    return None if place is None else compile_prepared(place.uuid, paths, pod=name)


def compile_prepared(uuid: str, paths: Paths, *, pod: str = "") -> Compiled:
    """Compile a prepared or ended pod and move it among those that run. Its root is kept.

    ``pod`` is the name that it was given, if it was.
    """
    pod = pod or uuid
    found = directories.find(paths, uuid)
    if found is None:
        raise NotFound(f"pod {uuid}: no such pod")
    stage, directory = found
    if stage not in (directories.PREPARED, directories.RUN):
        raise BadInput(f"pod {uuid} is not prepared: it lies in {directory}")
    if pod == uuid and os.path.exists(f"{directory}/name"):
        with open(f"{directory}/name") as file:
            name = file.read().strip()
        raise BadInput(f"pod {uuid} is called {name}", hint=f"rkt start {name}")
    target = directories.stage_directory(paths, directories.RUN, uuid)
    try:
        # Whoever frees layers locks the store, and who collects garbage locks what it moves.
        with locked(paths.store, shared=True), locked(directory):
            spec = specs.load(directory)
            runs.check_layers(paths, sorted(spec.layers()), pod=uuid)
            input, terminal, spec = interactive.offered(paths, pod, spec)
            compiled = compile_pod(
                spec,
                pod=pod,
                uuid=uuid,
                directory=target,
                paths=paths,
                input=input,
                terminal=terminal,
            )
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
    forget_starts(directory)
