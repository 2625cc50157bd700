"""Runs one command in a box: enter.py PIDFD (plain|terminal) COMMAND [ARGUMENT...]

A program of its own, run by path and without site packages, because the test process may have
threads, after which nothing but exec is safe in a forked child. It needs no /proc, which a chroot
may lack, and imports all it uses first: after the switch of root there may be another Python.
"""

import contextlib
import ctypes
import fcntl
import os
import resource
import select
import signal
import struct
import sys
import termios
import tty

_NEWNS, _NEWCGROUP = 0x00020000, 0x02000000
_OTHERS = 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000  # uts, ipc, pid, net
_PR_SET_PDEATHSIG = 1
_CGROUPS = "/sys/fs/cgroup"
# of its own, beside the units: in init.scope it would pass for a part of PID 1
_CGROUP = "box.scope"
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)

_libc = ctypes.CDLL(None, use_errno=True)


def _setns(descriptor: int, flags: int) -> None:
    if _libc.setns(descriptor, flags) < 0:
        sys.stderr.write(f"the box is not running: {os.strerror(ctypes.get_errno())}\n")
        os._exit(125)


def _join_cgroups() -> None:
    if os.path.exists(f"{_CGROUPS}/cgroup.procs"):
        directories = [f"{_CGROUPS}/{_CGROUP}"]
    else:
        # systemd leaves empty directories for controllers that it could not mount
        directories = [
            f"{_CGROUPS}/{name}/{_CGROUP}"
            if name in ("systemd", "unified")
            else f"{_CGROUPS}/{name}"
            for name in os.listdir(_CGROUPS)
            if os.path.exists(f"{_CGROUPS}/{name}/cgroup.procs")
        ]
    for directory in directories:
        os.makedirs(directory, exist_ok=True)
        descriptor = os.open(f"{directory}/cgroup.procs", os.O_WRONLY)
        os.write(descriptor, b"0")
        os.close(descriptor)


def _child(pidfd: int, terminal: int | None, command: list[str]) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _join_cgroups()
    _setns(pidfd, _NEWCGROUP)
    os.setsid()
    if terminal is not None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        for descriptor in (0, 1, 2):
            os.dup2(terminal, descriptor)
    os.umask(0o022)
    os.chdir("/")
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    os.closerange(3, 1024)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        os._exit(126 if isinstance(error, PermissionError) else 127)


def _copy_size(source: int, target: int) -> None:
    empty = struct.pack("HHHH", 0, 0, 0, 0)
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, empty))


def _relay(master: int) -> None:
    signal.signal(signal.SIGWINCH, lambda *_: _copy_size(0, master))
    _copy_size(0, master)
    saved = termios.tcgetattr(0)
    # what was typed ahead is kept
    tty.setraw(0, termios.TCSADRAIN)
    try:
        while True:
            readable, _, _ = select.select([0, master], [], [])
            if 0 in readable:
                os.write(master, os.read(0, 4096))
            if master in readable:
                data = os.read(master, 4096)
                if not data:
                    return
                os.write(1, data)
    except OSError:
        # reading a master whose last slave is closed gives EIO
        return
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)


def _leave(status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        with contextlib.suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


def main() -> None:
    # execvp would import what this needs, in the box
    os.get_exec_path()
    pidfd, mode, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    _setns(pidfd, _NEWNS | _OTHERS)
    master = slave = None
    if mode == "terminal":
        master, slave = os.openpty()
    child = os.fork()
    if child == 0:
        try:
            _child(pidfd, slave, command)
        except Exception as error:
            sys.stderr.write(f"cannot enter the box: {error}\n")
        finally:
            os._exit(125)
    for number in _FORWARDED:
        signal.signal(number, lambda number, _: os.kill(child, number))
    if master is not None and slave is not None:
        os.close(slave)
        _relay(master)
    _leave(os.waitpid(child, 0)[1])


main()
