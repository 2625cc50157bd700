"""Boots a box, boots it again when it reboots, and ends it when its client is gone.

The client sends lines "start" and "kill"; the supervisor answers with JSON lines,
{"event": "booted", "pid": N}, {"event": "ready"}, {"event": "off", "reason": "poweroff"}.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
from typing import NoReturn

from tests.box import cgroups, syscalls, tree
from tests.box.spec import Spec

CONTROL = 0
_CAP_SYS_MODULE = 16
# termios has them from Python 3.13 on; asm-generic/ioctls.h
_TIOCSPTLCK, _TIOCGPTN = 0x40045431, 0x80045430
_NAMESPACES = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWCGROUP
)


def send(**message: object) -> None:
    # a client that is gone reads nothing, and the closed socket ends the loop
    with contextlib.suppress(OSError):
        os.write(CONTROL, json.dumps(message).encode() + b"\n")


class Supervisor:
    """State of a running supervisor: the box's PID 1, its console and its socket for readiness."""

    def __init__(
        self, spec: Spec, hierarchies: list[cgroups.Hierarchy], directories: list[str]
    ) -> None:
        self.spec = spec
        self.hierarchies = hierarchies
        self.directories = directories
        self.root = os.path.join(spec.work, "root")
        self.notify_path = os.path.join(spec.work, "notify")
        syscalls.own_mount_namespace()
        self._mount_layers()
        tree.prepare(self.root, spec.name)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.notify_path)
        self.console = os.open(
            os.path.join(spec.work, "console.log"), os.O_WRONLY | os.O_CREAT, 0o644
        )
        self.master, self.slave = self._open_console()
        self.pid = 0
        self.pidfd = -1

    def _mount_layers(self) -> None:
        layer, data = (os.path.join(self.spec.work, name) for name in ("layer", "data"))
        limit = f"mode=755,size={self.spec.memory}"
        for path, in_memory in ((layer, self.spec.layer_on_tmpfs), (data, self.spec.data_on_tmpfs)):
            os.makedirs(path, exist_ok=True)
            if in_memory:
                syscalls.mount("tmpfs", path, kind="tmpfs", data=limit)
        for path in (f"{layer}/upper", f"{layer}/work", self.root):
            os.makedirs(path, mode=0o755, exist_ok=True)
        lower = self.spec.root.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
        options = f"lowerdir={lower},upperdir={layer}/upper,workdir={layer}/work"
        syscalls.mount("overlay", self.root, kind="overlay", data=options)
        for target in tree.DATA:
            source = data + target
            os.makedirs(source, mode=0o755)
            if target == "/var/tmp":
                os.chmod(source, 0o1777)
            os.makedirs(self.root + target, exist_ok=True)
            syscalls.bind(source, self.root + target)
        for source, target in self.spec.binds:
            self._bind(source, self.root + target)

    def _bind(self, source: str, target: str) -> None:
        if os.path.isdir(source):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "ab"):
                pass
        syscalls.bind(source, target, recursive=True)

    def _open_console(self) -> tuple[int, str]:
        pts = os.path.join(self.spec.work, "pts")
        os.makedirs(pts, exist_ok=True)
        syscalls.mount("devpts", pts, kind="devpts", data="newinstance,mode=620,ptmxmode=666")
        master = os.open(f"{pts}/ptmx", os.O_RDWR | os.O_NOCTTY)
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        (number,) = struct.unpack("I", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))
        # kept open: a master whose last slave is closed is readable for ever
        os.open(f"{pts}/{number}", os.O_RDWR | os.O_NOCTTY)
        return master, f"{pts}/{number}"

    def boot(self) -> None:
        syscalls.rejoin_own(syscalls.CLONE_NEWPID)
        syscalls.unshare(syscalls.CLONE_NEWPID)
        self.pid = os.fork()
        if self.pid == 0:
            self._become_init()
        self.pidfd = os.pidfd_open(self.pid)
        send(event="booted", pid=self.pid)

    def _become_init(self) -> NoReturn:
        try:
            syscalls.die_with_parent(signal.SIGKILL)
            os.setsid()
            cgroups.join(self.directories)
            syscalls.unshare(_NAMESPACES)
            tree.mount_boot(
                self.root,
                hierarchies=self.hierarchies,
                console=self.slave,
                notify=self.notify_path,
            )
            with contextlib.suppress(OSError):
                socket.sethostname(self.spec.name)
            self._take_streams()
            syscalls.switch_root(self.root)
            syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_SHARED)
            syscalls.drop_from_bounding_set(_CAP_SYS_MODULE)
            os.umask(0o022)
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            systemd = "/lib/systemd/systemd"
            arguments = [systemd, "--system", "--unit=multi-user.target", "--show-status=no"]
            os.execve(systemd, arguments, self._environment())
        except OSError as error:
            os.write(self.console, f"cannot boot: {error}\n".encode())
        finally:
            os._exit(70)

    def _environment(self) -> dict[str, str]:
        return {
            "container": "other",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "TERM": "dumb",
            "NOTIFY_SOCKET": "/run/host/notify",
        }

    def _take_streams(self) -> None:
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)

    def serve(self) -> None:
        """Until the client is gone; then the box ends with us."""
        self.boot()
        pending = b""
        while True:
            watched = [CONTROL, self.notify.fileno()]
            watched += [self.master] if self.master >= 0 else []
            watched += [self.pidfd] if self.pid else []
            readable, _, _ = select.select(watched, [], [])
            if self.notify.fileno() in readable and b"READY=1" in self.notify.recv(4096).split():
                send(event="ready")
            if self.master in readable:
                self._log_console()
            if self.pid and self.pidfd in readable:
                self._bury()
            if CONTROL in readable:
                received = os.read(CONTROL, 4096)
                if not received:
                    break
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    self._obey(line)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _log_console(self) -> None:
        try:
            os.write(self.console, os.read(self.master, 4096))
        except OSError:
            # hung up by someone in the box; what follows is in its journal
            self.master = -1

    def _obey(self, line: bytes) -> None:
        if line == b"start" and not self.pid:
            self.boot()
        elif line == b"kill" and self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def _bury(self) -> None:
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pid = 0
        code = os.waitstatus_to_exitcode(status)
        # reboot(2) in a PID namespace ends its PID 1 by a signal: reboot(2), LINUX_REBOOT_CMD_*
        if code == -signal.SIGHUP:
            self.boot()
            return
        reasons = {-signal.SIGINT: "poweroff", -signal.SIGKILL: "killed"}
        send(event="off", reason=reasons.get(code, f"status {code}"))
