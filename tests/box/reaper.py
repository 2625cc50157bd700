"""The process behind a box: starts the supervisor, waits for it and cleans up after it.

Two processes, so that one is always left to clean up: the reaper only waits for the supervisor,
its child; the supervisor is the parent of the box's PID 1 and watches a socket of the client, which
the kernel closes however the client ends. A parent's death kills the child: no process outlives
the reaper. What a killed reaper leaves on disk the client or the next box removes (clean).
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
from typing import NoReturn

from tests.box import cgroups, supervisor, syscalls, tree
from tests.box.spec import Spec, load_spec


def clean(work: str) -> None:
    """Remove the cgroups and the work directory of a box none of whose processes is left."""
    top = os.path.join(work, "cgroup")
    with contextlib.suppress(OSError):
        syscalls.unmount(top, syscalls.MNT_DETACH)
    with contextlib.suppress(FileNotFoundError, ValueError):
        with open(os.path.join(work, "cgroups"), encoding="utf-8") as file:
            plan = json.load(file)
        _mounted_top(work)
        cgroups.remove(
            [cgroups.Hierarchy(*entry) for entry in plan["hierarchies"]], top, plan["name"]
        )
        syscalls.unmount(top, syscalls.MNT_DETACH)
    shutil.rmtree(work, ignore_errors=True)


def _mounted_top(work: str) -> str:
    top = os.path.join(work, "cgroup")
    os.makedirs(top, exist_ok=True)
    syscalls.mount("tmpfs", top, kind="tmpfs", data="mode=700,size=1m")
    return top


def main() -> NoReturn:
    if sys.argv[1] == "clean":
        syscalls.own_mount_namespace()
        clean(sys.argv[2])
        os._exit(0)
    spec = load_spec(sys.argv[1])
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    # the lock came with us: it tells that this box is alive, and must not pass on to the box
    for descriptor in _descriptors():
        os.set_inheritable(descriptor, False)
    syscalls.own_mount_namespace()
    if not os.path.exists("/proc/self"):
        os.makedirs("/proc", exist_ok=True)
        syscalls.mount("proc", "/proc", kind="proc")
    with open("/proc/self/cgroup", encoding="ascii") as file:
        found = cgroups.parse(file.read())
    mode, delegate = _mode(spec, found)
    hierarchies = cgroups.wanted(found, mode)
    with open(os.path.join(spec.work, "cgroups"), "w", encoding="utf-8") as file:
        json.dump({"name": spec.name, "hierarchies": hierarchies}, file)
    child = -1
    try:
        top = _mounted_top(spec.work)
        directories = cgroups.create(hierarchies, top, spec.name, delegate=delegate)
        child = os.fork()
        if child == 0:
            syscalls.die_with_parent(signal.SIGKILL)
            supervisor.Supervisor(spec, hierarchies, directories).serve()
    except Exception as error:
        supervisor.send(event="failed", reason=f"{type(error).__name__}: {error}")
    finally:
        if child == 0:
            os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
    clean(spec.work)
    os._exit(0)


def _descriptors() -> list[int]:
    limit = 256
    found = []
    for descriptor in range(3, limit):
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_GETFD)
            found.append(descriptor)
    return found


def _mode(spec: Spec, found: list[cgroups.Hierarchy]) -> tuple[str, bool]:
    """The mode of the box, and whether the host keeps its controllers in v2."""
    host_unified = os.path.exists("/sys/fs/cgroup/cgroup.procs")
    legacy = any(cgroups.has_controllers(item) for item in found) and not host_unified
    mode = spec.cgroup
    if mode == "auto":
        # from 256 on systemd refuses to boot with cgroup v1
        old = 0 < tree.systemd_version(spec.root) < 256
        mode = "hybrid" if legacy and old else "unified"
    return mode, not legacy


if __name__ == "__main__":
    main()
