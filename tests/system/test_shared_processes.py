"""Apps that share their processes: they see each other, and nothing of the host."""

from __future__ import annotations

import pytest

from tests.box import Box
from tests.conftest import BoxFactory
from tests.system.conftest import MakePod, store_image
from tests.system.pods import NO_NETWORK, SERVE, Pod, app
from tests.system.test_app_life import python
from tests.waiting import eventually

SHARED = f'pid = "shared"\n{NO_NETWORK}'
# Which processes there are, and the roots of which can be entered.
LOOK = (
    "until ls /proc/[0-9]*/root/tmp/neighbour >/dev/null 2>&1; do sleep 0.05; done;"
    " for p in /proc/[0-9]*; do read -r name <$p/comm || continue;"
    " ls $p/root/ >/dev/null 2>&1 && echo into $name || echo sees $name; done;"
    " cat /proc/1/comm; ls /proc/1/root/ >/dev/null 2>&1 || echo barred"
)
NEIGHBOUR = f"touch /tmp/neighbour; {SERVE}"


@pytest.mark.parametrize("user", ["0", "1000", "65534"])
def test_apps_see_each_other_and_not_the_host(pod_box: Box, make_pod: MakePod, user: str) -> None:
    extra = f'user = "{user}"\n'
    one, two = app("one", f"{LOOK}; {SERVE}", extra=extra), app("two", NEIGHBOUR, extra=extra)
    pod = make_pod("together", SHARED + one + two)
    pod.start()
    said = pod.messages(f"RKT_POD_UUID={pod.last_run()}", "RKT_APP=one")
    # The roots of apps of the same user, as with Kubernetes, and that of systemd-nspawn never.
    assert said.count("sees systemd-nspawn") == 2
    assert said.count("into sh") == 2
    assert [line for line in said if "systemd" in line and "nspawn" not in line] == []
    assert said[-3:] == ["sleep", "barred", "ready"]
    for name in ("one", "two"):
        enter = ["rkt", "enter", f"--app={name}", "together"]
        assert pod_box.run([*enter, "cat", "/proc/1/comm"]).stdout == "sleep\n"
        assert pod_box.run([*enter, "ls", "/proc/1/root/"]).returncode != 0
    pod.stop()
    assert [pod.status(each) for each in ("one", "two")] == ["success exited 0"] * 2
    assert pod.leftovers() == ""


def test_the_life_of_a_pod(pod_box: Box, make_pod: MakePod) -> None:
    settings = '[app.systemd]\nRestart = "on-failure"\nRestartSec = 0\n'
    health = "[app.health]\ncommand = ['/bin/sh', '-c', '[ -e /proc/1 ]']\ninterval = 0.5\n"
    text = SHARED + app("one", SERVE, extra=settings + health) + app("two", "exit 0")
    pod = make_pod("lasting", text)
    pod.start()
    unit, holder = pod.app_unit("one"), pod.app_unit("_pids")
    eventually(lambda: pod.status("two") == "success exited 0", "the other app has ended")
    pod_box.run(["systemctl", "daemon-reload"], check=True)
    pod_box.run(["rkt", "kill", "--app=one", "--signal=KILL", "lasting"], check=True)
    eventually(lambda: pod.show("NRestarts", unit) == "1", "it is started anew")
    run = f"RKT_POD_UUID={pod.last_run()}"
    eventually(lambda: pod.messages(run).count("ready") == 2, "it runs again")
    eventually(
        lambda: "health=healthy" in pod_box.run(["rkt", "status", "lasting"]).stdout, "it is well"
    )
    assert pod.state(holder) == "active"
    pod.restart()
    pod.stop()
    assert pod.leftovers() == ""
    # With its first process the namespace ends and all apps do; what is started anew has another.
    pod.start()
    pod_box.run(["systemctl", "kill", "--signal=KILL", holder], check=True)
    run = f"RKT_POD_UUID={pod.last_run()}"
    eventually(lambda: pod.messages(run).count("ready") == 2, "it runs again")
    assert pod.state(holder) == "active"
    pod.stop()
    assert pod.leftovers() == ""


def test_how_apps_end(make_pod: MakePod) -> None:
    fails = app("one", "echo orphan; (sleep 1000 &); exit 7")
    pod = make_pod("ending", SHARED + fails + app("two", SERVE))
    pod.systemctl("start")
    pod.wait_for("failed")
    assert pod.status("one") == "exit-code exited 7"
    assert pod.leftovers() == ""
    # Of its own accord.
    pod.write(SHARED + app("one", "exit 0") + app("two", "exit 0"))
    pod.systemctl("start")
    pod.wait_for("inactive")
    assert pod.leftovers() == ""


def test_readiness_and_handed_on_settings(make_pod: MakePod) -> None:
    code = 'tell("READY=1\\nSTATUS=at work")\nsignal.pause()'
    text = SHARED + python("one", code, '[app.systemd]\nType = "notify"\n')
    pod = make_pod("ready", text)
    pod.start()
    status = "Container running: at work"
    eventually(lambda: pod.show("StatusText", pod.app_unit("one")) == status, "the status")
    pod.stop()
    assert pod.status("one") == "success exited 0"


@pytest.mark.parametrize(
    ("head", "extra", "complaint"),
    [
        ("", 'capabilities-retain = ["CAP_SYS_PTRACE"]\n', "it would lead to the host by way of"),
        ("", 'insecure = ["capabilities"]\n', "it would lead to the host by way of"),
        ("register = true\n", "", "register: not with shared processes"),
        ("private-users = true\n", "", "private-users: not with shared processes"),
        ("", '[app.systemd]\nType = "oneshot"\n', '"oneshot": not with shared processes'),
        ('stage1 = "fly"\n', "", "pid: with stage1 fly apps see all processes of the host"),
    ],
)
def test_what_cannot_be_is_refused(
    make_pod: MakePod, head: str, extra: str, complaint: str
) -> None:
    network = "" if "fly" in head else NO_NETWORK
    text = f'pid = "shared"\n{network}{head}' + app("one", SERVE, extra=extra)
    pod = make_pod("refused", text)
    assert pod.systemctl("start").returncode != 0
    assert complaint in pod.errors()[-1]
    assert pod.leftovers() == ""


def test_the_flag(pod_box: Box) -> None:
    command = ["example.com/busybox", "--exec=/bin/cat", "--", "/proc/1/comm"]
    for flag, first in (("shared", "sleep"), ("private", "cat")):
        done = pod_box.run(["rkt", "run", "--net=none", f"--pid={flag}", *command], check=True)
        assert done.stdout.split()[-1:] == [first]
    done = pod_box.run(["rkt", "run", "--pid=parent", *command])
    assert (done.returncode, done.stderr) == (
        254,
        'run: --pid: "parent" is not private, shared\n',
    )


def test_shared_processes_on_debian_13(
    make_box: BoxFactory, debian13: str, busybox_aci: str
) -> None:
    box = make_box(debian13, cgroup="unified")
    store_image(box, busybox_aci)
    pod = Pod(box, "together", SHARED + app("one", f"{LOOK}; {SERVE}") + app("two", NEIGHBOUR))
    pod.start()
    said = pod.messages(f"RKT_POD_UUID={pod.last_run()}", "RKT_APP=one")
    assert said.count("sees systemd-nspawn") == 2
    assert said.count("into sh") == 2
    assert said[-3:] == ["sleep", "barred", "ready"]
    pod.stop()
    assert pod.leftovers() == ""
