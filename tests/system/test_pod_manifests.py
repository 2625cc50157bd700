"""Pod manifests of appc: each case by ``rkt run``, and by ``rkt prepare`` and ``run-prepared``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.box import Box
from tests.system.conftest import MakeImage

Manifest = dict[str, Any]

DATA = {"name": "data", "path": "/data"}


def image_id(box: Box, name: str) -> str:
    listed = box.run(["rkt", "image", "list", "--full", "--format=json"], check=True).stdout
    return str(next(e["id"] for e in json.loads(listed) if e["name"].split(":")[0] == name))


def runtime(box: Box, name: str, script: str, **fields: Any) -> Manifest:
    """An app of a pod manifest; ``app`` of ``fields`` are those of its own app section."""
    own = {"exec": ["/bin/sh", "-c", script], "user": "0", "group": "0", **fields.pop("app", {})}
    image = fields.pop("image", "example.com/busybox")
    return {"name": name, "image": {"id": image_id(box, image)}, "app": own, **fields}


def both_ways(box: Box, apps: list[Manifest], **fields: Any) -> list[tuple[int, list[str], str]]:
    """Exit status, lines sorted and errors of each way."""
    manifest = {"acKind": "PodManifest", "acVersion": "0.8.11", "apps": apps, **fields}
    box.write("/run/pod.json", json.dumps(manifest))
    option = "--pod-manifest=/run/pod.json"
    ran = box.run(["rkt", "run", "--net=none", option], timeout=60)
    made = box.run(["rkt", "prepare", "--quiet", option])
    if made.returncode == 0:
        command = ["rkt", "run-prepared", "--net=none", made.stdout.strip()]
        made = box.run(command, timeout=60)
    return [
        (done.returncode, sorted(done.stdout.splitlines()), done.stderr) for done in (ran, made)
    ]


def holds(box: Box, expected: list[str], apps: list[Manifest], **fields: Any) -> None:
    for status, lines, errors in both_ways(box, apps, **fields):
        assert (status, lines) == (0, sorted(expected)), errors


@pytest.mark.row(
    "run_pod_manifest/PodManifest: special characters",
    "run_pod_manifest/PodManifest: workingDirectory",
    "run_pod_manifest/PodManifest: reading files",
    "run_pod_manifest/PodManifest: root without /etc/passwd",
)  # fmt: skip
def test_processes(pod_box: Box) -> None:
    odd = "a'b\"c`d$e\nf"
    say = 'echo "words: $1" | tr "\\n" "|"; echo'
    apps = [
        runtime(pod_box, "odd", "", app={"exec": ["/bin/sh", "-c", say, "sh", odd]}),
        runtime(pod_box, "where", "pwd", app={"workingDirectory": "/var"}),
        runtime(pod_box, "read", "head -n 1 /etc/group"),
        runtime(pod_box, "fixed", "head -n 1 /etc/group; >/x || echo no", readOnlyRootFS=True),
        runtime(pod_box, "users", "id -u", app={"user": "root", "group": "root"}),
    ]
    lines = [f"words: {odd}".replace("\n", "|") + "|", "/var", "root:x:0:", "root:x:0:", "no", "0"]
    shell = "/bin/sh: can't create /x: Read-only file system"
    holds(pod_box, [*lines, shell], apps)


@pytest.mark.row(
    "run_pod_manifest/PodManifest: volumes", "run_pod_manifest/PodManifest: shared volume",
    "run_pod_manifest/PodManifest: mode and owner of an empty volume",
)  # fmt: skip
@pytest.mark.parametrize("fixed", [False, True])
def test_volumes_that_are_writable(pod_box: Box, fixed: bool) -> None:
    pod_box.shell("mkdir -p /srv/of-host; echo host >/srv/of-host/file")
    points = [DATA, {"name": "host", "path": "/host"}, {"name": "odd", "path": "/odd"}]
    first = (
        "echo word >/data/word; cat /host/file; echo x >/host/made; stat -c '%a %u %g' /odd;"
        " mv /data/word /data/done"
    )
    second = "until [ -e /data/done ]; do sleep 0.1; done; cat /data/done"
    apps = [
        runtime(pod_box, "a", first, app={"mountPoints": points}, readOnlyRootFS=fixed),
        runtime(pod_box, "b", second, app={"mountPoints": [DATA]}, readOnlyRootFS=fixed),
    ]
    volumes = [
        {"name": "data", "kind": "empty"},
        {"name": "host", "kind": "host", "source": "/srv/of-host"},
        {"name": "odd", "kind": "empty", "mode": "0123", "uid": 9991, "gid": 9992},
    ]
    holds(pod_box, ["host", "123 9991 9992", "word"], apps, volumes=volumes)
    assert pod_box.shell("cat /srv/of-host/made; rm /srv/of-host/made") == "x\n"


@pytest.mark.row("run_pod_manifest/PodManifest: read-only volumes")
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    ("of_volume", "of_point", "writable"),
    [(None, True, False), (True, False, False), (False, True, True), (None, False, True)],
)
def test_who_says_what_is_read_only(
    pod_box: Box, fixed: bool, of_volume: bool | None, of_point: bool, writable: bool
) -> None:
    pod_box.shell("mkdir -p /srv/of-host")
    volume: Manifest = {"name": "data", "kind": "host", "source": "/srv/of-host"}
    if of_volume is not None:
        volume["readOnly"] = of_volume
    points = [{**DATA, "readOnly": of_point}]
    app = runtime(
        pod_box, "a", "echo x >/data/y", app={"mountPoints": points}, readOnlyRootFS=fixed
    )
    for status, lines, _ in both_ways(pod_box, [app], volumes=[volume]):
        assert status == int(not writable)
        assert lines == ([] if writable else [f"/bin/sh: can't create /data/y: {READ_ONLY}"])


READ_ONLY = "Read-only file system"


@pytest.mark.row(
    "run_pod_manifest/PodManifest: app overrides the image",
    "run_pod_manifest/PodManifest: app left out",
    "run_pod_manifest/PodManifest: limits overridden",
)  # fmt: skip
def test_the_app_of_the_image_and_of_the_pod(make_image: MakeImage, pod_box: Box) -> None:
    limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
    script = f"echo image; (echo x >/data/x) 2>/dev/null || echo fixed; {limits}"

    def isolators(memory: str, cpu: str) -> list[Manifest]:
        return [
            {"name": "resource/memory", "value": {"limit": memory}},
            {"name": "resource/cpu", "value": {"limit": cpu}},
        ]

    image = make_image(
        "whole",
        ("/bin/sh", "-c", script),
        mountPoints=[{**DATA, "readOnly": True}],
        isolators=isolators("32Mi", "300m"),
    )
    volumes = [{"name": "data", "kind": "empty"}]
    left_out = runtime(pod_box, "a", "", image=image)
    del left_out["app"]
    of_image = ["image", "fixed", str(32 << 20), "30000"]
    holds(pod_box, of_image, [left_out], volumes=volumes)
    changed = [{**volumes[0], "readOnly": False}]
    holds(pod_box, [of_image[0], *of_image[2:]], [left_out], volumes=changed)
    own = runtime(
        pod_box, "a", script.replace("echo image", "echo pod"), image=image,
        app={"mountPoints": [DATA], "isolators": isolators("48Mi", "400m")},
    )  # fmt: skip
    holds(pod_box, ["pod", str(48 << 20), "40000"], [own], volumes=volumes)


@pytest.mark.row("run_pod_manifest/WithEmptyApps")
def test_a_pod_without_apps(pod_box: Box) -> None:
    for status, _, errors in both_ways(pod_box, []):
        assert status == 254
        assert "pod must contain at least one application" in errors


@pytest.mark.row("run_pod_manifest/PodManifest: bad users and groups")
@pytest.mark.parametrize("field", ["user", "group"])
@pytest.mark.parametrize("value", ["nobody-there", "/not/there"])
def test_bad_users_and_groups(pod_box: Box, field: str, value: str) -> None:
    for status, _, errors in both_ways(pod_box, [runtime(pod_box, "a", ":", app={field: value})]):
        assert status == 254
        assert f'app a: {field} "{value}": no such' in errors


# What the validator of appc asserts (ace/), but for the metadata service: a line for each failure.
CHECKS = {
    "prestart": "[ ! -e /prestart ] || fail 1; >/prestart; [ ! -e /main ] || fail 2;"
    " [ ! -e /poststop ] || fail 3",
    "main": "[ -e /prestart ] || fail 4; [ ! -e /main ] || fail 5; >/main;"
    " [ ! -e /poststop ] || fail 6;"
    " [ $PATH = /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ] || fail 7;"
    " [ $(pwd) = /opt/acvalidator ] || fail 8; [ $IN_ACE_VALIDATOR = correct ] || fail 9;"
    " grep -q '^[^ ]* [^ ]* [^ ]* [^ ]* /db rw' /proc/self/mountinfo || fail 10;"
    " [ $AC_APP_NAME = ace-validator-main ] || fail 11;"
    " until [ -e /db/sidekick ]; do sleep 0.1; done; [ ! -e /db/main ] || fail 22; >/db/main",
    "sidekick": "[ ! -e /db/sidekick ] || fail 23; >/db/sidekick;"
    " until [ -e /db/main ]; do sleep 0.1; done",
    "poststop": "[ -e /prestart ] && [ -e /main ] || fail 25;"
    " [ ! -e /poststop ] || fail 26; >/poststop",
}


@pytest.mark.row("ace_validator/TestAceValidator: without metadata")
def test_an_executor_of_appc(make_image: MakeImage, pod_box: Box) -> None:
    def exec_of(mode: str) -> list[str]:
        script = f'fail() {{ echo "{mode} FAIL $1"; }}; {CHECKS[mode]}; echo {mode} OK'
        return ["/bin/sh", "-c", script]

    database = {"name": "database", "path": "/db", "readOnly": False}
    isolators = [{"name": "resource/memory", "value": {"limit": "1G"}}]
    make_image(
        "ace-validator-main",
        exec_of("main"),
        workingDirectory="/opt/acvalidator",
        environment=[{"name": "IN_ACE_VALIDATOR", "value": "correct"}],
        mountPoints=[database],
        isolators=isolators,
        ports=[{"name": "www", "protocol": "tcp", "port": 80}],
        eventHandlers=[
            {"name": "pre-start", "exec": exec_of("prestart")},
            {"name": "post-stop", "exec": exec_of("poststop")},
        ],
    )
    make_image("ace-validator-sidekick", exec_of("sidekick"), mountPoints=[database])
    apps = []
    for name in ("ace-validator-main", "ace-validator-sidekick"):
        apps.append(runtime(pod_box, name, "", image=f"example.com/{name}"))
        del apps[-1]["app"]
    said = [f"{mode} OK" for mode in CHECKS]
    holds(pod_box, said, apps, volumes=[{"name": "database", "kind": "empty"}])
