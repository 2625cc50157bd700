"""What this machine's kernel offers to pods."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rktsd.appc import limits
from rktsd.appc.types import Isolator
from rktsd.errors import CommandFailed
from rktsd.host.process import run
from rktsd.stage1.types import Machine

_CGROUPS = "/sys/fs/cgroup"
_DISKS = "/sys/block"
# What rkt hides of it; /sys/fs has the control groups.
_SENSITIVE = ("/sys/firmware", "/sys/hypervisor", "/sys/module", "/sys/power")
# They hold nothing by themselves, or what lies on disks that are counted.
_NO_DISKS = ("loop", "ram", "zram", "nbd", "sr", "fd")


def this_machine() -> Machine:
    """The facts, as they are now."""
    unified = os.path.exists(f"{_CGROUPS}/cgroup.controllers")
    return Machine(
        unified_cgroups=unified,
        controllers=_controllers(unified=unified),
        block_devices=tuple(_block_devices()),
        security_modules=frozenset(_security_modules()),
        sensitive=tuple(path for path in _SENSITIVE if os.path.isdir(path)),
    )


def with_shaping(machine: Machine, asking: Iterable[Sequence[Isolator]]) -> Machine:
    """``machine`` as it is for the isolators ``asking``, those of a pod and of its apps."""
    if all(limits.network_bandwidth(each) is None for each in asking):
        return machine
    return replace(machine, shaping=_shapes_traffic())


def _shapes_traffic() -> bool:
    """Whether what CNI's bandwidth plugin makes can be made: tried, in a network that goes at once.

    Both may be modules that the kernel finds only when they are asked for.
    """
    steps = (
        "ip link add rkt0 type ifb && tc qdisc add dev rkt0 root tbf rate 1mbit burst 32kbit"
        " latency 25ms"
    )
    try:
        return run(["unshare", "--net", "sh", "-c", steps], check=False).returncode == 0
    except CommandFailed:
        return False


def _controllers(*, unified: bool) -> frozenset[str]:
    if unified:
        with open(f"{_CGROUPS}/cgroup.controllers") as file:
            return frozenset(file.read().split())
    names = {"cpu": "cpu", "memory": "memory", "blkio": "io", "pids": "pids"}
    return frozenset(ours for name, ours in names.items() if os.path.isdir(f"{_CGROUPS}/{name}"))


def _block_devices() -> list[str]:
    try:
        names = sorted(os.listdir(_DISKS))
    except OSError:
        return []
    found = []
    for name in names:
        path = f"/dev/{name.replace('!', '/')}"
        if not name.rstrip("0123456789").startswith(_NO_DISKS) and os.path.exists(path):
            found.append(path)
    return found


def _security_modules() -> list[str]:
    found = []
    # Where there is no policy, nothing is mounted here (selinux(8)).
    if os.path.exists("/sys/fs/selinux/enforce"):
        found.append("selinux")
    try:
        with open("/sys/kernel/security/lsm") as file:
            if "bpf" in file.read().strip().split(","):
                found.append("bpf")
    except OSError:
        pass
    try:
        with open("/sys/module/apparmor/parameters/enabled") as file:
            if file.read().startswith("Y"):
                found.append("apparmor")
    except OSError:
        pass
    return found
