"""Give up all power but that of writing an image's files below one directory.

Used by the unpacking child only. System calls go through ctypes: Python 3.11 has none of these.
"""

import ctypes
import os
from typing import Any

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP = 0, 1, 3, 4, 27, 31
# Device nodes that it makes lie on its nodev mount: it can make them, and not use them.
KEPT = (CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP)

# The same numbers on every architecture, unlike those of older calls.
_OPEN_TREE, _MOUNT_SETATTR = 428, 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV, _MOUNT_ATTR_NOEXEC = 2, 4, 8
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522
_SIGKILL = 9


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


class _MountAttributes(ctypes.Structure):
    _fields_ = [
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    ]


def confine(directory: str) -> None:
    """Make ``directory`` this process's root, as a mount that nobody else sees; drop privileges.

    Kept are CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD and CAP_SETFCAP. It dies
    with its parent. Whatever must be open has to be open, whatever must be imported imported.
    Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getppid()
    _enter(libc, directory)
    drop_capabilities(libc)
    _call(libc.prctl, _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), _SIGKILL)


def _enter(libc: ctypes.CDLL, directory: str) -> None:
    """A clone of the mount, attached nowhere: nothing propagates, nothing is to be taken back."""
    path = os.fsencode(directory)
    root = libc.syscall(_OPEN_TREE, _AT_FDCWD, path, _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC)
    _check(root, "open_tree")
    flags = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | _MOUNT_ATTR_NOEXEC
    attributes = _MountAttributes(set=flags)
    size = ctypes.sizeof(attributes)
    done = libc.syscall(
        _MOUNT_SETATTR, root, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), ctypes.c_size_t(size)
    )
    _check(done, "mount_setattr")
    os.fchdir(root)
    os.chroot(".")
    os.close(root)


def drop_capabilities(libc: ctypes.CDLL) -> None:
    """Keep what it takes to read and write files, and never gain more. Raises OSError."""
    for capability in range(64):
        if capability not in KEPT and libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    header = _Header(_CAPABILITY_VERSION_3, 0)
    sets = (_Sets * 2)()
    _call(libc.capget, ctypes.byref(header), sets)
    mask = sum(1 << capability for capability in KEPT) & sets[0].permitted
    sets = (_Sets * 2)(_Sets(mask, mask, 0), _Sets(0, 0, 0))
    _call(libc.capset, ctypes.byref(header), sets)
    _call(libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _call(function: Any, *arguments: Any) -> None:
    _check(function(*arguments), function.__name__)


def _check(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
