"""Pods and the power switch: a reboot, a poweroff, a crash of the whole machine."""

from __future__ import annotations

import json

import pytest

from tests.box import Box
from tests.conftest import BoxFactory
from tests.system.conftest import store_image
from tests.system.pods import SERVE, Pod, app
from tests.waiting import eventually


@pytest.fixture
def own_box(make_box: BoxFactory, busybox_aci: str) -> Box:
    """A box to switch off, with the image in its store and no way out of it."""
    machine = make_box()
    store_image(machine, busybox_aci)
    return machine


def test_an_enabled_pod_comes_back_without_a_network(own_box: Box) -> None:
    pod = Pod(own_box, "web", app("one", "echo booted; " + SERVE))
    own_box.run(["systemctl", "enable", "--now", pod.unit], check=True)
    own_box.reboot()
    assert own_box.shell("ip -o link").count("\n") <= 2
    pod.wait_for("active")
    eventually(
        lambda: pod.messages("--boot=0", "RKT_POD=web") == ["booted", "ready"], "it runs again"
    )
    own_box.run(["systemctl", "disable", "--now", pod.unit], check=True)
    assert pod.leftovers() == ""


# What a network manager does, as far as the order of units is concerned.
UPLINK = """
[Unit]
Before=network.target
Wants=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link add uplink0 type veth peer name uplink1
ExecStop=ip link delete uplink0
"""


def test_poweroff_ends_apps_then_network_then_the_rest(own_box: Box) -> None:
    last = "sleep 0.3; ip -o link | grep -c eth0; echo bye; exit 0"
    end = f"trap '{last}' TERM; echo ready; sleep 1000 & wait"
    pod = Pod(own_box, "web", app("one", end))
    own_box.write("/etc/systemd/system/uplink.service", UPLINK)
    own_box.run(["systemctl", "daemon-reload"], check=True)
    own_box.run(["systemctl", "start", "uplink.service"], check=True)
    pod.start()
    own_box.poweroff()
    own_box.start()
    entries = [
        json.loads(line)
        for line in own_box.journal("--boot=-1", "--output=json").splitlines()
        if line.startswith("{")
    ]
    order = [
        "app" if entry.get("RKT_POD") == "web" else entry.get("UNIT", "")
        for entry in entries
        if entry.get("MESSAGE") == "bye"
        or str(entry.get("MESSAGE", "")).startswith(("Stopped rkt@web", "Stopped uplink"))
    ]
    assert order == ["app", pod.unit, "uplink.service"]
    said = [entry["MESSAGE"] for entry in entries if entry.get("RKT_POD") == "web"]
    assert said[-2:] == ["1", "bye"]
    assert pod.status("one") == "success exited 0"
    pod.start()


# With a single address, which is kept on disk.
KEPT = {
    "name": "kept", "type": "ptp",
    "ipam": {"type": "host-local", "subnet": "10.66.0.0/30", "dataDir": "/var/lib/cni/networks"},
}  # fmt: skip


def test_a_crash_of_the_machine_is_no_obstacle(own_box: Box) -> None:
    pod = Pod(own_box, "web", app("one", SERVE))
    own_box.write("/etc/rkt/net.d/kept.conf", json.dumps(KEPT))
    kept = Pod(own_box, "kept", 'network = "kept"\n' + app("one", SERVE))
    pod.start()
    kept.start()
    own_box.crash()
    own_box.start()
    listed = own_box.run(["rkt", "list", "--full"], check=True)
    assert "exited" in listed.stdout
    pod.start()
    kept.start()
    own_box.run(["rkt", "gc", "--grace-period=0s"], check=True)
    pod.stop()
    own_box.crash()
    own_box.start()
    own_box.run(["rkt", "gc", "--grace-period=0s"], check=True)
    assert "10.66.0.2" not in own_box.shell("ls /var/lib/cni/networks/kept")
    assert own_box.shell("ls /var/lib/rkt/pods/run").split() == []
