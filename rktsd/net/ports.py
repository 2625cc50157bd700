"""Published ports as values: their shape, and conflicts between them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rktsd.errors import BadInput

ANY_IPV4, ANY_IPV6 = "0.0.0.0", "::"
MAXIMUM = 256
"""Ports of one pod: each takes three rules, and a run of iptables(8) for every one of them."""


class PortMapping(NamedTuple):
    """``host_port`` of ``host_ip`` leads to ``pod_port`` of the pod.

    ``host_ip`` None is any address; 0.0.0.0 any IPv4 address and ``::`` any IPv6 address.
    """

    host_ip: str | None
    host_port: int
    pod_port: int
    protocol: str

    @property
    def ipv6(self) -> bool:
        """Whether only IPv6 is asked for."""
        return self.host_ip is not None and ":" in self.host_ip

    @property
    def address(self) -> str | None:
        """The one address to listen on, None for any."""
        return None if self.host_ip in (ANY_IPV4, ANY_IPV6) else self.host_ip

    def __str__(self) -> str:
        place = f"{self.host_port}/{self.protocol}"
        if self.host_ip is None:
            return place
        return f"[{self.host_ip}]:{place}" if self.ipv6 else f"{self.host_ip}:{place}"


def spread(mapping: PortMapping, count: int) -> list[PortMapping]:
    """``count`` mappings from ``mapping`` on, each a port further on both sides."""
    if not 0 < count <= MAXIMUM:
        raise BadInput(f"published port {mapping}: {count} ports are not 1 to {MAXIMUM}")
    host, pod = mapping.host_port, mapping.pod_port
    return [mapping._replace(host_port=host + n, pod_port=pod + n) for n in range(count)]


def check_conflicts(mappings: Sequence[PortMapping]) -> None:
    """Check each of a pod's ports, and that no two want the same port of the host.

    Raises BadInput. Rule of rkt: same protocol, same port, overlapping addresses.
    """
    if len(mappings) > MAXIMUM:
        raise BadInput(f"{len(mappings)} published ports: a pod has at most {MAXIMUM}")
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
    if one.host_ip is None or other.host_ip is None:
        return True
    if one.ipv6 != other.ipv6:
        return False
    return one.address == other.address or None in (one.address, other.address)


def listed(mappings: Iterable[PortMapping]) -> str:
    """``8080/tcp -> 80, 9000/udp -> 9000 (10 ports)`` for people; ranges are put together."""
    ranges: list[list[PortMapping]] = []
    for mapping in mappings:
        if ranges and mapping in spread(ranges[-1][0], len(ranges[-1]) + 1)[-1:]:
            ranges[-1].append(mapping)
        else:
            ranges.append([mapping])
    return ", ".join(
        f"{first} -> {first.pod_port}" + (f" ({len(more) + 1} ports)" if more else "")
        for first, *more in ranges
    )


def _check(mapping: PortMapping) -> None:
    if mapping.protocol not in ("tcp", "udp"):
        raise BadInput(f"published port {mapping}: protocol {mapping.protocol!r} is not tcp or udp")
    for port in (mapping.host_port, mapping.pod_port):
        if not 0 < port < 65536:
            raise BadInput(f"published port {mapping}: {port} is not between 1 and 65535")
    if mapping.host_ip is None or is_ipv4(mapping.host_ip):
        return
    if not _is_ipv6(mapping.host_ip):
        raise BadInput(f"published port {mapping}: {mapping.host_ip!r} is not an IP address")
    if mapping.host_ip == "::1":
        raise BadInput(
            f"published port {mapping}: the kernel leads nothing from ::1 to a pod",
            hint="127.0.0.1 can be published",
        )
    address = str(shortest(mapping.host_ip))
    if address.startswith(("fe8", "fe9", "fea", "feb")):
        raise BadInput(
            f"published port {mapping}: {mapping.host_ip} is an address of a link, which there may"
            " be on each"
        )
    if address.startswith("::ffff:") and "." in address:
        raise BadInput(
            f"published port {mapping}: {mapping.host_ip} is an IPv4 address",
            hint=f"write {address.removeprefix('::ffff:')}",
        )


def is_ipv4(text: str) -> bool:
    """Whether ``text`` is a dotted quad without leading zeros."""
    parts = text.split(".")
    return len(parts) == 4 and all(_is_octet(part) for part in parts)


def _is_octet(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3 and text == str(min(int(text), 255))


def _is_ipv6(text: str) -> bool:
    """Whether ``text`` is an IPv6 address without a zone."""
    from _socket import AF_INET6, inet_pton

    try:
        return bool(inet_pton(AF_INET6, text))
    except (OSError, ValueError):
        return False


def shortest(address: str | None) -> str | None:
    """An IPv6 address in the one form in which addresses are compared; others as they are."""
    if address is None or not _is_ipv6(address):
        return address
    from _socket import AF_INET6, inet_ntop, inet_pton

    return inet_ntop(AF_INET6, inet_pton(AF_INET6, address))
