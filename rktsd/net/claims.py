"""Ports of the host that pods hold: a directory with a link PROTOCOL:PORT:ADDRESS per port.

Each link leads to the state directory of its holder. Forwarded ports are not bound by anybody, so
that the kernel cannot tell two pods apart that want the same one.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Sequence

from rktsd.errors import NetworkError
from rktsd.host.files import locked
from rktsd.net.ports import ANY_IPV4, ANY_IPV6, PortMapping, overlap
from rktsd.net.state import FILE


def claim(
    directory: str,
    holder: str,
    *,
    mappings: Sequence[PortMapping],
    called: Callable[[str], str] = str,
) -> None:
    """Take ``mappings`` for the network whose state directory is ``holder``.

    The state must be saved before, so that ``release`` finds what a killed call took. Raises
    NetworkError when another pod or a process of the host has one of the ports; ``called`` says
    how the user knows the holder with a state directory.
    """
    if not mappings:
        return
    os.makedirs(directory, exist_ok=True)
    with locked(directory):
        _check(directory, mappings, called)
        for mapping in mappings:
            _check_free(mapping)
            os.symlink(holder, f"{directory}/{_name(mapping)}")


def check(
    directory: str, *, mappings: Sequence[PortMapping], called: Callable[[str], str] = str
) -> None:
    """Find out whether a pod publishes one of ``mappings``. Raises NetworkError.

    Forwarded ports are not bound: to whoever wants to listen there the kernel does not say it.
    """
    with contextlib.suppress(FileNotFoundError), locked(directory):
        _check(directory, mappings, called)


def _check(directory: str, mappings: Sequence[PortMapping], called: Callable[[str], str]) -> None:
    for name in os.listdir(directory):
        taken = _mapping(name)
        for mapping in mappings:
            if overlap(mapping, taken) and _holds(f"{directory}/{name}"):
                owner = called(os.readlink(f"{directory}/{name}"))
                raise NetworkError(
                    f"cannot publish port {mapping}: {owner} already publishes {taken}"
                )


def release(directory: str, holder: str, *, mappings: Sequence[PortMapping]) -> None:
    """Give back those of ``mappings`` that ``holder`` has."""
    for mapping in mappings:
        path = f"{directory}/{_name(mapping)}"
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(path) == holder:
                os.unlink(path)


def _holds(path: str) -> bool:
    """Whether the claim's holder still exists; a claim whose holder was deleted is void."""
    if os.path.exists(f"{path}/{FILE}"):
        return True
    os.unlink(path)
    return False


def _name(mapping: PortMapping) -> str:
    return f"{mapping.protocol}:{mapping.host_port}:{mapping.host_ip or ''}"


def _mapping(name: str) -> PortMapping:
    protocol, port, address = name.split(":", 2)
    return PortMapping(address or None, int(port), 1, protocol)


def _check_free(mapping: PortMapping) -> None:
    if not mapping.ipv6:
        _probe(mapping, mapping.host_ip or ANY_IPV4)
    if mapping.ipv6 or (mapping.host_ip is None and os.path.exists("/proc/net/if_inet6")):
        _probe(mapping, mapping.host_ip or ANY_IPV6)


def _probe(mapping: PortMapping, address: str) -> None:
    # Not socket, whose enumerations take longer than all that is done here.
    import _socket as socket

    tcp = mapping.protocol == "tcp"
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.closing(socket.socket(family, kind)) as probe:
        if tcp:
            # Ended connections that linger are no reason to refuse; listeners still are.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ":" in address:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((address, mapping.host_port))
        except OSError as error:
            reason = {
                errno.EADDRINUSE: "a process of the host uses it",
                errno.EADDRNOTAVAIL: "the host has no such address",
            }.get(error.errno or 0, error.strerror)
            raise NetworkError(f"cannot publish port {mapping}: {reason}") from error
