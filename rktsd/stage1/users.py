"""Apps with private users: what they see is mapped, and on disk nothing changes hands. Pure.

Layers and volumes keep their owners. An id-mapped mount of each, in a mount namespace that goes
with the app, shows them to systemd-nspawn as belonging to the pod's range of users. What an app
writes in its root, and what is in memory, belongs to that range itself. No user namespace of an app
owns the pod's network: the apps would have to be in one and the same, which systemd-nspawn cannot
do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rktsd import paths
from rktsd.appc import isolators
from rktsd.appc.types import Isolator
from rktsd.errors import BadInput, Unsupported
from rktsd.paths import USER_RANGE
from rktsd.stage1.mounts import BindMount
from rktsd.stage1.types import AppFacts, Placeholder, PodFacts, UsersPlan

# To whom belongs what belongs to none of the range (user_namespaces(7)).
_NOBODY = 65534

# Those that the kernel asks for in the user namespace of the machine or of the network alone.
_POWERLESS = frozenset(
    f"CAP_{name}"
    for name in (
        "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "IPC_LOCK",
        "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BROADCAST",
        "NET_RAW", "PERFMON", "SYS_BOOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_RAWIO",
        "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM",
    )
)  # fmt: skip


def check(pod: PodFacts, apps: Iterable[AppFacts]) -> None:
    """Refuse users that the pod's range does not have, and what goes with none.

    Raises BadInput, Unsupported.
    """
    known = f"with private users there are 0 to {USER_RANGE - 1}"
    for facts in apps:
        if "paths" in facts.insecure:
            raise Unsupported(
                f"app {facts.runtime.name}: insecure paths: not with private users, to whom"
                " systemd-nspawn gives no writable /sys and /proc"
            )
        for number in (facts.uid, facts.gid, *facts.app.supplementary_gids):
            if number >= USER_RANGE:
                raise BadInput(f"app {facts.runtime.name}: user or group {number}: {known}")
    inline = (mount.app_volume for app in pod.manifest.apps for mount in app.mounts)
    for volume in (*pod.manifest.volumes, *(each for each in inline if each is not None)):
        for number in (volume.uid or 0, volume.gid or 0):
            if number >= USER_RANGE:
                raise BadInput(f"volume {volume.name}: user or group {number}: {known}")


def powerless(asked: Sequence[Isolator]) -> list[str]:
    """What of the capabilities that an app asks for by name has no effect, in a line."""
    if all(each.name != isolators.CAPABILITIES_RETAIN for each in asked):
        return []
    found = sorted(isolators.capability_set(asked) & _POWERLESS)
    if not found:
        return []
    return [f"{', '.join(found)}: without effect in a pod with private users"]


def network_settings(pod: PodFacts) -> dict[str, str]:
    """Kernel settings of the pod's network, by name."""
    if pod.users is None or pod.namespace is None:
        return {}
    # In place of CAP_NET_BIND_SERVICE and CAP_NET_RAW, which hold in no network of the machine's.
    return {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 2147483647",
    }


def owner(first: int | None, place: Placeholder) -> tuple[int, int]:
    """User and group of a directory in the app's own layer."""
    if first is None:
        return place.uid, place.gid
    uid, gid = (each if each < USER_RANGE else _NOBODY for each in (place.uid, place.gid))
    return first + uid, first + gid


def settings_file(pod: PodFacts, app: str) -> str:
    """Where the app's program of ``script_lines`` is told what to do."""
    return f"{pod.run_directory}/users-{app}"


def script_lines(pod: PodFacts, app: str) -> str:
    """The beginning of the script of an app: it goes on inside of the mount namespace."""
    if pod.users is None:
        return ""
    program = f"{paths.LIBEXEC}/app-users"
    return f'[ "$1" = inside ] || exec {program} {settings_file(pod, app)} "$0"\n'


def options(pod: PodFacts) -> list[str]:
    """What systemd-nspawn is told. Files are mapped, and not given to others."""
    if pod.users is None:
        return []
    return [f"--private-users={pod.users}:{USER_RANGE}", "--private-users-ownership=off"]


def shown(
    pod: PodFacts, facts: AppFacts, bundle: str, binds: Sequence[BindMount]
) -> tuple[AppFacts, list[BindMount], str]:
    """An app and its mounts as systemd-nspawn is to see them, and how they come to be that (JSON).

    That says as well what systemd-nspawn cannot do for such an app. In it are ``maps``, (source,
    target, with what is mounted below), and ``nodes`` of devices, (source, target).
    """
    place = f"{bundle}/mapped"
    maps: list[tuple[str, str, bool]] = []
    nodes: list[tuple[str, str]] = []
    layers = []
    for layer in facts.layers:
        layers.append(f"{place}/{len(maps)}")
        maps.append((layer, layers[-1], False))
    mounts = []
    for bind in binds:
        target = f"{place}/{len(maps) + len(nodes)}"
        if bind.source in pod.devices:
            nodes.append((bind.source, target))
            bind = replace(bind, source=target)
        elif not _is_own(pod, bind.source):
            maps.append((bind.source, target, bind.recursive))
            bind = replace(bind, source=target)
        mounts.append(bind)
    told = {
        "first": pod.users,
        "namespace": pod.namespace,
        "oom_score_adj": isolators.oom_score_adj(facts.app.isolators),
        "place": place,
        "maps": maps,
        "nodes": nodes,
    }
    return replace(facts, layers=tuple(layers)), mounts, json.dumps(told)


def _is_own(pod: PodFacts, source: str) -> bool:
    """What lies in memory belongs to the pod already, or is the host's."""
    return source == "/dev/shm" or source.startswith(f"{pod.run_directory}/")


def users_plan(pod: PodFacts, told: Iterable[str], owned: Sequence[str]) -> UsersPlan | None:
    """What is to be seen to before the start; ``told`` are those of ``shown``."""
    if pod.users is None:
        return None
    sources: dict[tuple[str, bool], None] = {}
    for text in told:
        sources.update(
            {(source, recursive): None for source, _, recursive in json.loads(text)["maps"]}
        )
    return {"first": pod.users, "sources": list(sources), "owned": list(owned)}
