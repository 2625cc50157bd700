"""Pods with a name from the command line, pods that start again, and those that leave no trace."""

from __future__ import annotations

import json

import pytest

from tests.box import Box
from tests.system.commands import IMAGE, UUID, drop, good, lines, prepare, ready, rkt, said, states
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, SERVE, app

USING = f"image: using image from local store for image name {IMAGE}\n"
COUNT = f"echo x >>/count; wc -l </count; {SERVE}"


def serve(box: Box, *flags: str, script: str = SERVE) -> str:
    """Start a pod in the background and wait until its app is ready. Returns its UUID."""
    done = rkt(box, "run", "--detach", "--net=none", *flags, IMAGE, "--", "-c", script)
    assert (done.returncode, done.stderr) == (0, USING)
    uuid = done.stdout.removesuffix("\n")
    assert UUID.fullmatch(uuid)
    ready(box, uuid, 1)
    return uuid


def test_a_detached_pod_goes_on(cli: Box) -> None:
    uuid = serve(cli)
    assert states(cli) == {uuid: "running"}
    assert good(cli, "stop", uuid) == f'"{uuid}"\n'
    assert lines(good(cli, "status", uuid))["app-busybox"] == "0"


def test_a_detached_pod_that_cannot_start_is_told(cli: Box) -> None:
    volume = "--volume=data,kind=host,source=/var/tmp/gone"
    cli.shell("mkdir -p /var/tmp/gone")
    uuid = good(cli, "prepare", "--quiet", volume, IMAGE, "--mount=volume=data,target=/data")
    cli.shell("rmdir /var/tmp/gone")
    done = rkt(cli, "run-prepared", "--detach", "--net=none", uuid.strip())
    assert (done.returncode, done.stdout) == (254, "")
    assert "volume data: /var/tmp/gone does not exist" in done.stderr


def test_a_name_is_kept_from_run_to_run(cli: Box) -> None:
    uuid = serve(cli, "--name=kept", script=COUNT)
    assert cli.run(["systemctl", "is-active", "rkt@kept"]).stdout == "active\n"
    (found,) = json.loads(good(cli, "list", "--format=json"))
    assert (found["name"], found["pod_name"], found["state"]) == (uuid, "kept", "running")
    assert rkt(cli, "start", "kept").stdout == f'"{uuid}"\n'
    good(cli, "stop", "kept")
    # Nobody but its owner removes it.
    good(cli, "gc", "--grace-period=0s", "--expire-prepared=0s")
    assert states(cli) == {uuid: "exited"}
    assert good(cli, "start", uuid) == f'"{uuid}"\n'
    ready(cli, uuid, 2)
    assert good(cli, "restart", "kept") == f'"{uuid}"\n'
    ready(cli, uuid, 3)
    cli.run(["systemctl", "restart", "rkt@kept"], check=True)
    ready(cli, uuid, 4)
    assert [line for line in said(cli, uuid) if line.isdigit()] == ["1", "2", "3", "4"]
    done = rkt(cli, "run", "--net=none", "--name=kept", IMAGE)
    assert done.returncode == 254
    assert done.stderr.splitlines()[-1] == (
        f'run: the name "kept" is that of pod {uuid} (rkt start kept runs it again,'
        " --replace removes it first)"
    )
    assert states(cli) == {uuid: "running"}
    drop(cli, "kept")
    assert states(cli) == {}
    # The name is free.
    done = rkt(cli, "run", "--net=none", "--name=kept", IMAGE, "--", "-c", "hostname")
    assert (done.returncode, done.stdout) == (0, "kept\n")
    good(cli, "rm", "kept")


def test_a_pod_is_replaced_when_the_new_one_is_ready(cli: Box) -> None:
    old = serve(cli, "--name=one")
    absent = rkt(cli, "run", "-d", "--name=one", "--replace", IMAGE, "--exec=/absent")
    assert absent.returncode == 254
    assert states(cli) == {old: "running"}
    new = serve(cli, "--name=one", "--replace")
    assert states(cli) == {new: "running"}
    assert said(cli, old)[-1] == "bye"
    drop(cli, "one")


def test_the_name_of_a_pod_file_cannot_be_taken(cli: Box, make_pod: MakePod) -> None:
    make_pod("filed", NO_NETWORK + app("one", SERVE))
    done = rkt(cli, "run", "-d", "--name=filed", "--replace", IMAGE)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        254,
        'run: the name "filed" is that of /etc/rkt/pods/filed.toml (rkt start filed runs it)',
    )


def test_a_prepared_pod_with_a_name(cli: Box) -> None:
    uuid = prepare(cli, "--name=made", IMAGE, "--", "-c", SERVE)
    good(cli, "gc", "--expire-prepared=0s")
    assert states(cli) == {uuid: "prepared"}
    assert good(cli, "run-prepared", "-d", "--net=none", "made") == f"{uuid}\n"
    # It would be another pod to systemd.
    assert cli.run(["systemctl", "start", f"rkt@{uuid}"]).returncode == 1
    log = cli.journal("-u", f"rkt@{uuid}", "-o", "cat")
    assert f"pod {uuid} is called made (rkt start made)" in log
    cli.shell(f"systemctl reset-failed rkt@{uuid}")
    drop(cli, "made")


def test_removed_at_the_end(cli: Box) -> None:
    done = rkt(cli, "run", "--rm", "--net=none", IMAGE, "--", "-c", "echo said; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "said\n", USING)
    assert states(cli) == {}
    uuid = serve(cli, "--rm")
    done = rkt(cli, "restart", uuid)
    assert (done.returncode, done.stderr) == (
        254,
        f"restart: pod {uuid} is removed when it ends (run --rm)\n",
    )
    assert good(cli, "stop", uuid) == f'"{uuid}"\n'
    assert states(cli) == {}
    prepared = prepare(cli, IMAGE, "--", "-c", "exit 3")
    assert rkt(cli, "run-prepared", "--rm", "--net=none", prepared).returncode == 3
    assert states(cli) == {}
    left = "find /var/lib/rkt/pods /run/rkt/pods /run/rkt/data -mindepth 2 2>/dev/null || :"
    assert cli.shell(left) == ""
    assert said(cli, uuid)[-1] == "bye"


def test_removed_at_the_end_also_when_nobody_waits(cli: Box) -> None:
    cli.shell(
        f'rkt run --rm --net=none --uuid-file-save=/tmp/uuid {IMAGE} -- -c "{SERVE}" >/tmp/out &'
        " pid=$!; until grep -q ready /tmp/out; do sleep 0.05; done; kill -9 $pid; wait $pid || :"
    )
    assert set(states(cli).values()) == {"running"}
    good(cli, "stop", "--uuid-file=/tmp/uuid")
    assert states(cli) == {}
    assert cli.shell("ls /var/lib/rkt/pods/garbage") == ""


def test_another_data_directory_reaches_the_unit(cli: Box) -> None:
    place = ["--dir=/var/tmp/elsewhere"]
    before = cli.shell("ls /run/rkt/data || :")
    cli.shell("mkdir -p /var/tmp/elsewhere")
    words = ["--insecure-options=image", "run", "-d", "--net=none", "--name=far"]
    archive = "/var/tmp/busybox.aci"
    done = rkt(cli, *place, *words, archive, "--", "-c", SERVE)
    assert done.returncode == 0, done.stderr
    uuid = done.stdout.strip()
    ready(cli, uuid, 1)
    assert states(cli) == {}
    cli.run(["systemctl", "restart", "rkt@far"], check=True)
    ready(cli, uuid, 2)
    (found,) = json.loads(good(cli, *place, "list", "--format=json"))
    assert (found["name"], found["state"]) == (uuid, "running")
    good(cli, *place, "stop", "far")
    good(cli, *place, "rm", "far")
    assert cli.shell("ls /run/rkt/data") == before


def test_a_configured_data_directory_reaches_the_unit(cli: Box, make_pod: MakePod) -> None:
    file, place = "/etc/rkt/paths.d/moved.json", "/var/tmp/moved"
    pod = make_pod("moved", 'network = "none"\n' + app("one", SERVE))
    cli.write(file, json.dumps({"rktKind": "paths", "rktVersion": "v1", "data": place}))
    try:
        good(cli, "--insecure-options=image", "fetch", "/var/tmp/busybox.aci")
        cli.run(["systemctl", "start", pod.unit], check=True)
        (found,) = json.loads(good(cli, "list", "--format=json"))
        assert (found["pod_name"], found["state"]) == ("moved", "running")
        ready(cli, found["name"], 1)
        assert cli.shell("cat /run/rkt/pods/moved/directory").startswith(f"{place}/pods/run/")
        # A flag has the last word, also about the usual place.
        assert json.loads(good(cli, "--dir=/var/lib/rkt", "list", "--format=json")) == []
        done = cli.run(["setpriv", "--reuid=nobody", "--clear-groups", "rkt", "config"])
        assert json.loads(done.stdout)["stage0"][0]["data"] == place
        good(cli, "stop", "moved")
        good(cli, "rm", "moved")
    finally:
        cli.shell(f"systemctl stop {pod.unit}; rm -rf {file} {place}")


def test_a_pod_file_that_changed(cli: Box, make_pod: MakePod) -> None:
    pod = make_pod("stale", NO_NETWORK + app("one", SERVE))
    assert rkt(cli, "start", "stale").returncode == 0
    pod.wait_ready()
    first = pod.last_run()
    assert rkt(cli, "pod", "diff", "stale").stdout == ""
    assert "pod-file" not in lines(good(cli, "status", "stale"))
    pod.write(f'hostname = "other"\n{pod.box.read(pod.file)}')
    done = rkt(cli, "pod", "diff", first)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:4] == [
        f"--- run {first}", f"+++ {pod.file}", "@@ -1,3 +1,4 @@", '+hostname = "other"',
    ]  # fmt: skip
    assert lines(good(cli, "status", first))["pod-file"] == "changed"
    assert json.loads(good(cli, "status", "--format=json", first))["pod_file"] == "changed"
    # The pod is restarted, whichever of its runs is named.
    second = good(cli, "restart", first).strip('"\n')
    pod.wait_ready()
    assert second == pod.last_run() != first
    assert rkt(cli, "pod", "diff", "stale").stdout == ""
    good(cli, "stop", "stale")
    cli.shell(f"rm {pod.file}")
    assert lines(good(cli, "status", second))["pod-file"] == "removed"


def test_a_new_pod_file_hides_no_pod(cli: Box) -> None:
    uuid = prepare(cli, "--name=taken", IMAGE)
    done = rkt(cli, "pod", "init", "taken", IMAGE)
    message = f'init: the name "taken" is that of pod {uuid} (rkt rm taken removes it)\n'
    assert (done.returncode, done.stdout, done.stderr) == (254, "", message)
    assert good(cli, "rm", "taken") == f'"{uuid}"\n'
    assert good(cli, "pod", "init", "taken", IMAGE) == "/etc/rkt/pods/taken.toml\n"
    cli.shell("rm /etc/rkt/pods/taken.toml")


def test_no_pod_is_stopped_for_a_bad_file(cli: Box, make_pod: MakePod) -> None:
    pod = make_pod("spoilt", NO_NETWORK + app("one", SERVE))
    pod.start()
    pod.wait_ready()
    run = pod.last_run()
    pod.write("network = ")
    done = rkt(cli, "restart", "spoilt")
    assert (done.returncode, done.stdout) == (254, "")
    assert done.stderr.startswith(f"restart: {pod.file}: ")
    assert lines(good(cli, "status", run))["state"] == "running"


def test_stop_by_another_signal(cli: Box) -> None:
    script = "trap 'echo quit; exit 4' QUIT; echo ready; sleep 1000 & wait"
    uuid = serve(cli, script=script)
    assert good(cli, "stop", "--signal=QUIT", uuid) == f'"{uuid}"\n'
    assert said(cli, uuid)[-1] == "quit"
    assert lines(good(cli, "status", uuid))["app-busybox"] == "4"


@pytest.mark.parametrize("flags", [["--timeout=0"], ["--signal=USR1", "--timeout=100ms"]])
def test_stop_within_a_time(cli: Box, flags: list[str]) -> None:
    deaf = "trap 'echo term' TERM; trap 'echo usr' USR1; echo ready; while :; do sleep 0.1; done"
    uuid = serve(cli, script=deaf)
    assert good(cli, "stop", *flags, uuid) == f'"{uuid}"\n'
    assert lines(good(cli, "status", uuid))["app-busybox"] == "137"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--replace", IMAGE],
         "run: --replace is about the pod that has the --name (before the images --name is that of"
         " the pod)"),
        (["run", "--name=Web", IMAGE],
         'run: --name: "Web" is not an AC Name (lower-case letters, digits, single inner dashes)'),
        (["start", "no-such"], 'start: no matches found for "no-such"'),
        (["restart"], "restart: must provide at least one pod UUID or name"),
        (["stop", "--force", "--timeout=1s", "x"],
         "stop: --force kills at once: --signal and --timeout have no meaning with it"),
        (["stop", "--timeout=soon", "no-such"],
         'stop: invalid argument "soon" for --timeout: not a time like 30m or 1h30m'),
        (["stop", "--signal=LOUD", "no-such"], 'stop: --signal: "LOUD" is not a signal'),
        (["metadata-service", "--rotate-key", "--listen-port=1"],
         "metadata-service: --rotate-key listens nowhere: --listen-port has no meaning with it"),
        (["pod", "diff", "no-such"], 'diff: no matches found for "no-such"'),
    ],
)  # fmt: skip
def test_mistakes(cli: Box, words: list[str], message: str) -> None:
    done = rkt(cli, *words)
    assert (done.returncode, done.stdout, done.stderr) == (254, "", f"{message}\n")
