"""What goes into an app: joins its namespaces, takes on its confinement, becomes the command.

A program of its own, that imports nothing but the standard library, and all of it before it is
inside. ``pods.enter`` executes it from a sealed copy of the interpreter: whoever is inside could
otherwise come to the host's through /proc/PID/exe and write to it (CVE-2019-5736).

Its arguments are descriptors: a socket, the order as a file of JSON (``pods.enter``), and the app's
first process. It begins when a byte comes in through the socket. What goes out is the other side of
a terminal when one was asked for, then an error if there is one.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import sys
import termios
from typing import Any, NoReturn

FAILED, NOT_EXECUTABLE, NOT_FOUND = 254, 126, 127
_PASSED_ON = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGCONT,
)  # fmt: skip

# prctl(2), capabilities(7), setns(2).
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_SECCOMP = 1, 4, 8, 22
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 24, 38, 47
_AMBIENT_RAISE, _AMBIENT_CLEAR = 2, 4
_SECCOMP_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
# ioctl_tty(2)
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_NAMESPACES = {
    "mnt": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(option, *words), f"prctl {option}")


def _join(pid: int, pidfd: int) -> None:
    """All namespaces of the process at once, and its root; as user 0 where it has its own users."""
    flags = 0
    for name, flag in _NAMESPACES.items():
        there, here = os.stat(f"/proc/{pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}")
        if there.st_ino != here.st_ino:
            flags |= flag
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # The number may be another process's by now; the descriptor cannot be.
    signal.pidfd_send_signal(pidfd, 0)
    _check(_libc.setns(pidfd, flags), "setns")
    os.fchdir(root)
    os.chroot(".")
    os.close(root)
    if flags & _NAMESPACES["user"]:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def allow(order: dict[str, Any]) -> None:
    """What only the host's own users may do; ``confine`` does the rest."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(order["oom_score_adj"]))
    for number, (_, wanted) in order["limits"]:
        soft, hard = resource.getrlimit(number)
        if hard != -1 and (wanted == -1 or wanted > hard):
            resource.setrlimit(number, (soft, wanted))


def _open_terminal(order: dict[str, Any], channel: socket.socket) -> int:
    """A terminal of the app's own /dev/pts, whose other side is sent out. Returns this side."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
    # Through the descriptor, not by a name that the app could have put something else under.
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    os.fchown(slave, order["uid"], -1)
    socket.send_fds(channel, [b"t"], [master])
    os.close(master)
    return slave


def _take_terminal(slave: int) -> None:
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in (0, 1, 2):
        os.dup2(slave, number)


def _bits(names: list[int]) -> int:
    return sum(1 << number for number in set(names))


def held_capabilities(process: str, kind: str) -> frozenset[int]:
    """The numbers of a set of capabilities of a process, CapPrm or CapBnd (proc(5))."""
    with open(f"/proc/{process}/status") as file:
        words = (line.split() for line in file if line.startswith(f"{kind}:"))
        bits = int(next(words)[1], 16)
    return frozenset(number for number in range(bits.bit_length()) if bits >> number & 1)


def _set_capabilities(order: dict[str, Any]) -> None:
    words = []
    sets = [
        _bits(order["capabilities"][kind]) for kind in ("effective", "permitted", "inheritable")
    ]
    for shift in (0, 32):
        words += [each >> shift & 0xFFFFFFFF for each in sets]
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(*words)
    _check(_libc.capset(header, data), "capset")
    _prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR)
    for number in order["capabilities"]["ambient"]:
        _prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number)


def _load_filter(order: dict[str, Any]) -> None:
    data = bytes.fromhex(order["filter"])
    if data:
        buffer = ctypes.create_string_buffer(data, len(data))
        program = _Program(len(data) // 8, ctypes.cast(buffer, ctypes.c_void_p))
        _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, ctypes.byref(program), 0, 0), "filter")


def confine(order: dict[str, Any]) -> None:
    """Everything that the app was given, in an order that the kernel allows."""
    if order["label"]:
        with open("/proc/self/attr/exec", "w") as file:
            file.write(order["label"])
    for number, (soft, hard) in order["limits"]:
        if resource.getrlimit(number) != (soft, hard):
            resource.setrlimit(number, (soft, hard))
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, order["nice"])
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, order["processors"])
    for number in order["dropped"]:
        _prctl(_PR_CAPBSET_DROP, number)
    if not order["no_new_privileges"]:
        # Only who still has CAP_SYS_ADMIN may do it then.
        _load_filter(order)
    os.setgroups(order["groups"])
    os.setresgid(order["gid"], order["gid"], order["gid"])
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setresuid(order["uid"], order["uid"], order["uid"])
    _set_capabilities(order)
    _prctl(_PR_SET_KEEPCAPS, 0)
    if order["no_new_privileges"]:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _load_filter(order)


def _candidates(order: dict[str, Any]) -> list[str]:
    command = order["arguments"][0]
    if "/" in command:
        return [command]
    path = next((x[5:] for x in order["environment"] if x.startswith("PATH=")), "/usr/bin:/bin")
    return [f"{directory or '.'}/{command}" for directory in path.split(":")]


def _become(order: dict[str, Any]) -> NoReturn:
    """Raises OSError when it cannot."""
    environment = dict(each.split("=", 1) for each in order["environment"])
    worst: OSError | None = None
    for candidate in _candidates(order):
        words = order["arguments"]
        try:
            if order["launcher"]:
                # It executes what it is given, and does not look for it.
                os.stat(candidate)
                if not os.access(candidate, os.X_OK) or os.path.isdir(candidate):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                words = [order["launcher"], candidate, *words]
            os.execve(_executed(order, candidate), words, environment)
        except (FileNotFoundError, NotADirectoryError) as error:
            worst = worst or error
        except OSError as error:
            worst = error
    raise worst or FileNotFoundError(2, "No such file or directory")


def _executed(order: dict[str, Any], candidate: str) -> str | int:
    """The launcher of an app that has one, by its path in the root or as a descriptor."""
    if not order["program"]:
        return str(order["launcher"]) or candidate
    descriptor = os.memfd_create("launcher", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(bytes.fromhex(order["program"]))
    return descriptor


def _command(order: dict[str, Any], channel: socket.socket, slave: int | None) -> NoReturn:
    """The process that is inside in every respect."""
    code = FAILED
    what = "cannot be confined as the app is"
    try:
        os.setsid()
        if slave is not None:
            _take_terminal(slave)
        os.umask(0o022)
        if not order["privileged"]:
            confine(order)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        what = f"cannot change to the directory {order['directory']}"
        os.chdir(order["directory"])
        for each in (*_PASSED_ON, signal.SIGPIPE):
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        what = f"cannot run {order['arguments'][0]}"
        _become(order)
    except FileNotFoundError as error:
        code, complaint = NOT_FOUND, f"{what}: {error.strerror}"
    except OSError as error:
        code, complaint = NOT_EXECUTABLE, f"{what}: {error.strerror}"
    except BaseException as error:
        complaint = f"{what}: {error!r}"
    _complain(channel, complaint)
    os._exit(code)


def main(arguments: list[str]) -> NoReturn:
    """Carry the order out; ends as the command does, with 128 and the number for a signal."""
    number, order_file, pidfd = (int(each) for each in arguments)
    channel = socket.socket(fileno=number)
    slave = None
    try:
        order = _receive(channel, order_file, pidfd)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if not order["privileged"]:
            allow(order)
        _prctl(_PR_SET_DUMPABLE, 0)
        _join(order["pid"], pidfd)
        # Taking on other users has the kernel forget it.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        slave = _open_terminal(order, channel) if order["terminal"] else None
    except OSError as error:
        _complain(channel, f"cannot enter the app: {error.strerror or error}")
        os._exit(FAILED)
    # Those that come before there is a child to hand them to wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child == 0:
        _command(order, channel, slave)
    for each in _PASSED_ON:
        signal.signal(each, lambda received, _frame: os.kill(child, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    # Who waits for the end of the command's output is not to wait for us.
    os.closerange(0, 256)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _receive(channel: socket.socket, order_file: int, pidfd: int) -> dict[str, Any]:
    """The order, once all that has to be done outside is done."""
    if not channel.recv(1):
        # Whoever gave the order is gone.
        os._exit(FAILED)
    with open(order_file) as file:
        file.seek(0)
        order: dict[str, Any] = json.load(file)
    # Nothing but the three streams is for the command.
    for number in os.listdir("/proc/self/fd"):
        if int(number) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(number), False)
    return order


def _complain(channel: socket.socket, complaint: str) -> None:
    with contextlib.suppress(OSError):
        channel.sendall(f"e{complaint}".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
