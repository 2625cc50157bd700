"""A pod becomes units and bundles: data in, data out, no disk, no bus, no clock.

The arrangement: one transient service per app in the pod's slice, and a barrier unit that requires
them all, whose start job tells when the pod is up. Nothing of it depends on rkt@POD: a dependency
would give the apps of the old run a job when the pod is restarted. Instead the slice, which systemd
stops once when its last app is gone, asks for rkt-ended@POD (OnSuccess=). An app does so as well
when it fails and that is to stop the others. What is planned of a pod whose apps come and go is in
``joining``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rktsd import paths
from rktsd.appc import isolators, limits
from rktsd.config.flavors import FLY
from rktsd.errors import BadInput, Unsupported
from rktsd.stage1 import (
    attachment,
    bundle,
    fly,
    health,
    joining,
    processes,
    resources,
    sysctl,
    users,
)
from rktsd.stage1.flavors import app_bundle
from rktsd.stage1.handlers import commands, handler_bundles
from rktsd.stage1.mounts import AppMounts, BindMount, app_mounts
from rktsd.stage1.order import check_order
from rktsd.stage1.readiness import readiness
from rktsd.stage1.settings import merged, unit_properties
from rktsd.stage1.sockets import socket_unit
from rktsd.stage1.types import (
    AppFacts,
    BundlePlan,
    FillPlan,
    PodFacts,
    PodPlan,
    UnitPlan,
)
from rktsd.systemd import names

if TYPE_CHECKING:
    from rktsd.systemd.bus import Property

DEFAULT_STOP_TIMEOUT = 10.0
"""Seconds between SIGTERM and SIGKILL, as Docker and Podman have it."""

# As systemd-nspawn has it for an app of its own.
SHARED_MEMORY = "10%"
"""The size of /dev/shm, as systemd-nspawn has it for one app."""

_DEVICES = (("/dev/net/tun", "rwm"), ("char-pts", "rw"))

MANUAL = "man:rkt@.service(8)"


def plan(pod: PodFacts, apps: Sequence[AppFacts], *, whole: bool = True) -> PodPlan:
    """The units, bundles, directories and files of a pod; with ``whole`` off ``apps`` are some of
    its apps only.

    Raises BadInput or Unsupported, naming the app and the field, for what cannot be planned.
    """
    if not apps and not pod.mutable:
        raise BadInput(f"pod {pod.name}: pod must contain at least one application")
    if whole:
        check_order(
            {facts.runtime.name: {*facts.after, *facts.requires} for facts in apps},
            {facts.runtime.name: f"app {facts.runtime.name}" for facts in apps},
        )
    activated = frozenset(facts.runtime.name for facts in apps if facts.listeners)
    started = _units(pod, (facts.runtime.name for facts in apps), activated)
    if pod.users is not None:
        users.check(pod, apps)
    directories: dict[str, tuple[str, int, int, int]] = {}
    files = _pod_files(pod)
    owned = [path for path, _ in files]
    told: list[str] = []
    links: list[tuple[str, str]] = []
    kernel = _sysctl(pod, apps)
    joining.check(pod, kernel)
    pod = replace(pod, ipc_settings=sysctl.of_ipc(kernel))
    bandwidth, missing = _bandwidth(pod, apps)
    missing = [*_unapplied(pod, apps), *missing]
    if pod.strict and missing:
        raise Unsupported(f"pod {pod.name}: {missing[0]}")
    units = [_slice(pod), *processes.holder(pod), *joining.pin(pod)]
    bundles: list[BundlePlan] = []
    fills: dict[str, FillPlan] = {}
    memory: dict[str, str] = {}
    programs: list[tuple[str, str]] = []
    for facts in apps:
        name = facts.runtime.name
        mounts = app_mounts(
            pod.manifest,
            facts,
            pod.directory,
            volumes=pod.volumes,
            flavor=pod.flavor,
            users=pod.users,
        )
        for directory in _app_directories(pod, facts, mounts):
            directories.setdefault(directory[0], directory)
        for fill in mounts.fills:
            fills.setdefault(fill["directory"], fill)
        memory.update(mounts.memory)
        shared = _shared_memory(pod, mounts.binds)
        memory.update((bind.source, _memory(pod)) for bind in shared if bind.source != "/dev/shm")
        overlay = f"{pod.directory}/overlay/{name}"
        places = [f"{overlay}{place.path}" for place in facts.placeholders if place.is_file]
        files += [(place, "") for place in places]
        owned += places
        links += [
            (f"{overlay}{place.path}", place.link) for place in facts.placeholders if place.link
        ]
        if facts.launcher is not None:
            programs.append((bundle.launcher_path(pod, facts), facts.launcher.program.hex()))
        bundle_directory = f"{pod.run_directory}/apps/{name}"
        all_binds = [*_host_files(pod, facts, mounts.binds), *shared, *mounts.binds]
        seen = facts
        if pod.users is not None:
            seen, all_binds, settings = users.shown(pod, facts, bundle_directory, all_binds)
            files.append((users.settings_file(pod, name), settings))
            told.append(settings)
        bundles.append(app_bundle(pod, seen, bundle_directory, all_binds))
        if facts.handlers:
            bundles += handler_bundles(pod, seen, bundle_directory, all_binds)
        units.append(_app_unit(pod, facts, bundle_directory, mounts.binds, activated))
        if facts.listeners:
            units.append(socket_unit(pod, facts))
        if attachment.endpoints(facts):
            units.append(attachment.unit(pod, facts))
            files += attachment.files(pod, facts)
        if facts.health is not None:
            units += health.health_units(pod, facts)
            files += health.files(pod, facts)
            directories[health.directory(pod)] = (health.directory(pod), 0o755, 0, 0)
    return {
        "pod": pod.name,
        "uuid": pod.uuid,
        "directory": pod.directory,
        "run_directory": pod.run_directory,
        "apps": [facts.runtime.name for facts in apps],
        "barrier": _barrier(pod, started),
        "units": units,
        "bundles": bundles,
        "directories": list(directories.values()),
        "files": files,
        "links": links,
        "fills": list(fills.values()),
        "mounts": list(memory.items()),
        "programs": programs,
        "bandwidth": bandwidth,
        "sysctl": {**users.network_settings(pod), **sysctl.of_network(kernel)},
        "metadata": _metadata(pod),
        "unapplied": missing,
        "users": users.users_plan(pod, told, owned),
    }


def _pod_files(pod: PodFacts) -> list[tuple[str, str]]:
    files = [
        (f"{pod.run_directory}/hosts", pod.hosts),
        (f"{pod.run_directory}/hostname", f"{pod.hostname}\n"),
        (f"{pod.run_directory}/machine-id", f"{pod.uuid.replace('-', '')}\n"),
    ]
    if pod.resolv_conf is not None:
        files.append((f"{pod.run_directory}/resolv.conf", pod.resolv_conf))
    return files


def _app_directories(
    pod: PodFacts, facts: AppFacts, mounts: AppMounts
) -> Iterable[tuple[str, int, int, int]]:
    """(path, mode, uid, gid) of the app's own layer and of its empty volumes, parents first."""
    overlay = f"{pod.directory}/overlay/{facts.runtime.name}"
    # What an app writes may be setuid: nobody else on the host gets to it.
    yield f"{pod.directory}/overlay", 0o700, 0, 0
    yield overlay, 0o755, pod.users or 0, pod.users or 0
    for place in facts.placeholders:
        if not (place.is_file or place.link):
            yield f"{overlay}{place.path}", place.mode, *users.owner(pod.users, place)
    if pod.flavor == FLY:
        yield f"{pod.directory}/work", 0o700, 0, 0
        yield fly.work_directory(pod, facts.runtime.name), 0o700, 0, 0
    if facts.launcher is not None:
        yield f"{pod.directory}/launchers", 0o700, 0, 0
    yield from attachment.directories(pod, facts)
    if mounts.directories or any(not fill["name"] for fill in mounts.fills):
        yield f"{pod.directory}/volumes", 0o700, 0, 0
    yield from mounts.directories


def _unapplied(pod: PodFacts, apps: Sequence[AppFacts]) -> list[str]:
    """What this machine cannot do of what was asked for, a line each."""
    found = [
        *resources.unapplied(pod.manifest.isolators, pod.machine),
        *resources.unapplied_settings(pod.systemd or {}, pod.machine),
    ]
    for facts in apps:
        name = facts.runtime.name
        found += [f"app {name}: {each}" for each in facts.unapplied]
        if pod.users is not None:
            found += [f"app {name}: {each}" for each in users.powerless(facts.app.isolators)]
        own = [
            *resources.unapplied(facts.app.isolators, pod.machine),
            *resources.unapplied_settings(facts.systemd or {}, pod.machine),
        ]
        found += [f"app {name}: {each}" for each in own]
    return found


def _bandwidth(pod: PodFacts, apps: Sequence[AppFacts]) -> tuple[int | None, list[str]]:
    """Bytes a second of each of the pod's interfaces, and what cannot be done of what was asked.

    The apps share the interfaces: a limit for one of several cannot be told apart there.
    """
    rate = limits.network_bandwidth(pod.manifest.isolators)
    asking = [facts for facts in apps if limits.network_bandwidth(facts.app.isolators) is not None]
    missing = []
    if asking and len(apps) == 1 and not pod.mutable:
        own = limits.network_bandwidth(asking[0].app.isolators)
        rate = own if rate is None or own is None else min(rate, own)
    elif asking:
        missing = [
            f"app {facts.runtime.name}: {isolators.NETWORK_BANDWIDTH}: the apps of a pod share its"
            " interfaces; give it to the pod"
            for facts in asking
        ]
    if rate is not None and pod.namespace is None:
        missing.append(f"{isolators.NETWORK_BANDWIDTH}: the pod has the network of the host")
        rate = None
    if rate is not None and not pod.machine.shaping:
        missing.append(f"{isolators.NETWORK_BANDWIDTH}: this kernel has no ifb or no tbf (tc(8))")
        rate = None
    return rate, missing


def _sysctl(pod: PodFacts, apps: Sequence[AppFacts]) -> dict[str, str]:
    """The kernel settings of the pod, and those that its apps ask for; they must not differ."""
    own = {"own_network": pod.namespace is not None, "own_ipc": pod.ipc != "parent"}
    found = sysctl.checked(pod.manifest.isolators, f"pod {pod.name}", **own)
    for facts in apps:
        where = f"app {facts.runtime.name}"
        for name, value in sysctl.checked(facts.app.isolators, where, **own).items():
            if found.setdefault(name, value) != value:
                raise BadInput(f"{where}: sysctl {name}: {value!r} here and {found[name]!r} there")
    return found


def _host_files(pod: PodFacts, facts: AppFacts, binds: Sequence[BindMount]) -> Iterable[BindMount]:
    """The pod's hosts, hostname and resolv.conf, unless a volume or the image has its own."""
    taken = {bind.target for bind in binds}
    offered = {
        "/etc/hostname": True,
        "/etc/machine-id": True,
        "/etc/hosts": pod.hosts_forced or "/etc/hosts" not in facts.own_files,
    }
    if pod.resolv_conf is not None:
        offered["/etc/resolv.conf"] = True
    for target, wanted in offered.items():
        if wanted and target not in taken:
            source = f"{pod.run_directory}/{target.removeprefix('/etc/')}"
            # Read-only: they lie in memory of the host, and are shared by the apps.
            yield BindMount(source, target, read_only=True, recursive=False)


def _slice(pod: PodFacts) -> UnitPlan:
    chosen: list[Property] = [
        ("Description", "s", pod.description or f"Apps of pod {pod.name}"),
        ("Documentation", "as", [MANUAL]),
        # Without it an empty slice would stay, and be in the way of the next start.
        ("StopWhenUnneeded", "b", True),
        ("OnSuccess", "as", [names.ended_unit(pod.name)]),
        ("CollectMode", "s", "inactive-or-failed"),
        *resources.resource_properties(pod.manifest.isolators, pod.machine),
        *unit_properties(pod.systemd or {}, f"pod {pod.name}: systemd", slice=True),
    ]
    refused = isolators.misplaced(pod.manifest.isolators)
    if refused:
        raise Unsupported(f"pod {pod.name}: isolator {refused[0]} is for apps, not for pods")
    return {"name": names.pod_slice(pod.name), "properties": merged(chosen)}


def _metadata(pod: PodFacts) -> str | None:
    if not pod.metadata:
        return None
    return names.metadata_socket(pod.name, own_network=pod.namespace is not None)


def _barrier(pod: PodFacts, app_units: list[str]) -> UnitPlan:
    app_units = [*app_units, *(unit["name"] for unit in joining.pin(pod))]
    socket = _metadata(pod)
    if socket is not None:
        app_units = [*app_units, socket]
    return {
        "name": names.barrier_unit(pod.name),
        "properties": [
            ("Description", "s", f"All apps of pod {pod.name} are started"),
            ("Type", "s", "oneshot"),
            ("CollectMode", "s", "inactive-or-failed"),
            ("Slice", "s", names.pod_slice(pod.name)),
            ("Requires", "as", app_units),
            ("After", "as", app_units),
            ("ExecStart", "a(sasb)", [("/bin/true", ["/bin/true"], False)]),
        ],
    }


def _app_unit(
    pod: PodFacts,
    facts: AppFacts,
    bundle_directory: str,
    binds: Sequence[BindMount],
    activated: Collection[str],
) -> UnitPlan:
    name = facts.runtime.name
    pod_unit = names.pod_unit(pod.name)
    stop_timeout = DEFAULT_STOP_TIMEOUT if facts.stop_timeout is None else facts.stop_timeout
    documentation = [MANUAL, *pod.documentation]
    record = [f"{paths.LIBEXEC}/record-result", f"{pod.directory}/status/{name}"]
    record += attachment.record(pod, facts)
    chosen: list[Property] = [
        ("Description", "s", f"{name} of pod {pod.name} ({facts.image})"),
        ("Documentation", "as", documentation),
        ("Slice", "s", names.pod_slice(pod.name)),
        (
            "After",
            "as",
            ["network.target", *_units(pod, (*facts.after, *facts.requires), activated)],
        ),
        ("CollectMode", "s", "inactive-or-failed"),
        *processes.dependencies(pod),
        *joining.dependencies(pod),
        *readiness(facts).properties(),
        ("KillMode", "s", "mixed"),
        ("Delegate", "b", True),
        ("SyslogIdentifier", "s", name),
        (
            "LogExtraFields",
            "aay",
            [
                f"OBJECT_SYSTEMD_UNIT={pod_unit}",
                # A process that is gone before journald looks at it has a unit but no slice.
                f"OBJECT_SYSTEMD_UNIT={names.pod_slice(pod.name)}",
                f"RKT_POD={pod.name}",
                f"RKT_POD_UUID={pod.uuid}",
                f"RKT_APP={name}",
            ],
        ),
        ("TimeoutStopUSec", "t", int(stop_timeout * 10**6)),
        # The exit status of an app that the signal to stop ended, as programs make it themselves.
        ("SuccessExitStatus", "(aiai)", ([128 + facts.stop_signal], _fatal(pod, facts))),
        ("ExecStart", "a(sasb)", [("/bin/sh", ["/bin/sh", f"{bundle_directory}/run"], False)]),
        *commands(facts, bundle_directory, record),
    ]
    if pod.flavor == FLY:
        chosen.append(("KillSignal", "i", facts.stop_signal))
    socket = _metadata(pod)
    if socket is not None:
        # To stop it is not to stop the app: only the barrier requires it.
        chosen += [("Wants", "as", [socket]), ("After", "as", [socket])]
    chosen += attachment.dependencies(pod, facts)
    if facts.health is not None:
        chosen.append(("Wants", "as", [names.health_timer(pod.name, name)]))
    if facts.requires:
        chosen.append(("Requires", "as", _units(pod, facts.requires, activated)))
    if pod.on_app_failure == "stop":
        chosen.append(("OnFailure", "as", [names.ended_unit(pod.name)]))
    if "paths" not in facts.insecure:
        chosen += [
            ("DevicePolicy", "s", "closed"),
            ("DeviceAllow", "a(ss)", [*_DEVICES, *_device_volumes(pod, binds)]),
        ]
    chosen += _ipc(pod, name)
    chosen += resources.resource_properties(facts.app.isolators, pod.machine)
    where, is_fly = f"app {name}: systemd", pod.flavor == FLY
    chosen += unit_properties(facts.systemd or {}, where, slice=False, fly=is_fly)
    return {"name": names.app_unit(pod.name, name), "properties": merged(chosen)}


def _fatal(pod: PodFacts, facts: AppFacts) -> list[int]:
    """The signal to stop where it is the app's own main process that it may end."""
    return [facts.stop_signal] if pod.flavor == FLY else []


def _units(pod: PodFacts, apps: Iterable[str], activated: Collection[str]) -> list[str]:
    """What has to be started for apps: of one that is ``activated`` only its sockets."""
    return [
        names.app_socket(pod.name, app) if app in activated else names.app_unit(pod.name, app)
        for app in dict.fromkeys(apps)
    ]


def _memory(pod: PodFacts) -> str:
    size = SHARED_MEMORY if pod.shm_size is None else str(pod.shm_size)
    owner = "" if pod.users is None else f",uid={pod.users},gid={pod.users}"
    return f"mode=1777,size={size}{owner}"


def _shared_memory(pod: PodFacts, binds: Sequence[BindMount]) -> list[BindMount]:
    """The /dev/shm that comes with the IPC namespace, unless a volume is mounted there."""
    source, taken = pod.shared_memory, {bind.target for bind in binds}
    if source is None or "/dev/shm" in taken:
        return []
    return [BindMount(source, "/dev/shm", read_only=False, recursive=False)]


def _ipc(pod: PodFacts, app: str) -> Iterable[Property]:
    """The apps of a pod share an IPC namespace (rkt); the only one of a pod gets it from nspawn."""
    first = names.app_unit(pod.name, pod.manifest.apps[0].name)
    if pod.mutable:
        first = names.pin_unit(pod.name)
    if pod.ipc != "parent" and (pod.shared_memory or pod.ipc_settings):
        yield "PrivateIPC", "b", True
        if first != names.app_unit(pod.name, app):
            yield "JoinsNamespaceOf", "as", [first]


def _device_volumes(pod: PodFacts, binds: Sequence[BindMount]) -> Iterable[tuple[str, str]]:
    """What the app may do with devices that are volumes (rkt)."""
    for bind in binds:
        if bind.source in pod.devices:
            allowed = "r" if bind.read_only else "rw"
            # A node of the app's own is made for private users, which cannot make any themselves.
            yield pod.devices[bind.source], allowed if pod.users is None else f"{allowed}m"
