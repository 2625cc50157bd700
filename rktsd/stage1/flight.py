"""What becomes an app of the flavor fly: mounts its root, takes on its confinement, executes it.

The main process of the app's unit, from the first instruction to the app's last. It complains on
standard error and ends with the statuses of systemd.exec(5).
"""

import errno
import json
import os
import signal
import stat
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from rktsd.host import kernel
from rktsd.host.mounts import mount_overlay
from rktsd.host.notify import connected
from rktsd.stage1 import inside

_MAX_CONFIG = 16 << 20
_MAX_LINKS = 32
# Nodes that systemd makes, which nobody may read.
_INACCESSIBLE = "/run/systemd/inaccessible"
_EXEC, _NAMESPACE, _CONFINEMENT, _DIRECTORY = 203, 226, 218, 200


def _clone(source: str, *, read_only: bool, recursive: bool, shared: bool) -> int:
    """A detached copy of the mount at ``source``, as a descriptor."""
    tree = kernel.clone_mount(source, recursive=recursive)
    if read_only or not shared:
        kernel.change_mount(
            tree,
            attributes=kernel.MOUNT_ATTR_RDONLY if read_only else 0,
            propagation=0 if shared else kernel.MS_SLAVE,
            recursive=recursive,
        )
    return tree


def _place(root: int, path: str, *, directory: bool, links: int = 0) -> int:
    """What is at ``path`` in the tree ``root``, which no link leads out of; made if missing."""
    try:
        return kernel.open_in_root(root, path)
    except OSError as error:
        if error.errno != errno.ENOENT or path == "/":
            raise
    above, name = os.path.split(path)
    parent = _place(root, above, directory=True)
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=parent))
    except FileExistsError as error:
        if links == _MAX_LINKS:
            raise OSError(errno.ELOOP, f"cannot make {path}: too many links") from error
        # A link to what is missing: that is made, as systemd-nspawn does.
        path = os.path.join(above, os.readlink(name, dir_fd=parent))
        return _place(root, path, directory=directory, links=links + 1)
    except OSError as error:
        raise OSError(error.errno, f"cannot make {path}: {error.strerror}") from error
    finally:
        os.close(parent)
    return kernel.open_in_root(root, path)


def _attach(tree: int, there: int, what: str) -> None:
    try:
        kernel.move_mount(tree, there)
    except OSError as error:
        raise OSError(error.errno, f"{what}: {error.strerror}") from error
    os.close(tree)
    os.close(there)


def _mount_root(place: str, order: dict[str, Any]) -> None:
    layers, upper = order["layers"], order["upper"]
    if order["read-only"]:
        mount_overlay(place, [upper, *layers], flags=kernel.MS_RDONLY)
    else:
        mount_overlay(place, layers, upper=upper, work=order["work"], flags=0)


def _take_root(place: str, order: dict[str, Any]) -> None:
    """Make ``place`` the root, with everything mounted in it that the order names."""
    kernel.unshare(kernel.CLONE_NEWNS)
    # Before the next step, after which nothing mounted here is seen on the host any more.
    trees = [
        _clone(source, read_only=read_only, recursive=recursive, shared=shared)
        for source, _, read_only, recursive, shared in order["mounts"]
    ]
    kernel.mount("none", "/", "none", flags=kernel.MS_REC | kernel.MS_SLAVE)
    _mount_root(place, order)
    root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for target, options in order["memory"]:
        there = _place(root, target, directory=True)
        flags = kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount("tmpfs", f"/proc/self/fd/{there}", "tmpfs", flags=flags, data=options)
        os.close(there)
    for tree, (source, target, *_) in zip(trees, order["mounts"], strict=True):
        there = _place(root, target, directory=os.path.isdir(source))
        _attach(tree, there, f"cannot mount {source} at {target}")
    for path in order["inaccessible"]:
        there = kernel.open_in_root(root, path)
        kind = "dir" if stat.S_ISDIR(os.fstat(there).st_mode) else "reg"
        tree = _clone(f"{_INACCESSIBLE}/{kind}", read_only=True, recursive=False, shared=False)
        _attach(tree, there, f"cannot hide {path}")
    os.fchdir(root)
    os.close(root)
    kernel.pivot_root()


def _confinement(process: dict[str, Any], order: dict[str, Any]) -> dict[str, Any]:
    """What ``inside`` is told of it; what the unit has set already stays."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    with open("/proc/self/oom_score_adj") as file:
        score = int(file.read())
    # Settings of the unit take some away (ProtectClock= and the like).
    held = inside.held_capabilities("self", "CapPrm")
    capabilities = {
        kind: [number for number in numbers if number in held]
        for kind, numbers in order["capabilities"].items()
    }
    keep = set(capabilities["bounding"])
    return {
        "label": process.get("selinuxLabel", ""),
        "oom_score_adj": process.get("oomScoreAdj", score),
        "limits": order["limits"],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "processors": os.sched_getaffinity(0),
        "dropped": [number for number in range(last + 1) if number not in keep],
        "no_new_privileges": process["noNewPrivileges"],
        "filter": "",
        "groups": process["user"]["additionalGids"],
        "gid": process["user"]["gid"],
        "uid": process["user"]["uid"],
        "capabilities": capabilities,
    }


def _environment(process: dict[str, Any], order: dict[str, Any]) -> dict[str, str]:
    # LANG as systemd-nspawn has it, so that an app is told the same in both flavors.
    found = {"LANG": "C.UTF-8"} | dict(each.split("=", 1) for each in process["env"])
    if "LISTEN_FDNAMES" in found:
        found |= {name: os.environ[name] for name in ("LISTEN_FDS", "LISTEN_PID")}
    if order["notify"]:
        found["NOTIFY_SOCKET"] = order["notify"]
    return found


def main(arguments: Sequence[str]) -> NoReturn:
    """Become the app of the bundle that is the only argument."""
    (bundle,) = arguments
    status, what = _NAMESPACE, "cannot make the root"
    try:
        with open(f"{bundle}/config.json") as file:
            config = json.loads(file.read(_MAX_CONFIG))
        process, order = config["process"], config["fly"]
        address = os.environ.get("NOTIFY_SOCKET")
        # Out of reach in the new root.
        channel = connected(address) if order["ready"] and address else None
        environment = _environment(process, order)
        program: str | int = process["args"][0]
        # A bundle of before an upgrade has it in the root.
        launcher = order.get("launcher")
        if launcher is not None:
            program = os.open(launcher, os.O_RDONLY | os.O_CLOEXEC)
        _take_root(f"{bundle}/rootfs", order)
        status, what = _CONFINEMENT, "cannot be confined as it should be"
        os.umask(0o022)
        confinement = _confinement(process, order)
        inside.allow(confinement)
        inside.confine(confinement)
        status, what = _DIRECTORY, f"cannot change to the directory {process['cwd']}"
        os.chdir(process["cwd"])
        status, what = _EXEC, f"cannot run {process['args'][0]}"
        # Those that Python ignores.
        for each in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(each, signal.SIG_DFL)
        if channel is not None:
            channel.sendall(b"READY=1")
        os.execve(program, process["args"], environment)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"{what}: {where}{error.strerror or error}\n")
        sys.stderr.flush()
        os._exit(status)
