"""What the resource isolators mean to a unit, at app and at pod level (appc spec, ace.md). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rktsd.appc import isolators, limits
from rktsd.appc.types import Isolator

if TYPE_CHECKING:
    from rktsd.stage1.types import Machine
    from rktsd.systemd.bus import Property

_CONTROLLERS = {
    isolators.MEMORY: "memory",
    isolators.CPU: "cpu",
    isolators.CPU_SHARES: "cpu",
    isolators.PIDS: "pids",
    isolators.BLOCK_BANDWIDTH: "io",
    isolators.BLOCK_IOPS: "io",
}

_UNIFIED = "systemd does that on the unified cgroup hierarchy only"


def resource_properties(values: Sequence[Isolator], machine: Machine) -> list[Property]:
    """Properties of a service or a slice.

    On the old hierarchy systemd hands IO…BandwidthMax= on to blkio, but has no shares of its own
    name there.
    """
    chosen: list[Property] = []
    memory = isolators.memory_limit(values)
    if memory is not None:
        chosen.append(("MemoryMax", "t", memory))
    milli = isolators.cpu_limit_milli(values)
    if milli is not None:
        chosen.append(("CPUQuotaPerSecUSec", "t", milli * 1000))
    shares = isolators.cpu_shares(values)
    if shares is not None and machine.unified_cgroups:
        chosen.append(("CPUWeight", "t", min(10000, max(1, shares * 100 // 1024))))
    elif shares is not None:
        chosen.append(("CPUShares", "t", shares))
    pids = limits.pids(values)
    if pids is not None:
        chosen.append(("TasksMax", "t", pids))
    return chosen + _block(values, machine)


def _block(values: Sequence[Isolator], machine: Machine) -> list[Property]:
    chosen: list[Property] = []
    for limit, kind in (
        (limits.block_bandwidth(values), "Bandwidth"),
        (limits.block_iops(values) if machine.unified_cgroups else None, "IOPS"),
    ):
        if limit is not None and machine.block_devices:
            each = [(device, limit) for device in machine.block_devices]
            chosen += [(f"IO{way}{kind}Max", "a(st)", each) for way in ("Read", "Write")]
    return chosen


# Settings of systemd by the controller that they need, on either hierarchy and on the unified one.
_SETTINGS = {
    "cpu": "CPUQuota CPUQuotaPeriodSec CPUWeight StartupCPUWeight",
    "memory": "MemoryMax",
    "pids": "TasksMax",
    "io": "IOWeight StartupIOWeight IODeviceWeight IOReadBandwidthMax IOWriteBandwidthMax",
}
_UNIFIED_SETTINGS = {
    "cpuset": ("AllowedCPUs StartupAllowedCPUs AllowedMemoryNodes StartupAllowedMemoryNodes"),
    "memory": (
        "MemoryMin MemoryLow MemoryHigh MemorySwapMax MemoryZSwapMax MemoryZSwapWriteback"
        " StartupMemoryLow StartupMemoryHigh StartupMemoryMax StartupMemorySwapMax"
        " StartupMemoryZSwapMax DefaultMemoryMin DefaultMemoryLow DefaultStartupMemoryLow"
        " ManagedOOMSwap ManagedOOMMemoryPressure ManagedOOMMemoryPressureLimit"
        " ManagedOOMMemoryPressureDurationSec ManagedOOMPreference"
    ),
    "io": "IOReadIOPSMax IOWriteIOPSMax IODeviceLatencyTargetSec",
}


def unapplied_settings(table: Mapping[str, object], machine: Machine) -> list[str]:
    """The same of settings of systemd."""
    found = []
    for setting in table:
        reason = None
        if setting == "RestrictFileSystems" and "bpf" not in machine.security_modules:
            reason = "bpf is not among the security modules of this kernel"
        for controller, names in _SETTINGS.items():
            if setting in names.split():
                reason = _without(controller, machine)
        for controller, names in _UNIFIED_SETTINGS.items():
            if setting in names.split():
                reason = _without(controller, machine) if machine.unified_cgroups else _UNIFIED
        if reason is not None:
            found.append(f"systemd.{setting}: {reason}")
    return found


def _without(controller: str, machine: Machine) -> str | None:
    there = controller in machine.controllers
    return None if there else f"this machine has no {controller} controller"


def unapplied(values: Sequence[Isolator], machine: Machine) -> list[str]:
    """Why isolators stay without effect on this machine: ``NAME: REASON``."""
    found = []
    for name in sorted({each.name for each in values}):
        controller = _CONTROLLERS.get(name)
        if controller is not None and controller not in machine.controllers:
            found.append(f"{name}: this machine has no {controller} controller")
        elif name == isolators.BLOCK_IOPS and not machine.unified_cgroups:
            found.append(f"{name}: {_UNIFIED}")
        elif controller == "io" and not machine.block_devices:
            found.append(f"{name}: this machine has no disk")
        elif name == isolators.SELINUX and "selinux" not in machine.security_modules:
            found.append(f"{name}: SELinux is not enabled in this kernel")
        elif name == isolators.APPARMOR and "apparmor" not in machine.security_modules:
            found.append(f"{name}: AppArmor is not enabled in this kernel")
    return found
