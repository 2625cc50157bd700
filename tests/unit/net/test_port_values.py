import pytest

from rktsd.errors import BadInput
from rktsd.net.ports import PortMapping, check_conflicts, is_ipv4, overlap


def mapping(text: str, protocol: str = "tcp") -> PortMapping:
    ip, _, port = text.rpartition(":")
    return PortMapping(ip or None, int(port), 80, protocol)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (mapping("8080"), mapping("8080"), True),
        (mapping("8080"), mapping("127.0.0.1:8080"), True),
        (mapping("0.0.0.0:8080"), mapping("127.0.0.1:8080"), True),
        (mapping("127.0.0.1:8080"), mapping("127.0.0.1:8080"), True),
        (mapping("127.0.0.1:8080"), mapping("192.0.2.1:8080"), False),
        (mapping("8080"), mapping("8081"), False),
        (mapping("8080"), mapping("8080", "udp"), False),
    ],
)
def test_overlap(one: PortMapping, other: PortMapping, expected: bool) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


def test_two_wishes_for_one_port_conflict() -> None:
    with pytest.raises(BadInput) as caught:
        check_conflicts([mapping("9090"), mapping("8080"), mapping("127.0.0.1:8080")])
    assert str(caught.value) == (
        "ports 0.0.0.0:8080/tcp and 127.0.0.1:8080/tcp of the pod"
        " both want port 8080/tcp of the host"
    )


def test_ports_side_by_side_are_fine() -> None:
    check_conflicts([mapping("192.0.2.1:80"), mapping("127.0.0.1:80"), mapping("80", "udp")])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (PortMapping(None, 0, 80, "tcp"), "0 is not between 1 and 65535"),
        (PortMapping(None, 80, 65536, "tcp"), "65536 is not between 1 and 65535"),
        (PortMapping(None, 80, 80, "sctp"), "protocol 'sctp' is not tcp or udp"),
        (PortMapping("::1", 80, 80, "tcp"), "'::1' is not an IPv4 address"),
        (PortMapping("localhost", 80, 80, "tcp"), "'localhost' is not an IPv4 address"),
    ],
)
def test_bad_ports_are_refused(bad: PortMapping, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_conflicts([bad])


@pytest.mark.parametrize("text", ["0.0.0.0", "127.0.0.1", "255.255.255.255"])
def test_ipv4(text: str) -> None:
    assert is_ipv4(text)


@pytest.mark.parametrize(
    "text",
    ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", "1..2.3", "\u0661.1.1.1"],
)
def test_not_ipv4(text: str) -> None:
    assert not is_ipv4(text)
