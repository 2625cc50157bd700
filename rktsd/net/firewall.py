"""The rules of the host's firewall for one pod: published ports, masquerading, forwarding. Pure.

All of a pod's rules are one script for iptables-restore(8), so that they come and go at once and
by one program: CNI's portmap, or ptp with ipMasq, would run some thirty. Names of chains are rkt's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rktsd.net.ports import PortMapping

Tables = Mapping[str, Sequence[str]]
"""By table: chains to be made (``:NAME - [0:0]``), then rules (``-A CHAIN …``, ``-I CHAIN …``)."""

_MULTICAST = {False: "224.0.0.0/4", True: "ff00::/8"}
_KNOWN = "-m conntrack --ctstate"


class Leg(NamedTuple):
    """An address that the pod has on a network, and how the host reaches it.

    ``subnet`` is the network's (``10.1.2.0/24``), ``interface`` the host's own device towards the
    pod, empty for networks that do not lead through the host. ``routed`` is whether the pod may
    go beyond that network. ``ports`` are those to be published there by rules of ours.
    """

    address: str
    subnet: str
    interface: str
    masquerade: bool
    routed: bool
    ports: tuple[PortMapping, ...]

    @property
    def ipv6(self) -> bool:
        return ":" in self.address


def chains(container_id: str) -> tuple[str, str]:
    """The names of the pod's own chains of the nat table: where to, where from."""
    return f"RKT-PFWD-DNAT-{container_id[:8]}", f"RKT-PFWD-SNAT-{container_id[:8]}"


def comment(container_id: str) -> str:
    """What marks those rules of the pod that are not in its own chains."""
    return f"rkt:{container_id}"


def tables(container_id: str, legs: Iterable[Leg], *, ipv6: bool, forward: bool) -> Tables:
    """The rules of one family; empty when there is nothing to do.

    ``forward``: let packets through that the host may drop when it forwards them.
    """
    mine = [leg for leg in legs if leg.ipv6 == ipv6]
    mark = f"-m comment --comment {comment(container_id)}"
    found: dict[str, list[str]] = {"nat": _nat(container_id, mine, mark), "raw": [], "filter": []}
    for leg in mine:
        if localhost_interfaces([leg]):
            # The kernel is told to route 127.0.0.1 to there: nothing may come that way.
            found["raw"].append(f"-A PREROUTING -i {leg.interface} -d 127.0.0.0/8 {mark} -j DROP")
        if forward and leg.interface:
            found["filter"] += _forward(leg, mark)
    return {table: rules for table, rules in found.items() if rules}


def _nat(container_id: str, legs: Sequence[Leg], mark: str) -> list[str]:
    to, source = chains(container_id)
    leading: list[str] = []
    hiding: list[str] = []
    jumps: list[str] = []
    for leg in legs:
        ports = [port for port in leg.ports if _serves(port, leg)]
        leading += [_lead(to, port, leg) for port in ports]
        if ports:
            if not leg.ipv6:
                hiding.append(f"-A {source} -s 127.0.0.0/8 -d {leg.address} -j MASQUERADE")
            # Its neighbours, and the pod itself, would get answers from where they did not ask.
            # Before rules of plugins, which let neighbours pass as they are.
            hiding.append(f"-A {source} -s {leg.subnet} -d {leg.address} -j MASQUERADE")
            jumps.append(f"-I POSTROUTING -d {leg.address} {_KNOWN} DNAT {mark} -j {source}")
        if leg.masquerade:
            out = f"-A {source} -s {leg.address}"
            near = (leg.subnet, _MULTICAST[leg.ipv6])
            hiding += [*(f"{out} -d {each} -j RETURN" for each in near), f"{out} -j MASQUERADE"]
            jumps.append(f"-A POSTROUTING -s {leg.address} {mark} -j {source}")
    made = [f":{name} - [0:0]" for name, rules in ((to, leading), (source, hiding)) if rules]
    if leading:
        # The kernel leads nothing from ::1 out of the host: let it refuse rather than wait. What
        # comes from elsewhere for 127.0.0.1 it refuses only as long as nobody leads it on.
        come, out = ("", "! -d ::1 ") if legs[0].ipv6 else ("! -d 127.0.0.0/8 ", "")
        local = f"-m addrtype --dst-type LOCAL {mark} -j {to}"
        jumps += [f"-A PREROUTING {come}{local}", f"-A OUTPUT {out}{local}"]
    return [*made, *leading, *hiding, *jumps]


def _lead(chain: str, port: PortMapping, leg: Leg) -> str:
    place = f"[{leg.address}]" if leg.ipv6 else leg.address
    only = f"-d {port.address} " if port.address else ""
    return (
        f"-A {chain} {only}-p {port.protocol} --dport {port.host_port}"
        f" -j DNAT --to-destination {place}:{port.pod_port}"
    )


def _serves(port: PortMapping, leg: Leg) -> bool:
    return port.host_ip is None or port.ipv6 == leg.ipv6


def _from_localhost(ports: Iterable[PortMapping]) -> bool:
    return any(
        not port.ipv6 and (port.address is None or port.address.startswith("127."))
        for port in ports
    )


def localhost_interfaces(legs: Iterable[Leg]) -> list[str]:
    """The host's devices to which packets of 127.0.0.1 are to be routed."""
    return [
        leg.interface
        for leg in legs
        if leg.interface and not leg.ipv6 and _from_localhost(leg.ports)
    ]


def _forward(leg: Leg, mark: str) -> list[str]:
    answers = f"{_KNOWN} RELATED,ESTABLISHED "
    known = f"{_KNOWN} RELATED,ESTABLISHED,DNAT"
    return [
        f"-I FORWARD -o {leg.interface} -d {leg.address} {known} {mark} -j ACCEPT",
        f"-I FORWARD -i {leg.interface} -s {leg.address} {'' if leg.routed else answers}{mark}"
        " -j ACCEPT",
    ]


def script(found: Tables) -> str:
    """What iptables-restore(8) with ``--noflush`` makes them from."""
    return "".join("\n".join([f"*{name}", *lines, "COMMIT", ""]) for name, lines in found.items())


def undo(found: Tables) -> str:
    """What takes all of them away again, or fails when one is missing."""
    reverse = {}
    for name, lines in found.items():
        own = [line[1:].split()[0] for line in lines if line.startswith(":")]
        rules = [line for line in lines if not line.startswith(":") and line.split()[1] not in own]
        reverse[name] = [
            *(f"-F {chain}" for chain in own),
            *(f"-D{rule[2:]}" for rule in rules),
            *(f"-X {chain}" for chain in own),
        ]
    return script(reverse)
