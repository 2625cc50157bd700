"""What ``rkt pod`` says of pod files is what a start then does, and saying it leaves no trace."""

from __future__ import annotations

import json
import re

from tests.box import Box
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, SERVE, app
from tests.waiting import eventually

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


def test_drawings_show_what_runs(pod_box: Box, make_pod: MakePod) -> None:
    """The graph has the units and namespaces that the host has, and the image knows its pod."""
    volumes = '[[volume]]\nname = "site"\nkind = "host"\nsource = "/srv"\n'
    mounted = 'mounts = [{ volume = "site", path = "/opt" }]'
    pod = make_pod("drawn", NO_NETWORK + volumes + app("one", SERVE, extra=mounted))
    pod.start()
    shown = pod_box.run(["rkt", "pod", "graph", "drawn"], check=True).stdout
    for unit in (pod.unit, pod.slice, pod.app_unit("one")):
        assert f"─ {unit} (active)\n" in shown
    leader = pod_box.shell(
        f"set $(cat /proc/{pod.show('MainPID', pod.app_unit('one'))}/task/*/children);"
        " readlink /proc/$1/ns/net /proc/$1/ns/mnt"
    )
    assert [each in shown for each in leader.split()] == [True, True]
    assert f"{pod_box.shell('readlink /proc/self/ns/user').strip()}, the host's\n" in shown
    assert re.search("─ mount /opt\n[│ ]+└─ /srv\n", shown)
    ascii = pod_box.shell("LC_ALL=C rkt pod graph drawn")
    assert ascii.isascii()
    assert len(ascii.splitlines()) == len(shown.splitlines())
    image = pod_box.shell("rkt image tree example.com/busybox")
    assert f"─ pod {pod.last_run()} (drawn)\n" in image
    assert "─ pod file of drawn\n" in image
    pod.stop()
    ended = pod_box.run(["rkt", "pod", "graph", "drawn"], check=True).stdout
    assert ".slice" not in ended
    assert "app one (example.com/busybox:1.0.0, exited)" in ended


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


def test_check_warns_of_what_this_machine_cannot_do(pod_box: Box, make_pod: MakePod) -> None:
    extra = 'apparmor-profile = "web"\ncapabilities-retain = ["CAP_NET_ADMIN", "CAP_CHOWN"]\n'
    extra += 'seccomp-remove = ["mkdirr"]\n'
    text = f"private-users = true\n{NO_NETWORK}" + app("one", "true", extra=extra)
    pod = make_pod("unable", text)
    done = pod_box.run(["rkt", "pod", "check", "unable"])
    assert done.returncode == 0
    told = [
        "os/linux/apparmor-profile: AppArmor is not enabled in this kernel",
        "CAP_NET_ADMIN: without effect in a pod with private users",
        "seccomp: mkdirr: libseccomp knows no such system call",
    ]
    start = f"check: warning: {pod.file}: not applied on this machine: app one: "
    assert done.stderr.splitlines() == [f"{start}{each}" for each in told]


def test_check_warns_of_networks_that_the_machine_does_not_have(
    pod_box: Box, make_pod: MakePod
) -> None:
    lab = make_pod("in-lab", 'network = "lab"\n' + app("one", "true"))
    usual = make_pod("usual", app("one", "true"))
    hide = "mount -t tmpfs none /usr/sbin; rkt pod check in-lab usual 2>&1"
    done = pod_box.run(["unshare", "--mount", "sh", "-ec", hide])
    assert done.returncode == 0
    places = "(there are default, default-restricted, and files in /etc/rkt/net.d)"
    assert done.stdout.splitlines() == [
        f"check: warning: {lab.file}: networks not found: lab {places}",
        f"check: warning: {usual.file}: network 'default' needs the program iptables, which is"
        " not installed (apt install iptables)",
    ]


def test_units_of_an_image_that_is_not_stored(pod_box: Box, make_pod: MakePod) -> None:
    pod = make_pod("unstored", app("one", "true", image="docker://example.com/none"))
    done = pod_box.run(["rkt", "pod", "units", "unstored"])
    assert done.returncode == 254
    said = "image 'docker://example.com/none' is not in the store (rkt fetch it first)"
    assert done.stderr == f"units: {pod.file}: app one: {said}\n"


def test_mounts_and_ports_as_docker_users_write_them(pod_box: Box, make_pod: MakePod) -> None:
    script = (
        "trap 'exit 0' TERM; httpd -f -p 80 -h /data & echo x >/data/x || echo ro; echo ready; wait"
    )
    short = 'mounts = ["/usr/lib/rkt:/data:ro", "/scratch"]\nports = ["127.0.0.1:8081:80"]\n'
    pod = make_pod("short", app("one", script, extra=short))
    pod.start()
    assert "ro" in pod.messages("RKT_POD=short")
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8081/pod-reap').status)"
    eventually(lambda: pod_box.run(["python3", "-c", ask]).stdout == "200\n", "the port answers")
    pod.stop()
    pod.write(pod_box.read(pod.file).replace("/usr/lib/rkt:", "/nowhere:"))
    assert pod.systemctl("start").returncode != 0
    assert pod.errors()[-1] == "pod short: volume one-0: /nowhere does not exist"
