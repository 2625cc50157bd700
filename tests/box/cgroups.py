"""A cgroup per box in every hierarchy, so that boxes share neither /system.slice nor limits.

The hierarchies are mounted anew in a mount namespace of our own: that shows them also where
/sys/fs/cgroup is not mounted (a chroot) and leaves the host's mounts alone.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from typing import NamedTuple

from tests.box import syscalls

# named hierarchies other than systemd's (name=openrc, name=elogind) mean nothing to systemd
SYSTEMD = "name=systemd"
# where the reaper goes that must make room for children with controllers
_LEAF = "-reaper"


class Hierarchy(NamedTuple):
    """``controllers`` as in /proc/self/cgroup, "" for v2; ``path`` is this process's own cgroup."""

    controllers: str
    path: str

    @property
    def directory(self) -> str:
        """Its name under /sys/fs/cgroup on a hybrid host."""
        return {"": "unified", SYSTEMD: "systemd"}.get(self.controllers, self.controllers)


def parse(text: str) -> list[Hierarchy]:
    """The hierarchies that /proc/self/cgroup names."""
    found = []
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers.startswith("name=") and controllers != SYSTEMD:
            continue
        # a process that was moved into a cgroup namespace from outside sees "/../.."
        found.append(Hierarchy(controllers, "/" if path.startswith("/..") else path))
    return found


def has_controllers(hierarchy: Hierarchy) -> bool:
    """Whether this is a hierarchy of v1 that limits anything."""
    return hierarchy.controllers not in ("", SYSTEMD)


def wanted(found: Iterable[Hierarchy], mode: str) -> list[Hierarchy]:
    """The hierarchies that a box of this mode ("hybrid" or "unified") has."""
    unified = [item for item in found if not item.controllers] or [Hierarchy("", "/")]
    if mode == "unified":
        return unified
    legacy = [item for item in found if item.controllers]
    if all(item.controllers != SYSTEMD for item in legacy):
        legacy.append(Hierarchy(SYSTEMD, "/"))
    return legacy + unified


def mount_hierarchy(hierarchy: Hierarchy, target: str) -> None:
    os.makedirs(target, exist_ok=True)
    if not hierarchy.controllers:
        syscalls.mount("cgroup2", target, kind="cgroup2")
        return
    options = hierarchy.controllers
    if options == SYSTEMD:
        options = f"none,{SYSTEMD}"
    syscalls.mount("cgroup", target, kind="cgroup", data=options)


def mount_for_systemd(hierarchies: Iterable[Hierarchy], target: str) -> None:
    """Lay out /sys/fs/cgroup as systemd expects it, in the cgroup namespace of the caller."""
    hierarchies = list(hierarchies)
    if all(not item.controllers for item in hierarchies):
        mount_hierarchy(hierarchies[0], target)
        return
    syscalls.mount("tmpfs", target, kind="tmpfs", data="mode=755,size=4m")
    for item in hierarchies:
        mount_hierarchy(item, os.path.join(target, item.directory))
        if "," in item.controllers:
            for name in item.controllers.split(","):
                os.symlink(item.directory, os.path.join(target, name))


def create(hierarchies: Iterable[Hierarchy], top: str, name: str, *, delegate: bool) -> list[str]:
    """Mount the hierarchies below ``top`` and make cgroup ``name`` in each; their directories.

    ``delegate``: give it the controllers of v2 too. Beside v1 controllers few are left to give, and
    crun refuses to work where v2 has any.
    """
    made = []
    for item in hierarchies:
        mounted = os.path.join(top, item.directory)
        mount_hierarchy(item, mounted)
        parent = os.path.normpath(mounted + item.path)
        if delegate and not item.controllers:
            _hand_down_controllers(parent, name)
        cgroup = os.path.join(parent, name)
        os.makedirs(cgroup, exist_ok=True)
        if "cpuset" in item.controllers.split(","):
            for file in ("cpuset.cpus", "cpuset.mems"):
                _write(os.path.join(cgroup, file), _read(os.path.join(parent, file)))
        made.append(cgroup)
    return made


def _hand_down_controllers(parent: str, name: str) -> None:
    """Enable v2's controllers below ``parent``, where this process must then have left it."""
    controllers = _read(os.path.join(parent, "cgroup.controllers")).split()
    if not controllers:
        return
    # only the root of v2, which has no cgroup.type, may have processes beside such children
    leaf = os.path.join(parent, name + _LEAF)
    inner = os.path.exists(os.path.join(parent, "cgroup.type"))
    if inner:
        os.makedirs(leaf, exist_ok=True)
        join([leaf])
    for controller in controllers:
        # busy when strangers share our cgroup: the box goes without, as it would in any container
        with contextlib.suppress(OSError):
            _write(os.path.join(parent, "cgroup.subtree_control"), f"+{controller}")


def _take_back_controllers(parent: str, name: str) -> None:
    leaf = os.path.join(parent, name + _LEAF)
    if not os.path.isdir(leaf):
        return
    with contextlib.suppress(OSError):
        for controller in _read(os.path.join(parent, "cgroup.subtree_control")).split():
            _write(os.path.join(parent, "cgroup.subtree_control"), f"-{controller}")
        for pid in _read(os.path.join(leaf, "cgroup.procs")).split():
            _write(os.path.join(parent, "cgroup.procs"), pid)
        os.rmdir(leaf)


def join(directories: Iterable[str]) -> None:
    for directory in directories:
        _write(os.path.join(directory, "cgroup.procs"), "0")


def remove(hierarchies: Iterable[Hierarchy], top: str, name: str) -> None:
    """Undo ``create``: kill what is left in the cgroups ``name`` and remove them with all below."""
    for item in hierarchies:
        mounted = os.path.join(top, item.directory)
        mount_hierarchy(item, mounted)
        parent = os.path.normpath(mounted + item.path)
        _remove_tree(os.path.join(parent, name))
        if not item.controllers:
            _take_back_controllers(parent, name)


def _remove_tree(directory: str, patience: float = 5.0) -> None:
    deadline = time.monotonic() + patience
    while os.path.isdir(directory) and time.monotonic() < deadline:
        for path, _, _ in os.walk(directory, topdown=False):
            _kill_members(path)
            with contextlib.suppress(OSError):
                os.rmdir(path)
        if os.path.isdir(directory):
            time.sleep(0.02)


def _kill_members(cgroup: str) -> None:
    with contextlib.suppress(OSError):
        for pid in _read(os.path.join(cgroup, "cgroup.procs")).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    # one write(2): the kernel takes each as a whole
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
