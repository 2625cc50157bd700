"""Published ports as values: their shape, and conflicts between them."""

from collections.abc import Sequence
from typing import NamedTuple

from rktsd.errors import BadInput


class PortMapping(NamedTuple):
    """``host_port`` of ``host_ip`` (None: any IPv4 address) leads to ``pod_port`` of the pod."""

    host_ip: str | None
    host_port: int
    pod_port: int
    protocol: str

    @property
    def address(self) -> str:
        """The listen address, 0.0.0.0 for any."""
        return self.host_ip or "0.0.0.0"

    def __str__(self) -> str:
        return f"{self.address}:{self.host_port}/{self.protocol}"


def check_conflicts(mappings: Sequence[PortMapping]) -> None:
    """Check each of a pod's ports, and that no two want the same port of the host.

    Raises BadInput. Rule of rkt: same protocol, same port, overlapping addresses.
    """
    for position, mapping in enumerate(mappings):
        _check(mapping)
        for other in mappings[:position]:
            if overlap(mapping, other):
                raise BadInput(
                    f"ports {other} and {mapping} of the pod both want port"
                    f" {mapping.host_port}/{mapping.protocol} of the host"
                )


def overlap(one: PortMapping, other: PortMapping) -> bool:
    """Whether both cannot be published at once."""
    if (one.protocol, one.host_port) != (other.protocol, other.host_port):
        return False
    return one.address == other.address or "0.0.0.0" in (one.address, other.address)


def _check(mapping: PortMapping) -> None:
    if mapping.protocol not in ("tcp", "udp"):
        raise BadInput(f"published port {mapping}: protocol {mapping.protocol!r} is not tcp or udp")
    for port in (mapping.host_port, mapping.pod_port):
        if not 0 < port < 65536:
            raise BadInput(f"published port {mapping}: {port} is not between 1 and 65535")
    if mapping.host_ip is not None and not is_ipv4(mapping.host_ip):
        raise BadInput(f"published port {mapping}: {mapping.host_ip!r} is not an IPv4 address")


def is_ipv4(text: str) -> bool:
    """Whether ``text`` is a dotted quad without leading zeros."""
    parts = text.split(".")
    return len(parts) == 4 and all(_is_octet(part) for part in parts)


def _is_octet(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3 and text == str(min(int(text), 255))
