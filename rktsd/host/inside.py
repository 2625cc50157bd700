"""A command run in the namespaces of another process, confined as an OCI bundle says.

What joins the namespaces can be seen from there until it has become the command, so it cannot be
traced or read (PR_SET_DUMPABLE), and imports and opens nothing any more.
"""

import ctypes
import os
import resource
import select
import signal
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

TIMED_OUT = -1

# prctl(2), setns(2), capabilities(7).
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_KEEPCAPS, _SET_SECCOMP = 1, 4, 8, 22
_CAPBSET_DROP, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 24, 38, 47
_AMBIENT_RAISE, _AMBIENT_CLEAR, _SECCOMP_FILTER = 2, 4, 2
_CAPABILITY_VERSION_3 = 0x20080522
_NAMESPACES = {
    "mnt": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000,
    "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000,
}  # fmt: skip
_NOT_EXECUTED = 127


class Confinement(NamedTuple):
    """What the command may do; capabilities are numbers, ``filter`` a BPF program or empty."""

    uid: int
    gid: int
    groups: Sequence[int]
    bounding: frozenset[int]
    effective: frozenset[int]
    ambient: frozenset[int]
    limits: Sequence[tuple[int, int, int]]
    no_new_privileges: bool
    filter: bytes
    directory: str


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def run_inside(
    pid: int,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    confinement: Confinement,
    timeout: float,
) -> int:
    """The exit status of ``command``, 128 and the signal that ended it, or TIMED_OUT.

    ``command[0]`` is a path in the root of the process ``pid``. One that cannot be executed has the
    status 127. What is left of a command that timed out is the caller's to kill.
    """
    target = os.pidfd_open(pid)
    child = os.fork()
    if child == 0:
        _join_and_run(pid, target, command, environment, confinement)
    os.close(target)
    descriptor = os.pidfd_open(child)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    ended = poll.poll(timeout * 1000)
    os.close(descriptor)
    if not ended:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return TIMED_OUT if not ended else code if code >= 0 else 128 - code


def _join_and_run(
    pid: int,
    target: int,
    command: Sequence[str],
    environment: Mapping[str, str],
    confinement: Confinement,
) -> NoReturn:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        _prctl(libc, _SET_DUMPABLE, 0)
        _join(libc, pid, target)
        # Only children are in the namespace of processes.
        inner = os.fork()
        if inner == 0:
            _confine(libc, confinement)
            os.execve(command[0], list(command), dict(environment))
        code = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
        os._exit(code if code >= 0 else 128 - code)
    except BaseException as error:
        # No traceback: what prints one would look for sources in the root of the app.
        os.write(2, f"<4>{command[0]}: {error}\n".encode())
        os._exit(_NOT_EXECUTED)


def _join(libc: ctypes.CDLL, pid: int, target: int) -> None:
    flags = 0
    for name, flag in _NAMESPACES.items():
        there, here = os.stat(f"/proc/{pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}")
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            flags |= flag
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # The number may be another process's by now; the descriptor cannot be.
    signal.pidfd_send_signal(target, 0)
    _check(libc.setns(target, flags))
    os.fchdir(root)
    os.chroot(".")
    os.close(root)


def _confine(libc: ctypes.CDLL, wanted: Confinement) -> None:
    """All that the app was given, in an order that the kernel allows."""
    os.setsid()
    os.umask(0o022)
    for kind, soft, hard in wanted.limits:
        resource.setrlimit(kind, (soft, hard))
    number = 0
    while libc.prctl(23, ctypes.c_ulong(number), 0, 0, 0) >= 0:
        if number not in wanted.bounding:
            _prctl(libc, _CAPBSET_DROP, number)
        number += 1
    if not wanted.no_new_privileges:
        # Only who has CAP_SYS_ADMIN may do it then.
        _load_filter(libc, wanted.filter)
    os.setgroups(wanted.groups)
    os.setresgid(wanted.gid, wanted.gid, wanted.gid)
    _prctl(libc, _SET_KEEPCAPS, 1)
    os.setresuid(wanted.uid, wanted.uid, wanted.uid)
    _set_capabilities(libc, wanted)
    _prctl(libc, _SET_PDEATHSIG, signal.SIGKILL)
    os.chdir(wanted.directory)
    if wanted.no_new_privileges:
        _prctl(libc, _SET_NO_NEW_PRIVS, 1)
        _load_filter(libc, wanted.filter)


def _set_capabilities(libc: ctypes.CDLL, wanted: Confinement) -> None:
    effective, ambient = (sum(1 << n for n in s) for s in (wanted.effective, wanted.ambient))
    words = []
    for shift in (0, 32):
        words += [each >> shift & 0xFFFFFFFF for each in (effective, effective, ambient)]
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(libc.capset(header, (ctypes.c_uint32 * 6)(*words)))
    _prctl(libc, _CAP_AMBIENT, _AMBIENT_CLEAR)
    for number in wanted.ambient:
        _prctl(libc, _CAP_AMBIENT, _AMBIENT_RAISE, number)


def _load_filter(libc: ctypes.CDLL, filter: bytes) -> None:
    if filter:
        buffer = ctypes.create_string_buffer(filter, len(filter))
        program = _Program(len(filter) // 8, ctypes.cast(buffer, ctypes.c_void_p))
        _check(libc.prctl(_SET_SECCOMP, _SECCOMP_FILTER, ctypes.byref(program), 0, 0))


def _prctl(libc: Any, option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4]]
    _check(libc.prctl(option, *words))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
