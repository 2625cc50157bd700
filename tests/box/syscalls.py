"""System calls that Python 3.11 lacks: namespaces, mounts, prctl."""

import contextlib
import ctypes
import os
import platform
import tempfile
from collections.abc import Iterator

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_REMOUNT, MS_BIND, MS_REC = 0x20, 0x1000, 0x4000
MS_PRIVATE, MS_SHARED = 1 << 18, 1 << 20
MNT_DETACH = 2

CLONE_FS = 0x00000200
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x20000000, 0x40000000

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP = 1, 24
_PIVOT_ROOT = {
    "x86_64": 155,
    "aarch64": 41,
    "riscv64": 41,
    "ppc64le": 203,
    "s390x": 217,
    "i686": 217,
    "armv7l": 218,
}

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def mount(
    source: str | None,
    target: str,
    *,
    kind: str | None = None,
    flags: int = 0,
    data: str | None = None,
) -> None:
    done = _libc.mount(
        _bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), _bytes(data)
    )
    _checked(done, f"mount {kind or source} on {target}")


def bind(source: str, target: str, *, recursive: bool = False) -> None:
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))


def unmount(target: str, flags: int = 0) -> None:
    _checked(_libc.umount2(_bytes(target), flags), f"umount {target}")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int) -> None:
    _checked(_libc.setns(descriptor, flags), "setns")


def die_with_parent(signal_number: int) -> None:
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def drop_from_bounding_set(capability: int) -> None:
    _checked(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "prctl")


def rejoin_own(flags: int) -> None:
    """Enter the namespaces that this process is in already.

    For CLONE_NEWNS that moves root and working directory to the top of the mount namespace (out of
    a chroot, whose directory need not be a mount point), and for CLONE_NEWPID it takes back an
    earlier unshare(2), which the kernel refuses to do twice.
    """
    descriptor = os.pidfd_open(os.getpid())
    try:
        setns(descriptor, flags)
    finally:
        os.close(descriptor)


def own_mount_namespace() -> None:
    """A copy of the mount namespace from which nothing propagates back; the root stays as it is."""
    unshare(CLONE_NEWNS)
    # opened only now: earlier descriptors still lead into the mounts of the old namespace
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    directory = os.open(".", os.O_PATH | os.O_DIRECTORY)
    rejoin_own(CLONE_NEWNS)
    mount(None, "/", flags=MS_REC | MS_PRIVATE)
    os.fchdir(root)
    os.chroot(".")
    os.fchdir(directory)
    os.close(root)
    os.close(directory)


@contextlib.contextmanager
def own_network_and_mounts() -> Iterator[None]:
    """A network and a mount namespace of this process's own; afterwards it is back."""
    home = {kind: os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")}
    root, directory = (os.open(path, os.O_PATH | os.O_DIRECTORY) for path in ("/", "."))
    unshare(CLONE_NEWNET)
    try:
        own_mount_namespace()
        yield
    finally:
        # Threads of servers share root and working directory with us, and setns wants them alone.
        unshare(CLONE_FS)
        setns(home["net"], CLONE_NEWNET)
        setns(home["mnt"], CLONE_NEWNS)
        # to the top of the mount namespace, which need not be our root
        os.fchdir(root)
        os.chroot(".")
        os.fchdir(directory)
        for descriptor in (*home.values(), root, directory):
            os.close(descriptor)


def switch_root(new_root: str) -> None:
    """Make the mount ``new_root`` the root of this mount namespace; unmount all else."""
    descriptor = os.open(new_root, os.O_PATH | os.O_DIRECTORY)
    rejoin_own(CLONE_NEWNS)
    os.fchdir(descriptor)
    os.close(descriptor)
    number = _PIVOT_ROOT[platform.machine()]
    _checked(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    unmount(".", MNT_DETACH)
    os.chdir("/")


def leave_chroot() -> None:
    """Make the tree that is this process's root, with all below it, its root mount as well."""
    directory = os.getcwd()
    own_mount_namespace()
    place = tempfile.mkdtemp()
    mount("/", place, flags=MS_BIND | MS_REC)
    switch_root(place)
    os.rmdir(place)
    os.chdir(directory)
