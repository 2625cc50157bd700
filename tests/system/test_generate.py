"""What ``rkt generate`` writes runs, and does what the description of the pod says."""

from __future__ import annotations

import json

import pytest

from tests.box import Box
from tests.material import images
from tests.system.conftest import MakePod
from tests.system.pods import SERVE, lines_of
from tests.waiting import eventually

ENTRYPOINT = ["/bin/sh", "-c"]


@pytest.fixture(scope="module")
def image(pod_box: Box, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A stored OCI image that has an entrypoint and a command, named by its digest."""
    directory = tmp_path_factory.mktemp("generate")
    root = images.busybox_root(directory / "root")
    config = {"entrypoint": json.dumps(ENTRYPOINT), "cmd": '["echo of the image"]'}
    images.oci_layout(str(root), directory / "layout", "v1", config=config)
    pod_box.push(str(directory / "layout"), "/srv/generate")
    index = json.loads((directory / "layout/index.json").read_text())
    name = f"oci:/srv/generate@{index['manifests'][0]['digest']}"
    pod_box.run(["rkt", "fetch", name], check=True)
    return name


def generated(box: Box, *words: str) -> str:
    """The pod file, of which nothing is missing."""
    done = box.run(["rkt", "generate", *words])
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_command_line(pod_box: Box, make_pod: MakePod) -> None:
    line = (
        "run --net=none --hostname=told --volume=spool,kind=empty,mode=0700,uid=7 --set-env=A=1"
        " example.com/busybox --mount=volume=spool,target=/spool --memory=64Mi --user=7"
        " --exec=/bin/sh -- -c"
    ).split()
    script = "hostname; echo $A; stat -c %u:%a /spool; id -u"
    pod = make_pod("line", generated(pod_box, *line, script))
    assert lines_of(pod) == ["told", "1", "7:700", "7"]
    pod.write(generated(pod_box, *line, SERVE))
    pod.start()
    assert pod.show("MemoryMax", pod.app_unit("busybox")) == str(64 << 20)
    pod.stop()


def test_a_quadlet_pod(pod_box: Box, image: str, make_pod: MakePod) -> None:
    """Two containers with a volume in common; the entrypoint stays, the command does not."""
    pod_box.shell("mkdir -p /srv/quadlet /srv/told; echo from the host >/srv/told/file")
    pod_box.write(
        "/srv/quadlet/shop.pod",
        "[Pod]\nNetwork=none\nHostName=shop\nVolume=/srv/told:/told:ro,Z\n"
        "[Install]\nWantedBy=multi-user.target\n",
    )
    pod_box.write(
        "/srv/quadlet/front.container",
        f"[Unit]\nRequires=store.container\n[Container]\nImage={image}\nPod=shop.pod\n"
        'Exec="cat /told/file; echo $$GREETING; touch /told/x 2>/dev/null || echo read-only"\n'
        'Environment="GREETING=two words"\nTmpfs=/scratch:size=64k\n',
    )
    pod_box.write(
        "/srv/quadlet/store.container",
        f'[Container]\nImage={image}\nPod=shop.pod\nExec="{SERVE}"\nMemory=64m\nStopTimeout=7\n'
        "[Service]\nRestart=on-failure\n",
    )
    pod = make_pod("shop", generated(pod_box, "quadlet", "/srv/quadlet/shop.pod"))
    pod.start()
    store = pod.app_unit("store")
    assert pod.show("MemoryMax", store) == str(64 << 20)
    assert pod.show("Restart", store) == "on-failure"
    assert pod.show("TimeoutStopUSec", store) == "7s"
    front = (f"RKT_POD_UUID={pod.last_run()}", "RKT_APP=front")
    expected = ["from the host", "two words", "read-only"]
    eventually(lambda: pod.messages(*front) == expected, "front has said what it sees")
    pod.stop()
    told = pod_box.run(
        ["rkt", "generate", "quadlet", "-o", "/srv/quadlet/shop.toml", "/srv/quadlet/shop.pod"]
    )
    assert "quadlet: systemctl enable rkt@shop starts it at boot.\n" in told.stderr


def test_a_kubernetes_pod(pod_box: Box, image: str, make_pod: MakePod) -> None:
    """What an init container leaves is there when the others start, who are in its group."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kube", "labels": {"app": "kube"}},
        "spec": {
            "restartPolicy": "Never",
            "hostNetwork": True,
            "securityContext": {"runAsUser": 7, "runAsGroup": 8, "fsGroup": 9},
            "initContainers": [
                {
                    "name": "prepare",
                    "image": image,
                    "args": ["echo prepared by $(WHO) >/shared/file"],
                    "env": [{"name": "WHO", "value": "init"}],
                    "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
                }
            ],
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": [*ENTRYPOINT, "cat /shared/file; id -u; id -g; stat -c %g /shared"],
                    "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
                    "securityContext": {"readOnlyRootFilesystem": True},
                }
            ],
            "volumes": [{"name": "shared", "emptyDir": {}}],
        },
    }
    pod_box.write("/srv/kube.json", json.dumps(manifest))
    pod = make_pod("kube", generated(pod_box, "kube", "/srv/kube.json"))
    assert lines_of(pod) == ["prepared by init", "7", "8", "9"]
