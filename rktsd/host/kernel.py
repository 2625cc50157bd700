"""Linux's system calls that Python has no function for, by ctypes.

All raise OSError; its ``filename`` is the path that the call was about, if it was about one. Those
that the C library lacks have the same number on every architecture, but for pivot_root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC = 0x1000, 0x4000
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR_IDMAP = 0x100000
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_DELETE_SELF, IN_Q_OVERFLOW = 0x400, 0x4000

_IN_HEAD = struct.Struct("iIII")
_IN_ONLYDIR = 1 << 24
_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "s390x": 217, "ppc64le": 203}
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
_RENAME_EXCHANGE = 2
_RESOLVE_IN_ROOT = 0x10


def call(name: str, *arguments: int | bytes | ctypes.Array[Any]) -> int:
    """A function of the C library that returns a negative number when it fails."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype = ctypes.c_long
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    # Functions that return an int leave the upper half as it was.
    result = ctypes.c_int(function(*words)).value
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _about(path: str, name: str, *arguments: int | bytes) -> int:
    try:
        return call(name, *arguments)
    except OSError as error:
        error.filename = path
        raise


def unshare(flags: int) -> None:
    """unshare(2)"""
    call("unshare", flags)


def setns(descriptor: int, kind: int) -> None:
    """setns(2)"""
    call("setns", descriptor, kind)


def mount(source: str, target: str, kind: str, *, flags: int = 0, data: str = "") -> None:
    """mount(2)"""
    words = (os.fsencode(source), os.fsencode(target), kind.encode())
    _about(target, "mount", *words, flags, os.fsencode(data))


def unmount(target: str, flags: int) -> None:
    """umount2(2)"""
    _about(target, "umount2", os.fsencode(target), flags)


def clone_mount(source: str, *, recursive: bool) -> int:
    """A descriptor of a copy of what is mounted at ``source``, mounted nowhere (open_tree(2)).

    ``recursive``: with what is mounted below it.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _about(source, "syscall", _OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags)


def change_mount(
    tree: int, *, attributes: int = 0, propagation: int = 0, users: int = 0, recursive: bool = False
) -> None:
    """Set ``attributes`` of what ``clone_mount`` gave (mount_setattr(2)).

    ``users`` is a descriptor of a user namespace, for MOUNT_ATTR_IDMAP.
    """
    changes = struct.pack("4Q", attributes, 0, propagation, users)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    call("syscall", _MOUNT_SETATTR, tree, b"", flags, changes, len(changes))


def move_mount(tree: int, target: str | int) -> None:
    """Mount what ``clone_mount`` gave at a path, or over what a descriptor is of."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH
    if isinstance(target, int):
        flags |= _MOVE_MOUNT_T_EMPTY_PATH
        call("syscall", _MOVE_MOUNT, tree, b"", target, b"", flags)
    else:
        _about(target, "syscall", _MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), flags)


def open_in_root(root: int, path: str) -> int:
    """A descriptor (O_PATH) of ``path`` as seen by who has ``root`` as his root (openat2(2))."""
    how = struct.pack("3Q", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    return _about(path, "syscall", _OPENAT2, root, os.fsencode(path), how, len(how))


def pivot_root() -> None:
    """Make the directory that we are in our root, and leave the old one (pivot_root(2))."""
    machine = os.uname().machine
    if machine not in _PIVOT_ROOT:
        raise OSError(errno.ENOSYS, f"pivot_root is not known for the machine {machine}")
    call("syscall", _PIVOT_ROOT[machine], b".", b".")
    unmount(".", MNT_DETACH)
    os.chdir("/")


def exchange(first: str, second: str) -> None:
    """Swap two names, so that neither is missing at any moment (renameat2(2))."""
    names = os.fsencode(first), os.fsencode(second)
    _about(first, "renameat2", _AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)


def sync_filesystem(descriptor: int) -> None:
    """syncfs(2)"""
    call("syncfs", descriptor)


def inotify() -> int:
    """A descriptor to watch directories with, which does not block (inotify_init1(2))."""
    return call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)


def watch(descriptor: int, path: str, mask: int) -> int:
    """Have what happens in a directory told at ``descriptor`` (inotify_add_watch(2))."""
    words = os.fsencode(path), mask | _IN_ONLYDIR
    return _about(path, "inotify_add_watch", descriptor, *words)


def noticed(descriptor: int) -> Iterator[tuple[int, int, bytes]]:
    """What there is to be told, without waiting: watch, mask, and what it is about (inotify(7))."""
    while True:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        while data:
            number, mask, _, length = _IN_HEAD.unpack_from(data)
            yield number, mask, data[_IN_HEAD.size : _IN_HEAD.size + length].rstrip(b"\0")
            data = data[_IN_HEAD.size + length :]
