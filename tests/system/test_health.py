"""Health checks: run as the app is, told in ``rkt status``, and acted upon."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.box import Box
from tests.conftest import BoxFactory
from tests.images.written import Written
from tests.material import images
from tests.system.conftest import MakePod, store_image
from tests.system.pods import NO_NETWORK, SERVE, Pod, app
from tests.waiting import eventually


def checked(check: str, extra: str = "", *, script: str = SERVE, fields: str = "") -> str:
    """A pod whose app is asked twice a second."""
    table = f"[app.health]\ncommand = ['/bin/sh', '-c', '''{check}''']\ninterval = 0.5\n{extra}\n"
    return NO_NETWORK + app("one", script, extra=fields + table)


def health(box: Box, pod: str) -> str:
    """What ``rkt status`` says of the health of the app."""
    lines = box.run(["rkt", "status", pod], check=True).stdout.splitlines()
    found = [line for line in lines if line.startswith("app-one-health=")]
    return found[0].partition("=")[2] if found else ""


@pytest.mark.parametrize("user", [0, 1000])
def test_a_check_is_as_confined_as_the_app(pod_box: Box, make_pod: MakePod, user: int) -> None:
    told = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status"
    check = f"{{ {told}; pwd; hostname; echo $MARK; ls /proc | grep -c '^[0-9]'; }} >/tmp/told"
    fields = (
        f"user = {user}\nsupplementary-gids = [7]\nworking-directory = '/etc'\n"
        "environment = { MARK = 'here' }\n"
    )
    pod = make_pod("well", checked(check, fields=fields, script=f"{told}; {SERVE}"))
    pod.start()
    assert health(pod_box, "well") in ("starting", "healthy")
    eventually(lambda: health(pod_box, "well") == "healthy", "the app is healthy")
    pid = f"$(pgrep -P $(systemctl show --value -p MainPID {pod.app_unit('one')}))"
    told_by_check = pod_box.shell(f"cat /proc/{pid}/root/tmp/told").splitlines()
    run = f"RKT_POD_UUID={pod.last_run()}"
    told_by_app = [line.rstrip() for line in pod.messages(run) if ":" in line]
    assert len(told_by_app) == 10
    assert [line.rstrip() for line in told_by_check[: len(told_by_app)]] == told_by_app
    assert told_by_check[len(told_by_app) :][:3] == ["/etc", "well", "here"]
    # It sees the processes of the app, and no others.
    assert int(told_by_check[-1]) < 10
    pod.stop()
    assert pod.leftovers() == ""
    assert pod.status("one") == "success exited 0"


def test_an_unhealthy_app_is_started_anew(pod_box: Box, make_pod: MakePod) -> None:
    script = "[ -e /once ] || touch /ill /once; " + SERVE
    pod = make_pod(
        "ill", checked("[ ! -e /ill ] || { rm /ill; exit 1; }", "retries = 1", script=script)
    )
    pod.start()
    run = f"RKT_POD_UUID={pod.last_run()}"
    eventually(lambda: pod.messages(run).count("ready") == 2, "it is started anew")
    eventually(lambda: health(pod_box, "ill") == "healthy", "it is well then")
    assert pod.state() == "active"
    said = pod_box.journal("-t", "one-health", "-o", "cat").splitlines()
    assert "app one is unhealthy: its check ended with status 1" in said
    pod.stop()
    assert pod.leftovers() == ""


def test_an_unhealthy_app_stops_the_pod(pod_box: Box, make_pod: MakePod) -> None:
    begin = "[ $(cat /tmp/n 2>/dev/null | wc -l) -lt 2 ] && exit 1; "
    check = f"echo x >>/tmp/n; {begin} sleep 100"
    extra = 'retries = 3\ntimeout = "300ms"\naction = "stop"\n'
    pod = make_pod("stopped", checked(check, extra))
    pod.start()
    pod.wait_for("failed")
    assert pod.status("one").split()[0] == "unhealthy"
    assert "app-one-result=unhealthy" in pod_box.run(["rkt", "status", "stopped"]).stdout
    said = pod_box.journal("-t", "one-health", "-o", "cat")
    assert "app one is unhealthy: its check timed out" in said
    assert pod.leftovers() == ""


def test_failures_within_the_start_period(pod_box: Box, make_pod: MakePod) -> None:
    extra = 'retries = 1\nstart-period = "2s"\naction = "none"\n'
    pod = make_pod("slow", checked("exit 3", extra))
    pod.start()
    path = f"/var/lib/rkt/pods/run/{pod.last_run()}/health/one"
    eventually(lambda: not pod_box.read(path).startswith("starting 0 0"), "a first check")
    assert health(pod_box, "slow") == "starting"
    eventually(lambda: health(pod_box, "slow") == "unhealthy", "the period is over")
    assert pod.state() == "active"


def test_checks_end_and_begin_with_the_app(pod_box: Box, make_pod: MakePod) -> None:
    settings = '[app.systemd]\nRestart = "on-failure"\nRestartSec = 0\n'
    pod = make_pod("timed", checked("true", settings))
    pod.start()
    timer = "rkt-timed.one._health.timer"
    assert pod.state(timer) == "active"
    main = f"systemctl show --value -p MainPID {pod.app_unit('one')}"
    pod_box.shell(f"pkill -KILL -P $({main})")
    run = f"RKT_POD_UUID={pod.last_run()}"
    eventually(lambda: pod.messages(run).count("ready") == 2, "it is started anew")
    eventually(lambda: pod.state(timer) == "active", "and its checks")
    pod_box.run(["systemctl", "daemon-reload"], check=True)
    eventually(lambda: health(pod_box, "timed") == "healthy", "which say that it is well")
    pod_box.run(["systemctl", "stop", pod.app_unit("one")], check=True)
    eventually(lambda: pod.state() == "inactive", "the pod ends with its app")
    assert pod.leftovers() == ""


def test_a_check_that_is_not_in_the_image(make_pod: MakePod) -> None:
    text = checked("true").replace("'/bin/sh', '-c', '''true'''", "'/bin/nosuch'")
    pod = make_pod("absent", text)
    assert pod.systemctl("start").returncode != 0
    assert "/bin/nosuch" in pod.errors()[-1]


def _image(box: Box, directory: Path, check: dict[str, object]) -> str:
    """An OCI image of busybox with a HEALTHCHECK, in the box's store; its reference."""
    root = images.busybox_root(directory / "root")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as file:
        file.add(root, ".")
    labels = {"architecture": "amd64", "os": "linux"}
    config = {"Entrypoint": ["/bin/sh"], "Healthcheck": check}
    name = Written([archive.getvalue()], **labels, config=config).layout(directory / "layout")
    box.push(str(directory / "layout"), str(directory / "layout"))
    box.run(["rkt", "--insecure-options=image", "fetch", name], check=True)
    return name


def test_the_check_of_an_image(pod_box: Box, make_pod: MakePod, tmp_path: Path) -> None:
    second = 10**9
    check = {"Test": ["CMD-SHELL", "test -e /well"], "Interval": second, "Retries": 2}
    image = _image(pod_box, tmp_path, check)
    pod = make_pod("checked", NO_NETWORK + app("one", f">/well; {SERVE}", image=image))
    pod.start()
    eventually(lambda: health(pod_box, "checked") == "healthy", "the image's check was run")
    before = pod.show("MainPID", pod.app_unit("one"))
    pod_box.run(["rkt", "enter", "checked", "/bin/rm", "/well"], check=True)
    eventually(lambda: health(pod_box, "checked") == "unhealthy", "it is said")
    # As with Podman that is all.
    assert pod.show("MainPID", pod.app_unit("one")) == before
    pod.stop()
    for fields, flag in (("health = false\n", []), (None, ["--no-healthcheck"])):
        if fields is not None:
            pod.write(NO_NETWORK + app("one", SERVE, image=image, extra=fields))
            pod.start()
            assert health(pod_box, "checked") == ""
            pod.stop()
        else:
            words = ["rkt", "prepare", "--quiet", image, *flag]
            made = pod_box.run(words, check=True).stdout.strip()
            options = pod_box.read(f"/var/lib/rkt/pods/prepared/{made}/options")
            assert json.loads(options)["apps"]
            assert '"health": false' in options or '"health":false' in options
            pod_box.run(["rkt", "rm", made], check=True)


def test_a_check_that_an_image_does_not_have(
    pod_box: Box, make_pod: MakePod, tmp_path: Path
) -> None:
    image = _image(pod_box, tmp_path, {"Test": ["CMD", "curl", "-f", "http://localhost/"]})
    pod = make_pod("unchecked", NO_NETWORK + app("one", SERVE, image=image))
    pod.start()
    told = pod_box.run(["rkt", "status", "unchecked"], check=True).stdout
    (line,) = [each for each in told.splitlines() if "HEALTHCHECK of the image" in each]
    assert "curl" in line
    assert health(pod_box, "unchecked") == ""


def test_health_on_debian_13(make_box: BoxFactory, debian13: str, busybox_aci: str) -> None:
    box = make_box(debian13, cgroup="unified")
    store_image(box, busybox_aci)
    pod = Pod(box, "well", checked("true"))
    pod.start()
    eventually(lambda: health(box, "well") == "healthy", "the app is healthy")
    pod.stop()
    assert pod.leftovers() == ""
