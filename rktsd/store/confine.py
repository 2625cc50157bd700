"""Give up all power but that of writing an image's files below one directory.

Used by children that read what strangers made.
"""

import contextlib
import ctypes
import os
import struct

from rktsd.host import kernel

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP = 0, 1, 3, 4, 27, 31
# Device nodes that it makes lie on its nodev mount: it can make them, and not use them.
KEPT = (CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP)

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522
_SIGKILL = 9
# Effective, permitted and inheritable capabilities, of which the upper halves follow.
_SETS = struct.Struct("=6I")


def confine(directory: str) -> None:
    """Make ``directory`` this process's root, as a mount that nobody else sees; drop privileges.

    Kept are CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD and CAP_SETFCAP. It dies
    with its parent. Whatever must be open has to be open, whatever must be imported imported.
    Raises OSError.
    """
    parent = os.getppid()
    _enter(directory)
    drop_capabilities()
    kernel.call("prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), _SIGKILL)


def _enter(directory: str) -> None:
    """A clone of the mount, attached nowhere: nothing propagates, nothing is to be taken back."""
    root = kernel.clone_mount(directory, recursive=False)
    kernel.change_mount(
        root,
        attributes=kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV | kernel.MOUNT_ATTR_NOEXEC,
    )
    os.fchdir(root)
    os.chroot(".")
    os.close(root)


def drop_capabilities() -> None:
    """Keep what it takes to read and write files, and never gain more. Raises OSError."""
    with contextlib.suppress(OSError):
        # Until one that the kernel does not know.
        for capability in range(64):
            if capability not in KEPT:
                kernel.call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = ctypes.create_string_buffer(_SETS.size)
    kernel.call("capget", header, sets)
    _, permitted, *_ = _SETS.unpack(sets.raw)
    mask = sum(1 << capability for capability in KEPT) & permitted
    kernel.call("capset", header, _SETS.pack(mask, mask, 0, 0, 0, 0))
    kernel.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
