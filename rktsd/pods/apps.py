"""The apps of a pod that runs, one by one: added, started, stopped and removed (rkt app).

The manifest in the pod's directory says which apps there are; it is replaced last when an app comes
and first when one goes. Whoever changes them holds the lock under which runs begin.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

from rktsd.appc.types import RuntimeApp
from rktsd.errors import NotFound, RktError, StoreError, SystemdError, UsageError
from rktsd.host.files import locked, write, write_atomic
from rktsd.paths import Paths
from rktsd.pods import query, runs
from rktsd.pods import spec as specs
from rktsd.pods.compile import Compiled, compile_pod
from rktsd.pods.moments import ADDED, APPS, STARTED
from rktsd.pods.query import LIVE, Place
from rktsd.pods.spec import PodSpec
from rktsd.pods.stop import let_go_on
from rktsd.stage1 import apply
from rktsd.stage1.types import PodPlan
from rktsd.store.tree import remove_tree
from rktsd.systemd.bus import Bus
from rktsd.systemd.names import app_socket, app_unit, pod_slice, pod_unit

# The manifest is the last: it makes an app one of the pod's.
_FILES = ("images", "options", "pod")
_UNAPPLIED = "unapplied"
# How an app ended before, while it is being started again.
_BEFORE = "before"
# systemd-nspawn has a directory beside the layer for what overlayfs works on (tempfn_random).
_WORK_DIGITS = 16


def check_mutable(place: Place, spec: PodSpec) -> None:
    """Raise UsageError for a pod whose apps are those that it was made with."""
    if not spec.options.mutable:
        raise UsageError(
            f'pod "{place.uuid}" has the apps that it was made with',
            hint="rkt app sandbox makes pods that others can be added to",
        )


def check_free(place: Place, spec: PodSpec, app: str) -> None:
    """Raise UsageError when the pod has an app of that name."""
    if any(each.name == app for each in spec.manifest.apps):
        raise UsageError(
            f'pod "{place.uuid}" has an app "{app}"',
            hint="--name gives another one its name, rkt app rm removes that",
        )


def add(paths: Paths, place: Place, one: PodSpec) -> list[str]:
    """Make the only app of ``one`` an app of a mutable pod that runs; it is not started.

    Returns what this machine cannot do of what it asks for. The images of ``one`` are resolved.
    Raises UsageError, and what compiling raises; then the pod is as it was.
    """
    (runtime,) = one.manifest.apps
    with Bus() as bus, _changing(bus, paths, place) as spec, locked(paths.store, shared=True):
        check_mutable(place, spec)
        check_free(place, spec, runtime.name)
        runs.check_layers(paths, sorted(one.layers()), pod=place.pod)
        grown = _with_apps(spec, one, (*spec.manifest.apps, runtime))
        compiled = _compiled(paths, place, grown, runtime.name)
        unapplied: list[str] = compiled["plan"]["unapplied"]
        _commit(place, grown, runtime.name, unapplied)
    return unapplied


def remove(paths: Paths, place: Place, app: str) -> None:
    """Remove an app that does not run from a mutable pod, with its root. Raises UsageError."""
    with Bus() as bus, _changing(bus, paths, place) as spec:
        check_mutable(place, spec)
        _require(place, spec, app)
        if _live(bus, place, app):
            raise UsageError(f'app "{app}" is still running', hint="stop it first")
        left = tuple(each for each in spec.manifest.apps if each.name != app)
        files = _with_apps(spec, spec, left).files()
        for name in reversed(_FILES):
            _replace(f"{place.directory}/{name}", files[name])
        _forget(paths, place, app)


def start(paths: Paths, place: Place, app: str) -> bool:
    """Start an app of a pod that runs, and return when it is started; False when it runs already.

    It has the root that it left. Raises UsageError, and SystemdError with the reason when it did
    not start.
    """
    with Bus() as bus:
        with _changing(bus, paths, place) as spec:
            _require(place, spec, app)
            if _live(bus, place, app) and not _has_ended(bus, place, app):
                return False
            _check_not_paused(bus, place)
            _check_required(bus, place, spec, app)
            plan = _compiled(paths, place, spec, app)["plan"]
            bundle = f"{plan['run_directory']}/apps/{app}"
            if spec.options.mutable:
                remove_tree(bundle)
            else:
                # That of the start, with what networks and the metadata service have to say.
                plan = {**plan, "bundles": []}
            apply.write_bundles(plan)
            apply.extend_unit_list(plan)
            job = _begin(plan, bus, place.directory, same=not spec.options.mutable)
        apply.await_start(plan, bus, job)
        if not _is_up(bus, paths, place):
            # Whoever stopped the pod may have looked before there was anything to stop.
            _stop_units(bus, place, app)
            raise UsageError(f'pod "{place.uuid}" ended meanwhile')
    return True


def stop(place: Place, app: str) -> bool:
    """Stop an app of a pod, and return when it has ended; False when it does not run.

    Raises SystemdError.
    """
    with Bus() as bus:
        _require(place, specs.load(place.directory), app)
        if not _live(bus, place, app):
            return False
        let_go_on(bus, [app_unit(place.pod, app)])
        result = _stop_units(bus, place, app)
    if result != "done":
        raise SystemdError(f'app "{app}" could not be stopped: the job ended as {result}')
    return True


@contextlib.contextmanager
def _changing(bus: Bus, paths: Paths, place: Place) -> Iterator[PodSpec]:
    """The spec of a pod that is up, while nobody else changes it. Raises UsageError."""
    with runs.lock(paths, place.pod):
        if not _is_up(bus, paths, place):
            if _state(bus, place) == "activating":
                raise UsageError(
                    f'pod "{place.uuid}" is being started', hint="rkt status --wait-ready waits"
                )
            raise UsageError(f'pod "{place.uuid}" isn\'t currently running')
        yield specs.load(place.directory)


def _is_up(bus: Bus, paths: Paths, place: Place) -> bool:
    state = _state(bus, place)
    # The last that a start does is to say so.
    done = state == "activating" and os.path.exists(f"{place.directory}/started")
    return (done or state == "active") and query.current_run(paths, place.pod) == place.uuid


def _state(bus: Bus, place: Place) -> str:
    unit = pod_unit(place.pod)
    return bus.active_states([unit]).get(unit, "inactive")


def _require(place: Place, spec: PodSpec, app: str) -> None:
    # Somebody else may have removed it since it was looked up.
    if all(each.name != app for each in spec.manifest.apps):
        raise NotFound(f'pod "{place.uuid}" has no app "{app}"')


def _live(bus: Bus, place: Place, app: str) -> list[str]:
    """Those of the app's units that have not ended."""
    units = [app_socket(place.pod, app), app_unit(place.pod, app)]
    states = bus.active_states(units)
    return [unit for unit in units if states.get(unit) in LIVE]


def _has_ended(bus: Bus, place: Place, app: str) -> bool:
    """Whether an app is about to end, which is waited for."""
    unit = app_unit(place.pod, app)
    if bus.active_states([unit]).get(unit) == "deactivating":
        bus.wait(bus.stop(unit))
    return not _live(bus, place, app)


def _check_not_paused(bus: Bus, place: Place) -> None:
    # What is started in a frozen slice stands still before it is up.
    if bus.property(pod_slice(place.pod), "Unit", "FreezerState", "s") != b"running":
        raise UsageError(f'pod "{place.uuid}" is paused', hint="rkt unpause lets it go on")


def _check_required(bus: Bus, place: Place, spec: PodSpec, app: str) -> None:
    options = spec.options.apps.get(app)
    for other in options.requires if options else ():
        if not _live(bus, place, other):
            raise UsageError(f'app "{app}" requires app "{other}", which does not run')


def _compiled(paths: Paths, place: Place, spec: PodSpec, app: str) -> Compiled:
    compiled = compile_pod(
        spec,
        pod=place.pod,
        uuid=place.uuid,
        directory=place.directory,
        paths=paths,
        dry=True,
        joining=app,
    )
    runs.check(paths, compiled)
    return compiled


def _with_apps(spec: PodSpec, other: PodSpec, apps: tuple[RuntimeApp, ...]) -> PodSpec:
    """``spec`` with these apps, which are its own or those of ``other``."""
    names = {app.name for app in apps}
    options = {**spec.options.apps, **other.options.apps}
    images = {**spec.images, **other.images}
    return replace(
        spec,
        manifest=replace(spec.manifest, apps=apps),
        options=replace(
            spec.options, apps={name: each for name, each in options.items() if name in names}
        ),
        images={name: each for name, each in images.items() if name in names},
    )


def _commit(place: Place, spec: PodSpec, app: str, unapplied: list[str]) -> None:
    """Write down that an app came to the pod, or leave everything as it was."""
    own = f"{place.directory}/{APPS}/{app}"
    files = spec.files()
    before = specs.load(place.directory).files()
    try:
        # What an app of that name left that could not be removed is not this one's.
        _remove_root(place, app)
        os.makedirs(own)
        write(f"{own}/{ADDED}", "")
        if unapplied:
            _write_unapplied(place, [*_unapplied(place), *unapplied])
        for name in _FILES:
            _replace(f"{place.directory}/{name}", files[name])
    except (OSError, RktError) as error:
        for name in _FILES:
            with contextlib.suppress(OSError, RktError):
                _replace(f"{place.directory}/{name}", before[name])
        with contextlib.suppress(OSError, RktError):
            _write_unapplied(place, _unapplied(place, but=app))
            remove_tree(own)
        if isinstance(error, RktError):
            raise
        raise StoreError(f"cannot write {error.filename}: {error.strerror}") from error


def _replace(path: str, text: str) -> None:
    """With the time of the file as it was: since when a pod is there, and needs its layers."""
    status = os.stat(path)
    write_atomic(path, text, mode=0o640)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _unapplied(place: Place, *, but: str = "") -> list[str]:
    """What this machine cannot do of what the pod asks for, without what one app does."""
    return [line for line in query.unapplied(place.directory) if not line.startswith(f"app {but}:")]


def _write_unapplied(place: Place, lines: list[str]) -> None:
    path = f"{place.directory}/{_UNAPPLIED}"
    if lines:
        write_atomic(path, "".join(f"{line}\n" for line in lines), mode=0o640)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _begin(plan: PodPlan, bus: Bus, directory: str, *, same: bool) -> bytes:
    """Hand the app to systemd, which begins to start it. Returns the job. Raises SystemdError.

    In a sandbox a unit that is loaded still may be of an app that had the name before.
    """
    (app,) = plan["apps"]
    own, status = f"{directory}/{APPS}/{app}", f"{directory}/status/{app}"
    os.makedirs(own, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.rename(status, f"{own}/{_BEFORE}")
    try:
        job = apply.queue(plan, bus, joining=True, same=same)
    except RktError:
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{own}/{_BEFORE}", status)
        raise
    write(f"{own}/{STARTED}", "")
    return job


def _stop_units(bus: Bus, place: Place, app: str) -> str:
    """How the job to stop the app's own unit ended, or that of its socket."""
    result = "done"
    for job in [bus.stop(unit) for unit in _live(bus, place, app)]:
        result = bus.wait(job)
    return result


def _forget(paths: Paths, place: Place, app: str) -> None:
    """Remove what an app left that is not the pod's any more. Raises StoreError."""
    run_directory = paths.pod_run(place.pod)
    path = f"{run_directory}/units"
    beginning = app_unit(place.pod, app).removesuffix("service")
    try:
        with open(path) as file:
            units = [unit for unit in file.read().split() if not unit.startswith(beginning)]
        write_atomic(path, " ".join(units) + "\n", durable=False)
        _write_unapplied(place, _unapplied(place, but=app))
    except OSError as error:
        raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error
    remove_tree(f"{run_directory}/apps/{app}")
    remove_tree(f"{run_directory}/health-{app}")
    _remove_root(place, app)


def _remove_root(place: Place, app: str) -> None:
    """What the app wrote, and the empty volumes that nobody but it has."""
    for name in ("overlay", "work", "launchers", "status", "health", APPS):
        remove_tree(f"{place.directory}/{name}/{app}")
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(f"{place.directory}/volumes"):
            if name.startswith(f"{app}."):
                remove_tree(f"{place.directory}/volumes/{name}")
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(f"{place.directory}/overlay"):
            if name.startswith(f".#{app}") and len(name) == len(f".#{app}") + _WORK_DIGITS:
                remove_tree(f"{place.directory}/overlay/{name}")
