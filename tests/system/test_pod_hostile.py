"""Images and pods that mean harm, or stumble over us, as seen from the host."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.box import Box
from tests.material import images
from tests.system.conftest import MakePod, store_image
from tests.system.pods import NO_NETWORK, SERVE, Pod, app
from tests.waiting import eventually

StoreVariant = Callable[..., None]


@pytest.fixture
def store_variant(pod_box: Box, tmp_path: str) -> StoreVariant:
    """Stores busybox as example.com/variant with other fields of its app."""

    def store(**fields: Any) -> None:
        manifest = images.busybox_manifest("example.com/variant", **fields)
        root = images.busybox_root(f"{tmp_path}/root")
        archive = images.write_aci(root, manifest, f"{tmp_path}/variant.aci")
        store_image(pod_box, str(archive))

    return store


def _refused(pod: Pod) -> str:
    assert pod.systemctl("start").returncode == 1
    assert pod.show("ExecMainStatus") == "254"
    (error,) = pod.errors()
    assert pod.leftovers() == ""
    return error


def test_a_label_with_lines_of_a_unit_file(pod_box: Box, tmp_path: str) -> None:
    manifest = images.busybox_manifest("example.com/lines")
    manifest["labels"][0]["value"] = "1\n[Service]\nExecStop=/bin/touch /pwned\n"
    root = images.busybox_root(f"{tmp_path}/root")
    archive = images.write_aci(root, manifest, f"{tmp_path}/lines.aci")
    pod_box.push(str(archive), "/var/tmp/lines.aci")
    done = pod_box.run(["rkt", "--insecure-options=image", "fetch", "/var/tmp/lines.aci"])
    assert done.returncode == 254
    assert "labels[0].value" in done.stderr
    assert "control character" in done.stderr


def test_an_image_gives_itself_no_capabilities(
    make_pod: MakePod, store_variant: StoreVariant
) -> None:
    name = "os/linux/capabilities-retain-set"
    store_variant(isolators=[{"name": name, "value": {"set": ["CAP_SYS_ADMIN"]}}])
    greedy = app("one", "grep CapBnd /proc/self/status", image="example.com/variant")
    pod = make_pod("greedy", NO_NETWORK + greedy)
    assert "asks for CAP_SYS_ADMIN" in _refused(pod)
    pod.write(NO_NETWORK + greedy.rstrip() + '\ncapabilities-retain = ["CAP_SYS_ADMIN"]\n')
    pod.start()
    eventually(lambda: "CapBnd:\t0000000000200000" in pod.messages("RKT_POD=greedy"), "it has it")


@pytest.mark.parametrize(
    "name", ["network", "hosts", "hostname", "units", "uuid", "directory", "namespace", "apps"]
)
def test_apps_called_as_our_files(make_pod: MakePod, name: str) -> None:
    pod = make_pod("named", NO_NETWORK + app(name, SERVE))
    pod.start()
    pod.stop()
    assert pod.status(name) == "success exited 0"
    assert pod.leftovers() == ""


def test_private_volumes_of_two_apps_are_two(
    make_pod: MakePod, store_variant: StoreVariant
) -> None:
    points = [{"name": "b-data", "path": "/x"}, {"name": "data", "path": "/y"}]
    store_variant(mountPoints=points)
    write = app("a", "echo secret >/x/f; sleep 0.5", image="example.com/variant")
    read = app("a-b", "sleep 0.3; cat /y/f; :", image="example.com/variant")
    pod = make_pod("volumes-of-two", NO_NETWORK + write + read)
    pod.start()
    pod.wait_for("inactive")
    assert "secret" not in pod.messages(f"RKT_POD_UUID={pod.last_run()}")


def test_the_files_of_the_pod_are_read_only(make_pod: MakePod) -> None:
    script = "for f in hosts hostname; do echo x >>/etc/$f; chmod 4777 /etc/$f; done; :"
    pod = make_pod("fills", NO_NETWORK + app("one", script))
    pod.start()
    pod.wait_for("inactive")
    said = pod.messages(f"RKT_POD_UUID={pod.last_run()}")
    assert len(said) == 4
    assert all("Read-only file system" in line for line in said)


@pytest.mark.parametrize("count", [2, 4, 10])
def test_apps_that_end_together_end_the_pod(make_pod: MakePod, count: int) -> None:
    apps = "".join(app(f"a{number}", "sleep 0.4") for number in range(count))
    pod = make_pod("together", NO_NETWORK + apps)
    for _ in range(4):
        pod.start()
        pod.wait_for("inactive")
    assert pod.leftovers() == ""


def test_apps_that_end_one_after_the_other(make_pod: MakePod) -> None:
    stairs = "".join(app(f"a{number}", f"sleep 0.{number}") for number in range(1, 9))
    pod = make_pod("stairs", NO_NETWORK + stairs + app("fails", "sleep 1; exit 3"))
    pod.start()
    pod.wait_for("failed")
    assert pod.leftovers() == ""


def test_a_pod_may_be_restarted_often(make_pod: MakePod) -> None:
    pod = make_pod("often", NO_NETWORK + app("one", SERVE))
    pod.start()
    for _ in range(8):
        pod.restart()
    assert pod.state() == "active"


def test_a_failed_release_is_made_good(make_pod: MakePod) -> None:
    pod = make_pod("released", app("one", SERVE))
    pod.start()
    pod.box.run(["mount", "-t", "tmpfs", "none", "/usr/lib/cni"], check=True)
    try:
        pod.systemctl("stop")
        assert pod.state() == "failed"
        pod.box.run(["rkt", "gc", "--grace-period=0s"])
        assert pod.systemctl("start").returncode == 1
    finally:
        pod.box.run(["umount", "/usr/lib/cni"], check=True)
    pod.start()
    pod.stop()
    assert pod.leftovers() == ""


def test_gc_leaves_a_pod_alone_that_is_being_started(make_pod: MakePod) -> None:
    pod = make_pod("locked", NO_NETWORK + app("one", SERVE))
    pod.box.shell("mkdir -p /run/rkt/pods/locked /run/rkt/locks; touch /run/rkt/locks/locked")
    with pod.box.popen(
        ["flock", "-o", "/run/rkt/locks/locked", "sh", "-c", "echo up; sleep 60"]
    ) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "up\n"
        pod.box.run(["rkt", "gc"], check=True)
        assert pod.box.shell("ls -d /run/rkt/pods/locked") != ""
        held.kill()
    pod.box.run(["rkt", "gc"], check=True)
    assert pod.leftovers() == ""


def test_names_that_are_paths(pod_box: Box) -> None:
    done = pod_box.run(["systemctl", "start", "rkt@...service"])
    assert done.returncode == 1
    said = json.loads(
        pod_box.journal("-u", "rkt@...service", "-p", "err", "-o", "json", "-n", "2").splitlines()[
            0
        ]
    )
    assert said["MESSAGE"].startswith('pod "..": not the name of a pod')
    assert pod_box.shell("ls -d /run/rkt/pods") == "/run/rkt/pods\n"
    pod_box.run(["systemctl", "reset-failed", "rkt@...service"])
