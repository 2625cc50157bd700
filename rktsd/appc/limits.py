"""What the isolators mean that rkt ignored, and those that its users missed.

As in ``isolators``: of checked ones, and the last of several counts.
"""

from collections.abc import Iterable

from rktsd.appc.cursor import Cursor
from rktsd.appc.isolators import (
    APPARMOR,
    BLOCK_BANDWIDTH,
    BLOCK_IOPS,
    NETWORK_BANDWIDTH,
    PIDS,
    RLIMITS,
    SELINUX,
    SYSCTL,
    last,
    limit_of,
)
from rktsd.appc.quantities import parse_bytes, rlimit_at
from rktsd.appc.types import Isolator


def pids(isolators: Iterable[Isolator]) -> int | None:
    """The limit of resource/pids: processes and threads."""
    return limit_of(isolators, PIDS, parse_bytes)


def block_bandwidth(isolators: Iterable[Isolator]) -> int | None:
    """The limit of resource/block-bandwidth: bytes a second, read and written each."""
    return limit_of(isolators, BLOCK_BANDWIDTH, parse_bytes)


def block_iops(isolators: Iterable[Isolator]) -> int | None:
    """The limit of resource/block-iops: operations a second, reads and writes each."""
    return limit_of(isolators, BLOCK_IOPS, parse_bytes)


def network_bandwidth(isolators: Iterable[Isolator]) -> int | None:
    """The limit of resource/network-bandwidth: bytes a second, sent and received each."""
    return limit_of(isolators, NETWORK_BANDWIDTH, parse_bytes)


def sysctl(isolators: Iterable[Isolator]) -> dict[str, str]:
    """os/unix/sysctl: settings by name, with dots."""
    found = last(isolators, SYSCTL)
    return {name: value.text() for name, value in found[1].members()} if found else {}


def rlimits(isolators: Iterable[Isolator]) -> dict[str, tuple[int, int]]:
    """os/unix/rlimits: soft and hard limits by name in small letters."""
    found = last(isolators, RLIMITS)
    return {name: rlimit_at(value) for name, value in found[1].members()} if found else {}


def selinux_label(isolators: Iterable[Isolator]) -> str | None:
    """os/linux/selinux-context as a label: USER:ROLE:TYPE, and :LEVEL if there is one."""
    found = last(isolators, SELINUX)
    if found is None:
        return None
    names = ("user", "role", "type", "level")
    parts = [place.text() if (place := found[1].get(name)).given else "" for name in names]
    return ":".join(parts if parts[3] else parts[:3])


def apparmor_profile(isolators: Iterable[Isolator]) -> str | None:
    """os/linux/apparmor-profile."""
    found = last(isolators, APPARMOR)
    return Cursor.filled(found[1].get("profile")) if found else None
