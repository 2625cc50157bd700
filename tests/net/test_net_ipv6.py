"""Built-in networks have IPv6 beside IPv4 where the host uses it."""

import contextlib
import json
import socket
import subprocess
from pathlib import Path

import pytest

from rktsd.errors import NetworkError
from rktsd.net.namespace import entered
from rktsd.net.ports import PortMapping
from rktsd.net.setup import attachments, tear_down
from tests.net.machines import (
    HOST,
    HOST6,
    OTHER6,
    Host,
    caller,
    echo_udp,
    give_ipv6,
    listen,
    published,
    traces,
)
from tests.waiting import eventually


@pytest.fixture
def dual(host: Host) -> Host:
    give_ipv6()
    return host


def test_host_without_ipv6_of_its_own_gives_none(host: Host) -> None:
    assert host.start("a").ip6 is None


def test_pod_has_both_and_reaches_another_machine_as_the_host(dual: Host) -> None:
    pod = dual.start("a")
    assert (pod.ip4, pod.ip6) == ("172.16.28.2", "fd72:6b74:7364:1::2")
    with listen(dual.other, 80, address="::") as server:
        assert caller(server, OTHER6, 80, via=dual.namespace("a")) == HOST6


def test_pods_reach_each_other(dual: Host) -> None:
    first, second = dual.start("a"), dual.start("b")
    with listen(dual.namespace("b"), 80, address="::") as server:
        assert caller(server, str(second.ip6), 80, via=dual.namespace("a")) == first.ip6
        assert caller(server, str(second.ip6), 80) is not None


def test_restricted_pod_reaches_only_the_host(dual: Host) -> None:
    pod = dual.start("a", "default-restricted")
    assert pod.ip6 == "fd72:6b74:7364:2::2"
    with listen(dual.namespace("a"), 80, address="::") as server:
        assert caller(server, str(pod.ip6), 80) is not None
    with listen(dual.other, 80, address="::") as server:
        assert caller(server, OTHER6, 80, via=dual.namespace("a")) is None


def test_addresses_are_usable_at_once(dual: Host) -> None:
    dual.start("a")
    with listen(dual.namespace("a"), 80, address="fd72:6b74:7364:1::2") as server:
        assert caller(server, "fd72:6b74:7364:1::2", 80) is not None


def test_published_port_answers_on_both_families(dual: Host) -> None:
    dual.start("a", ports=(published(8080),))
    with listen(dual.namespace("a"), 80, address="::") as server:
        assert caller(server, HOST6, 8080, via=dual.other) == OTHER6
        assert caller(server, HOST6, 8080) is not None
        assert caller(server, "127.0.0.1", 8080) is not None


def test_localhost_by_ipv6_refuses_at_once_instead_of_hanging(dual: Host) -> None:
    dual.start("a", ports=(published(8080),))
    with listen(dual.namespace("a"), 80, address="::") as server:
        assert server
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("::1", 8080), timeout=30)


@pytest.mark.parametrize(
    ("listen_ip", "reached", "closed"),
    [
        (HOST6, [HOST6], ["127.0.0.1", "192.0.2.1"]),
        ("::", [HOST6], ["127.0.0.1", "192.0.2.1"]),
        ("0.0.0.0", ["127.0.0.1", "192.0.2.1"], [HOST6]),
    ],
)
def test_listen_address_means_only_that(
    dual: Host, listen_ip: str, reached: list[str], closed: list[str]
) -> None:
    dual.start("a", ports=(published(8080, ip=listen_ip),))
    with listen(dual.namespace("a"), 80, address="::") as server:
        for address in reached:
            assert caller(server, address, 8080) is not None, address
        for address in closed:
            assert caller(server, address, 8080) is None, address


LAB = {
    "name": "lab", "type": "bridge", "bridge": "lab0", "isGateway": True, "ipMasq": True,
    "hairpinMode": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.7.0.0/24"}], [{"subnet": "fd00:7::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    },
}  # fmt: skip


@pytest.mark.parametrize("network", ["default", "lab"])
def test_a_listen_address_answers_to_whoever_can_reach_it(dual: Host, network: str) -> None:
    Path(dual.paths.local_config, "net.d", "lab.conf").write_text(json.dumps(LAB))
    ports = [published(8080, ip=HOST6), published(5353, ip=HOST6, protocol="udp")]
    ports += [PortMapping("::", 9000 + number, 90 + number, "udp") for number in range(2)]
    dual.start("a", network, ports=tuple(ports))
    dual.start("b", network)
    inside = dual.namespace("a")
    # The host, another machine, the pod itself and its neighbour.
    places = (None, dual.other, inside, dual.namespace("b"))
    _wait_until_settled(inside, dual.namespace("b"), None)
    with listen(inside, 80, address="::") as server:
        for via in places:
            assert caller(server, HOST6, 8080, via=via) is not None, via
            assert caller(server, HOST, 8080, via=via) is None, via
    for via in places:
        assert echo_udp(inside, HOST6, 5353, via=via) == b"PING", via
        assert echo_udp(inside, HOST6, 9000, via=via, inside=90) == b"PING", via
        assert echo_udp(inside, HOST6, 9001, via=via, inside=91) == b"PING", via


def _wait_until_settled(*namespaces: str | None) -> None:
    """A bridge, unlike ptp, looks for duplicates of its addresses first."""
    for namespace in namespaces:
        with entered(namespace) if namespace else contextlib.nullcontext():
            eventually(lambda: not _tentative(), "addresses are settled")


def _tentative() -> str:
    ask = ["ip", "-6", "addr", "show", "tentative"]
    return subprocess.run(ask, capture_output=True, check=True, text=True).stdout


def test_port_for_a_family_that_the_network_lacks_is_refused(host: Host) -> None:
    before = traces()
    message = r"cannot publish port \[::\]:8080/tcp: network 'default' gave the pod no IPv6 address"
    with pytest.raises(NetworkError, match=message):
        host.start("a", ports=(published(8080, ip="::"),))
    assert traces() == before


def test_port_of_a_process_on_ipv6_is_refused(dual: Host) -> None:
    with listen(None, 8080, address=HOST6):
        with pytest.raises(NetworkError, match="8080/tcp: a process of the host uses it"):
            dual.start("a", ports=(published(8080),))
        dual.start("a", ports=(published(8080, ip="0.0.0.0"),))


def test_release_leaves_nothing(dual: Host) -> None:
    before = traces()
    dual.start("a", ports=(published(8080), published(53, protocol="udp")))
    dual.start("b", "default-restricted")
    during = traces()
    assert any("fd72:" in rule for rule in during["rules"])
    assert any("fd72:" in route for route in during["routes"])
    tear_down(dual.state("a"))
    tear_down(dual.state("b"))
    assert traces() == before


def test_a_host_that_learns_its_routes_goes_on_learning_them(dual: Host) -> None:
    settings = Path("/proc/sys/net/ipv6/conf")
    (settings / "all/forwarding").write_text("0")
    (settings / "lan/accept_ra").write_text("1")
    dual.start("a")
    assert (settings / "all/forwarding").read_text() == "1\n"
    assert (settings / "lan/accept_ra").read_text() == "2\n"


def test_a_pod_with_ipv4_only_leaves_those_settings_alone(host: Host) -> None:
    settings = Path("/proc/sys/net/ipv6/conf/lan/accept_ra")
    settings.write_text("1")
    host.start("a")
    assert settings.read_text() == "1\n"


def test_a_range_of_ports_leads_to_a_range(host: Host) -> None:
    ports = tuple(PortMapping(None, 8000 + n, 80 + n, "tcp") for n in range(3))
    host.start("a", ports=ports)
    assert attachments(host.state("a"))[0].ports == ports
    with listen(host.namespace("a"), 82) as server:
        assert caller(server, "127.0.0.1", 8002) is not None
        assert caller(server, "127.0.0.1", 8003) is None
