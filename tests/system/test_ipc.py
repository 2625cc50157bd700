"""What the apps of a pod share of IPC, seen from inside them."""

from __future__ import annotations

import pytest

from tests.box import Box
from tests.system.conftest import MakePod
from tests.system.pods import SERVE, Pod, app
from tests.waiting import eventually

WRITER = f"readlink /proc/self/ns/ipc; echo of-the-first >/dev/shm/word; {SERVE}"
READER = (
    "until [ -e /dev/shm/word ]; do sleep 0.1; done; readlink /proc/self/ns/ipc; cat /dev/shm/word;"
    f" {SERVE}"
)


def _text(ipc: str | None, *apps: str) -> str:
    first = "" if ipc is None else f'ipc = "{ipc}"\n'
    return f'{first}network = "none"\n' + "".join(apps)


def _said_by(pod: Pod, name: str) -> list[str]:
    return pod.messages(f"RKT_POD_UUID={pod.last_run()}", f"RKT_APP={name}")


def _of_the_host(box: Box) -> str:
    return box.shell("readlink /proc/1/ns/ipc").strip()


@pytest.mark.row("ipcns/Ipc")
@pytest.mark.parametrize("ipc", [None, "private"])
def test_apps_share_what_nobody_else_has(make_pod: MakePod, pod_box: Box, ipc: str | None) -> None:
    pod = make_pod("ipc", _text(ipc, app("one", WRITER), app("two", READER)))
    pod.start()
    first, second = _said_by(pod, "one"), _said_by(pod, "two")
    assert second[:2] == [first[0], "of-the-first"]
    assert first[0] != _of_the_host(pod_box)
    assert pod_box.shell("ls /dev/shm") == ""
    pod.stop()
    assert pod.leftovers() == ""
    assert "/run/rkt/pods" not in pod_box.read("/proc/self/mountinfo")


def test_an_app_that_is_restarted_joins_again(make_pod: MakePod, pod_box: Box) -> None:
    """Also the first one, and after systemd has read its units anew."""
    restart = 'systemd = { Restart = "always", RestartSec = "50ms" }\n'
    apps = (app("one", WRITER, extra=restart), app("two", READER, extra=restart))
    pod = make_pod("ipc-again", _text(None, *apps))
    pod.start()
    expected = _said_by(pod, "one")[0]

    def kill(name: str, times: int) -> None:
        pod_box.run(["systemctl", "daemon-reload"], check=True)
        command = ["systemctl", "kill", "--signal=KILL", "--kill-whom=all", pod.app_unit(name)]
        pod_box.run(command, check=True)
        eventually(lambda: _said_by(pod, name).count("ready") == times + 1, f"{name} is back")

    kill("one", 1)
    kill("one", 2)
    kill("two", 1)
    for name in ("one", "two"):
        spaces = {line for line in _said_by(pod, name) if line.startswith("ipc:")}
        assert spaces == {expected}


def test_the_only_app_has_its_own(make_pod: MakePod, pod_box: Box) -> None:
    pod = make_pod("ipc-one", _text(None, app("one", WRITER)))
    pod.start()
    assert _said_by(pod, "one")[0] != _of_the_host(pod_box)
    assert pod_box.shell("ls /dev/shm") == ""


def test_ipc_of_the_host(make_pod: MakePod, pod_box: Box) -> None:
    pod_box.shell("echo of-the-host >/dev/shm/host")
    script = f"cat /dev/shm/host; {WRITER}"
    pod = make_pod("ipc-host", _text("parent", app("one", script), app("two", READER)))
    pod.start()
    host = _of_the_host(pod_box)
    assert _said_by(pod, "one")[:2] == ["of-the-host", host]
    assert _said_by(pod, "two")[:2] == [host, "of-the-first"]
    assert pod_box.shell("cat /dev/shm/word; rm /dev/shm/word /dev/shm/host") == "of-the-first\n"


@pytest.mark.row("ipcns/Ipc")
@pytest.mark.parametrize(("flag", "same"), [("--ipc=private", False), ("--ipc=parent", True)])
def test_ipc_of_the_command_line(pod_box: Box, flag: str, same: bool) -> None:
    command = ["example.com/busybox", "--exec=/bin/readlink", "--", "/proc/self/ns/ipc"]
    ran = pod_box.run(["rkt", "run", "--net=none", flag, *command], check=True)
    assert (ran.stdout.strip() == _of_the_host(pod_box)) == same
    uuid = pod_box.run(["rkt", "prepare", "--quiet", *command], check=True).stdout.strip()
    ran = pod_box.run(["rkt", "run-prepared", "--net=none", flag, uuid], check=True)
    assert (ran.stdout.strip() == _of_the_host(pod_box)) == same


@pytest.mark.row("ipcns/Ipc")
def test_a_bad_word(pod_box: Box) -> None:
    done = pod_box.run(["rkt", "run", "--ipc=shared", "example.com/busybox"])
    assert (done.returncode, done.stderr) == (
        254,
        'run: --ipc: "shared" is not auto, private, parent\n',
    )
