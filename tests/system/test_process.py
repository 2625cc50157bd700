"""The process of an app: handlers, signals, standard output, and the files it finds."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest

from tests.box import Box
from tests.material import images
from tests.system.conftest import MakePod, store_image
from tests.system.pods import NO_NETWORK, app, lines_of


@pytest.fixture(scope="module")
def handled(pod_box: Box, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Stores busybox images with handlers and other fields: ``handled(NAME, SCRIPT, ...)``."""
    directory = tmp_path_factory.mktemp("handled")
    root = images.busybox_root(directory / "root")

    def store(name: str, script: str, *, pre: str = "", post: str = "", **fields: Any) -> str:
        handlers = [("pre-start", pre), ("post-stop", post)]
        manifest = images.busybox_manifest(
            f"example.com/{name}",
            ("/bin/sh", "-c", script),
            eventHandlers=[
                {"name": each, "exec": ["/bin/sh", "-c", text]} for each, text in handlers if text
            ],
            **fields,
        )
        path = os.fspath(directory / f"{name}.aci")
        images.write_aci(root, manifest, path)
        store_image(pod_box, path)
        return f'{NO_NETWORK}[[app]]\nname = "one"\nimage = "example.com/{name}"\n'

    return store


@pytest.mark.row("run/PreStart")
def test_handlers_run_as_root_around_the_app(handled: Any, make_pod: MakePod) -> None:
    text = handled(
        "around",
        "echo main $(id -u):$(id -g) $GREETING; pwd; echo main >>/order",
        pre="echo pre $(id -u):$(id -g) $GREETING; pwd; echo pre >/order; chmod 666 /order",
        post="echo post $(id -u):$(id -g); cat /order",
        user="1000",
        group="100",
        workingDirectory="/var",
        environment=[{"name": "GREETING", "value": "a 'b' $c"}],
    )
    pod = make_pod("around", text)
    assert lines_of(pod) == [
        "pre 0:0 a 'b' $c", "/var", "main 1000:100 a 'b' $c", "/var", "post 0:0", "pre", "main",
    ]  # fmt: skip
    assert pod.status("one") == "success exited 0"
    assert pod.leftovers() == ""


def test_a_pre_start_that_fails(handled: Any, make_pod: MakePod) -> None:
    text = handled("fails", "echo main", pre="echo pre; exit 3", post="echo post")
    pod = make_pod("fails", text)
    assert pod.systemctl("start").returncode == 1
    assert "app one did not start: exit-code (before its program was executed)" in pod.errors()[-1]
    assert pod.messages("RKT_POD=fails") == ["pre", "post"]
    assert pod.leftovers() == ""


def test_a_post_stop_that_fails(handled: Any, make_pod: MakePod) -> None:
    pod = make_pod("after", handled("after", "echo main; exit 0", post="echo post; exit 3"))
    assert lines_of(pod) == ["main", "post"]
    assert pod.state() == "inactive"
    assert pod.status("one") == "success exited 0"


def test_handlers_of_a_pod_that_is_stopped(handled: Any, make_pod: MakePod) -> None:
    main = "trap 'echo term; exit 0' TERM; echo ready; sleep 1000 & wait"
    pod = make_pod("stopped", handled("stopped", main, pre="echo pre", post="sleep 1; echo post"))
    pod.start()
    run = pod.last_run()
    pod.stop()
    assert pod.messages(f"RKT_POD_UUID={run}") == ["pre", "ready", "term", "post"]


TRAPS = 'for s in INT QUIT TERM; do trap "echo $s; exit 0" $s; done; echo ready; sleep 1000 & wait'


@pytest.mark.parametrize(("signal", "name"), [("SIGQUIT", "QUIT"), ("2", "INT"), (None, "TERM")])
def test_the_signal_to_stop(make_pod: MakePod, signal: str | None, name: str) -> None:
    extra = f'stop-signal = "{signal}"\n' if signal else ""
    pod = make_pod("signal", NO_NETWORK + app("one", TRAPS, extra=extra))
    pod.start()
    pod.wait_for("active")
    run = pod.last_run()
    pod.stop()
    assert pod.messages(f"RKT_POD_UUID={run}")[-1] == name
    assert pod.status("one") == "success exited 0"


def test_an_app_that_the_signal_ends_has_ended_well(make_pod: MakePod) -> None:
    script = "trap 'exit 131' QUIT; echo ready; sleep 1000 & wait"
    pod = make_pod("quit", NO_NETWORK + app("one", script, extra='stop-signal = "QUIT"\n'))
    pod.start()
    pod.stop()
    assert pod.state() == "inactive"
    assert pod.status("one") == "success exited 131"


def test_an_app_that_does_not_stop_is_killed(make_pod: MakePod) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    pod = make_pod("deaf", NO_NETWORK + app("one", script, extra="stop-timeout = 1\n"))
    pod.start()
    assert pod.show("TimeoutStopUSec", pod.app_unit("one")) == "1s"
    pod.stop()
    assert pod.status("one").split()[0] == "timeout"


LIES = "echo Container x terminated by signal SEGV."
KILLED = "kill -KILL $(cat /proc/$(systemctl show -PMainPID {unit})/task/*/children)"


@pytest.mark.parametrize(
    ("script", "kill", "ended", "code"),
    [
        ("echo ready; sleep 1000 & wait", KILLED, "signal killed KILL", 137),
        (f"{LIES}; exit 1", "", "exit-code exited 1", 1),
    ],
)
def test_how_an_app_ended(make_pod: MakePod, script: str, kill: str, ended: str, code: int) -> None:
    pod = make_pod("dead", NO_NETWORK + app("one", script))
    pod.start()
    if kill:
        pod.box.shell(kill.format(unit=pod.app_unit("one")))
    pod.wait_for("failed")
    assert pod.status("one") == ended
    assert f"app-one={code}\n" in pod.box.run(["rkt", "status", "dead"], check=True).stdout


BY_NAME = "echo out >/dev/stdout; echo err >/dev/stderr; echo plain; [ -t 1 ] && echo tty"


@pytest.mark.parametrize("user", ["", "user = 1000\ngroup = 1000\n"])
def test_standard_output_by_name(make_pod: MakePod, user: str) -> None:
    pod = make_pod("tty", NO_NETWORK + app("one", BY_NAME, extra=f'output = "tty"\n{user}'))
    assert [line for line in lines_of(pod) if line] == ["out", "err", "plain", "tty"]
    assert pod.status("one") == "success exited 0"


def test_standard_output_is_the_journal_itself(make_pod: MakePod) -> None:
    said = lines_of(make_pod("socket", NO_NETWORK + app("one", f"{BY_NAME}; :")))
    assert said[-1] == "plain"
    assert "No such device or address" in said[0]


def test_an_image_that_logs_to_standard_output_by_name(
    make_pod: MakePod, pod_box: Box, tmp_path: Any
) -> None:
    """As the images of nginx do it."""
    root = images.busybox_root(tmp_path / "root")
    os.makedirs(f"{root}/var/log/web")
    os.symlink("/dev/stdout", f"{root}/var/log/web/access.log")
    archive = os.fspath(tmp_path / "logs.aci")
    images.write_aci(root, images.busybox_manifest("example.com/logs"), archive)
    store_image(pod_box, archive)
    script = "echo request >>/var/log/web/access.log"
    text = NO_NETWORK + app("one", script, image="example.com/logs")
    assert lines_of(make_pod("logs", text)) == ["request"]
    text = NO_NETWORK + app("one", script, image="example.com/logs", extra='output = "log"\n')
    assert "No such device or address" in lines_of(make_pod("logs-off", text))[0]


def test_files_that_a_pod_finds(make_pod: MakePod) -> None:
    script = (
        "cat /etc/machine-id /etc/hostname; grep -c localhost /etc/hosts; df -m /dev/shm | tail -1"
    )
    pod = make_pod("files", f'{NO_NETWORK}shm-size = "3Mi"\n' + app("one", script))
    machine, hostname, hosts, memory = lines_of(pod)
    assert machine == pod.last_run().replace("-", "")
    assert hostname == "files"
    assert int(hosts) >= 1
    assert memory.split()[1] == "3"


@pytest.mark.row("run_pod_manifest/PodManifest: special characters")
def test_odd_bytes(make_pod: MakePod, pod_box: Box) -> None:
    """Arguments and environment arrive as they are, of whatever characters they consist."""
    odd = "".join(chr(code) for code in range(1, 127) if chr(code) not in "'\\") + "\\' é\u202e😀"
    toml = "".join(f"\\u{ord(c):04X}" if ord(c) < 0x10000 else f"\\U{ord(c):08X}" for c in odd)
    script = 'printf %s \\"$1\\" | md5sum; printf %s \\"$ODD\\" | md5sum'
    text = '[[app]]\nname = "one"\nimage = "example.com/busybox"\n'
    text += f'exec = ["/bin/sh", "-c", "{script}", "sh", "{toml}"]\n'
    pod = make_pod("odd", f'{NO_NETWORK}{text}[app.environment]\nODD = "{toml}"\n')
    digest = f"{hashlib.md5(odd.encode()).hexdigest()}  -"
    assert lines_of(pod) == [digest, digest]


def test_tmp_is_that_of_the_image(make_pod: MakePod, pod_box: Box, tmp_path: Any) -> None:
    root = images.busybox_root(tmp_path / "root")
    with open(f"{root}/tmp/brought", "w") as file:
        file.write("along\n")
    archive = os.fspath(tmp_path / "tmp.aci")
    images.write_aci(root, images.busybox_manifest("example.com/tmp"), archive)
    store_image(pod_box, archive)
    script = "cat /tmp/brought; stat -c %a /tmp; grep -c ' /tmp ' /proc/mounts"
    script += "; echo >/tmp/x && echo wrote"
    user = "user = 1000\ngroup = 1000\n"
    text = NO_NETWORK + app("one", script, image="example.com/tmp", extra=user)
    assert lines_of(make_pod("tmp", text)) == ["along", "1777", "0", "wrote"]
    text = NO_NETWORK + app("one", "echo >/tmp/x && echo wrote", extra="read-only-root = true\n")
    assert lines_of(make_pod("tmp-ro", text)) == ["wrote"]
    os.remove(f"{root}/tmp/brought")
    os.rmdir(f"{root}/tmp")
    archive = os.fspath(tmp_path / "no-tmp.aci")
    images.write_aci(root, images.busybox_manifest("example.com/no-tmp"), archive)
    store_image(pod_box, archive)
    script = "stat -c %a /tmp; echo >/tmp/x && echo wrote"
    text = NO_NETWORK + app("one", script, image="example.com/no-tmp", extra=user)
    assert lines_of(make_pod("no-tmp", text)) == ["1777", "wrote"]


@pytest.mark.row("supplementary_gids", "run_pod_manifest/PodManifest: user and group")
def test_the_owner_of_a_file_as_user_and_group(
    make_pod: MakePod, pod_box: Box, tmp_path: Any
) -> None:
    root = images.busybox_root(tmp_path / "root")
    for name, owner in (("of-user", (1000, 5)), ("of-group", (7, 100))):
        with open(f"{root}/{name}", "w"):
            pass
        os.chown(f"{root}/{name}", *owner)
    archive = os.fspath(tmp_path / "owned.aci")
    images.write_aci(root, images.busybox_manifest("example.com/owned"), archive)
    store_image(pod_box, archive)
    extra = 'user = "/of-user"\ngroup = "/of-group"\nsupplementary-gids = [400, 500]\n'
    text = NO_NETWORK + app("one", "id -u; id -g; id -G", image="example.com/owned", extra=extra)
    assert lines_of(make_pod("owned", text)) == ["1000", "100", "100 400 500"]


def test_flags(pod_box: Box) -> None:
    script = "echo by name >/dev/stdout; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"
    image = ["example.com/busybox", "--output=tty", "--stop-signal=QUIT", "--exec=/bin/sh"]
    command = ["rkt", "run", "--net=none", "--shm-size=2Mi", *image, "--", "-c", script]
    said = pod_box.run(command, check=True, timeout=60).stdout.split("\n")
    assert [line for line in said if line] == ["by name", "2048"]
    for flag, problem in (
        ("--stop-signal=NO", 'command line: stop-signal: "NO" is not a signal (like SIGINT)'),
        ("--output=nowhere", 'command line: output: "nowhere" is not log or tty'),
    ):
        wrong = pod_box.run(["rkt", "run", "--net=none", image[0], flag, "--exec=/bin/true"])
        assert wrong.returncode == 254
        assert f"run: {problem}\n" in wrong.stderr
