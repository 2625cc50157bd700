"""Questions to the kernel's netfilter over netlink: faster than any program that asks for us."""

import os
import struct
from collections.abc import Iterator, Mapping

_NETFILTER = 12
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = "=IHHII"
_TYPE = 0x3FFF
NESTED = 0x8000

# nfgenmsg is a family, a version and two bytes more.
BODY = 4


def ask(kind: int, *, family: int = 0, attributes: bytes = b"", dump: bool = True) -> list[bytes]:
    """Send one message of netfilter and return the bodies of the answers (nfgenmsg first).

    ``kind`` is the subsystem in the upper byte. Raises OSError, also when the kernel cannot do it.
    """
    from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

    body = struct.pack("=BBH", family, 0, 0) + attributes
    flags = _REQUEST | (_DUMP if dump else _ACK)
    message = struct.pack(_HEADER, 16 + len(body), kind, flags, 1, 0) + body
    answers: list[bytes] = []
    control = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETFILTER)
    try:
        control.settimeout(10)
        control.send(message)
        while True:
            for kind_of_answer, content in _split(control.recv(1 << 17)):
                if kind_of_answer == _DONE:
                    return answers
                if kind_of_answer == _ERROR:
                    number = -struct.unpack_from("=i", content)[0]
                    if number:
                        raise OSError(number, os.strerror(number))
                    return answers
                answers.append(content)
    finally:
        control.close()


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded; ``kind`` with NESTED when ``value`` holds attributes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes) -> Mapping[int, bytes]:
    """The attributes in ``data`` by their kind."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & _TYPE] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found
