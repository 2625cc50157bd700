"""What ``rkt pod`` says of pod files is what a start then does, and saying it leaves no trace."""

from __future__ import annotations

import json

from tests.box import Box
from tests.system.conftest import MakePod
from tests.system.pods import SERVE, app

# Not the times of directories: SQLite makes and removes files of its own while it reads.
TRACES = (
    "find /var/lib/rkt /run/rkt /etc/rkt -not -type d -printf '%p %T@ %C@ %s\\n' | sort;"
    " find /var/lib/rkt /run/rkt /etc/rkt -type d | sort;"
    " systemctl list-units --all --plain --no-legend 'rkt*'"
)


def test_units_are_those_that_a_start_makes(pod_box: Box, make_pod: MakePod) -> None:
    pod = make_pod("rehearsed", 'network = "none"\n' + app("one", SERVE) + app("two", SERVE))
    before = pod_box.shell(TRACES)
    shown = pod_box.run(["rkt", "pod", "units", "rehearsed"], check=True).stdout
    told = json.loads(pod_box.run(["rkt", "pod", "units", "--format=json", pod.file]).stdout)
    manifest = json.loads(pod_box.run(["rkt", "pod", "show", "rehearsed"], check=True).stdout)
    assert pod_box.shell(TRACES) == before
    pod.start()
    units = [line.strip("[]") for line in shown.splitlines() if line.startswith("[rkt-")]
    assert sorted(units) == sorted(pod_box.read("/run/rkt/pods/rehearsed/units").split())
    started = json.loads(pod_box.run(["rkt", "cat-manifest", "rehearsed"], check=True).stdout)
    assert manifest == started
    bundle = json.loads(pod_box.read("/run/rkt/pods/rehearsed/apps/one/config.json"))
    planned = told["plan"]["bundles"][0]["config"]
    assert bundle["process"] == planned["process"]


def test_check_tells_every_fault(pod_box: Box, make_pod: MakePod) -> None:
    good = make_pod("right", 'network = "none"\n' + app("one", "true"))
    bad = make_pod("wrong", 'network = "none"\ncolour = "red"\n' + app("one", "true"))
    done = pod_box.run(["rkt", "pod", "check", good.file, "wrong", "right"])
    assert (done.returncode, done.stdout) == (254, "")
    assert done.stderr == f"check: {bad.file}: colour: unknown field\n"
    assert pod_box.run(["rkt", "pod", "check", "right"]).returncode == 0


def test_check_warns_of_what_a_start_ignores(pod_box: Box, make_pod: MakePod) -> None:
    image = {"name": "example.com/busybox", "id": None}
    manifest = {"acKind": "PodManifest", "acVersion": "0.8.11"}
    apps = [{"name": "one", "image": image, "restart": "always"}]
    pod = make_pod("ignored", json.dumps({**manifest, "apps": apps}), form="json")
    done = pod_box.run(["rkt", "pod", "check", "ignored"])
    assert done.returncode == 0
    assert done.stderr == f"check: warning: {pod.file}: apps[0].restart: unknown field, ignored\n"


def test_units_of_an_image_that_is_not_stored(pod_box: Box, make_pod: MakePod) -> None:
    pod = make_pod("unstored", app("one", "true", image="docker://example.com/none"))
    done = pod_box.run(["rkt", "pod", "units", "unstored"])
    assert done.returncode == 254
    said = "image 'docker://example.com/none' is not in the store (rkt fetch it first)"
    assert done.stderr == f"units: {pod.file}: app one: {said}\n"
