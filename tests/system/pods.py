"""Pods in a box, handled by the commands that an administrator uses."""

from __future__ import annotations

import contextlib
import subprocess

from tests.box import Box
from tests.waiting import eventually

NO_NETWORK = 'network = "none"\n'

# Ends at once when told to: a shell as PID 1 obeys SIGTERM only through a trap.
SERVE = "trap 'echo bye; exit 0' TERM; echo ready; sleep 1000 & wait"


def app(name: str, script: str, *, image: str = "example.com/busybox", extra: str = "") -> str:
    """An [[app]] of a pod file that runs a shell script; ``extra`` are more lines of it."""
    return (
        f'[[app]]\nname = "{name}"\nimage = "{image}"\n'
        f"exec = ['/bin/sh', '-c', '''{script}''']\n{extra}\n"
    )


def _slice(pod: str) -> str:
    # The shell and systemctl each take one backslash.
    return f"rkt-{pod.replace('-', chr(92) + 'x2d').replace('@', chr(92) + 'x40')}.slice"


class Pod:
    """A pod file in a box, and the pod's unit."""

    def __init__(self, box: Box, name: str, text: str, *, form: str = "toml") -> None:
        self.box = box
        self.name = name
        self.file = f"/etc/rkt/pods/{name}.{form}"
        self.unit = f"rkt@{name}.service"
        self.slice = _slice(name)
        self.write(text)

    def write(self, text: str) -> None:
        """Replace the pod file."""
        self.box.write(self.file, text)

    def app_unit(self, app: str) -> str:
        """The unit of an app."""
        return f"rkt-{self.name}.{app}.service"

    def systemctl(self, verb: str, *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run ``systemctl VERB rkt@POD``."""
        return self.box.run(["systemctl", verb, self.unit], timeout=timeout)

    def start(self) -> None:
        """Start the pod and wait until its apps have their traps set; fail with its journal."""
        done = self.systemctl("start")
        assert done.returncode == 0, f"{done.stderr}\n{self.box.journal('-u', self.unit, '-n30')}"
        self.wait_ready()

    def restart(self) -> None:
        """Stop the pod and start a new run."""
        self.box.run(["systemctl", "restart", self.unit], check=True)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait for each ``echo ready`` of the file: before its trap an app is deaf to SIGTERM."""
        serving = self.box.read(self.file).count("echo ready")
        run = f"RKT_POD_UUID={self.last_run()}"
        if serving:
            ready = self.messages
            eventually(lambda: ready(run).count("ready") >= serving, f"{serving} apps are ready")

    def stop(self) -> None:
        """Stop the pod."""
        done = self.systemctl("stop")
        assert done.returncode == 0, done.stderr

    def show(self, name: str, unit: str | None = None) -> str:
        """A property of the pod's unit or another."""
        command = ["systemctl", "show", "--property", name, "--value", unit or self.unit]
        return self.box.run(command, check=True).stdout.strip()

    def state(self, unit: str | None = None) -> str:
        """The ActiveState."""
        return self.show("ActiveState", unit)

    def wait_for(self, *states: str) -> None:
        """Wait until the pod's unit is in one of the states."""
        eventually(lambda: self.state() in states, f"{self.unit} becomes {' or '.join(states)}")

    def messages(self, *matches: str) -> list[str]:
        """The messages of the apps' own lines in the journal, oldest first."""
        self.box.run(["journalctl", "--sync"], check=True)
        command = ["journalctl", "--no-pager", "--output=cat", "_TRANSPORT=stdout", *matches]
        return self.box.run(command).stdout.splitlines()

    def errors(self) -> list[str]:
        """What the pod's unit itself wrote with priority err or worse."""
        self.box.run(["journalctl", "--sync"], check=True)
        command = ["journalctl", "--no-pager", "--output=cat", "--priority=err"]
        match = [f"_SYSTEMD_UNIT={self.unit}"]
        return self.box.run([*command, *match]).stdout.splitlines()

    def last_run(self) -> str:
        """The UUID of the run that goes on, or of the last one; empty before the first."""
        return self.box.shell(
            "cd /var/lib/rkt/pods/run; for run in $(ls -t); do"
            f' [ "$(cat $run/name 2>/dev/null)" = {self.name} ] || continue; echo $run; break; done'
        ).strip()

    def status(self, app: str) -> str:
        """What the last run recorded of an app: result, code, status; empty before its end."""
        path = f"/var/lib/rkt/pods/run/{self.last_run()}/status/{app}"
        return self.box.shell(f"cat {path} 2>/dev/null || :").strip()

    def remove(self) -> None:
        """Stop the pod and forget it."""
        self.systemctl("stop")
        self.box.shell(
            f"systemctl disable --quiet {self.unit} 2>/dev/null || :;"
            f" systemctl reset-failed {self.unit} 2>/dev/null || :;"
            f" rm -rf {self.file} /etc/systemd/system/{self.unit}.d; systemctl daemon-reload"
        )

    def leftovers(self) -> str:
        """What of the pod stays on the machine; empty after a clean end.

        systemd forgets units that have ended when it has nothing else to do.
        """
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self._leftovers(), "nothing of the pod is left")
        return self._leftovers()

    def _leftovers(self) -> str:
        return self.box.shell(
            f"systemctl list-units --all --no-legend --plain 'rkt-{self.name}.*' || :;"
            f" systemctl list-units --all --no-legend --plain '{_slice(self.name)}' || :;"
            f" ls -d /run/rkt/pods/{self.name} 2>/dev/null || :;"
            " ls /run/netns 2>/dev/null | grep '^rkt-' || :; ip -o link | grep veth || :;"
            " find /run/rkt/networks -name '172.*' 2>/dev/null || :; ls /run/rkt/ports || :;"
            " ls /var/lib/rkt/pods/embryo || :; iptables-save | grep -- '--dport' || :"
        ).strip()


def lines_of(pod: Pod) -> list[str]:
    """Run the pod to its end: what its apps said."""
    pod.start()
    pod.wait_for("inactive", "failed")
    return pod.messages(f"RKT_POD_UUID={pod.last_run()}")
