"""The metadata service as apps meet it, on every kind of network."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.box import Box
from tests.conftest import BoxFactory
from tests.system.conftest import MakePod, store_image
from tests.system.pods import NO_NETWORK, SERVE, Pod, app
from tests.waiting import eventually

ASKS = "metadata = true\n"
ANNOTATED = 'annotations = { lorem = "ipsum" }\n'
NETWORKS = {"default": "", "none": NO_NETWORK, "host": 'network = "host"\n'}


def inside(box: Box, pod: str, script: str) -> str:
    """What a command prints in the app of a pod; $base leads to its own metadata."""
    base = "base=$AC_METADATA_URL/acMetadata/v1; "
    return box.run(["rkt", "enter", pod, "/bin/sh", "-c", base + script]).stdout.strip()


def url(box: Box, pod: str) -> str:
    return inside(box, pod, "echo $AC_METADATA_URL")


def nothing_is_left(box: Box) -> None:
    """Of units of the service, and of what they have under /run."""
    files = "find /run/rkt/metadata -type f; ls /run/rkt/metadata/pods 2>/dev/null || :"
    assert box.shell(files) == ""
    # systemd stops what nobody needs, and forgets it, when it comes to it.
    listed = "systemctl list-units --all --no-legend --plain 'rkt-metadata*'"
    eventually(lambda: box.shell(listed).strip() == "", "the units of the service are gone")


@pytest.mark.row("metadata_service/FetchAppAnnotation", "ace_validator/TestAceValidator: metadata")
@pytest.mark.parametrize("network", NETWORKS)
def test_an_app_learns_of_its_pod(pod_box: Box, make_pod: MakePod, network: str) -> None:
    pod = make_pod("knows", NETWORKS[network] + ASKS + app("one", SERVE, extra=ANNOTATED))
    pod.start()
    assert url(pod_box, "knows").startswith("http://127.0.0.1:18112/")
    assert inside(pod_box, "knows", "wget -q -O - $base/pod/uuid") == pod.last_run()
    told = "wget -q -O - $base/apps/one/annotations/lorem"
    assert inside(pod_box, "knows", told) == "ipsum"
    manifest = json.loads(inside(pod_box, "knows", "wget -q -O - $base/pod/manifest"))
    assert manifest == json.loads(pod_box.run(["rkt", "cat-manifest", "knows"]).stdout)
    identity = inside(pod_box, "knows", "wget -q -O - $base/apps/one/image/id")
    assert identity == manifest["apps"][0]["image"]["id"]
    image = json.loads(inside(pod_box, "knows", "wget -q -O - $base/apps/one/image/manifest"))
    assert image["name"] == "example.com/busybox"
    unit = "rkt-metadata" if network == "host" else "rkt-metadata@knows"
    shown: dict[str, Any] = json.loads(
        pod_box.run(["rkt", "status", "--format=json", "knows"], check=True).stdout
    )
    assert shown["metadata_service"] == f"{unit}.socket"
    assert f"metadata={unit}.socket" in pod_box.run(["rkt", "status", "knows"]).stdout
    pod.restart()
    assert inside(pod_box, "knows", "wget -q -O - $base/pod/uuid") == pod.last_run()
    pod.stop()
    assert "metadata" not in pod_box.run(["rkt", "status", "knows"]).stdout
    assert pod.leftovers() == ""
    nothing_is_left(pod_box)


@pytest.mark.parametrize("network", ["none", "host"])
def test_who_is_asked_can_do_nothing(pod_box: Box, make_pod: MakePod, network: str) -> None:
    unit = "rkt-metadata" if network == "host" else "rkt-metadata@harmless"
    other = make_pod("neighbour", ASKS + NETWORKS["default"] + app("one", SERVE))
    pod = make_pod("harmless", NETWORKS[network] + ASKS + app("one", SERVE))
    other.start()
    pod.start()
    look = (
        f"cd /proc/$(systemctl show --value -p MainPID {unit}.service) || exit;"
        " grep -E '^(Uid|CapPrm|CapBnd|NoNewPrivs|Seccomp):' status;"
        " tail -n +3 net/dev; find root/run/rkt root/var/lib root/etc"
    )
    found: list[str] = []

    def looked() -> bool:
        # Nobody waits for us: it may be gone again.
        inside(pod_box, "harmless", "wget -q -O - $base/pod/uuid")
        found[:] = pod_box.run(["sh", "-c", look]).stdout.split()
        return "Seccomp:" in found and "root/run/rkt" in found

    eventually(looked, "the service is seen")
    assert found[found.index("Uid:") + 1] not in ("0", "65534")
    assert found[found.index("CapPrm:") + 1] == found[found.index("CapBnd:") + 1] == "0" * 16
    assert found[found.index("NoNewPrivs:") + 1] == "1"
    assert found[found.index("Seccomp:") + 1] == "2"
    assert [each for each in found if each.endswith(":")][-1] == "lo:"
    files = [each for each in found if each.startswith("root/")]
    place = "host/harmless" if network == "host" else "pods/harmless/registration"
    assert [each for each in files if "neighbour" in each or "/var/" in each] == []
    assert "root/etc" not in files
    assert f"root/run/rkt/metadata/{place}" in files


def test_a_pod_that_ends_by_itself_leaves_nothing(pod_box: Box, make_pod: MakePod) -> None:
    asks = "wget -q -O - $AC_METADATA_URL/acMetadata/v1/pod/annotations/no; wget -q -O - "
    asks += "$AC_METADATA_URL/acMetadata/v1/pod/uuid"
    pod = make_pod("brief", NO_NETWORK + ASKS + app("one", asks))
    pod.systemctl("start")
    pod.wait_for("inactive")
    run = pod.last_run()
    assert run in pod.messages(f"RKT_POD_UUID={run}")
    assert pod.leftovers() == ""
    nothing_is_left(pod_box)


def test_it_runs_only_while_somebody_asks(pod_box: Box, make_pod: MakePod) -> None:
    pod = make_pod("quiet", NO_NETWORK + ASKS + app("one", SERVE))
    service = "rkt-metadata@quiet.service"
    pod.start()
    assert pod.state(service) == "inactive"
    for end in ("wait", "kill", "stop"):
        assert inside(pod_box, "quiet", "wget -q -O - $base/pod/uuid") == pod.last_run()
        if end == "kill":
            # It may have ended already.
            pod_box.run(["systemctl", "kill", "-s", "KILL", service])
        elif end == "stop":
            pod_box.shell(f"systemctl daemon-reload; systemctl -q stop {service} 2>/dev/null")
        eventually(lambda: pod.state(service) != "active", "the service is gone")
    assert inside(pod_box, "quiet", "wget -q -O - $base/pod/uuid") == pod.last_run()
    assert pod.state() == "active"


def test_one_pod_learns_nothing_of_another(pod_box: Box, make_pod: MakePod) -> None:
    one = make_pod("me", NO_NETWORK + ASKS + app("one", SERVE))
    other = make_pod("you", NO_NETWORK + ASKS + app("one", SERVE))
    one.start()
    other.start()
    stolen = url(pod_box, "you")
    assert stolen != url(pod_box, "me")
    ask = f"wget -O - {stolen}/acMetadata/v1/pod/uuid 2>&1"
    assert "401" in inside(pod_box, "me", ask)
    assert inside(pod_box, "you", ask).count("401") == 0
    other.stop()
    assert "401" in inside(pod_box, "me", ask)


def test_signatures_of_a_pod_outlive_it_and_one_change_of_key(
    pod_box: Box, make_pod: MakePod
) -> None:
    one = make_pod("signs", NO_NETWORK + ASKS + app("one", SERVE))
    other = make_pod("checks", 'network = "host"\n' + ASKS + app("one", SERVE))
    one.start()
    signed = "wget -q -O - --post-data content=hello $base/pod/hmac/sign"
    signature = inside(pod_box, "signs", signed).replace("+", "%2B")
    run = one.last_run()
    one.stop()
    other.start()
    check = (
        f"wget -O - --post-data 'content=hello&uuid={run}&signature={signature}'"
        " $base/pod/hmac/verify >/dev/null 2>/tmp/said && echo yes || grep -o 403 /tmp/said"
    )
    for expected in ("yes", "yes", "403"):
        assert inside(pod_box, "checks", check) == expected
        pod_box.run(["rkt", "metadata-service", "--rotate-key"], check=True)


def test_pods_that_do_not_ask(pod_box: Box, make_pod: MakePod) -> None:
    pod = make_pod("private", NO_NETWORK + app("one", SERVE))
    pod.start()
    assert url(pod_box, "private") == ""
    nothing_is_left(pod_box)
    assert "metadata" not in pod_box.run(["rkt", "status", "private"]).stdout


def test_the_flag_of_rkt(pod_box: Box) -> None:
    script = "wget -q -O - $AC_METADATA_URL/acMetadata/v1/pod/uuid"
    app_flags = ["example.com/busybox", "--exec=/bin/sh", "--", "-c", script]
    flags = ["--net=none", "--uuid-file-save=/run/asks"]
    done = pod_box.run(["rkt", "run", "--mds-register", *flags, *app_flags])
    assert (done.returncode, done.stdout.strip()) == (0, pod_box.read("/run/asks")), done.stderr
    uuid = pod_box.run(["rkt", "prepare", *app_flags], check=True).stdout.strip()
    done = pod_box.run(["rkt", "run-prepared", "--net=host", "--mds-register=true", uuid])
    assert (done.returncode, done.stdout.strip()) == (0, uuid), done.stderr
    done = pod_box.run(["rkt", "run", "--mds-register=false", "--net=none", *app_flags])
    assert done.returncode == 1
    pod_box.run(["rkt", "gc", "--grace-period=0s"])
    nothing_is_left(pod_box)


@contextlib.contextmanager
def running(box: Box, *command: str) -> Iterator[str]:
    """A program that runs meanwhile; yields its first line."""
    with box.popen(command) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline()
        finally:
            process.kill()


def test_a_port_of_the_host_that_another_program_has(pod_box: Box, make_pod: MakePod) -> None:
    one = app("one", SERVE, extra="stop-timeout = 1\n")
    pod = make_pod("late", 'network = "host"\n' + ASKS + one)
    script = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 18112));"
        " print('here', flush=True); time.sleep(1000)"
    )
    with running(pod_box, "python3", "-c", script):
        assert pod.systemctl("start").returncode != 0
        taken = pod_box.run(["rkt", "metadata-service"])
        assert taken.returncode == 254
        assert taken.stderr == (
            "metadata-service: cannot listen on 127.0.0.1:18112: Address already in use\n"
        )
    assert pod.errors()[-1] == (
        "pod late: rkt-metadata.socket of the metadata service did not start"
        " (is another program at its port?)"
    )
    pod_box.shell("systemctl reset-failed")
    assert pod.leftovers() == ""
    nothing_is_left(pod_box)


def test_the_service_in_the_foreground(pod_box: Box, make_pod: MakePod) -> None:
    command = ("rkt", "metadata-service", "--listen-port=18113")
    with running(pod_box, *command) as said:
        assert said == "metadata-service: listening on http://127.0.0.1:18113\n"
        pod = make_pod("front", 'network = "host"\n' + ASKS + app("one", SERVE))
        pod.start()
        base = url(pod_box, "front").replace("18112", "18113")
        ask = f"wget -q -O - {base}/acMetadata/v1/pod/uuid"
        assert inside(pod_box, "front", ask) == pod.last_run()
        with running(pod_box, "rkt", "metadata-service") as said:
            # Beside the socket of the same port.
            assert said == "metadata-service: listening on http://127.0.0.1:18112\n"


def test_the_service_on_debian_13(make_box: BoxFactory, debian13: str, busybox_aci: str) -> None:
    box = make_box(debian13, cgroup="unified")
    store_image(box, busybox_aci)
    for network in (NO_NETWORK, 'network = "host"\n'):
        pod = Pod(box, "knows", network + ASKS + app("one", SERVE))
        pod.start()
        assert inside(box, "knows", "wget -q -O - $base/pod/uuid") == pod.last_run()
        sign = "wget -q -O - --post-data content=x $base/pod/hmac/sign"
        assert len(inside(box, "knows", sign)) == 88
        pod.stop()
        assert pod.leftovers() == ""
        nothing_is_left(box)
