"""What becomes an app of the flavor fly: mounts its root, takes on its confinement, executes it.

The main process of the app's unit, from the first instruction to the app's last. It complains on
standard error and ends with the statuses of systemd.exec(5).
"""

import ctypes
import errno
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from rktsd.stage1 import inside

_MAX_CONFIG = 16 << 20
_MAX_LINKS = 32
# Nodes that systemd makes, which nobody may read.
_INACCESSIBLE = "/run/systemd/inaccessible"
_EXEC, _NAMESPACE, _CONFINEMENT, _DIRECTORY = 203, 226, 218, 200

# mount(2), unshare(2), open_tree(2), move_mount(2), mount_setattr(2), openat2(2), umount(2).
_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REC = 1, 2, 4, 0x4000
_MS_SLAVE = 1 << 19
_MNT_DETACH = 2
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_AT_EMPTY_PATH, _AT_RECURSIVE, _AT_FDCWD = 0x1000, 0x8000, -100
_MOVE_FROM_FD, _MOVE_TO_FD = 0x4, 0x40
_ATTR_RDONLY = 1
_RESOLVE_IN_ROOT = 0x10
# The same on all architectures, but for pivot_root, which the C library lacks as well.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_OPENAT2, _SYS_MOUNT_SETATTR = 428, 429, 437, 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "s390x": 217, "ppc64le": 203}

_libc = ctypes.CDLL(None, use_errno=True)


def _failed(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def _syscall(number: int, *arguments: int | bytes | None, what: str) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise _failed(what)
    return result


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    words = [each if each is None else os.fsencode(each) for each in (source, target, kind)]
    if _libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(data)) != 0:
        raise _failed(f"cannot mount {kind or 'propagation'} at {target}")


def _clone(source: str, *, read_only: bool, recursive: bool, shared: bool) -> int:
    """A detached copy of the mount at ``source``, as a descriptor."""
    deep = _AT_RECURSIVE if recursive else 0
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | deep
    tree = _syscall(
        _SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags, what=f"cannot mount {source}"
    )
    if read_only or not shared:
        # struct mount_attr: set, clear, propagation, user namespace.
        attributes = (ctypes.c_uint64 * 4)(
            _ATTR_RDONLY if read_only else 0, 0, 0 if shared else _MS_SLAVE, 0
        )
        _syscall(
            _SYS_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | deep, bytes(attributes),
            ctypes.sizeof(attributes), what=f"cannot change the mount of {source}",
        )  # fmt: skip
    return tree


def _look(root: int, path: str) -> int:
    """What is at ``path`` in the tree ``root``, which no link leads out of."""
    # struct open_how: flags, mode, resolve.
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    words = (root, os.fsencode(path), bytes(how), ctypes.sizeof(how))
    return _syscall(_SYS_OPENAT2, *words, what=path)


def _place(root: int, path: str, *, directory: bool, links: int = 0) -> int:
    """The same, made if it is missing."""
    try:
        return _look(root, path)
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
    return _look(root, path)


def _attach(tree: int, there: int, what: str) -> None:
    flags = _MOVE_FROM_FD | _MOVE_TO_FD
    _syscall(_SYS_MOVE_MOUNT, tree, b"", there, b"", flags, what=what)
    os.close(tree)
    os.close(there)


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _mount_root(place: str, order: dict[str, Any]) -> None:
    layers, upper = [_escaped(each) for each in order["layers"]], _escaped(order["upper"])
    if order["read-only"]:
        _mount("overlay", place, "overlay", _MS_RDONLY, f"lowerdir={':'.join([upper, *layers])}")
        return
    options = f"lowerdir={':'.join(layers)},upperdir={upper},workdir={_escaped(order['work'])}"
    _mount("overlay", place, "overlay", 0, options)


def _take_root(place: str, order: dict[str, Any]) -> None:
    """Make ``place`` the root, with everything mounted in it that the order names."""
    if _libc.unshare(_CLONE_NEWNS) != 0:
        raise _failed("unshare")
    # Before the next step, after which nothing mounted here is seen on the host any more.
    trees = [
        _clone(source, read_only=read_only, recursive=recursive, shared=shared)
        for source, _, read_only, recursive, shared in order["mounts"]
    ]
    _mount(None, "/", None, _MS_REC | _MS_SLAVE)
    _mount_root(place, order)
    root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for target, options in order["memory"]:
        there = _place(root, target, directory=True)
        flags = _MS_NOSUID | _MS_NODEV
        _mount("tmpfs", f"/proc/self/fd/{there}", "tmpfs", flags, options)
        os.close(there)
    for tree, (source, target, *_) in zip(trees, order["mounts"], strict=True):
        there = _place(root, target, directory=os.path.isdir(source))
        _attach(tree, there, f"cannot mount {source} at {target}")
    for path in order["inaccessible"]:
        there = _look(root, path)
        kind = "dir" if stat.S_ISDIR(os.fstat(there).st_mode) else "reg"
        tree = _clone(f"{_INACCESSIBLE}/{kind}", read_only=True, recursive=False, shared=False)
        _attach(tree, there, f"cannot hide {path}")
    os.fchdir(root)
    os.close(root)
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"stage1 fly does not know the machine {os.uname().machine}")
    _syscall(number, b".", b".", what="cannot change the root")
    if _libc.umount2(b".", _MNT_DETACH) != 0:
        raise _failed("cannot leave the root of the host")
    os.chdir("/")


def _confinement(process: dict[str, Any], order: dict[str, Any]) -> dict[str, Any]:
    """What ``inside`` is told of it; what the unit has set already stays."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    with open("/proc/self/oom_score_adj") as file:
        score = int(file.read())
    keep = set(order["capabilities"]["bounding"])
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
        "capabilities": order["capabilities"],
    }


def _environment(process: dict[str, Any], order: dict[str, Any]) -> dict[str, str]:
    # LANG as systemd-nspawn has it, so that an app is told the same in both flavors.
    found = {"LANG": "C.UTF-8"} | dict(each.split("=", 1) for each in process["env"])
    if "LISTEN_FDNAMES" in found:
        found |= {name: os.environ[name] for name in ("LISTEN_FDS", "LISTEN_PID")}
    if order["notify"]:
        found["NOTIFY_SOCKET"] = order["notify"]
    return found


def _connected() -> socket.socket | None:
    """The notification socket of systemd, which is out of reach in the new root."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return None
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    channel.connect(f"\0{address[1:]}" if address.startswith("@") else address)
    return channel


def main(arguments: Sequence[str]) -> NoReturn:
    """Become the app of the bundle that is the only argument."""
    (bundle,) = arguments
    status, what = _NAMESPACE, "cannot make the root"
    try:
        with open(f"{bundle}/config.json") as file:
            config = json.loads(file.read(_MAX_CONFIG))
        process, order = config["process"], config["fly"]
        channel = _connected() if order["ready"] else None
        environment = _environment(process, order)
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
        os.execve(process["args"][0], process["args"], environment)
    except OSError as error:
        sys.stderr.write(f"{what}: {error.strerror or error}\n")
        sys.stderr.flush()
        os._exit(status)
