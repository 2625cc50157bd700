"""What the host has of IPv6, and what pods with IPv6 may not change of it."""

import contextlib
import os
from typing import NamedTuple

PREFIX = "fd72:6b74:7364"
"""Of the addresses of the built-in networks, a unique local one (RFC 4193)."""

_ADDRESSES = "/proc/thread-self/net/if_inet6"
_SETTINGS = "/proc/sys/net/ipv6/conf"
_GLOBAL = "00"


def in_use() -> bool:
    """Whether the host has an IPv6 address beyond its links and other than for pods."""
    try:
        with open(_ADDRESSES) as file:
            lines = [line.split() for line in file]
    except FileNotFoundError:
        return False
    own = PREFIX.replace(":", "")
    return any(
        scope == _GLOBAL and not address.startswith(own) for address, _, _, scope, *_ in lines
    )


def mentioned(configuration: object) -> bool:
    """Whether a subnet or route in a JSON value is one of IPv6."""
    if isinstance(configuration, str):
        return "/" in configuration and configuration.count(":") > 1
    if isinstance(configuration, dict):
        return any(mentioned(each) for each in configuration.values())
    return isinstance(configuration, (list, tuple)) and any(map(mentioned, configuration))


def keep_router_advertisements() -> None:
    """Let interfaces that learn their routes from router advertisements go on doing so.

    A network with IPv6 makes the host forward it, and the kernel of a host that forwards heeds
    advertisements only where accept_ra is 2 (the kernel's ip-sysctl documentation).
    """
    if _read(f"{_SETTINGS}/all/forwarding") != "0":
        return
    for name in os.listdir(_SETTINGS):
        path = f"{_SETTINGS}/{name}/accept_ra"
        if _read(path) == "1":
            _write(path, "2")


def skip_duplicate_detection() -> None:
    """In the namespace of a pod: use addresses at once, for host-local gives none out twice."""
    for name in ("all", "default"):
        _write(f"{_SETTINGS}/{name}/accept_dad", "0")


class Link(NamedTuple):
    """Both ends of a ptp network: the names of the interfaces, their MAC and IPv6 addresses."""

    host: str
    host_mac: str
    gateway: str
    pod: str
    pod_mac: str
    address: str


def skip_detection_outside(namespace: str, link: Link) -> None:
    """Let the host's end of a ptp network work now and not after a second of detection.

    Its address was given out by host-local, and the pod alone is on that link. While its link-local
    address is not settled, neither end can find the other by asking: they are told.
    """
    from rktsd.host.process import run

    outside = (
        f"address delete {link.gateway}/128 dev {link.host}\n"
        f"address add {link.gateway}/128 dev {link.host} nodad\n"
        f"neighbor replace {link.address} lladdr {link.pod_mac} dev {link.host} nud reachable\n"
    )
    inside = (
        f"neighbor replace {link.gateway} lladdr {link.host_mac} dev {link.pod} nud reachable\n"
    )
    run(["ip", "-6", "-batch", "-"], input=outside.encode(), check=False)
    name = os.path.basename(namespace)
    run(["ip", "-6", "-netns", name, "-batch", "-"], input=inside.encode(), check=False)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    # Without IPv6, or where /proc/sys is read-only, there is nothing to be had.
    with contextlib.suppress(OSError), open(path, "w") as file:
        file.write(text)
