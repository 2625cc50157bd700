"""A private machine for tests: a real systemd as PID 1 of namespaces of its own.

::

    with Box() as box:
        box.run(["systemctl", "start", "rkt@web"], check=True)

The tree it boots is an overlay of ``root`` (the host's tree by default, only the file system that
``root`` itself is on), so nothing that happens in it reaches the host.
"""

import json
import os
import select
import shlex
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import IO, Any, Self

from tests.box import machine
from tests.box.spec import Spec

_ENTER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "enter.py")
_ENOUGH_MEMORY = 4 << 30
_BOOT_TIMEOUT = 60.0

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


class BoxError(Exception):
    """The box could not be booted, or is not running."""


class Box:
    """Boots on entry, vanishes on exit; ``init_pid`` is the host's number of its PID 1, 0 when off.

    ``cgroup``: auto (by host and by the systemd in ``root``), hybrid or unified. ``tmpfs`` keeps
    everything in memory; otherwise the data directories (tree.DATA) lie on the disk, and the rest
    in memory if there is enough of it. ``binds`` are (host path, path in the box); ``debs`` are
    installed after the first boot.
    """

    def __init__(
        self,
        root: str = "/",
        *,
        cgroup: str = "auto",
        tmpfs: bool = False,
        binds: Iterable[tuple[str, str]] = (),
        debs: Iterable[str] = (),
        timeout: float = _BOOT_TIMEOUT,
    ) -> None:
        self.root = os.path.abspath(root)
        self.debs = tuple(debs)
        self.timeout = timeout
        self.init_pid = 0
        self.boots = 0
        self.boot_seconds = 0.0
        self._cgroup = cgroup
        self._tmpfs = tmpfs
        self._binds = tuple((os.path.abspath(source), target) for source, target in binds)
        self._ready = False
        self._off = ""
        self._pidfd = -1
        self._lock = -1
        self._received = b""
        self._booted_at = 0.0

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise BoxError("a box needs root")
        if not os.path.exists(os.path.join(self.root, "lib/systemd/systemd")):
            raise BoxError(f"{self.root}: no /lib/systemd/systemd to boot")
        machine.sweep()
        self.work, self.name, self._lock = machine.open_work()
        self._spawn()
        try:
            self.wait_ready()
            for deb in self.debs:
                self.install(deb)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _spawn(self) -> None:
        on_disk = not self._tmpfs and machine.takes_overlays(self.work)
        available = machine.available_memory()
        spec = Spec(
            work=self.work,
            root=self.root,
            name=f"box-{self.name}",
            cgroup=self._cgroup,
            layer_on_tmpfs=not on_disk or available > _ENOUGH_MEMORY,
            data_on_tmpfs=not on_disk,
            binds=self._binds,
            memory=available // 2,
        )
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.box.reaper", spec.dump()]
        if machine.systemd_is_init():
            scope = f"--unit={os.path.basename(self.work)}.scope"
            command = [
                "systemd-run",
                "--scope",
                "-q",
                "--collect",
                "-p",
                "Delegate=yes",
                scope,
                *command,
            ]
        self._process = subprocess.Popen(
            command,
            stdin=theirs.fileno(),
            pass_fds=[self._lock],
            cwd=machine.REPOSITORY,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )
        theirs.close()

    def close(self) -> None:
        """End the box at once, whatever runs in it, and remove all traces of it."""
        if self._lock < 0:
            return
        self._control.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._set_off("closed")
        os.close(self._lock)
        self._lock = -1
        if os.path.exists(self.work):
            machine.clean(self.work)

    def wait_ready(self, timeout: float | None = None) -> None:
        """Until the box has finished booting: no jobs queued, state running or degraded."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while not self._ready:
            if self._off:
                raise BoxError(f"the box is off: {self._off}\n{self._console()}")
            if not self._receive(deadline - time.monotonic()):
                jobs = (
                    self.run(["systemctl", "list-jobs", "--no-pager"]).stdout
                    if self.init_pid
                    else ""
                )
                raise BoxError(f"the box does not finish booting\n{self._console()}{jobs}")

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = False,
        input: str | None = None,
        timeout: float | None = 60,
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root in a clean environment; outputs are captured as text.

        The exit status is the command's own, -N when signal N ended it. Raises
        subprocess.CalledProcessError (with ``check``; its text shows the outputs) and
        TimeoutExpired, by which time the command is killed.
        """
        with self.popen(
            command,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stderr=subprocess.PIPE,
            environment=environment,
        ) as process:
            try:
                out, err = process.communicate(input, timeout)
            except BaseException:
                process.kill()
                raise
        done = subprocess.CompletedProcess(list(command), process.returncode, out, err)
        if check and done.returncode != 0:
            raise CommandError(done)
        return done

    def shell(
        self,
        script: str,
        *,
        check: bool = True,
        input: str | None = None,
        timeout: float | None = 60,
    ) -> str:
        """What ``sh -ec SCRIPT`` prints."""
        return self.run(["sh", "-ec", script], check=check, input=input, timeout=timeout).stdout

    def popen(
        self,
        command: Sequence[str],
        *,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.PIPE,
        stderr: int | IO[Any] | None = subprocess.STDOUT,
        environment: dict[str, str] | None = None,
        terminal: bool = False,
    ) -> subprocess.Popen[str]:
        """Start a command and let it run; kill() of the result kills the command too."""
        self._require()
        mode = "terminal" if terminal else "plain"
        return subprocess.Popen(
            [sys.executable, "-I", "-S", _ENTER, str(self._pidfd), mode, *command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[self._pidfd],
            env={**ENVIRONMENT, **(environment or {})},
            encoding="utf-8",
            errors="replace",
        )

    def write(self, path: str, text: str | bytes, *, mode: int = 0o644) -> None:
        """Write a whole file, with the directories above it."""
        data = text.encode() if isinstance(text, str) else text
        quoted = shlex.quote(path)
        script = f"mkdir -p {shlex.quote(os.path.dirname(path))}; rm -f {quoted}; cat >{quoted}; "
        self._feed(f"{script}chmod {mode:o} {quoted}", data)

    def read(self, path: str) -> str:
        return self.run(["cat", path], check=True).stdout

    def push(self, local: str, path: str) -> None:
        """Copy a file or a directory of the host to ``path`` in the box."""
        if not os.path.isdir(local):
            with open(local, "rb") as file:
                self.write(path, file.read(), mode=os.stat(local).st_mode & 0o7777)
            return
        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w") as archive:
                archive.add(local, ".")
            packed.seek(0)
            quoted = shlex.quote(path)
            self._feed(f"mkdir -p {quoted}; tar -C {quoted} -xf -", packed.read())

    def _feed(self, script: str, data: bytes) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            process = self.popen(["sh", "-ec", script], stdin=file)
            output, _ = process.communicate()
        if process.returncode != 0:
            raise BoxError(f"{script}: {output.strip()}")

    def install(self, deb: str) -> None:
        """Install a package file with dpkg; what it depends on must be there."""
        target = f"/run/box/{os.path.basename(deb)}"
        self.push(deb, target)
        self.run(
            ["dpkg", "-i", target],
            check=True,
            timeout=120,
            environment={"DEBIAN_FRONTEND": "noninteractive"},
        )

    def journal(self, *arguments: str) -> str:
        return self.run(["journalctl", "--no-pager", *arguments]).stdout

    def poweroff(self, timeout: float = 60) -> None:
        """Shut down in order; ``start`` boots again with the same disk."""
        self._shut_down("poweroff", timeout)

    def reboot(self, timeout: float = 60) -> None:
        """Shut down in order and boot again: /run and /tmp are new, everything else is kept."""
        self._shut_down("reboot", timeout)
        self.wait_ready()

    def _shut_down(self, verb: str, timeout: float) -> None:
        self._require()
        boots = self.boots
        # PID 1 may be gone before systemctl is, which then ends by signal
        self.run(["systemctl", verb])
        deadline = time.monotonic() + timeout
        while not (self._off or (verb == "reboot" and self.boots > boots)):
            if not self._receive(deadline - time.monotonic()):
                raise BoxError(
                    f"{verb} of the box did not end within {timeout:g} s\n{self._console()}"
                )

    def crash(self) -> None:
        """Kill the box like a power cut; ``start`` boots again with the same disk."""
        self._require()
        self._control.sendall(b"kill\n")
        while not self._off:
            if not self._receive(30):
                raise BoxError("the box does not die")

    def start(self) -> None:
        """Boot a box that is off."""
        self._poll()
        if self.init_pid:
            raise BoxError("the box is running already")
        self._off = ""
        self._control.sendall(b"start\n")
        self.wait_ready()

    def _require(self) -> None:
        self._poll()
        if not self.init_pid and not self._off:
            self._receive(self.timeout)
        if not self.init_pid:
            raise BoxError(f"the box is off: {self._off or 'not booted'}")

    def _poll(self) -> None:
        while self._receive(0):
            pass

    def _receive(self, timeout: float) -> bool:
        """Take in one message; False when none came in time."""
        if b"\n" not in self._received:
            if self._off in ("closed", "gone") or timeout < 0:
                return False
            readable, _, _ = select.select([self._control], [], [], timeout)
            if not readable:
                return False
            data = self._control.recv(4096)
            if not data:
                self._set_off("gone")
                return True
            self._received += data
            return True
        line, _, self._received = self._received.partition(b"\n")
        self._take(json.loads(line))
        return True

    def _take(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "booted":
                self._set_off("")
                self.init_pid = message["pid"]
                self._pidfd = os.pidfd_open(self.init_pid)
                self.boots += 1
                self._booted_at = time.monotonic()
            case "ready":
                self._ready = True
                self.boot_seconds = time.monotonic() - self._booted_at
            case "off" | "failed":
                self._set_off(message["reason"])

    def _set_off(self, reason: str) -> None:
        self._off = reason
        self._ready = False
        self.init_pid = 0
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _console(self) -> str:
        try:
            with open(os.path.join(self.work, "console.log"), errors="replace") as file:
                return file.read()[-4000:]
        except OSError:
            return ""


class CommandError(subprocess.CalledProcessError):
    """A command in the box failed; unlike its parent it says what the command printed."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        super().__init__(done.returncode, done.args, done.stdout, done.stderr)

    def __str__(self) -> str:
        printed = f"{self.stdout}{self.stderr}".rstrip()
        return f"{shlex.join(self.cmd)}: exit status {self.returncode}\n{printed}"
