"""How pods live and end: through systemctl and journalctl, as their administrators see it."""

from __future__ import annotations

import json

import pytest

from tests.box import Box
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, SERVE, app
from tests.waiting import eventually

WANTS = "[Unit]\nWants={0}\nAfter={0}\n[Service]\nExecStart=/bin/sleep 1000\n"


def test_two_apps_start_and_stop(make_pod: MakePod) -> None:
    pod = make_pod(
        "pair", NO_NETWORK + app("one", SERVE) + app("two", SERVE, extra="user = 1000\n")
    )
    pod.start()
    assert pod.state() == "active"
    assert pod.state(pod.app_unit("one")) == pod.state(pod.app_unit("two")) == "active"
    assert "Apps of pod pair" in pod.box.run(["systemctl", "status", pod.slice]).stdout
    pod.stop()
    assert pod.state() == "inactive"
    assert pod.status("one") == pod.status("two") == "success exited 0"
    assert pod.leftovers() == ""


def test_every_view_of_the_journal(make_pod: MakePod) -> None:
    say = "echo out; echo err >&2; " + SERVE
    pod = make_pod(
        "views", NO_NETWORK + app("root", say) + app("other", say, extra="user = 1000\n")
    )
    pod.start()
    pod.stop()
    complete = sorted(["out", "err", "ready", "bye"] * 2)
    assert sorted(pod.messages("RKT_POD=views")) == complete
    assert sorted(pod.messages("_SYSTEMD_SLICE=rkt-views.slice")) == complete
    by_slice = pod.box.run(["journalctl", "-u", pod.slice, "-o", "cat"]).stdout.splitlines()
    assert sorted(set(complete)) == sorted(set(by_slice) & set(complete))
    assert by_slice.count("out") == 2
    by_pod = pod.box.run(["journalctl", "-u", pod.unit, "-o", "cat"]).stdout.splitlines()
    assert by_pod.count("out") == 1
    by_app = pod.box.run(["journalctl", "-t", "other", "-o", "cat"]).stdout.splitlines()
    assert sorted(by_app) == ["bye", "err", "out", "ready"]
    logs = pod.box.run(["rkt", "logs", "views"], check=True).stdout
    assert logs.count("out") == logs.count("bye") == 2


def test_what_runs_while_a_pod_runs(make_pod: MakePod) -> None:
    pod = make_pod("quiet", NO_NETWORK + app("one", SERVE))
    pod.start()
    group = pod.show("ControlGroup", pod.slice)
    processes = pod.box.shell(f"ps -eo comm,args,cgroup | grep -F '{group}/' | grep -v grep")
    assert {line.split()[0] for line in processes.splitlines()} == {"systemd-nspawn", "sh", "sleep"}
    assert "rktsd" not in pod.box.shell("ps -eo args | grep -v grep || :")
    assert pod.show("MainPID") == "0"


def test_sigterm_reaches_the_app_and_its_code_is_kept(make_pod: MakePod) -> None:
    pod = make_pod(
        "code", NO_NETWORK + app("one", "trap 'exit 5' TERM; echo ready; sleep 1000 & wait")
    )
    pod.start()
    pod.systemctl("stop")
    assert pod.status("one") == "exit-code exited 5"
    assert pod.state() == "failed"


def test_an_app_that_ignores_sigterm_is_killed(make_pod: MakePod) -> None:
    deaf = app("one", "trap '' TERM; while :; do sleep 1; done", extra="stop-timeout = 0.5\n")
    pod = make_pod("deaf", NO_NETWORK + deaf)
    pod.start()
    pod.systemctl("stop")
    assert pod.status("one") == "timeout killed KILL"
    assert pod.leftovers() == ""


def test_isolators_are_limits_of_the_cgroup(make_pod: MakePod) -> None:
    limited = app("one", SERVE, extra='memory = "64Mi"\ncpu = "500m"\n')
    pod = make_pod("limits", NO_NETWORK + limited)
    pod.start()
    unit = pod.app_unit("one")
    group = pod.show("ControlGroup", unit)
    assert pod.show("MemoryMax", unit) == str(64 << 20)
    assert pod.show("CPUQuotaPerSecUSec", unit) == "500ms"
    limit = f"/sys/fs/cgroup/memory{group}/memory.limit_in_bytes"
    maximum = f"/sys/fs/cgroup{group}/memory.max"
    read = f"cat {limit} 2>/dev/null || cat {maximum}"
    assert pod.box.shell(read).strip() == str(64 << 20)
    quota = f"/sys/fs/cgroup/cpu{group}/cpu.cfs_quota_us"
    maximum = f"/sys/fs/cgroup{group}/cpu.max"
    found = pod.box.shell(f"cat {quota} 2>/dev/null || cat {maximum}")
    assert found.split()[0] == "50000"
    pod.box.run(["systemctl", "set-property", "--runtime", unit, "MemoryMax=32M"], check=True)
    assert pod.box.shell(read).strip() == str(32 << 20)


def test_the_pod_ends_when_its_apps_have_ended(make_pod: MakePod) -> None:
    pod = make_pod("short", NO_NETWORK + app("one", "exit 0") + app("two", "sleep 0.3"))
    pod.start()
    pod.wait_for("inactive")
    assert pod.status("one") == pod.status("two") == "success exited 0"
    assert pod.leftovers() == ""


def test_a_pod_that_others_want_ends_by_itself_too(make_pod: MakePod) -> None:
    pod = make_pod("wanted", NO_NETWORK + app("one", "sleep 0.3"))
    pod.box.run(["systemctl", "enable", pod.unit], check=True)
    pod.box.write("/run/systemd/system/wants.service", WANTS.format(pod.unit))
    pod.box.run(["systemctl", "daemon-reload"], check=True)
    pod.box.run(["systemctl", "start", "wants.service"], check=True)
    assert pod.state() == "active"
    pod.wait_for("inactive")
    assert pod.leftovers() == ""
    pod.box.run(["systemctl", "stop", "wants.service"], check=True)


def test_one_failed_app_stops_the_pod(make_pod: MakePod) -> None:
    pod = make_pod("stops", NO_NETWORK + app("good", SERVE) + app("bad", "sleep 0.3; exit 7"))
    pod.start()
    pod.wait_for("failed")
    assert pod.status("good") == "success exited 0"
    assert pod.status("bad") == "exit-code exited 7"
    assert pod.messages("RKT_POD=stops", "RKT_APP=good")[-1] == "bye"
    assert pod.leftovers() == ""


def test_a_failed_app_may_leave_the_others(make_pod: MakePod) -> None:
    apps = app("good", SERVE) + app("bad", "exit 7")
    pod = make_pod("goes-on", 'on-app-failure = "continue"\n' + NO_NETWORK + apps)
    pod.start()
    eventually(lambda: pod.status("bad") == "exit-code exited 7", "bad has failed")
    assert pod.state(pod.app_unit("good")) == "active"
    pod.systemctl("stop")
    assert pod.state() == "failed"


def test_a_restarted_app_keeps_the_pod(make_pod: MakePod) -> None:
    count = "echo run >>/tally/runs; [ $(wc -l </tally/runs) -ge 3 ] || exit 1; " + SERVE
    extra = (
        'mounts = [{volume = "tally", path = "/tally"}]\n[app.systemd]\nRestart = "on-failure"\n'
    )
    volume = '[[volume]]\nname = "tally"\nkind = "empty"\n'
    pod = make_pod("again", NO_NETWORK + volume + app("one", count, extra=extra))
    pod.start()
    eventually(lambda: pod.show("NRestarts", pod.app_unit("one")) == "2", "two restarts")
    eventually(lambda: pod.state(pod.app_unit("one")) == "active", "the app runs")
    assert pod.state() == "active"


def test_a_restart_is_the_same_after_a_daemon_reload(make_pod: MakePod) -> None:
    odd = 'echo "got $0 $1"; ' + SERVE
    text = app("one", odd, extra='[app.systemd]\nRestart = "always"\n').replace(
        "''']", "''', 'a$b;c%d\\', '\"é ü']"
    )
    pod = make_pod("reload", NO_NETWORK + text)
    pod.start()
    unit = pod.app_unit("one")
    pod.box.run(["systemctl", "daemon-reload"], check=True)
    pod.box.run(["systemctl", "kill", "--signal=KILL", unit], check=True)
    eventually(lambda: pod.show("NRestarts", unit) == "1", "a restart")
    eventually(lambda: pod.messages(f"_SYSTEMD_UNIT={unit}").count("ready") == 2, "it runs again")
    said = [line for line in pod.messages(f"_SYSTEMD_UNIT={unit}") if line.startswith("got")]
    assert said == ['got a$b;c%d\\ "é ü'] * 2


def test_systemctl_restart_is_a_new_run(make_pod: MakePod) -> None:
    pod = make_pod("anew", NO_NETWORK + app("one", "ls /mark 2>&1; touch /mark; " + SERVE))
    pod.start()
    first = pod.box.read("/run/rkt/pods/anew/uuid")
    pod.restart()
    assert pod.box.read("/run/rkt/pods/anew/uuid") != first
    assert pod.state(pod.app_unit("one")) == "active"
    assert [line for line in pod.messages("RKT_POD=anew") if "/mark" in line] == [
        "ls: /mark: No such file or directory"
    ] * 2


def test_a_changed_pod_file_counts_at_the_next_start(make_pod: MakePod) -> None:
    pod = make_pod("changed", NO_NETWORK + app("one", "echo first; " + SERVE))
    pod.start()
    pod.write(NO_NETWORK + app("one", "echo second; " + SERVE))
    pod.restart()
    said = [line for line in pod.messages("RKT_POD=changed") if line in ("first", "second")]
    assert said == ["first", "second"]


def test_a_start_after_a_failure(make_pod: MakePod) -> None:
    pod = make_pod("retry", NO_NETWORK + app("one", "exit 3"))
    pod.start()
    pod.wait_for("failed")
    pod.write(NO_NETWORK + app("one", SERVE))
    pod.start()
    assert pod.state() == "active"


@pytest.mark.row("diagnostic/Diagnostic")
def test_a_missing_binary_is_found_before_anything_starts(make_pod: MakePod) -> None:
    missing = '[[app]]\nname = "bad"\nimage = "example.com/busybox"\nexec = ["/bin/absent"]\n'
    pod = make_pod("half", NO_NETWORK + app("good", SERVE) + missing)
    assert pod.systemctl("start").returncode == 1
    assert pod.state() == "failed"
    assert pod.show("ExecMainStatus") == "254"
    assert pod.errors() == ['app bad: "/bin/absent": no such file in the image']
    assert pod.messages("RKT_POD=half") == []
    assert pod.leftovers() == ""


def test_a_missing_image_is_found_before_anything_starts(make_pod: MakePod) -> None:
    absent = app("bad", SERVE, image="example.com/absent", extra='pull-policy = "never"\n')
    pod = make_pod("no-image", NO_NETWORK + app("good", SERVE) + absent)
    assert pod.systemctl("start").returncode == 1
    assert pod.show("ExecMainStatus") == "254"
    assert len(pod.errors()) == 1
    assert "example.com/absent" in pod.errors()[0]
    assert pod.messages("RKT_POD=no-image") == []
    assert pod.leftovers() == ""


def test_stop_during_start(make_pod: MakePod) -> None:
    pod = make_pod("slow", NO_NETWORK + app("one", SERVE))
    # Readiness that never comes keeps the start waiting.
    pod.box.write(
        f"/etc/systemd/system/{pod.app_unit('one')}.d/wait.conf",
        "[Service]\nExecStartPre=/bin/sleep 600\n",
    )
    pod.box.run(["systemctl", "daemon-reload"], check=True)
    pod.box.run(["systemctl", "start", "--no-block", pod.unit], check=True)
    eventually(lambda: pod.state(pod.app_unit("one")) == "activating", "the app is being started")
    pod.stop()
    assert pod.state() in ("inactive", "failed")
    assert pod.leftovers() == ""
    pod.box.shell(f"rm -r /etc/systemd/system/{pod.app_unit('one')}.d; systemctl daemon-reload")
    pod.start()


def test_a_killed_start_leaves_nothing(make_pod: MakePod) -> None:
    pod = make_pod("killed", app("one", SERVE))
    unit = pod.app_unit("one")
    pod.box.write(
        f"/etc/systemd/system/{unit}.d/wait.conf", "[Service]\nExecStartPre=/bin/sleep 600\n"
    )
    pod.box.run(["systemctl", "daemon-reload"], check=True)
    pod.box.run(["systemctl", "start", "--no-block", pod.unit], check=True)
    eventually(lambda: pod.state(unit) == "activating", "the app is being started")
    pod.box.run(["systemctl", "kill", "--signal=KILL", pod.unit], check=True)
    pod.wait_for("failed")
    assert pod.leftovers() == ""
    pod.box.shell(f"rm -r /etc/systemd/system/{unit}.d; systemctl daemon-reload")


@pytest.mark.row("run_pod_manifest/PodManifest: limits overridden")
def test_an_appc_pod_manifest(make_pod: MakePod) -> None:
    image_id = json.loads(_image_list(make_pod("unused", NO_NETWORK + app("one", SERVE)).box))[0][
        "id"
    ]
    manifest = {
        "acKind": "PodManifest",
        "acVersion": "0.8.11",
        "apps": [
            {
                "name": name,
                "image": {"id": image_id},
                "app": {
                    "exec": ["/bin/sh", "-c", SERVE],
                    "user": "0",
                    "group": "0",
                    "isolators": [
                        {"name": "resource/memory", "value": {"limit": "64Mi", "request": "1Mi"}}
                    ],
                },
            }
            for name in ("one", "two")
        ],
    }
    pod = make_pod("appc", json.dumps(manifest), form="json")
    pod.start()
    assert pod.show("MemoryMax", pod.app_unit("two")) == str(64 << 20)
    pod.stop()
    assert pod.status("two") == "success exited 0"


def _image_list(box: Box) -> str:
    return box.run(["rkt", "image", "list", "--full", "--format=json"], check=True).stdout


def test_drop_ins_for_an_app(make_pod: MakePod) -> None:
    pod = make_pod("drop-in", NO_NETWORK + app("one", SERVE))
    pod.box.write(
        f"/etc/systemd/system/{pod.app_unit('one')}.d/limit.conf", "[Service]\nTasksMax=55\n"
    )
    pod.box.run(["systemctl", "daemon-reload"], check=True)
    pod.start()
    assert pod.show("TasksMax", pod.app_unit("one")) == "55"
    pod.box.shell(f"rm -r /etc/systemd/system/{pod.app_unit('one')}.d; systemctl daemon-reload")


def test_an_instance_of_a_template(make_pod: MakePod) -> None:
    pod = make_pod("many@", NO_NETWORK + app("one", "echo this is %i; " + SERVE))
    try:
        pod.box.run(["systemctl", "start", "rkt@many@7.service"], check=True)
        eventually(lambda: "this is 7" in pod.messages("RKT_POD=many@7"), "the instance speaks")
        pod.box.run(["systemctl", "stop", "rkt@many@7.service"], check=True)
    finally:
        pod.box.run(["systemctl", "stop", "rkt@many@7.service"])
