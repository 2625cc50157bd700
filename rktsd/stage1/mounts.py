"""Which volume is mounted where in an app (appc spec, pods.md, and rkt's rules). Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rktsd.appc.types import MountPoint, PodManifest, Volume
from rktsd.config.flavors import NSPAWN
from rktsd.errors import BadInput, Unsupported
from rktsd.stage1.types import AppFacts, FillPlan, PodFacts, VolumeFacts

# nspawn makes these itself: it hides what is mounted there, or makes directories of its own in it.
_NSPAWNS = ("/proc", "/sys")
_NSPAWNS_ROOTS = ("/", "/dev", "/run")

NAMED = "named"


@dataclass(frozen=True, slots=True)
class BindMount:
    """``source`` on the host appears at ``target`` in the app."""

    source: str
    target: str
    read_only: bool
    recursive: bool


@dataclass(frozen=True, slots=True)
class AppMounts:
    """The mounts of an app by target, and what has to be there first.

    ``directories`` are empty volumes as (path, mode, uid, gid), ``memory`` tmpfs volumes as (path,
    mount options).
    """

    binds: tuple[BindMount, ...]
    directories: tuple[tuple[str, int, int, int], ...] = ()
    fills: tuple[FillPlan, ...] = ()
    memory: tuple[tuple[str, str], ...] = ()


def app_mounts(
    manifest: PodManifest,
    facts: AppFacts,
    directory: str,
    *,
    volumes: Mapping[str, VolumeFacts] | None = None,
    flavor: str = NSPAWN,
    users: int | None = None,
) -> AppMounts:
    """What is mounted in one app of the pod in ``directory``, whose users begin at ``users``.

    A ``mounts`` entry beats an image mount point on the same path; of several the first wins.
    A mount point without a volume gets an empty one of its own. Where the image came with OCI
    semantics that holds the image's content, which is seen also without a volume as long as the
    root is writable. Raises BadInput for a mount of a volume that the pod does not have.
    """
    points = {_clean(point.path): point for point in facts.app.mount_points}
    binds, directories, fills, memory = [], [], [], []
    for path, volume in sorted(_wanted(manifest, facts, points).items()):
        refuse_place(facts.runtime.name, volume, path, flavor)
        read_only = volume.read_only
        if read_only is None:
            read_only = path in points and points[path].read_only
        special = (volumes or {}).get(volume.name)
        if volume.kind == "host" and volume.source is not None:
            source = volume.source
        elif special is not None:
            source = special.path
            if special.kind == NAMED:
                fills.append(_fill(facts, volume, path, f"{source}/..", special.name))
            else:
                memory.append((source, _memory_options(volume, special, users or 0)))
        else:
            source = f"{directory}/volumes/{volume.name}"
            if _is_implicit(volume) and facts.docker:
                fills.append(_fill(facts, volume, path, source, ""))
            else:
                mode = 0o755 if volume.mode is None else volume.mode
                directories.append((source, mode, volume.uid or 0, volume.gid or 0))
        # As in rkt, where fly took file systems below a volume along only when told to.
        recursive = volume.recursive is True or (volume.recursive is None and flavor == NSPAWN)
        binds.append(BindMount(source, path, read_only, recursive))
    return AppMounts(tuple(binds), tuple(directories), tuple(fills), tuple(memory))


def hidden(pod: PodFacts, facts: AppFacts, binds: Sequence[BindMount]) -> Sequence[str]:
    """What an app is not to see of /sys, where that is the host's.

    An app with a network of its own gets a /sys from systemd-nspawn in which this is not.
    """
    if pod.namespace is not None or "paths" in facts.insecure:
        return ()
    return () if any(bind.target == "/sys" for bind in binds) else pod.machine.sensitive


def _wanted(
    manifest: PodManifest, facts: AppFacts, points: Mapping[str, MountPoint]
) -> dict[str, Volume]:
    """Which volume goes where, by path in the app."""
    volumes = {volume.name: volume for volume in manifest.volumes}
    wanted: dict[str, Volume] = {}
    for mount in facts.runtime.mounts:
        volume = mount.app_volume or volumes.get(mount.volume)
        if volume is None:
            raise BadInput(
                f"app {facts.runtime.name}: dangling mount point {mount.path}:"
                f" volume {mount.volume} not found"
            )
        wanted.setdefault(_clean(mount.path), volume)
    for path, point in points.items():
        if path in wanted:
            continue
        if point.name in volumes:
            wanted[path] = volumes[point.name]
        elif not facts.docker or facts.runtime.read_only_root_fs:
            # No name of an app or volume has a dot: nobody else's volume can be called so.
            wanted[path] = Volume(name=f"{facts.runtime.name}.{point.name}", kind="empty")
    return wanted


def _is_implicit(volume: Volume) -> bool:
    return "." in volume.name


def refuse_place(app: str, volume: Volume, path: str, flavor: str) -> None:
    """Raise Unsupported for a path where an app has something else that no volume can replace."""
    if path == "/sys" and volume.source == "/sys":
        # nspawn leaves a sysfs there as it is.
        return
    hidden = path in _NSPAWNS_ROOTS or any(f"{path}/".startswith(f"{own}/") for own in _NSPAWNS)
    if path == "/" or (hidden and flavor == NSPAWN):
        raise Unsupported(f"app {app}: volume {volume.name} cannot be mounted at {path}")


def _fill(facts: AppFacts, volume: Volume, path: str, directory: str, name: str) -> FillPlan:
    return {
        "directory": posixpath.normpath(directory),
        "name": name,
        "layers": list(facts.layers),
        "path": path,
        "mode": volume.mode,
        "uid": volume.uid,
        "gid": volume.gid,
    }


def _memory_options(volume: Volume, special: VolumeFacts, users: int) -> str:
    mode = 0o755 if volume.mode is None else volume.mode
    options = f"mode={mode:04o},uid={users + (volume.uid or 0)},gid={users + (volume.gid or 0)}"
    return options if special.size is None else f"{options},size={special.size}"


def _clean(path: str) -> str:
    # normpath keeps two leading slashes, which mean nothing to Linux.
    return "/" + posixpath.normpath(path).lstrip("/")
