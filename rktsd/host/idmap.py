"""Id-mapped mounts: a tree of the host as one of another range of users and groups sees it.

System calls by ctypes (open_tree(2), mount_setattr(2), move_mount(2)); their numbers are the same
on every architecture that systemd-nspawn runs on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

from rktsd.paths import USER_RANGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD = -100
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_IDMAP = 0x100000
_CLONE_NEWUSER = 0x10000000


@contextlib.contextmanager
def mapping(first: int) -> Iterator[int]:
    """A descriptor of a user namespace where 0 to 65535 are ``first`` and what follows it.

    Raises OSError when the kernel gives none.
    """
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _be_namespace(ready, go)
    try:
        os.close(ready[1])
        os.close(go[0])
        failure = os.read(ready[0], 8)
        if failure != b"0":
            number = int(failure or b"5")
            raise OSError(number, os.strerror(number))
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{kind}", "w") as file:
                file.write(f"0 {first} {USER_RANGE}\n")
        descriptor = os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready[0])
        os.close(go[1])
        os.waitpid(child, 0)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _be_namespace(ready: tuple[int, int], go: tuple[int, int]) -> None:
    """In the child: be in a new user namespace until the parent has seen to it."""
    try:
        os.close(go[1])
        failed = ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER) != 0
        os.write(ready[1], str(ctypes.get_errno() if failed else 0).encode())
        os.read(go[0], 1)
    finally:
        os._exit(0)


@contextlib.contextmanager
def mapped(source: str, users: int, *, recursive: bool) -> Iterator[int]:
    """A descriptor of ``source``, mapped by the user namespace ``users``, mounted nowhere.

    ``recursive``: with what is mounted below it. Raises OSError: EINVAL says that a file system in
    it cannot be mapped, EPERM that it is mapped already.
    """
    depth = _AT_RECURSIVE if recursive else 0
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | depth
    tree = _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags)
    try:
        attributes = struct.pack("QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, users)
        _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | depth, attributes, len(attributes))
        yield tree
    finally:
        os.close(tree)


def attach(tree: int, target: str) -> None:
    """Mount what ``mapped`` gave. Raises OSError."""
    path = os.fsencode(target)
    _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, path, _MOVE_MOUNT_F_EMPTY_PATH)


def become_root(users: int) -> None:
    """Be user 0 of the user namespace, with all its capabilities and none outside. Raises OSError.

    Only a process with a single thread can.
    """
    if ctypes.CDLL(None, use_errno=True).setns(users, _CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _call(number: int, *arguments: int | bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
