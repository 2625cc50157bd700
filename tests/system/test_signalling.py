"""``rkt kill``, ``pause`` and ``unpause`` on running pods."""

from __future__ import annotations

import time

from tests.conftest import BoxFactory
from tests.system.conftest import MakePod, store_image
from tests.system.pods import NO_NETWORK, SERVE, Pod, app
from tests.waiting import eventually

TRAPS = "trap 'echo hup' HUP; trap 'exit 3' USR1; echo ready; while :; do sleep 0.1; done"
COUNTS = "echo ready; while :; do date +%s%N >/now; sleep 0.1; done"


def test_signals_reach_the_apps_that_are_meant(make_pod: MakePod) -> None:
    pod = make_pod("trapped", NO_NETWORK + app("one", TRAPS) + app("two", TRAPS))
    pod.start()
    run = f"RKT_POD_UUID={pod.last_run()}"
    said = pod.box.run(["rkt", "kill", "-s", "HUP", "--app=one", "trapped"], check=True).stdout
    assert said == f'"{pod.last_run()}"\n'
    eventually(lambda: "hup" in pod.messages(run, "RKT_APP=one"), "one heard it")
    pod.box.run(["rkt", "kill", "--signal=sighup", "trapped"], check=True)
    eventually(lambda: pod.messages(run).count("hup") == 3, "both heard it")
    pod.box.run(["rkt", "kill", "--signal=10", "--app=two", "trapped"], check=True)
    pod.wait_for("failed")
    assert pod.status("two") == "exit-code exited 3"


def test_kill_kills(make_pod: MakePod) -> None:
    pod = make_pod("killed", NO_NETWORK + app("one", "trap '' TERM; " + TRAPS))
    pod.start()
    uuid = pod.last_run()
    pod.box.run(["rkt", "kill", "killed"], check=True)
    pod.wait_for("failed", "inactive")
    for words, message in (
        (["killed"], f'pod "{uuid}" isn\'t currently running'),
        (["--signal=LOUD", "killed"], '--signal: "LOUD" is not a signal'),
        (["--signal=", "killed"], '--signal: "" is not a signal'),
    ):
        done = pod.box.run(["rkt", "kill", *words])
        assert (done.returncode, done.stderr) == (254, f"kill: {message}\n")


def test_pausing_needs_the_unified_hierarchy(make_box: BoxFactory) -> None:
    box = make_box(cgroup="hybrid")
    for command in ("pause", "unpause"):
        done = box.run(["rkt", command, "web"])
        assert done.returncode == 254
        assert done.stderr == (
            f"{command}: systemd pauses units only on the unified hierarchy of control groups"
            " (cgroup v2), which this machine does not have\n"
        )


def test_a_paused_pod_stands_still(make_box: BoxFactory, busybox_aci: str) -> None:
    box = make_box(cgroup="unified")
    store_image(box, busybox_aci)
    pod = Pod(box, "still", NO_NETWORK + app("one", COUNTS) + app("two", SERVE))
    pod.start()
    clock = f"/proc/{box.shell('pgrep -f [n]ow.*sleep | tail -n1').strip()}/root/now"
    box.run(["rkt", "pause", "still"], check=True)
    before = box.read(clock)
    time.sleep(0.5)
    assert box.read(clock) == before
    box.run(["rkt", "unpause", "still"], check=True)
    eventually(lambda: box.read(clock) not in (before, ""), "it goes on")
    box.run(["rkt", "pause", "--app=one", "still"], check=True)
    assert pod.show("FreezerState", pod.app_unit("one")) == "frozen"
    assert pod.show("FreezerState", pod.app_unit("two")) == "running"
    # What is paused can be stopped.
    box.run(["rkt", "stop", "still"], check=True)
    assert pod.state() in ("inactive", "failed")
    assert pod.leftovers() == ""
