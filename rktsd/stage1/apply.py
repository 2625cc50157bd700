"""Carry out a plan: directories, bundles, then one call that hands every unit to systemd.

Hot path: what is imported here is paid at every start. Files under /run need no sync, and neither
does the pod's directory: a run that a crash of the machine ended is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from rktsd.errors import StoreError, SystemdError, Unsupported
from rktsd.host.files import write, write_atomic
from rktsd.systemd.bus import UnitExists
from rktsd.systemd.names import app_unit, ended_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktsd.stage1.types import FillPlan, PodPlan, UsersPlan
    from rktsd.systemd.bus import Bus

_COLLECTION_PATIENCE = 5.0
_LAST_WORDS = 1.0
# Since when overlayfs takes id-mapped mounts as layers.
_MAPS_LAYERS = (5, 19)


def write_bundles(plan: PodPlan) -> None:
    """Make what of the plan is a file or directory. Raises StoreError naming the path."""
    try:
        for path, mode, uid, gid in plan["directories"]:
            _make_directory(path, mode, uid, gid)
        for fill in plan["fills"]:
            _fill(fill, plan["pod"])
        if plan["mounts"]:
            _mount_memory(plan)
        for path, text in plan["files"]:
            write(path, text)
        for path, target in plan["links"]:
            # A prepared pod is started again with what its apps left there.
            if not os.path.lexists(path):
                os.symlink(target, path)
        if plan["users"] is not None:
            _see_to_users(plan, plan["users"])
        for path, digits in plan["programs"]:
            write_atomic(path, bytes.fromhex(digits), mode=0o755, durable=False)
        # The environment of an app may hold secrets.
        os.makedirs(f"{plan['run_directory']}/apps", 0o700, exist_ok=True)
        for bundle in plan["bundles"]:
            directory = bundle["directory"]
            # nspawn wants a root directory of the bundle's own that holds usr/, and locks it.
            os.makedirs(f"{directory}/rootfs/usr")
            write(f"{directory}/config.json", json.dumps(bundle["config"]))
            write(f"{directory}/run", bundle["run"])
    except OSError as error:
        raise StoreError(f"cannot write {error.filename}: {error.strerror}") from error


def write_unit_list(plan: PodPlan) -> None:
    """Leave word of every unit of the pod, for whoever stops or reaps it. Before they exist."""
    units = [plan["barrier"]["name"], *(unit["name"] for unit in reversed(plan["units"]))]
    if plan["metadata"] is not None and "@" in plan["metadata"]:
        units += [plan["metadata"], plan["metadata"].replace(".socket", ".service")]
    write_atomic(f"{plan['run_directory']}/units", " ".join(units) + "\n", durable=False)


def extend_unit_list(plan: PodPlan) -> None:
    """Add the units of an app that joins a pod. Before they exist."""
    path = f"{plan['run_directory']}/units"
    try:
        with open(path) as file:
            known = file.read().split()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    new = [unit["name"] for unit in (plan["barrier"], *plan["units"]) if unit["name"] not in known]
    write_atomic(path, " ".join([*new, *known]) + "\n", durable=False)


def launch(plan: PodPlan, bus: Bus) -> None:
    """Start all units, and return when every app is started.

    Raises SystemdError when systemd refuses a unit, or when an app could not be started; what did
    start is then the reaper's to stop.
    """
    await_start(plan, bus, queue(plan, bus))


def await_start(plan: PodPlan, bus: Bus, job: bytes) -> None:
    """Return when what ``queue`` began is done. Raises SystemdError with the reason if it fails."""
    result = bus.wait(job)
    if result != "done":
        socket = plan["metadata"]
        if socket is not None and bus.active_states([socket]).get(socket) != "active":
            raise SystemdError(
                f"pod {plan['pod']}: {socket} of the metadata service did not start",
                hint="is another program at its port?",
            )
        raise SystemdError(f"pod {plan['pod']}: {_reason(plan)}")


def queue(plan: PodPlan, bus: Bus, *, joining: bool = False, same: bool = False) -> bytes:
    """Hand all units to systemd, and have the barrier started. Returns the job.

    Raises SystemdError. With ``joining`` the pod is there already, and others may ask for its end;
    with ``same`` a unit that is loaded still is the one that is meant.
    """
    barrier = plan["barrier"]
    main = (barrier["name"], barrier["properties"])
    auxiliaries = [(unit["name"], unit["properties"]) for unit in plan["units"]]
    deadline = time.monotonic() + _COLLECTION_PATIENCE
    while True:
        try:
            return bus.start_transient(main, auxiliaries)
        except UnitExists:
            # systemd collects ended units when it comes to it, a little after their last job, but
            # not while the question whether the last run is over waits for this start.
            if same:
                # Other apps that name it in a dependency keep it, until they end themselves.
                with contextlib.suppress(SystemdError):
                    return bus.start(barrier["name"])
            if time.monotonic() > deadline:
                raise
            if not joining:
                bus.stop(ended_unit(plan["pod"]))
            time.sleep(0.01)
        except SystemdError as error:
            raise SystemdError(f"pod {plan['pod']}: systemd refuses its units: {error}") from error


def _reason(plan: PodPlan) -> str:
    """Why it did not start, as the apps' own ends tell, which are written a moment later."""
    deadline = time.monotonic() + _LAST_WORDS
    while (reason := _told(plan)) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return reason or _silence(plan)


def _told(plan: PodPlan) -> str | None:
    ended = 0
    for app in plan["apps"]:
        try:
            with open(f"{plan['directory']}/status/{app}") as file:
                result, *how = file.read().split()
        except (OSError, ValueError):
            continue
        if result != "success":
            # Without a process there is no exit status of it (systemd.exec(5), $EXIT_CODE).
            told = " ".join(how) if how else "before its program was executed"
            return f"app {app} did not start: {result} ({told})"
        ended += 1
    return "its apps ended before it was up" if 0 < ended == len(plan["apps"]) else None


def _silence(plan: PodPlan) -> str:
    silent = [
        app for app in plan["apps"] if not os.path.exists(f"{plan['directory']}/status/{app}")
    ]
    silent = silent or plan["apps"]
    sockets = [unit["name"] for unit in plan["units"] if unit["name"].endswith(".socket")]
    listed = [*(app_unit(plan["pod"], app) for app in silent), *sockets]
    units = " ".join(f"-u {unit}" for unit in listed)
    if sockets:
        units = f"{units} (is another program at a port of a socket?)"
    which = f"app {silent[0]}" if len(silent) == 1 else f"one of {', '.join(silent) or 'its units'}"
    return f"{which} did not start, and left no word why: see journalctl {units}"


def _fill(fill: FillPlan, pod: str) -> None:
    from rktsd.store.fill import fill_once, make_named

    directory, layers, path = fill["directory"], fill["layers"], fill["path"]
    mode, uid, gid = fill["mode"], fill["uid"], fill["gid"]
    if fill["name"]:
        make_named(directory, layers, path, pod=pod, mode=mode, uid=uid, gid=gid)
    else:
        fill_once(directory, layers, path, mode=mode, uid=uid, gid=gid)


def _see_to_users(plan: PodPlan, users: UsersPlan) -> None:
    """Give its files to the pod's range, and find out before the start what cannot be shown to it.

    Raises Unsupported.
    """
    import re

    from rktsd.host.idmap import mapping

    first = users["first"]
    write(f"{plan['directory']}/users", f"{first}\n")
    for path in users["owned"]:
        os.chown(path, first, first)
    where = f"pod {plan['pod']}: private users"
    release = os.uname().release
    if tuple(int(word) for word in re.findall(r"\d+", release)[:2]) < _MAPS_LAYERS:
        raise Unsupported(f"{where}: this kernel ({release}) cannot id-map layers, Linux 5.19 can")
    try:
        with mapping(first) as namespace:
            for source, recursive in users["sources"]:
                _check_source(source, namespace, recursive=recursive, where=where)
    except OSError as error:
        raise Unsupported(f"{where}: the kernel gives none: {error.strerror}") from error


def _check_source(source: str, namespace: int, *, recursive: bool, where: str) -> None:
    from rktsd.host.idmap import mapped

    try:
        with mapped(source, namespace, recursive=False):
            pass
    except OSError as error:
        raise Unsupported(
            f"{where}: {source}: its file system cannot be id-mapped: {error.strerror}"
        ) from error
    if not recursive:
        return
    try:
        with mapped(source, namespace, recursive=True):
            pass
    except OSError as error:
        raise Unsupported(
            f"{where}: {source}: a file system below it cannot be id-mapped: {error.strerror}",
            hint="recursive = false leaves out what is mounted there",
        ) from error


def _mount_memory(plan: PodPlan) -> None:
    from rktsd.host.mounts import mount_tmpfs

    place = f"{plan['run_directory']}/mounts"
    known: list[str] = []
    with contextlib.suppress(FileNotFoundError), open(place) as file:
        known = file.read().split()
    # Known to the reaper before they exist.
    paths = dict.fromkeys((*known, *(path for path, _ in plan["mounts"])))
    write_atomic(place, " ".join(paths) + "\n", durable=False)
    for path, options in plan["mounts"]:
        # An app that joins the pod finds those of the others.
        if not os.path.ismount(path):
            os.makedirs(path, 0o700, exist_ok=True)
            mount_tmpfs(path, options)


def _make_directory(path: str, mode: int, uid: int, gid: int) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        # A prepared pod is started again with what its apps left there.
        return
    os.chown(path, uid, gid)
    os.chmod(path, mode)
