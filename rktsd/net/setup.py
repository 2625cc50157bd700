"""A pod's network from nothing to ready, and back from any state in between."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rktsd.errors import NetworkError, RktError
from rktsd.host.files import locked
from rktsd.net import cni, ipv6
from rktsd.net import namespace as netns
from rktsd.net.chains import bounded, chains
from rktsd.net.config import NetworkConfig, outlasts, valid_name
from rktsd.net.ports import PortMapping, check_conflicts
from rktsd.net.state import Joined, Result, State, addresses, forget, ips, load, load_file, save
from rktsd.paths import RUN

PORTS = f"{RUN}/ports"
PATIENCE = 90.0


class Attachment(NamedTuple):
    """An interface of the pod, as its network's plugins reported it.

    ``ip4`` has no prefix length, that is ``prefix``. ``gateway`` is the address of the next hop,
    with ptp the host's own; ``ports`` are those that lead here; ``nameservers``, ``search``,
    ``options`` and ``domain`` are for resolv.conf.
    """

    network: str
    interface: str
    ip4: str | None
    prefix: int | None
    gateway: str | None
    ip6: str | None
    mac: str | None
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    domain: str | None = None
    ports: tuple[PortMapping, ...] = ()


def set_up(
    state_dir: str,
    *,
    container_id: str,
    namespace: str,
    networks: Sequence[NetworkConfig] = (),
    ports: Sequence[PortMapping] = (),
    ports_dir: str = PORTS,
    bandwidth: int | None = None,
    forward: bool = True,
    lasting: str | None = None,
    called: Callable[[str], str] = str,
    meanwhile: Callable[[], None] | None = None,
) -> list[Attachment]:
    """Make the network namespace at path ``namespace``, join ``networks``, publish ``ports``.

    No networks: just ``lo``. ``state_dir`` is made; what will be done is in it before it is done,
    so that ``tear_down(state_dir)`` undoes it whatever happens. Ports go to the first network that
    masquerades, else to the last (rkt's rule). ``called`` tells how the user knows whoever has a
    state directory. ``bandwidth`` bounds every interface, in bytes a second for each direction;
    ``forward`` lets the pod through where the host drops what it forwards. ``lasting`` is a file
    for what ``release_lasting`` needs after a reboot; it is made only when that would be of use.
    ``meanwhile`` is called while a plugin works, and must not need the network.
    Raises BadInput for bad ports and NetworkError for the rest; then nothing is left.
    """
    check_conflicts(ports)
    if ports and not networks:
        raise NetworkError(f"cannot publish port {ports[0]}: the pod joins no network")
    if not valid_name(container_id):
        raise NetworkError(f"not a container id: {container_id!r}")
    if os.path.lexists(namespace):
        raise NetworkError(f"network namespace {namespace} exists already")
    joining = chains([bounded(each, bandwidth) for each in networks], ports)
    os.makedirs(state_dir, exist_ok=True)
    with locked(state_dir) as lock:
        if load(state_dir):
            raise NetworkError(f"{state_dir} holds a network that was not released")
        outlasting = any(map(outlasts, networks))
        state = State(container_id, namespace, ports_dir, tuple(ports))
        state = state._replace(lasting=lasting if outlasting else None)
        save(state_dir, state)
        try:
            if ports:
                from rktsd.net import claims

                claims.claim(ports_dir, state_dir, mappings=ports, called=called)
            netns.create(namespace)
            for each in joining:
                state = _join(state_dir, state, each, lock, meanwhile)
                meanwhile = None
            _check_families(state)
            from rktsd.net import openings

            state = openings.open_up(state_dir, state, forward=forward, lock=lock)
        except BaseException:
            # The reason of the failure counts; what cannot be undone stays on record for later.
            with contextlib.suppress(RktError, OSError):
                _release(state_dir, lock, strict=False)
            raise
    return [_attachment(each) for each in state.joined]


def tear_down(state_dir: str) -> None:
    """Undo ``set_up`` from whatever state it reached; nothing to undo is fine.

    Waits for plugins that a killed ``set_up`` left running. Everything is tried; then NetworkError
    tells of the first failure and the state stays, so that the call can be repeated.
    """
    with contextlib.suppress(FileNotFoundError), _locked_patiently(state_dir) as lock:
        _release(state_dir, lock)


def release_lasting(path: str) -> None:
    """Run DEL for the networks of a run that a reboot ended, by what ``set_up`` left in ``path``.

    None there is fine. Raises NetworkError; then the file stays, so that the call can be repeated.
    """
    with contextlib.suppress(FileNotFoundError), locked(path) as lock:
        state = load_file(path)
        failures: list[RktError] = []
        if state:
            for each in reversed(state.joined):
                _leave(state, each, lock, failures if each.result else [])
        if failures:
            raise failures[0]
        os.unlink(path)


def tend(state_dir: str, *, forward: bool) -> list[str]:
    """Look after the network of a running pod: what was found, in a line each.

    Rules that somebody took away are made anew; what plugins find wrong (CHECK) is told. Nothing
    is done while somebody else works on the network. Raises NetworkError.
    """
    with (
        contextlib.suppress(FileNotFoundError, BlockingIOError),
        locked(state_dir, blocking=False) as lock,
    ):
        state = load(state_dir)
        return _tend(state_dir, state, lock, forward=forward) if state else []
    return []


def mend(state_dir: str, *, forward: bool) -> list[str]:
    """Make anew the rules that somebody took away: a line when there were such.

    Waits for who else works on the network. Raises NetworkError.
    """
    with contextlib.suppress(FileNotFoundError), _locked_patiently(state_dir) as lock:
        state = load(state_dir)
        return _mend(state_dir, state, lock, forward=forward) if state else []
    return []


def _mend(state_dir: str, state: State, lock: int, *, forward: bool) -> list[str]:
    from rktsd.net import openings

    if openings.mend(state_dir, state, forward=forward, lock=lock):
        return ["rules of the host's firewall were missing, and are made anew"]
    return []


def _tend(state_dir: str, state: State, lock: int, *, forward: bool) -> list[str]:
    found = _mend(state_dir, state, lock, forward=forward)
    target = cni.Target(state.container_id, state.namespace, lock)
    for config, interface, _, result in state.joined:
        try:
            cni.check(config, target, interface=interface, result=result or {})
        except NetworkError as error:
            found.append(f"{error} (a restart of the pod sets its networks up anew)")
    return found


def attachments(state_dir: str) -> list[Attachment]:
    """The interfaces of the pod whose network is recorded in ``state_dir``."""
    state = load(state_dir)
    return [_attachment(each) for each in state.joined] if state else []


def _join(
    state_dir: str,
    state: State,
    joining: Joined,
    lock: int,
    meanwhile: Callable[[], None] | None,
) -> State:
    save(state_dir, state._replace(joined=(*state.joined, joining)))
    if ipv6.mentioned(joining.config.plugins) or ":" in joining.config.args:
        ipv6.keep_router_advertisements()
    target = cni.Target(state.container_id, state.namespace, lock)
    try:
        result = _add(joining, target, meanwhile)
    except cni.Incompatible as error:
        agreed = cni.agree(joining.config, target, why=error)
        # Those before it in the chain may have done their work.
        with contextlib.suppress(NetworkError):
            cni.delete(joining.config, target, interface=joining.interface, ports=joining.ports)
        joining = joining._replace(config=agreed)
        save(state_dir, state._replace(joined=(*state.joined, joining)))
        result = _add(joining, target)
    state = state._replace(joined=(*state.joined, joining._replace(result=result)))
    save(state_dir, state)
    _hurry(state)
    return state


def _add(
    joining: Joined, target: cni.Target, meanwhile: Callable[[], None] | None = None
) -> Result:
    config, interface, ports, _ = joining
    return cni.add(config, target, interface=interface, ports=ports, meanwhile=meanwhile)


def _hurry(state: State) -> None:
    joined = state.joined[-1]
    found, result = _attachment(joined), joined.result or {}
    outside = [each for each in result.get("interfaces") or () if not each.get("sandbox")]
    gateway = next((ip.get("gateway") for ip in ips(result) if ":" in ip["address"]), None)
    if joined.config.plugins[0]["type"] != "ptp" or not outside:
        return
    host, host_mac = outside[0]["name"], outside[0].get("mac")
    if found.ip6 and found.mac and gateway and host_mac:
        link = ipv6.Link(host, host_mac, gateway, joined.interface, found.mac, found.ip6)
        ipv6.skip_detection_outside(state.namespace, link)


def _check_families(state: State) -> None:
    """Every port must lead somewhere: portmap passes over those that it cannot serve."""
    for each in state.joined:
        found = _attachment(each)
        for port in each.ports:
            if port.host_ip is not None and not (found.ip6 if port.ipv6 else found.ip4):
                kind = "IPv6" if port.ipv6 else "IPv4"
                raise NetworkError(
                    f"cannot publish port {port}: network {found.network!r} gave the pod no"
                    f" {kind} address"
                )


def _release(state_dir: str, lock: int, *, strict: bool = True) -> None:
    """``strict=False`` forgives a network that failed to be joined when it fails to be left.

    A bad configuration fails both, and nobody could ever put that right.
    """
    state = load(state_dir)
    failures: list[RktError] = []
    if state:
        for each in reversed(state.joined):
            forgiven: list[RktError] = []
            _leave(state, each, lock, failures if strict or each.result else forgiven)
        for step in (_close, _remove_links, _remove_namespace):
            try:
                step(state, lock)
            except RktError as error:
                failures.append(error)
    if failures:
        raise failures[0]
    if state and state.ports:
        from rktsd.net import claims

        claims.release(state.ports_dir, state_dir, mappings=state.ports)
    forget(state_dir, state.lasting if state else None)


def _leave(state: State, joined: Joined, lock: int, failures: list[RktError]) -> None:
    target = cni.Target(state.container_id, state.namespace, lock)
    config, interface, ports, result = joined
    # ptp and bridge fail over the rules that a killed ADD did not come to make, but only after
    # they removed the interface: a second DEL finds none and succeeds.
    for last in (False, True):
        try:
            cni.delete(config, target, interface=interface, ports=ports, result=result)
            return
        except RktError as error:
            if last:
                failures.append(error)


def _close(state: State, lock: int) -> None:
    from rktsd.net import openings

    openings.close(state, lock=lock)


def _remove_namespace(state: State, _: int) -> None:
    netns.remove(state.namespace)
    gone = [each.partition("/")[0] for one in state.joined for each in addresses(one.result or {})]
    if gone:
        from rktsd.net.conntrack import forget_addresses

        forget_addresses(gone)


def _remove_links(state: State, _: int) -> None:
    """The host's ends of cables whose pod's end a plugin could not find any more."""
    from rktsd.net.links import remove_cables

    remove_cables(
        each["name"]
        for joined in state.joined
        for each in (joined.result or {}).get("interfaces") or ()
        if not each.get("sandbox")
    )


def _attachment(joined: Joined) -> Attachment:
    result = joined.result or {}
    found = ips(result)
    ip4 = next((ip for ip in found if ":" not in ip["address"]), None)
    ip6 = next((ip for ip in found if ":" in ip["address"]), None)
    address, _, prefix = ip4["address"].partition("/") if ip4 else ("", "", "")
    inside = [each for each in result.get("interfaces") or () if each.get("sandbox")]
    dns = result.get("dns") or {}
    return Attachment(
        network=joined.config.name,
        interface=joined.interface,
        ip4=address or None,
        prefix=int(prefix) if prefix else None,
        gateway=(ip4.get("gateway") if ip4 else None) or None,
        ip6=ip6["address"].partition("/")[0] if ip6 else None,
        mac=next((each.get("mac") for each in inside if each["name"] == joined.interface), None),
        nameservers=tuple(dns.get("nameservers") or ()),
        search=tuple(dns.get("search") or ()),
        options=tuple(dns.get("options") or ()),
        domain=dns.get("domain") or None,
        ports=joined.ports,
    )


@contextlib.contextmanager
def _locked_patiently(state_dir: str) -> Iterator[int]:
    import time

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with locked(state_dir, blocking=False) as lock:
                yield lock
                return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise NetworkError(f"a plugin still works on the network of {state_dir}") from None
        time.sleep(0.02)
