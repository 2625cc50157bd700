"""Which volume is mounted where in an app (appc spec, pods.md, and rkt's rules). Pure."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from rktsd.appc.types import PodManifest, Volume
from rktsd.errors import BadInput, Unsupported
from rktsd.stage1.types import AppFacts

# nspawn makes these itself: it hides what is mounted there, or makes directories of its own in it.
_NSPAWNS = ("/proc", "/sys")
_NSPAWNS_ROOTS = ("/", "/dev", "/run")


@dataclass(frozen=True, slots=True)
class BindMount:
    """``source`` on the host appears at ``target`` in the app."""

    source: str
    target: str
    read_only: bool
    recursive: bool


@dataclass(frozen=True, slots=True)
class EmptyVolume:
    """A directory of the pod, made before its apps start."""

    path: str
    mode: int
    uid: int
    gid: int


def app_mounts(
    manifest: PodManifest, facts: AppFacts, directory: str
) -> tuple[list[BindMount], list[EmptyVolume]]:
    """The mounts of one app, by path, and the empty volumes that they need.

    A ``mounts`` entry beats an image mount point on the same path; of several the first wins.
    A mount point without a volume gets an empty one of its own, except where the image came with
    OCI semantics: there the image's content shows through, as the root is the app's own anyway.
    Raises BadInput for a mount of a volume that the pod does not have.
    """
    volumes = {volume.name: volume for volume in manifest.volumes}
    points = {_clean(point.path): point for point in facts.app.mount_points}
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
        elif not facts.docker:
            # No name of an app or volume has a dot: nobody else's volume can be called so.
            wanted[path] = Volume(name=f"{facts.runtime.name}.{point.name}", kind="empty")
        elif facts.runtime.read_only_root_fs:
            raise Unsupported(
                f"app {facts.runtime.name}: volume {point.name} of the image at {path} with a"
                " read-only root",
                hint=f"give the pod a volume called {point.name}",
            )
    binds, empties = [], []
    for path in sorted(wanted):
        volume = wanted[path]
        if path in _NSPAWNS_ROOTS or any(f"{path}/".startswith(f"{own}/") for own in _NSPAWNS):
            raise Unsupported(
                f"app {facts.runtime.name}: volume {volume.name} cannot be mounted at {path}"
            )
        read_only = volume.read_only
        if read_only is None:
            read_only = path in points and points[path].read_only
        source = volume.source
        if volume.kind == "empty" or source is None:
            source = f"{directory}/volumes/{volume.name}"
            mode = 0o755 if volume.mode is None else volume.mode
            empties.append(EmptyVolume(source, mode, volume.uid or 0, volume.gid or 0))
        binds.append(BindMount(source, path, read_only, volume.recursive is not False))
    return binds, empties


def _clean(path: str) -> str:
    # normpath keeps two leading slashes, which mean nothing to Linux.
    return "/" + posixpath.normpath(path).lstrip("/")
