"""Put a command into an app, confined as the app is. ``stage1.inside`` is what goes there."""

import contextlib
import json
import os
import resource
import select
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rktsd.appc.isolators import CAPABILITIES_BY_NUMBER
from rktsd.errors import BadInput, NotFound, RktError, SystemdError
from rktsd.paths import Paths
from rktsd.pods import processes
from rktsd.stage1 import inside, launcher
from rktsd.systemd.bus import Bus
from rktsd.systemd.names import app_unit

if TYPE_CHECKING:
    import subprocess

_MAX_CONFIG = 16 << 20
_PYTHON = "/usr/bin/python3"
_LIMITS = {
    "Max cpu time": "CPU",
    "Max file size": "FSIZE",
    "Max data size": "DATA",
    "Max stack size": "STACK",
    "Max core file size": "CORE",
    "Max resident set": "RSS",
    "Max processes": "NPROC",
    "Max open files": "NOFILE",
    "Max locked memory": "MEMLOCK",
    "Max address space": "AS",
    "Max pending signals": "SIGPENDING",
    "Max msgqueue size": "MSGQUEUE",
    "Max nice priority": "NICE",
    "Max realtime priority": "RTPRIO",
    "Max realtime timeout": "RTTIME",
}


class Request(NamedTuple):
    """``arguments`` empty: a shell. ``terminal`` is the name of its kind ($TERM), "" for none.

    ``directory`` "" is the one that the app itself begins in. With ``own_group`` it stays in the
    control group that we are in, as it does with ``privileged``.
    """

    arguments: tuple[str, ...]
    terminal: str = ""
    privileged: bool = False
    own_group: bool = False
    environment: tuple[str, ...] = ()
    directory: str = ""


class Entered(NamedTuple):
    """A command that was begun; ``terminal`` is our side of its terminal, or None."""

    process: "subprocess.Popen[bytes]"
    channel: socket.socket
    terminal: int | None


def shell(bus: Bus, pod: str, app: str) -> str:
    """What to run when no command is given: /bin/bash (rkt), or /bin/sh where there is none."""
    pid = processes.first_process(bus, pod, app)
    return next(
        (each for each in ("/bin/bash", "/bin/sh") if os.path.lexists(f"/proc/{pid}/root{each}")),
        "/bin/bash",
    )


@contextlib.contextmanager
def entered(bus: Bus, paths: Paths, pod: str, *, app: str, request: Request) -> Iterator[Entered]:
    """Begin a command in a running app. Raises UsageError, SystemdError, BadInput, NotFound."""
    unit = app_unit(pod, app)
    pid = processes.first_process(bus, pod, app)
    with contextlib.ExitStack() as stack:
        pidfd = _pidfd(pid, app)
        stack.callback(os.close, pidfd)
        order = _order(paths, pod, app=app, pid=pid, request=request)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(ours)
        file = _sealed("order", json.dumps(order).encode())
        stack.callback(os.close, file)
        with theirs:
            process = _start([theirs.fileno(), file, pidfd])
        stack.callback(_end, process)
        if not (request.privileged or request.own_group):
            group = bus.property(unit, "Service", "ControlGroup", "s").decode()
            try:
                bus.attach(unit, processes.group_below(pid, group), process.pid)
            except SystemdError as error:
                raise SystemdError(f"{unit}: cannot join its control group: {error}") from error
        ours.send(b"g")
        terminal = None
        if request.terminal:
            terminal = _receive_terminal(ours)
            stack.callback(os.close, terminal)
        yield Entered(process, ours, terminal)


def ended(entered: Entered, timeout: float) -> bool:
    """Whether the command ends within ``timeout`` seconds, which is waited for."""
    descriptor = os.pidfd_open(entered.process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(descriptor)


def outcome(entered: Entered) -> tuple[int, str]:
    """Wait for the end of the command: its status, or 128 and the signal, as a shell has it; and
    what there is to complain of when it could not be begun, or ""."""
    status = entered.process.wait()
    complaint = ""
    with contextlib.suppress(OSError):
        data = entered.channel.recv(4096, socket.MSG_DONTWAIT)
        complaint = data[1:].decode(errors="replace")
    return (status if status >= 0 else 128 - status), complaint


def _pidfd(pid: int, app: str) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        raise NotFound(f"app {app} has just ended: {error.strerror}") from error


def _receive_terminal(channel: socket.socket) -> int:
    data, descriptors, _, _ = socket.recv_fds(channel, 4096, 1)
    if descriptors:
        return descriptors[0]
    message = data[1:].decode(errors="replace") or "the terminal could not be made"
    raise RktError(message)


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _start(descriptors: Sequence[int]) -> "subprocess.Popen[bytes]":
    from rktsd.host.process import start_attached
    from rktsd.stage1 import __path__ as stage1

    # Not the host's own interpreter: what is inside could write to it through /proc.
    with open(os.path.realpath(_PYTHON), "rb") as file:
        interpreter = _sealed("rkt", file.read(), executable=True)
    program = os.path.abspath(f"{next(iter(stage1))}/inside.py")
    command = [_PYTHON, "-I", "-S", program, *(str(each) for each in descriptors)]
    try:
        return start_attached(
            command,
            executable=f"/proc/self/fd/{interpreter}",
            pass_fds=[*descriptors, interpreter],
        )
    finally:
        os.close(interpreter)


def _sealed(name: str, data: bytes, *, executable: bool = False) -> int:
    """A file in memory that nobody can change."""
    import fcntl

    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    if executable:
        os.fchmod(descriptor, 0o500)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def _order(paths: Paths, pod: str, *, app: str, pid: int, request: Request) -> dict[str, Any]:
    """What ``stage1.inside`` is told: everything as numbers, and nothing left to look up."""
    where = f"{paths.pod_run(pod)}/apps/{app}/config.json"
    config = _read(where)
    process = config["process"]
    privileged = request.privileged
    # LANG is what systemd-nspawn adds.
    environment = ["LANG=C.UTF-8", *process["env"], *request.environment]
    if request.terminal:
        environment.append(f"TERM={request.terminal}")
    sets = {
        kind: _numbers(names, where) for kind, names in (process.get("capabilities") or {}).items()
    }
    if "fly" in config:
        # Settings of its unit may have taken more away than its bundle says.
        held = inside.held_capabilities(str(pid), "CapBnd")
        sets = {kind: [each for each in found if each in held] for kind, found in sets.items()}
    keep = sets.get("bounding", [])
    user = process["user"]
    return {
        "pid": pid,
        "launcher": "" if privileged or process["args"][0] != launcher.PATH else launcher.PATH,
        "program": "" if privileged else _program(config),
        "label": "" if privileged else process.get("selinuxLabel", ""),
        "arguments": list(request.arguments),
        "environment": environment,
        "directory": request.directory or ("/" if privileged else process["cwd"]),
        "terminal": bool(request.terminal),
        "privileged": privileged,
        "uid": 0 if privileged else user["uid"],
        "gid": 0 if privileged else user["gid"],
        "groups": user.get("additionalGids") or [],
        "capabilities": {
            kind: sets.get(kind, [])
            for kind in ("effective", "permitted", "inheritable", "ambient")
        },
        "dropped": [number for number in range(_last_capability() + 1) if number not in keep],
        "no_new_privileges": bool(process.get("noNewPrivileges")),
        "filter": "" if privileged else _filter(config, where).hex(),
        "limits": _limits(pid),
        "oom_score_adj": int(_word(f"/proc/{pid}/oom_score_adj")),
        "nice": os.getpriority(os.PRIO_PROCESS, pid),
        "processors": sorted(os.sched_getaffinity(pid)),
    }


def _program(config: dict[str, Any]) -> str:
    """The launcher in hexadecimal digits, where it is not in the root of the app."""
    path = (config.get("fly") or {}).get("launcher")
    if path is None:
        return ""
    with open(path, "rb") as file:
        return file.read(_MAX_CONFIG).hex()


def _read(path: str) -> dict[str, Any]:
    from rktsd.host.files import read_limited

    try:
        found: dict[str, Any] = json.loads(read_limited(path, _MAX_CONFIG))
    except ValueError as error:
        raise BadInput(f"{path}: not JSON: {error}") from error
    return found


def _filter(config: dict[str, Any], where: str) -> bytes:
    """The filter of the app; where systemd-nspawn made one of its own, our default instead.

    Empty where the app has none, or its launcher loads it; with stage1 fly it is always so.
    """
    if "fly" in config:
        return b""
    from rktsd.host.ocifilter import program
    from rktsd.stage1 import syscalls

    own = (config.get("linux") or {}).get("seccomp")
    if own is None:
        if _told_to_filter_nothing(f"{where.rpartition('/')[0]}/run"):
            return b""
        allowed = syscalls.allowed(config["process"]["capabilities"]["bounding"])
        rule = {"names": allowed, "action": "SCMP_ACT_ALLOW"}
        own = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}
    return program(own, f"{where}: linux.seccomp")


def _told_to_filter_nothing(path: str) -> bool:
    """Whether the script of the app tells systemd-nspawn to load no filter."""
    from rktsd.host.files import read_limited

    last = read_limited(path, _MAX_CONFIG).decode(errors="replace").splitlines()[-1]
    return "SYSTEMD_SECCOMP=0" in last.partition(" exec ")[0].split()


def _numbers(names: Sequence[str], where: str) -> list[int]:
    try:
        return [CAPABILITIES_BY_NUMBER.index(name) for name in names]
    except ValueError as error:
        raise BadInput(f"{where}: process.capabilities: {error}") from error


def _last_capability() -> int:
    return int(_word("/proc/sys/kernel/cap_last_cap"))


def _limits(pid: int) -> list[tuple[int, list[int]]]:
    """The resource limits of a process by number (getrlimit(2)), from /proc/PID/limits: prlimit(2)
    would take CAP_SYS_RESOURCE."""
    found = []
    with open(f"/proc/{pid}/limits") as file:
        for line in file.readlines()[1:]:
            name = line[:26].strip()
            if name in _LIMITS:
                words = line[26:].split()[:2]
                number = getattr(resource, f"RLIMIT_{_LIMITS[name]}")
                found.append((number, [-1 if w == "unlimited" else int(w) for w in words]))
    return found


def _word(path: str) -> str:
    with open(path) as file:
        return file.read().strip()
