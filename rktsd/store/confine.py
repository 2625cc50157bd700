"""Give up all power but that of writing an image's files below one directory.

Used by the unpacking child only. System calls go through ctypes: Python 3.11 has none of these.
"""

import ctypes
import os
from typing import Any

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP = 0, 1, 3, 4, 31
KEPT = (CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP)

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
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


def confine(directory: str) -> None:
    """Make ``directory`` this process's root, in a mount namespace of its own, and drop privileges.

    Kept are CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID and CAP_SETFCAP. The process dies
    with its parent. Whatever must be open has to be open, whatever must be imported imported.
    Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    path = os.fsencode(directory)
    parent = os.getppid()
    _call(libc.unshare, _CLONE_NEWNS)
    _call(libc.mount, None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    _call(libc.mount, path, path, None, _MS_BIND, None)
    flags = _MS_BIND | _MS_REMOUNT | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _call(libc.mount, None, path, None, flags, None)
    os.chroot(directory)
    os.chdir("/")
    _drop_capabilities(libc)
    _call(libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call(libc.prctl, _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), _SIGKILL)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    for capability in range(64):
        if capability not in KEPT and libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    mask = sum(1 << capability for capability in KEPT)
    header = _Header(_CAPABILITY_VERSION_3, 0)
    sets = (_Sets * 2)(_Sets(mask, mask, 0), _Sets(0, 0, 0))
    _call(libc.capset, ctypes.byref(header), sets)


def _call(function: Any, *arguments: Any) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)}")
