"""Network namespaces with a name: bind mounts that CNI, ip-netns(8) and systemd understand.

Made in this very process: two runs of ip(8) take 5 ms, this takes 1, and the
start of a pod waits for it.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping

from rktsd.errors import NetworkError
from rktsd.host import kernel
from rktsd.net.ipv6 import skip_duplicate_detection

SIOCSIFFLAGS = 0x8914
IFF_UP = 1
THIS = "/proc/thread-self/ns/net"


def create(path: str) -> None:
    """Make a network namespace at ``path`` (in /run/netns) with ``lo`` up.

    Raises NetworkError; a failed or killed call leaves what ``remove`` takes away.
    """
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, exist_ok=True)
        with _locked(directory):
            _share(directory)
        # Exclusive: the name of a namespace that is in use must never be taken over.
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        with _back_to_this():
            kernel.unshare(kernel.CLONE_NEWNET)
            _lo_up()
            skip_duplicate_detection()
            kernel.mount(THIS, path, "none", flags=kernel.MS_BIND)
    except OSError as error:
        raise NetworkError(f"cannot make network namespace {path}: {error.strerror}") from error


def remove(path: str) -> None:
    """Remove the name, and with its last user the namespace; nothing there is fine.

    Raises NetworkError.
    """
    try:
        # A name may be mounted twice over, when somebody bound the directory onto itself again.
        while True:
            try:
                kernel.unmount(path, kernel.MNT_DETACH | kernel.UMOUNT_NOFOLLOW)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOENT):
                    raise
                break
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        raise NetworkError(f"cannot remove network namespace {path}: {error.strerror}") from error


@contextlib.contextmanager
def entered(path: str) -> Iterator[None]:
    """Run a block inside the namespace at ``path``. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _back_to_this():
            kernel.setns(descriptor, kernel.CLONE_NEWNET)
            yield
    finally:
        os.close(descriptor)


def set_kernel(path: str, settings: Mapping[str, str]) -> None:
    """Write kernel settings (``net.ipv4.ip_forward``) inside the namespace at ``path``.

    Raises NetworkError naming the setting.
    """
    try:
        with entered(path):
            for name, value in settings.items():
                _set(name, value)
    except OSError as error:
        raise NetworkError(f"cannot enter network namespace {path}: {error.strerror}") from error


def _set(name: str, value: str) -> None:
    file = f"/proc/sys/{name.replace('.', '/')}"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NetworkError(f"cannot set {name} to {value!r}: {error.strerror}") from error


@contextlib.contextmanager
def _back_to_this() -> Iterator[None]:
    home = os.open(THIS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            kernel.setns(home, kernel.CLONE_NEWNET)
        finally:
            os.close(home)


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    # The lock that ip-netns(8) takes for the same step.
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _share(directory: str) -> None:
    """Make ``directory`` a shared mount, as ip-netns(8) does.

    Without it a later ``ip netns add`` would bind the directory over itself, and names made before
    would stay mounted below, out of everybody's reach.
    """
    try:
        kernel.mount("none", directory, "none", flags=kernel.MS_SHARED | kernel.MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        kernel.mount(directory, directory, "none", flags=kernel.MS_BIND | kernel.MS_REC)
        kernel.mount("none", directory, "none", flags=kernel.MS_SHARED | kernel.MS_REC)


def _lo_up() -> None:
    import fcntl
    import struct
    from _socket import AF_INET, SOCK_DGRAM, socket

    control = socket(AF_INET, SOCK_DGRAM)
    try:
        fcntl.ioctl(control.fileno(), SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))
    finally:
        control.close()
