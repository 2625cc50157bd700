"""The package: what installing, upgrading and removing it does to a machine."""

import os
from pathlib import Path

import pytest

from tests.box import Box
from tests.conftest import BoxFactory
from tests.material import images

DIRECTORIES = {
    "/etc/rkt": "2775 root:rkt-admin",
    "/etc/rkt/net.d": "2775 root:rkt-admin",
    "/etc/rkt/pods": "2775 root:rkt-admin",
    "/etc/rkt/trustedkeys/prefix.d": "2775 root:rkt-admin",
    "/etc/rkt/trustedkeys/root.d": "2775 root:rkt-admin",
    "/var/lib/rkt": "2750 root:rkt",
    "/var/lib/rkt/cas": "2750 root:rkt",
    "/var/lib/rkt/pods": "2750 root:rkt",
}
IMAGE = "example.com/sleeper"
POD = f"""\
network = ["none"]
[[app]]
name = "sleeper"
image = "{IMAGE}:1.0.0"
insecure = ["image"]
"""
APP = "rkt-sleeper.sleeper.service"


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_a_directory_is_there_for_those_whom_it_serves(box: Box, directory: str) -> None:
    shown = box.shell(f"stat -c '%a %U:%G' {directory}")
    assert shown.strip() == DIRECTORIES[directory]


def test_only_what_waits_is_enabled_and_run(box: Box) -> None:
    listed = box.shell("systemctl list-unit-files --no-legend 'rkt*' | awk '{print $1, $2}'")
    states = dict(line.split() for line in listed.splitlines())
    assert states["rkt@.service"] == "disabled"
    enabled = sorted(unit for unit, state in states.items() if state == "enabled")
    assert enabled == ["rkt-fetch.socket", "rkt-gc.timer", "rkt-net-restore.service"]
    active = box.shell(f"systemctl is-active {' '.join(enabled)}").split()
    assert active == ["active", "active", "active"]
    # Without a firewall that runs.
    idle = ["systemctl", "is-active", "rkt-firewalld.path", "rkt-firewall@nftables.service"]
    assert box.run(idle).stdout.split() == ["inactive", "inactive"]


def test_units_are_without_fault(box: Box) -> None:
    units = "rkt@web.service rkt-ended@web.service rkt.slice rkt-gc.service rkt-gc.timer"
    units += " rkt-fetch.socket rkt-fetch@1.service rkt-metadata.socket rkt-metadata.service"
    units += " rkt-metadata@web.socket rkt-metadata@web.service rkt-net-restore.service"
    units += " rkt-firewalld.path rkt-firewalld.service"
    units += " rkt-firewall@nftables.service"
    units += " rktsd.service"
    done = box.run(["systemd-analyze", "verify", "--man=no", *units.split()])
    assert done.returncode == 0
    assert "rkt" not in done.stderr


def test_every_module_is_compiled(box: Box) -> None:
    sources = box.shell("cd /usr/lib/python3/dist-packages && find rktsd -name '*.py'").split()
    assert "rktsd/__init__.py" in sources
    compiled = box.shell("cd /usr/lib/python3/dist-packages && find rktsd -name '*.pyc'").split()
    stems = {f"{os.path.dirname(os.path.dirname(path))}/{_stem(path)}" for path in compiled}
    assert stems == {path.removesuffix(".py") for path in sources}


def _stem(path: str) -> str:
    return os.path.basename(path).partition(".")[0]


def test_manual_pages_of_the_units_exist(box: Box) -> None:
    named = box.shell(
        "systemctl show -P Documentation rkt@web.service rkt.slice rkt-gc.service rkt-gc.timer"
    )
    words = (word.strip('"') for word in named.split())
    pages = sorted({word for word in words if word.startswith("man:")})
    assert pages
    installed = box.shell("dpkg -L rktsd")
    for page in pages:
        name, _, section = page.removeprefix("man:").rstrip(")").partition("(")
        assert f"/usr/share/man/man{section}/{name}.{section}.gz" in installed


@pytest.fixture
def sleeper(make_box: BoxFactory, tmp_path: Path) -> Box:
    """A box with a pod that runs until it is stopped."""
    box = make_box()
    root = images.busybox_root(f"{tmp_path}/root")
    sleep = "trap 'exit 0' TERM; sleep 1000 & wait"
    manifest = images.busybox_manifest(IMAGE, ["/bin/sh", "-c", sleep])
    box.push(images.write_aci(root, manifest, f"{tmp_path}/sleeper.aci"), "/root/sleeper.aci")
    box.shell("rkt --insecure-options=image fetch /root/sleeper.aci")
    box.write("/etc/rkt/pods/sleeper.toml", POD)
    box.shell("systemctl enable --now rkt@sleeper")
    return box


def _invocation(box: Box, unit: str) -> str:
    return box.shell(f"systemctl is-active {unit}; systemctl show -P InvocationID {unit}")


def test_an_upgrade_leaves_pods_alone(sleeper: Box, deb: str) -> None:
    before = [_invocation(sleeper, unit) for unit in ("rkt@sleeper.service", APP)]
    sleeper.install(deb)
    assert [_invocation(sleeper, unit) for unit in ("rkt@sleeper.service", APP)] == before
    sleeper.shell("systemctl restart rkt@sleeper")
    assert _invocation(sleeper, APP) != before[1]


def test_a_removal_stops_the_pods_and_keeps_what_is_theirs(sleeper: Box) -> None:
    sleeper.shell("dpkg --remove rktsd", timeout=120)
    assert sleeper.shell("systemctl list-units --no-legend --plain 'rkt-*' 'rkt@*'") == ""
    assert sleeper.shell("systemctl --failed --no-legend --plain") == ""
    assert "sleeper" in sleeper.read("/etc/rkt/pods/sleeper.toml")
    assert sleeper.shell("ls /var/lib/rkt/cas") != ""


def test_a_purge_leaves_nothing(sleeper: Box) -> None:
    sleeper.shell("dpkg --purge rktsd", timeout=120)
    # In a box the data has a file system of its own, and the package file lies under /run.
    left = (
        "find /etc /usr /var/lib /run -xdev -name 'rkt*' ! -path '/run/box/*' ! -path /var/lib/rkt"
    )
    assert sleeper.shell(left) == ""
    assert sleeper.shell("ls -A /var/lib/rkt") == ""
