"""The command line against real pods: what it prints, exits with, and leaves behind."""

from __future__ import annotations

import json
import re
import signal
import time

import pytest

from tests.box import Box
from tests.material import images
from tests.system.commands import (
    IMAGE,
    UUID,
    begun,
    good,
    lines,
    prepare,
    rkt,
    run,
    states,
)
from tests.system.conftest import MakePod, store_image
from tests.system.pods import SERVE, app
from tests.waiting import eventually


@pytest.mark.row("exit/ExitCodeSimple")
@pytest.mark.parametrize("code", [0, 1, 5, 200])
def test_run_exits_as_its_app_does(cli: Box, code: int) -> None:
    done = run(cli, f"echo said; exit {code}")
    assert (done.returncode, done.stdout) == (code, "said\n")
    assert done.stderr == f"image: using image from local store for image name {IMAGE}\n"


@pytest.mark.row("exit/ExitCodeWithSeveralApps", "app_sandbox/MultipleApps")
def test_run_of_several_apps_exits_as_the_first_that_failed(cli: Box) -> None:
    wait = "trap 'exit 3' TERM; sleep 1000 & wait"
    done = rkt(
        cli, "run", "--net=none", IMAGE, "--name=a", "--", "-c", "exit 0",
        "---", IMAGE, "--name=b", "--", "-c", "sleep 0.3; exit 5",
        "---", IMAGE, "--name=c", "--", "-c", wait,
    )  # fmt: skip
    assert done.returncode == 5
    (uuid,) = states(cli)
    found = lines(good(cli, "status", uuid))
    assert [found[f"app-{name}"] for name in "abc"] == ["0", "5", "3"]


def test_run_shows_every_line_up_to_the_last(cli: Box) -> None:
    done = run(cli, "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 1")
    assert done.stdout.splitlines() == [f"line {number}" for number in range(3000)]


def test_run_shows_what_is_no_text(cli: Box) -> None:
    command = ["sh", "-c", f"rkt run --net=none {IMAGE} -- -c 'printf \"a\\001\\377b\\n\"' | od -c"]
    assert "a 001 377   b" in cli.run(command, check=True).stdout


def test_run_shows_apps_of_other_users(cli: Box) -> None:
    done = rkt(cli, "run", "--net=none", IMAGE, "--user=33", "--", "-c", "id -u")
    assert (done.returncode, done.stdout) == (0, "33\n")


@pytest.mark.row("stop/RktStop")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_pod(cli: Box, number: int) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo ready; sleep 1000 & wait"
    name = signal.Signals(number).name.removeprefix("SIG")
    out = cli.shell(
        begun("", script) + f" kill -{name} $pid; wait $pid || echo $?; cat /tmp/run.out"
    )
    assert out.splitlines()[0] == "3"
    assert out.splitlines()[-2:] == ["ready", "bye"]
    assert set(states(cli).values()) == {"exited"}


def test_a_second_signal_kills(cli: Box) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    out = cli.shell(
        begun("", script) + " kill -INT $pid; sleep 0.5; kill -INT $pid; wait $pid || echo $?"
    )
    assert out == "137\n"
    # Not by the time that a stop may take.
    assert cli.shell("cat /var/lib/rkt/pods/*/*/status/*").split()[0] == "signal"


def test_run_ends_when_nobody_reads(cli: Box) -> None:
    out = cli.shell(
        f"rkt run --net=none {IMAGE} -- -c 'while :; do echo y; sleep 0.05; done' | head -1"
    )
    assert out == "y\n"
    eventually(lambda: set(states(cli).values()) == {"exited"}, "the pod is stopped")


def test_run_says_that_what_an_app_printed_is_lost(cli: Box) -> None:
    line = f"rkt run --rm --net=none {IMAGE} -- -c 'echo y' >/dev/full"
    done = cli.run(["sh", "-c", line])
    assert done.returncode == 254
    assert done.stderr.endswith("run: standard output: No space left on device\n")


@pytest.mark.row("error_output/RktEnsureErrors", "diagnostic/Diagnostic")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([IMAGE, "--exec=/nowhere"], '"/nowhere": no such file in the image'),
        ([IMAGE, "--user=nobody-there"], 'user "nobody-there": no such user'),
        (["--net=nonsense", IMAGE], "networks not found: nonsense"),
        (["--port=web:80", IMAGE], 'port "web": no app of the pod has a port of that name'),
        (["--net=none", "--volume=v,kind=host,source=/nowhere", IMAGE,
          "--mount=volume=v,target=/v"], "volume v: /nowhere does not exist"),
        ([IMAGE, "--working-dir=/nowhere"], "working directory /nowhere: not in the image"),
        (["--net=none", "--volume=v,kind=host,source=/etc/passwd", IMAGE,
          "--mount=volume=v,target=/bin"], "/etc/passwd cannot be mounted at /bin: it is a file"),
        (["--net=none", IMAGE, "--memory=4096"], "app busybox did not start"),
        (["--pull-policy=never", "example.com/absent"], "'example.com/absent' is not in the store"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_told(cli: Box, words: list[str], message: str) -> None:
    done = rkt(cli, "run", *words)
    assert done.returncode == 254
    errors = [line for line in done.stderr.splitlines() if line.startswith("run: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert done.stdout == ""
    assert set(states(cli).values()) <= {"exited"}
    assert failed_units(cli) == ""


def failed_units(box: Box) -> str:
    """Failed units of pods without a name; there should be none."""
    return box.shell("systemctl list-units --failed --no-legend --plain 'rkt@*-*-*-*-*' || :")


def test_flags_reach_the_app(cli: Box) -> None:
    script = (
        "cat /proc/self/status | grep CapBnd; pwd; echo $A $B; id -u; id -g; touch /x; hostname"
    )
    done = rkt(
        cli, "run", "--net=none", "--hostname=box", "--set-env=A=1", "--set-env=B=1", IMAGE,
        "--environment=B=2", "--working-dir=/tmp", "--user=33", "--group=34",
        "--readonly-rootfs=true", "--caps-retain=CAP_CHOWN", "--", "-c", script,
    )  # fmt: skip
    out = done.stdout.splitlines()
    assert out[0].split() == ["CapBnd:", "0000000000000001"]
    assert out[1:5] == ["/tmp", "1 2", "33", "34"]
    assert "Read-only file system" in out[5]
    assert out[6] == "box"


def test_resources_reach_the_unit(cli: Box) -> None:
    uuid = prepare(cli, IMAGE, "--memory=64Mi", "--cpu=500m", "--", "-c", SERVE)
    cli.shell(f"rkt run-prepared --net=none {uuid} >/dev/null 2>&1 &")
    eventually(lambda: states(cli)[uuid] == "running", "the pod runs")
    shown = cli.shell(f"systemctl show -P MemoryMax -P CPUQuotaPerSecUSec rkt-{uuid}.busybox")
    assert sorted(shown.split()) == ["500ms", str(64 << 20)]


def test_volumes(cli: Box) -> None:
    cli.write("/srv/with,comma/file", "content\n")
    done = rkt(
        cli, "run", "--net=none", "--volume=data,kind=host,source=/srv/with%2Ccomma,readOnly=true",
        "--volume=tmp,kind=empty,mode=0700,uid=33", "--mount=volume=data,target=/data", IMAGE,
        "--mount=volume=tmp,target=/scratch", "--",
        "-c", "cat /data/file; touch /data/x; stat -c '%a %u' /scratch",
    )  # fmt: skip
    out = done.stdout.splitlines()
    assert out[0] == "content"
    assert "Read-only file system" in out[1]
    assert out[2] == "700 33"


@pytest.mark.row("cat_manifest/CatManifest", "rm/Rm")
def test_uuid_file(cli: Box) -> None:
    run(cli, "exit 4", "--uuid-file-save=/run/web.uuid")
    text = cli.read("/run/web.uuid")
    assert UUID.fullmatch(text)
    assert cli.shell("stat -c %a /run/web.uuid").strip() == "644"
    assert "app-busybox=4\n" in good(cli, "status", "--uuid-file=/run/web.uuid")
    manifest = json.loads(good(cli, "cat-manifest", "--uuid-file=/run/web.uuid"))
    assert manifest["apps"][0]["name"] == "busybox"
    assert good(cli, "rm", "--uuid-file=/run/web.uuid") == f'"{text}"\n'
    assert rkt(cli, "status", "--uuid-file=/run/web.uuid").returncode == 254


def test_another_data_directory(cli: Box) -> None:
    archive = "/var/tmp/busybox.aci"
    place = "--dir=/var/lib/rkt/elsewhere"
    done = rkt(
        cli, place, "--insecure-options=image", "run", "--net=none", archive, "--", "-c", "exit 6"
    )
    assert done.returncode == 6
    (pod,) = json.loads(good(cli, place, "list", "--format=json"))
    assert (pod["state"], pod["apps"][0]["exit_code"]) == ("exited", 6)
    assert states(cli) == {}
    assert good(cli, place, "rm", pod["name"]) == f'"{pod["name"]}"\n'
    assert cli.shell("ls /run/rkt/data") == ""


def test_prepared(cli: Box) -> None:
    uuid = prepare(cli, IMAGE, "--", "-c", "hostname; cat /etc/resolv.conf; exit 2")
    assert states(cli) == {uuid: "prepared"}
    assert lines(good(cli, "status", uuid[:8])).keys() == {"state", "created"}
    done = rkt(cli, "run-prepared", "--net=none", "--dns=10.0.0.1", "--hostname=other", uuid[:8])
    assert (done.returncode, done.stdout.splitlines()[0]) == (2, "other")
    assert "nameserver 10.0.0.1" in done.stdout
    done = rkt(cli, "run-prepared", uuid)
    assert (done.returncode, done.stderr) == (254, f'run-prepared: pod "{uuid}" is not prepared\n')


def test_what_the_start_finds_out_is_told(cli: Box) -> None:
    uuid = prepare(cli, "--insecure-options=image", "--port=http:8089", "/var/tmp/web.aci")
    done = rkt(cli, "run-prepared", "--net=none", uuid)
    assert done.returncode == 254
    assert done.stderr == "run-prepared: cannot publish port 8089/tcp with network none\n"
    assert failed_units(cli) == ""


@pytest.mark.row("image_rm/PrepareRm", "image_rm/RunRm")
def test_a_prepared_pod_outlives_its_image(cli: Box, busybox_aci: str) -> None:
    uuid = prepare(cli, IMAGE, "--", "-c", "echo still here")
    done = rkt(cli, "image", "rm", IMAGE)
    assert done.returncode == 0
    assert done.stdout.startswith('successfully removed aci for image: "sha512-')
    assert done.stderr == "rm: 1 image(s) successfully removed\n"
    good(cli, "gc")
    assert rkt(cli, "run-prepared", "--net=none", uuid).stdout == "still here\n"
    layers = "ls /var/lib/rkt/cas/layers"
    before = cli.shell(layers).split()
    good(cli, "rm", uuid)
    good(cli, "gc")
    assert len(cli.shell(layers).split()) < len(before)
    store_image(cli, busybox_aci)


def test_a_pod_manifest(cli: Box) -> None:
    uuid = prepare(cli, IMAGE, "--name=given", "--", "-c", "echo from a manifest")
    cli.write("/var/tmp/pod.json", good(cli, "cat-manifest", uuid))
    done = rkt(cli, "run", "--net=none", "--pod-manifest=/var/tmp/pod.json")
    assert (done.returncode, done.stdout) == (0, "from a manifest\n")


def test_a_published_port_and_the_default_network(cli: Box) -> None:
    serve = "mkdir /w; echo served >/w/index.html; echo ready; httpd -f -p 80 -h /w"
    root = "/var/tmp/web.aci"
    uuid = prepare(
        cli, "--insecure-options=image", "--port=http:127.0.0.1:8088", root, "--", "-c", serve
    )
    process = cli.popen(["rkt", "run-prepared", uuid])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    eventually(
        lambda: "served" in cli.shell("curl -s http://127.0.0.1:8088/ || :"), "the port answers"
    )
    (row,) = good(cli, "list", "--no-legend").splitlines()
    assert re.search(r"\tdefault:ip4=172\.16\.28\.\d+$", row)
    assert re.search(r"(?m)^networks=default:ip4=172\.16\.28\.\d+$", good(cli, "status", uuid))
    good(cli, "stop", "--force", uuid)
    assert process.wait() == 137


@pytest.fixture(autouse=True, scope="module")
def web_aci(pod_box: Box, tmp_path_factory: pytest.TempPathFactory) -> None:
    """/var/tmp/web.aci: busybox with a port called http."""
    top = tmp_path_factory.mktemp("web")
    ports = [{"name": "http", "protocol": "tcp", "port": 80}]
    manifest = images.busybox_manifest("example.com/web", ports=ports)
    archive = images.write_aci(images.busybox_root(top / "root"), manifest, top / "web.aci")
    pod_box.push(archive, "/var/tmp/web.aci")


@pytest.mark.row("list/RktList")
def test_list(cli: Box) -> None:
    uuid = prepare(cli, IMAGE, "--name=one", "---", IMAGE, "--name=two")
    header, first, second = good(cli, "list").splitlines()
    assert re.split(r"\t+", header) == [
        "UUID", "APP", "IMAGE NAME", "STATE", "CREATED", "STARTED", "NETWORKS",
    ]  # fmt: skip
    assert re.split(r"\t+", first)[:4] == [uuid[:8], "one", f"{IMAGE}:1.0.0", "prepared"]
    assert re.split(r"\t+", second)[:3] == ["", "two", f"{IMAGE}:1.0.0"]
    (first, _) = good(cli, "list", "--full", "--no-legend").splitlines()
    cells = re.split(r"\t+", first)
    assert cells[0] == uuid
    assert re.fullmatch(r"sha512-[0-9a-f]{12}", cells[3])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,3})? \+0000 UTC", cells[5])


@pytest.mark.row("list/RktListCreatedStarted")
def test_list_in_json(cli: Box) -> None:
    before = time.time()
    run(cli, "exit 7")
    (pod,) = json.loads(good(cli, "list", "--format=json"))
    assert good(cli, "list", "--format=json-pretty").startswith('[\n\t{\n\t\t"name": ')
    assert set(pod) == {"name", "state", "app_names", "apps", "created_at", "started_at"}
    (found,) = pod["apps"]
    assert (pod["app_names"], found["name"], found["state"]) == (["busybox"], "busybox", "exited")
    assert found["exit_code"] == 7
    assert before - 1 <= pod["created_at"] <= pod["started_at"] <= time.time() + 1
    assert found["created_at"] <= found["started_at"] <= found["finished_at"]
    assert found["finished_at"] // 10**9 in range(int(before), int(time.time()) + 2)
    (image,) = [
        each
        for each in json.loads(good(cli, "image", "list", "--format=json"))
        if each["name"] == f"{IMAGE}:1.0.0"
    ]
    assert found["image_id"] == image["id"]


def test_a_damaged_pod_does_not_hide_the_others(cli: Box) -> None:
    run(cli, "exit 0")
    run(cli, "exit 0")
    bad, other = states(cli)
    cli.shell(f"echo '{{' >/var/lib/rkt/pods/run/{bad}/pod")
    done = rkt(cli, "list", "--no-legend")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert other[:8] in done.stdout
    assert done.stderr.startswith(f"list: pod {bad}: /var/lib/rkt/pods/run/{bad}/pod: not JSON")
    assert len(done.stderr.splitlines()) == 1
    good(cli, "gc", "--grace-period=0s")
    assert states(cli) == {}


def test_a_named_pod(cli: Box, make_pod: MakePod) -> None:
    pod = make_pod(
        "named", 'network = "none"\n' + app("one", SERVE) + app("two", SERVE, extra="user = 33")
    )
    done = rkt(cli, "status", "named")
    assert done.stderr == "status: pod named was never started, or its runs are removed\n"
    pod.start()
    assert "state=running\nname=named\n" in good(cli, "status", "--wait-ready", "named")
    found = lines(good(cli, "status", "named"))
    assert found["exited"] == "false"
    assert found["pid"] == pod.show("MainPID", pod.app_unit("one"))
    (listed,) = json.loads(good(cli, "list", "--format=json"))
    assert listed["pod_name"] == "named"
    done = rkt(cli, "rm", "named")
    uuid = listed["name"]
    assert done.stderr == f"rm: pod named ({uuid}) is running (stop it first)\n"
    good(cli, "gc", "--grace-period=0s")
    assert pod.state() == "active"
    assert good(cli, "stop", "named") == f'"{uuid}"\n'
    assert pod.state() == "inactive"
    done = rkt(cli, "stop", "named")
    assert (done.returncode, done.stderr) == (0, f'stop: pod "{uuid}" is already stopped\n')
    found = lines(good(cli, "status", "named"))
    assert (found["state"], found["app-one"], found["app-two"]) == ("exited", "0", "0")
    logged = [line.split(": ", 1)[1] for line in good(cli, "logs", "named").splitlines()]
    assert sorted(logged) == ["bye", "bye", "ready", "ready"]
    (line,) = good(cli, "logs", "--app=two", "-n", "1", "named").splitlines()
    assert re.search(r" two\[\d+\]: bye$", line)
    done = rkt(cli, "logs", "--app=three", "named")
    assert done.stderr == 'logs: pod named has no app "three", only one, two\n'
    pod.start()
    assert len(states(cli)) == 2
    assert len(good(cli, "logs", uuid[:8]).splitlines()) == 4
    assert len(good(cli, "logs", "named").splitlines()) == 6


def test_logs_that_follow(cli: Box, make_pod: MakePod) -> None:
    pod = make_pod("followed", 'network = "none"\n' + app("one", SERVE))
    pod.start()
    process = cli.popen(["rkt", "logs", "-f", "followed"])
    assert process.stdout is not None
    assert process.stdout.readline().endswith(": ready\n")
    pod.stop()
    assert process.stdout.readline().endswith(": bye\n")
    process.terminate()
    process.wait()


def test_stop_of_several_goes_on_after_a_failure(cli: Box, make_pod: MakePod) -> None:
    for name in ("first", "second"):
        make_pod(name, 'network = "none"\n' + app("one", SERVE)).start()
    done = rkt(cli, "stop", "first", "nonsense", "second")
    assert done.returncode == 254
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == 'stop: no matches found for "nonsense"\n'
    assert set(states(cli).values()) == {"exited"}


@pytest.mark.row("stop/RktStop: force")
def test_stop_by_force(cli: Box, make_pod: MakePod) -> None:
    stubborn = "trap '' TERM; while :; do sleep 0.1; done"
    patient = app("one", stubborn, extra="stop-timeout = 600\n")
    make_pod("stubborn", 'network = "none"\n' + patient).start()
    good(cli, "stop", "--force", "stubborn")
    assert lines(good(cli, "status", "stubborn"))["app-one"] == "137"


def test_waiting(cli: Box, make_pod: MakePod) -> None:
    script = "until [ -e /go ]; do sleep 0.05; done; exit 3"
    make_pod("waited", 'network = "none"\n' + app("one", script)).start()
    assert good(cli, "status", "--wait=200ms", "waited").startswith("state=running\n")
    cli.shell("touch /proc/$(pgrep -of '[e]xit 3')/root/go")
    found = lines(good(cli, "status", "--wait", "waited"))
    assert (found["state"], found["app-one"]) == ("exited", "3")


@pytest.mark.row("gc/GC")
def test_gc(cli: Box) -> None:
    run(cli, "exit 0")
    (ended,) = states(cli)
    prepared = prepare(cli, IMAGE)
    good(cli, "gc", "--mark-only")
    assert states(cli) == {ended: "exited garbage", prepared: "prepared"}
    good(cli, "gc")
    assert len(states(cli)) == 2
    done = rkt(cli, "gc", "--grace-period=0s")
    assert done.stderr == f'gc: Garbage collecting pod "{ended}"\n'
    assert states(cli) == {prepared: "prepared"}
    good(cli, "gc", "--expire-prepared=0s")
    assert states(cli) == {}
    left = "find /run/rkt/pods /run/rkt/locks -mindepth 1; "
    assert cli.shell(left + "find /var/lib/rkt/pods -mindepth 2 -maxdepth 2") == ""


def test_gc_reaps_what_a_dead_run_left(cli: Box) -> None:
    cli.shell("mkdir /run/rkt/pods/ghost; echo x >/run/rkt/pods/ghost/uuid")
    good(cli, "gc")
    assert cli.shell("ls /run/rkt/pods") == ""


def test_the_timer_collects(cli: Box) -> None:
    run(cli, "exit 0")
    cli.run(["systemctl", "start", "rkt-gc.service"], check=True)
    assert set(states(cli).values()) == {"exited garbage"}


def test_gc_while_pods_start(cli: Box, make_pod: MakePod) -> None:
    pod = make_pod("restless", 'network = "none"\n' + app("one", SERVE))
    loop = "while :; do rkt gc --grace-period=0s 2>/dev/null; done"
    process = cli.popen(["sh", "-c", loop])
    try:
        for _ in range(15):
            pod.start()
            assert pod.state() == "active"
            pod.stop()
    finally:
        process.kill()
        process.wait()


@pytest.mark.row("image_list/ImageList", "image_list/ShortHash", "image_cat_manifest")
def test_images(cli: Box) -> None:
    rows = [re.split(r"\t+", row) for row in good(cli, "image", "list").splitlines()]
    assert rows[0] == ["ID", "NAME", "SIZE", "IMPORT TIME", "LAST USED"]
    (row,) = [row for row in rows if row[1] == f"{IMAGE}:1.0.0"]
    assert re.fullmatch(r"sha512-[0-9a-f]{12}", row[0])
    assert re.fullmatch(r"[0-9.]+ [KM]iB", row[2])
    only = good(cli, "image", "list", "--no-legend", "--fields=name", "--sort=name").splitlines()
    assert only == sorted(only)
    whole = json.loads(good(cli, "image", "list", "--format=json", "--sort=name"))
    assert [image["name"] for image in whole] == only
    assert json.loads(good(cli, "image", "cat-manifest", row[0]))["name"] == IMAGE
    done = rkt(cli, "image", "rm", "sha512-0", "example.com/absent")
    assert done.returncode == 254
    assert done.stderr.splitlines() == [
        'rm: "sha512-0": image ID too short',
        'rm: image "example.com/absent" is not in the store',
        "rm: 2 image(s) cannot be removed",
    ]


@pytest.mark.row("fetch/FullHash", "fetch/FromFile")
def test_fetch_prints_the_id(cli: Box) -> None:
    fetch = ["--insecure-options=image", "fetch", "/var/tmp/busybox.aci"]
    assert re.fullmatch(r"sha512-[0-9a-f]{32}\n", good(cli, *fetch))
    assert re.fullmatch(r"sha512-[0-9a-f]{64}\n", good(cli, *fetch, "--full"))
    done = rkt(cli, "fetch", "/var/tmp/busybox.aci")
    assert done.returncode == 254
    assert "fetch: " in done.stderr


def test_keys_are_taken_only_when_somebody_says_so(cli: Box) -> None:
    done = rkt(cli, "trust", "--root", "/etc/hostname")
    assert done.returncode == 254
    assert "standard input is not a terminal" in done.stderr
    done = rkt(cli, "trust", "--root", "--skip-fingerprint-review", "/etc/hostname")
    assert (done.returncode, done.stderr) == (
        254,
        "trust: /etc/hostname: holds no OpenPGP public key\n",
    )


@pytest.fixture
def member(cli: Box) -> str:
    """A user of the group rkt."""
    cli.shell("id member >/dev/null 2>&1 || useradd --groups rkt member; id stranger >/dev/null"
              " 2>&1 || useradd stranger")  # fmt: skip
    return "member"


@pytest.mark.row("non_root/ReadInfo")
def test_the_group_may_look(cli: Box, member: str) -> None:
    uuid = prepare(cli, IMAGE)
    for command in (
        "rkt list", f"rkt status {uuid}", f"rkt cat-manifest {uuid}", "rkt image list",
        f"rkt image cat-manifest {IMAGE}", "rkt version",
    ):  # fmt: skip
        done = cli.run(["su", member, "-c", command])
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout
    for user in (member, "stranger"):
        done = cli.run(["su", user, "-c", f"rkt image push {IMAGE} oci:/tmp/pushed"])
        assert (done.returncode, done.stderr) == (
            254,
            "push: cannot run as unprivileged user: what is sent is put together in the store,"
            " where only root may write (run it as root, who needs the credentials: sudo rkt"
            " login)\n",
        )
    for command in ("run x", "prepare x", f"rm {uuid}", "gc", "image rm x"):
        done = cli.run(["su", member, "-c", f"rkt {command}"])
        assert done.returncode == 254
        assert done.stderr.endswith(": cannot run as unprivileged user\n")
    path = cli.shell("ls /var/tmp/*busybox*.aci").split()[0]
    command = f"rkt --dir=/tmp/own --insecure-options=image fetch {path}"
    done = cli.run(["su", member, "-c", command])
    assert done.returncode == 254
    assert "needs root" in done.stderr.splitlines()[-1]
    for command in ("list", f"stop {uuid}", f"pod diff {uuid}", f"status {uuid}"):
        done = cli.run(["su", "stranger", "-c", f"rkt {command}"])
        assert done.returncode == 254
        assert done.stderr == (
            f"{command.split(' ' + uuid)[0].rpartition(' ')[2]}: cannot run as unprivileged user:"
            " cannot read /var/lib/rkt/pods/embryo: Permission denied (only root and members of the"
            " group rkt may look at pods)\n"
        )


def test_no_systemd(cli: Box) -> None:
    script = "mount -t tmpfs none /run/systemd; exec rkt run example.com/busybox"
    done = cli.run(["unshare", "--mount", "sh", "-c", script])
    assert done.returncode == 254
    expected = "run: systemd does not run this machine, and pods are units of systemd\n"
    assert done.stderr == expected


def test_a_full_disk(cli: Box) -> None:
    script = (
        "mkdir -p /tmp/small; mount -t tmpfs -o size=256k none /tmp/small;"
        " exec rkt --dir=/tmp/small --insecure-options=image fetch /var/tmp/busybox.aci"
    )
    done = cli.run(["unshare", "--mount", "sh", "-c", script])
    assert done.returncode == 254
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_app_that_was_restarted_runs(cli: Box, make_pod: MakePod) -> None:
    # Fails the first time only: what it wrote is there still at the second.
    script = f"[ -e /again ] || {{ touch /again; exit 5; }}; {SERVE}"
    extra = '[app.systemd]\nRestart = "on-failure"\nRestartSec = "100ms"'
    pod = make_pod("again", 'network = "none"\n' + app("one", script, extra=extra))
    pod.start()
    eventually(lambda: "ready" in pod.messages("RKT_POD=again"), "the app runs again")
    (status,) = json.loads(good(cli, "list", "--format=json"))
    assert status["apps"][0]["state"] == "running"
    assert "exit_code" not in status["apps"][0]


def test_only_root_stops(cli: Box, make_pod: MakePod, member: str) -> None:
    make_pod("web", 'network = "none"\n' + app("one", SERVE)).start()
    done = cli.run(["su", member, "-c", "rkt stop web"])
    assert done.returncode == 254
    (line,) = done.stderr.splitlines()
    assert line.startswith("stop: rkt@web.service: ")
    assert line.endswith("(only root may stop pods)")
