"""What the kernel still knows of connections of a pod that is gone.

An established connection would stay for days, and lead the datagrams of an old peer to whoever has
the address next.
"""

import contextlib
from collections.abc import Callable, Collection

from rktsd.net.netlink import BODY, NESTED, ask, attribute, attributes

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_ORIGINAL, _REPLY, _ZONE = 1, 2, 18
_IP, _PROTOCOL = 1, 2
_SOURCES = (1, 3)
_NUMBER, _TO_PORT = 1, 3
_UDP = 17
_FAMILIES = {False: 2, True: 10}

Tuple = tuple[bytes, int, int]
"""Of one direction: the packed address of who sends, the protocol, the port that is sent to."""


def forget_addresses(addresses: Collection[str]) -> None:
    """Drop the host's connections from and to ``addresses``; unknown ones are fine."""
    from _socket import AF_INET, AF_INET6, inet_pton

    packed = {inet_pton(AF_INET6 if ":" in each else AF_INET, each) for each in addresses}
    for ipv6 in sorted({len(each) == 16 for each in packed}):
        _forget(lambda out, back: out[0] in packed or back[0] in packed, ipv6=ipv6)


def forget_datagrams(ports: Collection[int], *, ipv6: bool) -> None:
    """Drop connections of UDP to ``ports`` that were known before the ports were published."""
    if ports:
        _forget(lambda out, _: out[1] == _UDP and out[2] in ports, ipv6=ipv6)


def _forget(wanted: Callable[[Tuple, Tuple], bool], *, ipv6: bool) -> None:
    family = _FAMILIES[ipv6]
    # Without connection tracking, or with nobody to ask, there is nothing to forget.
    with contextlib.suppress(OSError):
        for answer in ask(_GET, family=family):
            found = attributes(answer[BODY:])
            if not wanted(_tuple(found.get(_ORIGINAL, b"")), _tuple(found.get(_REPLY, b""))):
                continue
            which = attribute(_ORIGINAL | NESTED, found[_ORIGINAL])
            if _ZONE in found:
                which += attribute(_ZONE, found[_ZONE])
            # It may have ended by itself.
            with contextlib.suppress(OSError):
                ask(_DELETE, family=family, attributes=which, dump=False)


def _tuple(data: bytes) -> Tuple:
    found = attributes(data)
    addresses = attributes(found.get(_IP, b""))
    protocol = attributes(found.get(_PROTOCOL, b""))
    source = next((addresses[kind] for kind in _SOURCES if kind in addresses), b"")
    number, port = protocol.get(_NUMBER, b""), protocol.get(_TO_PORT, b"")
    return source, int.from_bytes(number), int.from_bytes(port)
