"""One PID namespace for all apps of a pod: a process that holds it, and apps that join it.

Whoever joins has to be a new process, so what was started becomes the parent for a moment: it makes
the new one a child of systemd, tells systemd that this is the main process of the unit, and ends.
Nothing of it stays.
"""

import array
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from rktsd.host import kernel
from rktsd.host.mounts import private_mounts
from rktsd.host.notify import connected

_NAMESPACE, _EXEC = 226, 203
_PATIENCE = 30_000
# Whoever is process 1 of a namespace gets its orphans, and need not look after those it ignores.
_HOLDER = ("/usr/bin/env", "--ignore-signal=CHLD", "/usr/bin/sleep", "infinity")


def _namespace(place: str, unit: str) -> int:
    """The PID namespace of the holder that left its number at ``place``, as a descriptor."""
    with open(place) as file:
        pid = int(file.read())
    namespace = os.open(f"/proc/{pid}/ns/pid_for_children", os.O_RDONLY | os.O_CLOEXEC)
    with open(f"/proc/{pid}/cgroup") as file:
        if not any(line.rstrip("\n").endswith(f"/{unit}") for line in file):
            raise OSError(0, f"process {pid} is not of {unit}")
    return namespace


def _child_of_systemd(prepare: Callable[[], None], become: Callable[[], None]) -> tuple[int, int]:
    """Begin a process in the namespace that ``prepare`` chooses for children, whose parent is gone.

    Returns its number, and a descriptor that it waits to get a byte from before it does ``become``.
    """
    ours, theirs = os.pipe()
    go, start = os.pipe()
    between = os.fork()
    if between == 0:
        status = _NAMESPACE
        try:
            prepare()
            child = os.fork()
            if child:
                os.write(theirs, str(child).encode())
                os._exit(0)
            os.close(start)
            # Without it whoever began it has failed.
            if os.read(go, 1):
                become()
        except OSError as error:
            _complain(error)
        finally:
            os._exit(status)
    os.close(theirs)
    os.waitpid(between, 0)
    number = os.read(ours, 32)
    os.close(ours)
    if not number:
        raise OSError(0, "no process could be begun in the PID namespace")
    return int(number), start


def _tell(message: str) -> None:
    """Tell systemd, and wait until it has heard (sd_notify_barrier(3))."""
    ours, theirs = os.pipe()
    with connected(os.environ["NOTIFY_SOCKET"]) as channel:
        channel.sendall(message.encode())
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs]))]
        channel.sendmsg([b"BARRIER=1"], rights)
    os.close(theirs)
    poll = select.poll()
    poll.register(ours, 0)
    if not poll.poll(_PATIENCE):
        raise OSError(0, "systemd does not hear")
    os.close(ours)


def _own_proc() -> None:
    """A /proc that tells of the namespace, for systemd-nspawn alone."""
    private_mounts(follow=True)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("proc", "/proc", "proc", flags=flags)


def _become(command: Sequence[str]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execv(command[0], list(command))
    except OSError as error:
        _complain(error)
        os._exit(_EXEC)


def _complain(error: OSError) -> None:
    sys.stderr.write(f"processes cannot be shared: {error.strerror or error}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str]) -> NoReturn:
    """``hold PLACE``: become the first process of a namespace, and leave its number at PLACE.

    ``join PLACE UNIT COMMAND...``: become the command in the namespace that UNIT holds.
    """
    verb, place, *rest = arguments
    status = 0
    try:
        if verb == "hold":
            child, start = _child_of_systemd(
                lambda: kernel.unshare(kernel.CLONE_NEWPID), lambda: _become(_HOLDER)
            )
            with open(place, "w") as file:
                file.write(f"{child}\n")
            _tell(f"MAINPID={child}\nREADY=1")
        else:
            unit, *command = rest
            namespace = _namespace(place, unit)

            def become() -> None:
                _own_proc()
                _become(command)

            child, start = _child_of_systemd(
                lambda: kernel.setns(namespace, kernel.CLONE_NEWPID), become
            )
            _tell(f"MAINPID={child}")
        os.write(start, b"g")
    except (OSError, ValueError) as error:
        _complain(error if isinstance(error, OSError) else OSError(0, str(error)))
        status = _NAMESPACE
    os._exit(status)
