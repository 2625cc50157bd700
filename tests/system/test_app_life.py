"""What apps and systemd tell each other: readiness, watchdog, order, credentials, results."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.box import Box
from tests.conftest import BoxFactory
from tests.system.conftest import MakePod, store_image
from tests.system.pods import NO_NETWORK, SERVE, Pod, app
from tests.waiting import eventually

# The box's own Python, for what a shell cannot do.
PYTHON = 'mounts = ["/usr:/usr:ro", "/usr/lib:/lib:ro", "/usr/lib64:/lib64:ro"]\n'
NOTIFY = """
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
def tell(text):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
"""


def python(name: str, code: str, extra: str = "") -> str:
    """An [[app]] that runs a Python program."""
    return (
        f'[[app]]\nname = "{name}"\nimage = "example.com/busybox"\n{PYTHON}'
        f"exec = ['/usr/bin/python3', '-c', '''{NOTIFY}{code}''']\n{extra}"
    )


def test_an_app_says_when_it_is_started(make_pod: MakePod) -> None:
    code = 'time.sleep(1.5)\ntell("READY=1\\nSTATUS=at work")\nsignal.pause()'
    pod = make_pod("told", NO_NETWORK + python("one", code, '[app.systemd]\nType = "notify"\n'))
    begin = time.monotonic()
    pod.start()
    assert time.monotonic() - begin > 1.4
    eventually(
        lambda: pod.show("StatusText", pod.app_unit("one")) == "Container running: at work",
        "systemd shows the status",
    )
    pod.stop()
    assert pod.status("one") == "success exited 0"


def test_a_start_fails_when_the_app_is_never_ready(make_pod: MakePod) -> None:
    settings = '[app.systemd]\nType = "notify"\nTimeoutStartSec = 1\n'
    pod = make_pod("never", NO_NETWORK + python("one", "signal.pause()", settings))
    assert pod.systemctl("start").returncode != 0
    assert "app one did not start: timeout" in pod.errors()[-1]
    assert pod.leftovers() == ""


def test_a_watchdog(pod_box: Box, make_pod: MakePod) -> None:
    code = (
        'assert "WATCHDOG_PID" not in os.environ\n'
        "for _ in range(8):\n"
        '    tell("WATCHDOG=1\\nSTATUS=alive")\n'
        '    time.sleep(int(os.environ["WATCHDOG_USEC"]) / 4e6)\n'
        'print("tired", flush=True)\n'
        "signal.pause()\n"
    )
    settings = 'user = "1000"\n[app.systemd]\nWatchdogSec = 1\n'
    pod = make_pod("watched", NO_NETWORK + python("one", code, settings))
    pod.start()
    eventually(lambda: pod.show("StatusText", pod.app_unit("one")) == "alive", "the status")
    eventually(lambda: pod.messages("RKT_POD=watched") == ["tired"], "two seconds of pings")
    pod.wait_for("failed")
    assert pod.status("one").split()[0] == "watchdog"
    said = pod_box.run(["rkt", "status", "watched"], check=True).stdout
    assert "app-one-result=watchdog\n" in said


def test_apps_of_user_0_are_not_trusted_with_the_managers_socket(make_pod: MakePod) -> None:
    pod = make_pod("trusted", NO_NETWORK + app("one", SERVE) + "[app.systemd]\nWatchdogSec = 5\n")
    assert pod.systemctl("start").returncode != 0
    assert 'trust it: NotifyAccess = "all"' in pod.errors()[-1]


def test_apps_wait_for_others(make_pod: MakePod) -> None:
    init = app("init", "sleep 0.5; echo made", extra='[app.systemd]\nType = "oneshot"')
    db = app("db", SERVE, extra='requires = "init"\n')
    web = app("web", SERVE, extra='after = ["db"]\n')
    pod = make_pod("ordered", NO_NETWORK + web + db + init)
    pod.start()
    lines = [
        json.loads(line)
        for line in pod.box.run(
            ["journalctl", "-o", "json", "_TRANSPORT=stdout", f"RKT_POD_UUID={pod.last_run()}"]
        ).stdout.splitlines()
    ]
    assert [(line["RKT_APP"], line["MESSAGE"]) for line in lines] == [
        ("init", "made"), ("db", "ready"), ("web", "ready"),
    ]  # fmt: skip
    assert pod.status("init") == "success exited 0"
    assert pod.state() == "active"
    pod.stop()
    assert pod.leftovers() == ""


def test_what_requires_an_app_that_failed_does_not_start(make_pod: MakePod) -> None:
    init = app("init", "exit 3", extra='[app.systemd]\nType = "oneshot"')
    pod = make_pod("required", NO_NETWORK + init + app("web", SERVE, extra='requires = "init"\n'))
    assert pod.systemctl("start").returncode != 0
    assert pod.errors()[-1] == "pod required: app init did not start: exit-code (exited 3)"
    assert pod.messages("RKT_POD=required") == []
    assert pod.leftovers() == ""


def test_an_app_that_waits_for_itself(pod_box: Box, make_pod: MakePod) -> None:
    one = app("one", SERVE, extra='after = "two"\n')
    pod = make_pod("circle", NO_NETWORK + one + app("two", SERVE, extra='requires = "one"\n'))
    done = pod_box.run(["rkt", "pod", "check", "circle"])
    assert done.returncode == 254
    said = f"{pod.file}: app one: waits for itself: one for two and two for one"
    assert done.stderr == f"check: {said}\n"


def test_the_pod_lives_while_an_app_may_be_restarted(make_pod: MakePod) -> None:
    settings = '[app.systemd]\nRestart = "on-failure"\nRestartSec = 1\n'
    script = "[ -e /x ] && exec sleep 1000; touch /x; echo ready; sleep 0.5; exit 5"
    pod = make_pod("again", NO_NETWORK + app("one", script, extra=settings))
    pod.start()
    unit = pod.app_unit("one")
    eventually(lambda: pod.show("SubState", unit) == "auto-restart", "the app waits")
    assert pod.state() == "active"
    eventually(lambda: pod.show("NRestarts", unit) == "1", "systemd starts it again")
    eventually(lambda: pod.state(unit) == "active", "it runs")
    assert pod.state() == "active"


@pytest.mark.parametrize("user", [0, 1000])
def test_credentials(pod_box: Box, make_pod: MakePod, user: int) -> None:
    pod_box.write("/etc/rkt/secret", "from a file\n")
    settings = (
        "[app.systemd]\nLoadCredential = ['file:/etc/rkt/secret']\n"
        'SetCredential = \'text:it is $PATH; \\x41\'\nRestart = "on-failure"\nRestartSec = "0"\n'
    )
    script = (
        "cd $CREDENTIALS_DIRECTORY; ls -ld . * | cut -c1-10; cat file; cat text; echo;"
        " echo x 2>/dev/null >text || echo protected; [ -e /tmp/x ] || : ;"
        f" {SERVE}"
    )
    one = app("one", script, extra=f"user = {user}\n{settings}")
    pod = make_pod(
        "secrets", NO_NETWORK + one + app("two", f"ls /run/credentials 2>/dev/null; {SERVE}")
    )
    pod.start()
    said = pod.messages("RKT_APP=one", f"RKT_POD_UUID={pod.last_run()}")
    assert said[:5] == [
        "dr-x------", "-r--------", "-r--------", "from a file", "it is $PATH; A",
    ]  # fmt: skip
    assert (said[5] == "protected") == (user == 1000) or "protected" in said
    # Nothing of it is to be seen on the host, nor by the other app.
    assert pod_box.shell("ls -A /run/rkt/pods/secrets/apps/one/credentials") == ""
    two = pod.messages("RKT_APP=two", f"RKT_POD_UUID={pod.last_run()}")
    assert two == ["ready"]
    # The same after systemd has read its units anew, and has started the app once more.
    pod_box.run(["systemctl", "daemon-reload"], check=True)
    pod_box.shell(f"pkill -KILL -P $(systemctl show --value -p MainPID {pod.app_unit('one')})")
    again = f"RKT_POD_UUID={pod.last_run()}"
    eventually(lambda: pod.messages("RKT_APP=one", again).count("ready") == 2, "it is restarted")
    assert pod.messages("RKT_APP=one", again).count("it is $PATH; A") == 2
    pod.stop()
    assert pod.leftovers() == ""


def test_a_credential_that_is_missing(make_pod: MakePod) -> None:
    settings = '[app.systemd]\nLoadCredential = "a:/etc/rkt/nosuch"\n'
    pod = make_pod("unsecret", NO_NETWORK + app("one", SERVE, extra=settings))
    assert pod.systemctl("start").returncode != 0
    assert pod.leftovers() == ""


def test_life_on_debian_13(make_box: BoxFactory, debian13: str, busybox_aci: str) -> None:
    box = make_box(debian13, cgroup="unified")
    store_image(box, busybox_aci)
    told = 'tell("READY=1\\nSTATUS=at work")\nsignal.pause()'
    watched = 'tell("WATCHDOG=1")\nsignal.pause()'
    lists = f"ls $CREDENTIALS_DIRECTORY; {SERVE}"
    imported = "user = 1000\n[app.systemd]\nImportCredential = 'nosuch.*'\n"
    given = f"{imported}SetCredential = 'name:value'\n"
    pods = {
        "told": python("one", told, '[app.systemd]\nType = "notify"\nTimeoutStartSec = 20\n'),
        "watched": python("one", watched, 'user = "1000"\n[app.systemd]\nWatchdogSec = 1\n'),
        "secrets": app("one", lists, extra=given),
        "none": app("one", lists, extra=imported),
    }
    made = {name: Pod(box, name, NO_NETWORK + text) for name, text in pods.items()}
    for pod in made.values():
        pod.start()
    assert made["told"].show("StatusText", "rkt-told.one.service").endswith("at work")
    made["watched"].wait_for("failed")
    assert made["watched"].status("one").split()[0] == "watchdog"
    assert made["secrets"].messages("RKT_POD=secrets") == ["name", "ready"]
    assert made["none"].messages("RKT_POD=none") == ["ready"]
    for pod in made.values():
        pod.systemctl("stop")
    assert "".join(pod.leftovers() for pod in made.values()) == ""


def test_an_app_that_ran_out_of_memory(pod_box: Box, make_pod: MakePod) -> None:
    code = "x = bytearray(200 << 20)\nprint('survived')"
    pod = make_pod(
        "hungry",
        NO_NETWORK + python("one", code, 'memory = "32M"\nsystemd = { MemorySwapMax = 0 }\n'),
    )
    watch = pod_box.popen(["rkt", "events", "--app=one", "hungry"])
    assert watch.stdout is not None
    assert watch.stdout.readline().startswith("TIME")
    pod.systemctl("start")
    pod.wait_for("failed")
    end = next(line for line in watch.stdout if "started" not in line)
    assert end.split()[3:] == ["oom,", "exit", "code", "137"]
    watch.send_signal(signal.SIGINT)
    watch.communicate()
    assert pod.status("one") == "oom-kill killed KILL"
    said = pod_box.run(["rkt", "status", "hungry"], check=True).stdout
    assert "app-one-result=oom-kill\n" in said
    told = json.loads(pod_box.run(["rkt", "status", "--format=json", "hungry"]).stdout)
    assert told["apps"][0]["result"] == "oom-kill"


def test_registered_apps_are_machines(pod_box: Box, make_pod: MakePod) -> None:
    pod = make_pod("known", "register = true\n" + NO_NETWORK + app("one", SERVE))
    pod.start()
    shown = pod_box.run(["machinectl", "list", "--no-legend"], check=True).stdout
    assert shown.split()[:3] == ["known.one", "container", "systemd-nspawn"]
    pod.stop()
    eventually(
        lambda: pod_box.run(["machinectl", "list", "--no-legend"]).stdout.strip() == "",
        "the machine is gone",
    )


def test_a_timer_starts_a_pod_again_and_again(pod_box: Box, make_pod: MakePod) -> None:
    pod = make_pod("job", NO_NETWORK + app("one", "echo done"))
    drop_in = "/etc/systemd/system/rkt@job.timer.d/when.conf"
    pod_box.write(drop_in, "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nAccuracySec=100ms\n")
    pod_box.shell("systemctl daemon-reload; systemctl start rkt@job.timer")
    eventually(lambda: len(pod.messages("RKT_POD=job")) >= 3, "the pod ran three times")
    pod_box.shell(f"systemctl stop rkt@job.timer; rm -r {drop_in.rpartition('/')[0]}")
    eventually(lambda: pod.state() == "inactive", "the last run is over")
    assert pod.leftovers() == ""
