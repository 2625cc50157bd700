import pytest

from rktsd.errors import BadInput
from rktsd.net.ports import (
    PortMapping,
    check_conflicts,
    is_ipv4,
    listed,
    overlap,
    shortest,
    spread,
)


def mapping(text: str, protocol: str = "tcp") -> PortMapping:
    ip, _, port = text.rpartition(":")
    return PortMapping(ip.strip("[]") or None, int(port), 80, protocol)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (mapping("8080"), mapping("8080"), True),
        (mapping("8080"), mapping("127.0.0.1:8080"), True),
        (mapping("0.0.0.0:8080"), mapping("127.0.0.1:8080"), True),
        (mapping("127.0.0.1:8080"), mapping("127.0.0.1:8080"), True),
        (mapping("127.0.0.1:8080"), mapping("192.0.2.1:8080"), False),
        (mapping("8080"), mapping("8081"), False),
        (mapping("8080"), mapping("[2001:db8::1]:8080"), True),
        (mapping("[::]:8080"), mapping("[2001:db8::1]:8080"), True),
        (mapping("[::]:8080"), mapping("0.0.0.0:8080"), False),
        (mapping("[::]:8080"), mapping("127.0.0.1:8080"), False),
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
        "ports 8080/tcp and 127.0.0.1:8080/tcp of the pod both want port 8080/tcp of the host"
    )


def test_ports_side_by_side_are_fine() -> None:
    check_conflicts([mapping("192.0.2.1:80"), mapping("127.0.0.1:80"), mapping("80", "udp")])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (PortMapping(None, 0, 80, "tcp"), "0 is not between 1 and 65535"),
        (PortMapping(None, 80, 65536, "tcp"), "65536 is not between 1 and 65535"),
        (PortMapping(None, 80, 80, "sctp"), "protocol 'sctp' is not tcp or udp"),
        (PortMapping("::1", 80, 80, "tcp"), r"\[::1\]:80/tcp: the kernel leads nothing from ::1"),
        (PortMapping("localhost", 80, 80, "tcp"), "'localhost' is not an IP address"),
        (PortMapping("fe80::1%lo", 80, 80, "tcp"), "'fe80::1%lo' is not an IP address"),
        (PortMapping("fe80::1", 80, 80, "tcp"), "fe80::1 is an address of a link"),
        (PortMapping("::ffff:c000:201", 80, 80, "udp"), r"an IPv4 address \(write 192.0.2.1\)"),
    ],
)
def test_bad_ports_are_refused(bad: PortMapping, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_conflicts([bad])


def test_a_range_is_as_many_ports_on_both_sides() -> None:
    assert spread(PortMapping("::", 8000, 80, "udp"), 3) == [
        PortMapping("::", 8000 + n, 80 + n, "udp") for n in range(3)
    ]


def test_a_range_beyond_what_plugins_can_do_is_refused() -> None:
    with pytest.raises(BadInput, match="published port 8000/tcp: 257 ports are not 1 to 256"):
        spread(mapping("8000"), 257)
    many = [mapping(str(port)) for port in range(1, 259)]
    with pytest.raises(BadInput, match="258 published ports: a pod has at most 256"):
        check_conflicts(many)


def test_a_range_must_end_within_the_ports_of_the_host() -> None:
    with pytest.raises(BadInput, match="65536 is not between 1 and 65535"):
        check_conflicts(spread(mapping("65535"), 2))


def test_lists_put_ranges_together() -> None:
    ports = [*spread(mapping("8000"), 3), mapping("127.0.0.1:9000", "udp"), mapping("[::]:80")]
    assert listed(ports) == "8000/tcp -> 80 (3 ports), 127.0.0.1:9000/udp -> 80, [::]:80/tcp -> 80"


def test_one_address_has_one_form() -> None:
    assert shortest("2001:0DB8:0:0::1") == "2001:db8::1"
    assert (shortest("192.0.2.1"), shortest(None)) == ("192.0.2.1", None)


@pytest.mark.parametrize("text", ["0.0.0.0", "127.0.0.1", "255.255.255.255"])
def test_ipv4(text: str) -> None:
    assert is_ipv4(text)


@pytest.mark.parametrize(
    "text",
    ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", "1..2.3", "\u0661.1.1.1"],
)
def test_not_ipv4(text: str) -> None:
    assert not is_ipv4(text)
