"""Hosts that drop what they forward: who does so, and how pods get through.

A packet that is forwarded passes every base chain at the kernel's hook for that, whatever program
made it, and each can drop it. So a rule that accepts has to be in each of them.
"""

import contextlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rktsd.errors import CommandFailed, NetworkError
from rktsd.net.cni import find_program
from rktsd.net.firewall import Leg, comment
from rktsd.net.netlink import BODY, ask, attributes

_GET_CHAINS = 10 << 8 | 4
_TABLE, _NAME, _HOOK, _POLICY, _USE, _TYPE = 1, 3, 4, 5, 6, 7
_FORWARD, _DROP = 2, 0
_FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}
_FIREWALLD = "org.fedoraproject.FirewallD1"
_PATH = "/org/fedoraproject/FirewallD1"
_ZONE = "trusted"
_TIMEOUT = 20.0
_RELOAD = 120.0

Chain = tuple[str, str, str]
"""Family, table and name of a chain, as nft(8) has them."""


class Host(NamedTuple):
    """What may drop: FORWARD of iptables by family, others' chains, and firewalld."""

    iptables: bool = False
    ip6tables: bool = False
    chains: tuple[Chain, ...] = ()
    firewalld: bool = False


def look() -> Host:
    """What of this host may drop forwarded packets: by its policy, or because it has rules."""
    chains = [_chain(answer) for answer in _dump()]
    found = {chain for chain in chains if chain is not None}
    ours = {("ip", "filter", "FORWARD"), ("ip6", "filter", "FORWARD")}
    return Host(
        iptables=("ip", "filter", "FORWARD") in found or _legacy("ip_tables_names"),
        ip6tables=("ip6", "filter", "FORWARD") in found or _legacy("ip6_tables_names"),
        chains=tuple(sorted(each for each in found - ours if each[1] != "firewalld")),
        firewalld=any(table == "firewalld" for _, table, _ in found),
    )


def _dump() -> list[bytes]:
    try:
        return ask(_GET_CHAINS)
    except OSError:
        # A kernel without nf_tables.
        return []


def _chain(answer: bytes) -> Chain | None:
    """A chain that may drop forwarded packets."""
    family, found = _FAMILIES.get(answer[0]), attributes(answer[BODY:])
    hook = attributes(found.get(_HOOK, b"")).get(1)
    if family is None or hook is None or _text(found, _TYPE) != "filter":
        return None
    policy, use = (_number(found.get(kind)) for kind in (_POLICY, _USE))
    if _number(hook) != _FORWARD or (policy != _DROP and not use):
        return None
    return family, _text(found, _TABLE), _text(found, _NAME)


def _number(value: bytes | None) -> int | None:
    return None if value is None else int(struct.unpack(">I", value)[0])


def _text(found: Mapping[int, bytes], kind: int) -> str:
    return found.get(kind, b"").rstrip(b"\0").decode()


def _legacy(names: str) -> bool:
    """Whether the iptables of before nf_tables has a filter table here."""
    try:
        with open(f"/proc/thread-self/net/{names}") as file:
            return "filter" in file.read().split()
    except OSError:
        return False


def admit(container_id: str, legs: Sequence[Leg], host: Host, *, lock: int) -> None:
    """Let the pod through others' chains, and tell firewalld that it is to be trusted.

    Raises CommandFailed, and NetworkError without nft(8).
    """
    from rktsd.host.process import run

    lines = [
        f'insert rule {" ".join(chain)} {rule} accept comment "{comment(container_id)}"\n'
        for chain in host.chains
        for leg in legs
        if leg.interface and chain[0] in ("inet", "ip6" if leg.ipv6 else "ip")
        for rule in _accepted(leg)
    ]
    if lines:
        if not find_program("nft"):
            message = f"the host has rules of nftables ({', '.join(map(' '.join, host.chains))})"
            message += " that may drop what pods send, and the program nft is not installed"
            raise NetworkError(message, hint="apt install nftables")
        run(["nft", "-f", "-"], input="".join(lines).encode(), pass_fds=(lock,))
    for address in trusted(legs) if host.firewalld else ():
        _firewalld("addSource", address)


def _accepted(leg: Leg) -> list[str]:
    family = "ip6" if leg.ipv6 else "ip"
    known = "ct state established,related"
    to = f'oifname "{leg.interface}" {family} daddr {leg.address}'
    out = f'iifname "{leg.interface}" {family} saddr {leg.address}'
    return [f"{to} {known}", f"{to} ct status dnat", out if leg.routed else f"{out} {known}"]


def trusted(legs: Iterable[Leg]) -> list[str]:
    """What firewalld is told to trust."""
    return [leg.address for leg in legs if leg.interface]


def dismiss(
    container_id: str, host: Host, addresses: Iterable[str], *, lock: int | None = None
) -> None:
    """Take back what ``admit`` did, as far as it is still there. Raises CommandFailed."""
    from rktsd.host.process import run

    lines = [
        f"delete rule {' '.join(chain)} handle {line.split()[-1]}\n"
        for chain in host.chains
        for line in _own(container_id, chain)
    ]
    if lines:
        inherited = () if lock is None else (lock,)
        run(["nft", "-f", "-"], input="".join(lines).encode(), pass_fds=inherited)
    for address in addresses:
        # A reload, or its end, makes it forget.
        with contextlib.suppress(CommandFailed):
            _firewalld("removeSource", address)


def _own(container_id: str, chain: Chain) -> list[str]:
    """The pod's rules in a chain, which may be gone meanwhile, with their handles at the end."""
    from rktsd.host.process import run

    # Without the program nobody can have made rules.
    if not find_program("nft"):
        return []
    mark = f'comment "{comment(container_id)}"'
    listed = run(["nft", "-a", "list", "chain", *chain], check=False).stdout
    return [line for line in listed.decode(errors="replace").splitlines() if mark in line]


def admitted(container_id: str, legs: Sequence[Leg], host: Host) -> bool:
    """Whether what ``admit`` did is there still. Raises CommandFailed."""
    return all(_own(container_id, chain) for chain in host.chains) and not (
        host.firewalld
        and any("true" not in _firewalld("querySource", each) for each in trusted(legs))
    )


def wait_for_firewalld() -> None:
    """Wait until firewalld, where it runs, has its rules loaded: it does not answer before."""
    from rktsd.host.process import run

    options = ["--auto-start=no", f"--timeout={_RELOAD:g}"]
    with contextlib.suppress(CommandFailed):
        run(["busctl", *options, "call", _FIREWALLD, _PATH, _FIREWALLD, "getDefaultZone"])


def _firewalld(verb: str, address: str) -> str:
    from rktsd.host.process import run

    call = ["busctl", "call", _FIREWALLD, _PATH, f"{_FIREWALLD}.zone", verb, "ss", _ZONE, address]
    try:
        return run(call, timeout=_TIMEOUT).stdout.decode(errors="replace")
    except CommandFailed as error:
        # A killed start came as far as that.
        if "ALREADY_ENABLED" not in str(error):
            raise
        return ""
