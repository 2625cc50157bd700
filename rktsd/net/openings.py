"""What of the host is opened for a pod: published ports, masquerading, the way through FORWARD."""

from collections.abc import Sequence

from rktsd.errors import CommandFailed, NetworkError
from rktsd.net import firewall, forwarding, rules
from rktsd.net.config import NetworkConfig
from rktsd.net.firewall import Leg
from rktsd.net.state import Joined, Opened, State, addresses, save

PROGRAMS = ("iptables", "ip6tables")


def publishes(config: NetworkConfig) -> bool:
    """Whether a plugin of the network publishes ports itself."""
    return any(_declares_ports(plugin) for plugin in config.plugins)


def makes_rules(config: NetworkConfig) -> bool:
    """Whether plugins of the network leave rules on the host."""
    return publishes(config) or any(plugin.get("ipMasq") for plugin in config.plugins)


def _declares_ports(plugin: object) -> bool:
    assert isinstance(plugin, dict)
    return bool((plugin.get("capabilities") or {}).get("portMappings"))


def open_up(state_dir: str, state: State, *, forward: bool, lock: int) -> State:
    """Make the rules for a pod whose networks are joined. Returns the state, which is saved.

    ``forward``: also where the host drops what it forwards. Raises NetworkError.
    """
    legs = [leg for each in state.joined for leg in _legs(each)]
    opened = _wanted(state.container_id, legs, forwarding.look() if forward else forwarding.Host())
    if not any(opened.values()):
        return state
    state = state._replace(opened=opened)
    save(state_dir, state)
    _make(state.container_id, legs, opened, lock)
    return state


def _wanted(container_id: str, legs: Sequence[Leg], host: forwarding.Host) -> Opened:
    tables = {
        program: firewall.tables(
            container_id, legs, ipv6=program == "ip6tables", forward=getattr(host, program)
        )
        for program in PROGRAMS
    }
    return {
        "rules": {program: found for program, found in tables.items() if found},
        "chains": list(host.chains),
        "trusted": forwarding.trusted(legs) if host.firewalld else [],
    }


def _make(container_id: str, legs: Sequence[Leg], opened: Opened, lock: int) -> None:
    try:
        for program, tables in opened["rules"].items():
            rules.restore(program, firewall.script(tables), lock=lock)
        host = forwarding.Host(chains=tuple(opened["chains"]), firewalld=bool(opened["trusted"]))
        forwarding.admit(container_id, legs, host, lock=lock)
        for interface in firewall.localhost_interfaces(legs):
            with open(f"/proc/sys/net/ipv4/conf/{interface}/route_localnet", "w") as file:
                file.write("1")
    except CommandFailed as error:
        raise NetworkError(f"cannot make firewall rules: {error}") from error
    except OSError as error:
        raise NetworkError(f"cannot set {error.filename}: {error.strerror}") from error
    _forget_datagrams(legs)


def _forget_datagrams(legs: Sequence[Leg]) -> None:
    """Who has sent datagrams there before would go on talking to the host itself."""
    for leg in legs:
        ports = {port.host_port for port in leg.ports if port.protocol == "udp"}
        if ports:
            from rktsd.net.conntrack import forget_datagrams

            forget_datagrams(ports, ipv6=leg.ipv6)


def close(state: State, *, lock: int) -> None:
    """Take back what ``open_up`` made, whatever of it is there. Raises NetworkError."""
    opened = state.opened
    swept = any(makes_rules(each.config) for each in state.joined)
    if opened is not None and not swept:
        swept = not _undone(opened, lock)
    if swept:
        names = [each.config.name for each in state.joined]
        ipv6 = any(each.result is None or _has_ipv6(each) for each in state.joined)
        rules.sweep(state.container_id, networks=names, ipv6=ipv6)
    if opened is not None:
        host = forwarding.Host(chains=tuple(opened["chains"]))
        try:
            forwarding.dismiss(state.container_id, host, opened["trusted"], lock=lock)
        except CommandFailed as error:
            raise NetworkError(f"cannot remove rules of nft: {error}") from error


def _undone(opened: Opened, lock: int) -> bool:
    """Whether the rules were there in full, and are gone: then nobody has to search for them."""
    try:
        for program, tables in opened["rules"].items():
            rules.restore(program, firewall.undo(tables), lock=lock)
    except CommandFailed:
        return False
    return True


def mend(state_dir: str, state: State, *, forward: bool, lock: int) -> bool:
    """Make anew what somebody removed, or what the host needs by now. Returns whether it was so.

    Raises NetworkError.
    """
    legs = [leg for each in state.joined for leg in _legs(each)]
    host = forwarding.look() if forward else forwarding.Host()
    wanted = _wanted(state.container_id, legs, host)
    if _intact(state.container_id, state.opened, wanted):
        try:
            if forwarding.admitted(state.container_id, legs, host):
                return False
        except CommandFailed as error:
            raise NetworkError(f"cannot look at the firewall: {error}") from error
    close(state, lock=lock)
    open_up(state_dir, state, forward=forward, lock=lock)
    return True


def _intact(container_id: str, opened: Opened | None, wanted: Opened) -> bool:
    if opened is None or opened["rules"] != wanted["rules"]:
        return opened is None and not any(wanted.values())
    for program, tables in wanted["rules"].items():
        expected = sum(not line.startswith(":") for lines in tables.values() for line in lines)
        if rules.count(rules.save(program), container_id) != expected:
            return False
    return True


def _legs(joined: Joined) -> list[Leg]:
    result = joined.result or {}
    outside = [each["name"] for each in result.get("interfaces") or () if not each.get("sandbox")]
    masquerade = joined.config.masquerade
    routed = bool(result.get("routes")) or makes_rules(joined.config)
    ports = () if publishes(joined.config) else joined.ports
    return [
        Leg(
            address.partition("/")[0],
            address,
            outside[0] if outside else "",
            masquerade,
            masquerade or routed,
            ports,
        )
        for address in addresses(result)
    ]


def _has_ipv6(joined: Joined) -> bool:
    return any(":" in address for address in addresses(joined.result or {}))
