"""``rkt app``: apps come to a pod while it lives, and go, are started and stopped by themselves."""

from __future__ import annotations

import json
import re
import signal

import pytest

from tests.box import Box
from tests.system.commands import (
    IMAGE,
    UUID,
    drop,
    good,
    lines,
    ready,
    rkt,
    said,
    states,
)
from tests.system.conftest import MakeImage, MakePod
from tests.system.pods import NO_NETWORK, SERVE, app
from tests.waiting import eventually

COUNT = f"echo x >>/count; wc -l </count; {SERVE}"


def sandbox(box: Box, *flags: str) -> str:
    """A sandbox in the background. Returns its UUID."""
    done = rkt(box, "app", "sandbox", "--detach", "--net=none", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    uuid = done.stdout.removesuffix("\n")
    assert UUID.fullmatch(uuid)
    return uuid


def add(box: Box, pod: str, name: str, script: str = SERVE, *flags: str) -> None:
    good(box, "app", "add", pod, IMAGE, f"--name={name}", *flags, "--", "-c", script)


def start(box: Box, pod: str, name: str) -> None:
    assert good(box, "app", "start", f"--app={name}", pod) == ""


def apps(box: Box, pod: str) -> dict[str, str]:
    """The states of the apps by their names."""
    found = good(box, "app", "list", "--no-legend", pod).splitlines()
    return dict(re.split("\t+", line) for line in found)


def ended(box: Box, pod: str, name: str) -> None:
    eventually(lambda: apps(box, pod)[name] == "exited", f"{name} of {pod} has ended")


def left_of(box: Box, uuid: str, name: str) -> str:
    """What there is of an app anywhere."""
    return box.shell(
        f"find /var/lib/rkt/pods/run/{uuid} /run/rkt/pods -name '*{name}*';"
        f" grep -rl '{name}' /run/rkt/pods /var/lib/rkt/pods/run/{uuid} || :;"
        f" systemctl list-units --all --no-legend --plain 'rkt-{uuid}.{name}.*'"
    )


@pytest.mark.row("app_sandbox/AddStartRemove", "app_sandbox/AddDefaultAppName")
def test_apps_come_to_a_sandbox_and_go(cli: Box, make_image: MakeImage) -> None:
    greeter = make_image("greeter", ["/bin/sh", "-c", "echo hello from the image"])
    uuid = sandbox(cli)
    assert states(cli) == {uuid: "running"}
    assert good(cli, "list").splitlines()[1].split()[1:4] == ["-", "-", "running"]
    assert good(cli, "app", "list", uuid) == "NAME\tSTATE\n"
    add(cli, uuid, "server")
    assert good(cli, "app", "list", uuid) == "NAME\tSTATE\nserver\tcreated\n"
    assert good(cli, "app", "add", uuid, greeter) == ""
    assert said(cli, uuid) == []
    start(cli, uuid, "server")
    ready(cli, uuid, 1)
    start(cli, uuid, "greeter")
    ended(cli, uuid, "greeter")
    assert apps(cli, uuid) == {"server": "running", "greeter": "exited"}
    assert said(cli, uuid) == ["ready", "hello from the image"]
    done = rkt(cli, "app", "rm", "--app=server", uuid)
    assert (done.returncode, done.stderr) == (
        254,
        'rm: app "server" is still running (stop it first)\n',
    )
    assert good(cli, "app", "rm", "--app=greeter", uuid) == ""
    eventually(lambda: left_of(cli, uuid, "greeter") == "", "nothing of it is left")
    good(cli, "app", "stop", uuid)
    assert said(cli, uuid)[-1] == "bye"
    good(cli, "app", "rm", uuid)
    # It lives on without them.
    assert states(cli) == {uuid: "running"}
    assert json.loads(good(cli, "cat-manifest", uuid))["apps"] == []
    # The name is free.
    good(cli, "app", "add", uuid, greeter, "--name=server")
    start(cli, uuid, "server")
    ended(cli, uuid, "server")
    assert good(cli, "stop", uuid) == f'"{uuid}"\n'
    assert states(cli) == {uuid: "exited"}
    assert cli.shell(f"ls -d /run/rkt/pods/{uuid} /run/netns/rkt-{uuid} 2>/dev/null || :") == ""


@pytest.mark.row("app_sandbox/Restart")
def test_an_ended_app_is_started_again_and_the_others_untouched(cli: Box) -> None:
    uuid = sandbox(cli, "--name=again")
    for name in ("one", "two"):
        add(cli, "again", name, COUNT)
        start(cli, "again", name)
    ready(cli, uuid, 2)
    show = ["systemctl", "show", "--property=InvocationID", "rkt-again.two.service"]
    before = cli.run(show, check=True).stdout
    good(cli, "app", "stop", "--app=one", "again")
    assert lines(good(cli, "app", "status", "--app=one", "again"))["exit_code"] == "0"
    done = rkt(cli, "app", "stop", "--app=one", "again")
    assert (done.returncode, done.stderr) == (0, 'stop: app "one" is already stopped\n')
    start(cli, "again", "one")
    ready(cli, uuid, 3)
    done = rkt(cli, "app", "start", "--app=one", "again")
    assert (done.returncode, done.stderr) == (0, 'start: app "one" is already running\n')
    # One that was killed as well.
    good(cli, "kill", "--app=one", "again")
    ended(cli, "again", "one")
    start(cli, "again", "one")
    ready(cli, uuid, 4)
    assert apps(cli, "again") == {"one": "running", "two": "running"}
    assert cli.run(show, check=True).stdout == before
    # It has the root that it left.
    assert [line for line in said(cli, uuid) if line.isdigit()] == ["1", "1", "2", "3"]
    drop(cli, "again")


@pytest.mark.row("app_sandbox/MultipleApps")
def test_states_and_codes_of_apps(cli: Box) -> None:
    uuid = sandbox(cli)
    for name, script in (("serving", SERVE), ("good", "exit 0"), ("bad", "exit 12")):
        add(cli, uuid, name, script)
        start(cli, uuid, name)
    ready(cli, uuid, 1)
    ended(cli, uuid, "good")
    ended(cli, uuid, "bad")
    assert apps(cli, uuid) == {"serving": "running", "good": "exited", "bad": "exited"}
    found = {
        each["name"]: each for each in json.loads(good(cli, "app", "list", "--format=json", uuid))
    }
    assert {name: each.get("exit_code") for name, each in found.items()} == {
        "serving": None,
        "good": 0,
        "bad": 12,
    }
    one = json.loads(good(cli, "app", "status", "--app=bad", "--format=json", uuid))
    assert one == found["bad"]
    assert one["created_at"] <= one["started_at"] <= one["finished_at"]
    (pod,) = json.loads(good(cli, "list", "--format=json"))
    assert {each["name"]: each["state"] for each in pod["apps"]} == apps(cli, uuid)
    told = lines(good(cli, "app", "status", "--app=bad", uuid))
    assert list(told) == [
        "name", "state", "image_id", "created_at", "started_at", "finished_at", "exit_code",
    ]  # fmt: skip
    good(cli, "app", "stop", "--app=serving", uuid)
    assert states(cli) == {uuid: "running"}
    good(cli, "stop", uuid)
    # Its apps are told of also when it has ended.
    assert set(apps(cli, uuid).values()) == {"exited"}
    assert lines(good(cli, "status", uuid))["app-bad"] == "12"


def test_apps_share_what_is_the_pods(cli: Box) -> None:
    flags = ("--volume=data,kind=empty", "--hostname=shared", "--hosts-entry=10.9.8.7=friend")
    uuid = sandbox(cli, *flags)
    cli.shell("mkdir -p /var/tmp/from-host; echo host >/var/tmp/from-host/file")
    of_host = (
        "--mnt-volume=name=host,kind=host,source=/var/tmp/from-host,target=/host,readOnly=true"
    )
    add(cli, uuid, "one", f"echo x >/data/file; echo y >/dev/shm/file; {SERVE}",
        "--mount=volume=data,target=/data")  # fmt: skip
    add(cli, uuid, "two", SERVE, "--mount=volume=data,target=/there", of_host)
    for count, name in enumerate(("one", "two"), 1):
        start(cli, uuid, name)
        ready(cli, uuid, count)
    look = (
        "readlink /proc/self/ns/ipc; readlink /proc/self/ns/net; hostname; grep friend /etc/hosts"
    )
    own = [
        good(cli, "app", "exec", f"--app={name}", uuid, "sh", "-c", look) for name in ("one", "two")
    ]
    assert own[0] == own[1]
    assert own[0].splitlines()[2:] == ["shared", "10.9.8.7 friend"]
    assert own[0].splitlines()[0] != cli.shell("readlink /proc/self/ns/ipc").strip()
    seen = good(
        cli, "app", "exec", "--app=two", uuid, "cat", "/there/file", "/dev/shm/file", "/host/file"
    )
    assert seen == "x\ny\nhost\n"
    # Confined as the app is.
    assert "CapEff:\t0000003fffffffff" not in good(
        cli, "app", "exec", "--app=two", uuid, "cat", "/proc/self/status"
    )
    told = lines(good(cli, "app", "status", "--app=two", uuid))["mounts"]
    assert told == (
        f"/var/lib/rkt/pods/run/{uuid}/volumes/data:/there:(readonly:false),"
        "/var/tmp/from-host:/host:(readonly:true)"
    )
    # What the first has made stays for the others.
    good(cli, "app", "stop", "--app=one", uuid)
    good(cli, "app", "rm", "--app=one", uuid)
    assert good(cli, "app", "exec", uuid, "cat", "/there/file", "/dev/shm/file") == "x\ny\n"
    again = good(cli, "app", "exec", uuid, "sh", "-c", look)
    assert again == own[0]
    good(cli, "stop", uuid)
    assert uuid not in cli.read("/proc/mounts")


def test_a_port_of_a_sandbox_leads_to_whichever_app_listens(cli: Box) -> None:
    done = rkt(cli, "app", "sandbox", "-d", "--name=web", "--port=http:tcp:8000::18123")
    assert done.returncode == 0
    serve = "echo here >/index.html; exec httpd -f -p 8000 -h /"
    add(cli, "web", "server", serve)
    start(cli, "web", "server")
    fetch = ["curl", "-sS", "--max-time", "5", "http://127.0.0.1:18123/index.html"]
    eventually(lambda: cli.run(fetch).stdout == "here\n", "the app answers")
    assert "ports=18123/tcp -> 8000" in good(cli, "status", "web")
    drop(cli, "web")


@pytest.mark.row("app_sandbox/Annotations", "app_sandbox/AppAnnotations")
def test_annotations_of_a_sandbox_and_its_apps(cli: Box) -> None:
    uuid = sandbox(cli, "--annotation=a/b=c", "--user-annotation=d=e", "--user-label=f=g")
    add(cli, uuid, "one", SERVE, "--annotation=h/i=j", "--user-annotation=k=l", "--user-label=m=n")
    manifest = json.loads(good(cli, "cat-manifest", uuid))
    assert manifest["annotations"] == [
        {"name": "coreos.com/rkt/stage1/mutable", "value": "true"},
        {"name": "a/b", "value": "c"},
    ]
    assert (manifest["userAnnotations"], manifest["userLabels"]) == ({"d": "e"}, {"f": "g"})
    (one,) = manifest["apps"]
    assert one["annotations"] == [{"name": "h/i", "value": "j"}]
    told = lines(good(cli, "app", "status", uuid))
    assert (told["user_annotations"], told["user_labels"]) == ("k=l", "m=n")


def test_a_sandbox_in_the_foreground_lives_until_it_is_stopped(cli: Box) -> None:
    file = "/tmp/sandbox.uuid"
    begun = cli.popen(["rkt", "app", "sandbox", "--net=none", f"--uuid-file-save={file}"])
    eventually(lambda: set(states(cli).values()) == {"running"}, "the sandbox runs")
    uuid = cli.read(file)
    word = f"--uuid-file={file}"
    eventually(lambda: rkt(cli, "status", uuid).stdout.count("started=") == 1, "it is up")
    script = f"echo 'in the foreground'; {SERVE}"
    good(cli, "app", "add", word, IMAGE, "--name=one", "--", "-c", script)
    good(cli, "app", "start", word)
    ready(cli, uuid, 1)
    begun.send_signal(signal.SIGTERM)
    out, _ = begun.communicate(timeout=60)
    assert begun.returncode == 0
    assert out.splitlines() == ["in the foreground", "ready", "bye"]
    assert states(cli) == {uuid: "exited"}
    done = rkt(cli, "app", "add", word, IMAGE)
    assert (done.returncode, done.stderr) == (
        254,
        f'add: pod "{uuid}" isn\'t currently running\n',
    )


def test_a_sandbox_that_is_started_again_starts_its_apps(cli: Box) -> None:
    uuid = sandbox(cli, "--name=kept")
    add(cli, "kept", "one", COUNT)
    start(cli, "kept", "one")
    ready(cli, uuid, 1)
    good(cli, "stop", "kept")
    good(cli, "gc", "--grace-period=0s")
    assert good(cli, "start", "kept") == f'"{uuid}"\n'
    ready(cli, uuid, 2)
    assert apps(cli, "kept") == {"one": "running"}
    assert [line for line in said(cli, uuid) if line.isdigit()] == ["1", "2"]
    # And others can come.
    add(cli, "kept", "two")
    assert apps(cli, "kept") == {"one": "running", "two": "created"}
    start(cli, "kept", "two")
    cli.run(["systemctl", "daemon-reload"], check=True)
    assert apps(cli, "kept") == {"one": "running", "two": "running"}
    drop(cli, "kept")


FAILING = {
    "a name that is taken": (
        ("box", IMAGE, "--name=one"),
        'add: pod "{uuid}" has an app "one"'
        " (--name gives another one its name, rkt app rm removes that)",
    ),
    "no such program": (
        ("box", IMAGE, "--name=new", "--exec=/absent"),
        'add: app new: "/absent": no such file in the image',
    ),
    "no such volume": (
        ("box", IMAGE, "--name=new", "--mount=volume=gone,target=/data"),
        "add: dangling mount point /data: volume gone not found",
    ),
    "a source that does not exist": (
        ("box", IMAGE, "--name=new",
         "--mnt-volume=name=data,kind=host,source=/var/tmp/none,target=/data"),
        "add: pod box: volume data: /var/tmp/none does not exist",
    ),
    "an image that nobody vouches for": (
        ("box", "/var/tmp/busybox.aci", "--name=new"),
        "signature",
    ),
    "an image that is not stored": (
        ("--pull-policy=never", "box", "example.com/none", "--name=new"),
        'example.com/none',
    ),
    "kernel settings": (
        ("box", "example.com/tuned", "--name=new"),
        "add: pod box: os/unix/sysctl: net.ipv4.ip_forward: not for a pod whose apps come and go",
    ),
    "a flag before the image": (
        ("box", "--name=new", IMAGE),
        "add: --name must follow an image",
    ),
    "no image": (("box",), "add: exactly one image has to be given"),
    "two images": (("box", IMAGE, IMAGE), "add: exactly one image has to be given"),
    "no pod": ((), "add: exactly one pod has to be given"),
    "no such pod": (("nobody", IMAGE), 'add: no matches found for "nobody"'),
    "a pod that is no sandbox": (
        ("plain", IMAGE, "--name=new"),
        'add: pod "{plain}" has the apps that it was made with'
        " (rkt app sandbox makes pods that others can be added to)",
    ),
}  # fmt: skip


def test_what_cannot_be_added_leaves_nothing(
    cli: Box, make_pod: MakePod, make_image: MakeImage
) -> None:
    setting = {"name": "os/unix/sysctl", "value": {"net.ipv4.ip_forward": "1"}}
    make_image("tuned", isolators=[setting])
    plain = make_pod("plain", NO_NETWORK + app("one", SERVE))
    plain.start()
    uuid = sandbox(cli, "--name=box")
    add(cli, "box", "one")
    place = f"/var/lib/rkt/pods/run/{uuid}"
    look = f"cd {place}; find . | sort; cat pod options images; find /run/rkt/pods/box | sort"
    before = cli.shell(look)
    for case, (words, message) in FAILING.items():
        done = rkt(cli, "app", "add", *words)
        assert done.returncode == 254, case
        last = done.stderr.splitlines()[-1]
        wanted = message.format(uuid=uuid, plain=plain.last_run())
        assert last.startswith(wanted) if wanted.startswith("add: ") else wanted in last, (
            case,
            last,
        )
    assert cli.shell(look) == before
    drop(cli, "box")


def test_what_cannot_be_done_to_apps_is_said(cli: Box, make_pod: MakePod) -> None:
    uuid = sandbox(cli, "--name=box")
    for verb in ("start", "stop", "rm", "status"):
        done = rkt(cli, "app", verb, "box")
        assert (done.returncode, done.stderr) == (254, f"{verb}: pod box has no app\n")
    add(cli, "box", "one", "echo 'so it is' >&2; exit 3")
    for verb in ("start", "stop", "rm", "status", "exec"):
        done = rkt(cli, "app", verb, "--app=two", "box")
        wanted = f'{verb}: pod box has no app "two", only one\n'
        assert (done.returncode, done.stderr) == (254, wanted)
    done = rkt(cli, "app", "sandbox", "-d", "--name=box")
    assert done.returncode == 254
    assert f'the name "box" is that of pod {uuid}' in done.stderr
    for port in ("web", "web:tcp:80", "web:tcp:80::x", "web:sctp:80::80", "web:tcp:0::80"):
        done = rkt(cli, "app", "sandbox", "-d", f"--port={port}")
        assert (done.returncode, done.stdout) == (254, ""), port
    done = rkt(cli, "app", "sandbox", "-d", "--net=none", "--port=web:tcp:80::80")
    assert done.stderr == "sandbox: cannot publish port 80/tcp with network none\n"
    assert states(cli) == {uuid: "running"}
    drop(cli, "box")
    plain = make_pod("plain", NO_NETWORK + app("one", SERVE))
    plain.start()
    done = rkt(cli, "app", "rm", "plain")
    assert done.returncode == 254
    assert "has the apps that it was made with" in done.stderr
    plain.stop()
    done = rkt(cli, "app", "start", "plain")
    assert done.stderr == f'start: pod "{plain.last_run()}" isn\'t currently running\n'


def test_apps_that_come_at_once_all_do(cli: Box) -> None:
    uuid = sandbox(cli)
    names = [f"n{number}" for number in range(4)]
    begin = "".join(
        f"(rkt app add {uuid} {IMAGE} --name={name} -- -c 'sleep 1000' &&"
        f" rkt app start --app={name} {uuid}) >/tmp/{name}.out 2>&1 & "
        for name in names
    )
    cli.shell(f"{begin} wait", timeout=120)
    outputs = cli.shell("cat /tmp/n?.out")
    assert apps(cli, uuid) == dict.fromkeys(sorted(names), "running"), outputs
    # Of two with one name one comes.
    same = "".join(
        f"(rkt app add {uuid} {IMAGE} --name=same >/tmp/same{number}.out 2>&1"
        " && echo 0 || echo $?) & "
        for number in range(2)
    )
    assert sorted(cli.shell(f"{same} wait", timeout=120).split()) == ["0", "254"]
    assert 'has an app "same"' in cli.shell("cat /tmp/same?.out")
    done = rkt(cli, "stop", "--force", uuid)
    assert done.returncode == 0
    units = f"systemctl list-units --all --no-legend --plain 'rkt-{uuid}.*'"
    eventually(lambda: cli.shell(units) == "", "no unit of the pod is left")


def test_an_ended_app_of_another_pod_is_started_again(cli: Box, make_pod: MakePod) -> None:
    job = app("job", "echo done >>/log; cat /log")
    pod = make_pod("mixed", NO_NETWORK + job + app("one", SERVE))
    pod.start()
    ended(cli, "mixed", "job")
    assert apps(cli, "mixed") == {"job": "exited", "one": "running"}
    first = lines(good(cli, "app", "status", "--app=job", "mixed"))
    start(cli, "mixed", "job")
    eventually(
        lambda: pod.messages(f"RKT_POD_UUID={pod.last_run()}").count("done") == 3,
        "it has run again with the root that it left",
    )
    ended(cli, "mixed", "job")
    second = lines(good(cli, "app", "status", "--app=job", "mixed"))
    assert second["finished_at"] > first["finished_at"]
    # A pod that is no sandbox ends with its last app.
    good(cli, "app", "stop", "--app=one", "mixed")
    pod.wait_for("inactive")
    assert pod.leftovers() == ""
