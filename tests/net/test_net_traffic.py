"""Who reaches whom: pod, host and another machine, with real plugins."""

import contextlib
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from rktsd.net.namespace import entered
from rktsd.net.setup import attachments, set_up, tear_down
from tests.net.machines import HOST, OTHER, Host, caller, echo_udp, listen, published


@pytest.mark.row("net_nspawn/NetNone")
def test_none_has_only_lo_which_is_up(host: Host) -> None:
    done = set_up(host.state("a"), container_id="a", namespace=host.namespace("a"))
    assert done == []
    command = ["ip", "-n", "rkt-a", "-j", "link"]
    links = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert [link["ifname"] for link in links] == ["lo"]
    assert "UP" in links[0]["flags"]
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, "127.0.0.1", 80, via=host.namespace("a")) == "127.0.0.1"
        assert caller(server, "127.0.0.1", 80) is None


@pytest.mark.row("net_nspawn/DefaultConnectivity", "net_nspawn/DefaultGW")
def test_default_pod_and_host_reach_each_other(host: Host) -> None:
    pod = host.start("a")
    assert (pod.interface, pod.ip4, pod.prefix) == ("eth0", "172.16.28.2", 24)
    assert pod.gateway == "172.16.28.1"
    assert attachments(host.state("a")) == [pod]
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, str(pod.ip4), 80) == "172.16.28.1"
    with listen(None, 8000) as server:
        assert caller(server, str(pod.gateway), 8000, via=host.namespace("a")) == pod.ip4


@pytest.mark.row("net_nspawn/DefaultConnectivity")
def test_default_pod_reaches_another_machine_as_the_host(host: Host) -> None:
    host.start("a")
    with listen(host.other, 80) as server:
        assert caller(server, OTHER, 80, via=host.namespace("a")) == HOST


@pytest.mark.row("net_nspawn/CustomPtp")
def test_default_pods_reach_each_other_without_masquerading(host: Host) -> None:
    first, second = host.start("a"), host.start("b")
    with listen(host.namespace("b"), 80) as server:
        assert caller(server, str(second.ip4), 80, via=host.namespace("a")) == first.ip4


@pytest.mark.row("net_nspawn/DefaultRestrictedConnectivity")
def test_default_restricted_reaches_only_the_host(host: Host) -> None:
    pod = host.start("a", "default-restricted")
    assert str(pod.ip4).startswith("172.31.0.")
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, str(pod.ip4), 80) == pod.gateway
    with listen(host.other, 80) as server:
        assert caller(server, OTHER, 80, via=host.namespace("a")) is None


@pytest.mark.row("net_nspawn/PortFwdConnectivity")
def test_published_port_answers_on_every_address_of_the_host(host: Host) -> None:
    host.start("a", ports=(published(8080),))
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, HOST, 8080, via=host.other) == OTHER
        assert caller(server, HOST, 8080) is not None
        assert caller(server, "127.0.0.1", 8080) is not None
        assert caller(server, HOST, 8081, via=host.other) is None


def test_published_udp_port_answers(host: Host) -> None:
    host.start("a", ports=(published(5353, protocol="udp"),))
    namespace = host.namespace("a")
    assert echo_udp(namespace, HOST, 5353, via=host.other) == b"PING"
    assert echo_udp(namespace, "127.0.0.1", 5353) == b"PING"


def test_published_port_is_reachable_by_other_pods_and_by_itself(host: Host) -> None:
    host.start("a", ports=(published(8080),))
    host.start("b")
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, HOST, 8080, via=host.namespace("b")) is not None
        assert caller(server, HOST, 8080, via=host.namespace("a")) is not None


@pytest.mark.row("net_nspawn/PortFwdConnectivity")
@pytest.mark.parametrize(
    ("listen_ip", "reached", "closed"),
    [(HOST, HOST, "127.0.0.1"), ("127.0.0.1", "127.0.0.1", HOST)],
)
def test_listen_address_means_only_that(
    host: Host, listen_ip: str, reached: str, closed: str
) -> None:
    host.start("a", ports=(published(8080, ip=listen_ip),))
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, reached, 8080) is not None
        assert caller(server, closed, 8080) is None
        from_outside = caller(server, HOST, 8080, via=host.other)
        assert from_outside == (OTHER if listen_ip == HOST else None)


def test_port_of_a_restricted_network_is_published_on_the_host(host: Host) -> None:
    host.start("a", "default-restricted", ports=(published(8080),))
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, "127.0.0.1", 8080) is not None


@pytest.mark.row("net_nspawn/DefaultIPArg")
def test_address_can_be_asked_for(host: Host) -> None:
    assert host.start("a", "default:IP=172.16.28.77").ip4 == "172.16.28.77"


@pytest.mark.row("net_nspawn/LongName")
def test_administrators_bridge_beside_the_default_network(host: Host) -> None:
    name = "lab-network-with-a-long-name"
    bridge = {
        "name": name,
        "type": "bridge",
        "bridge": "lab0",
        "isGateway": True,
        "ipam": {"type": "host-local", "subnet": "10.7.0.0/24"},
        "dns": {"nameservers": ["10.7.0.1"], "search": ["lab.example"]},
    }
    Path(host.paths.local_config, "net.d", "10-lab.conf").write_text(json.dumps(bridge))
    host.start("a", "default", name, ports=(published(8080),))
    lab, default = attachments(host.state("a"))
    assert (lab.network, lab.interface, lab.ip4) == (name, "eth0", "10.7.0.2")
    assert (lab.nameservers, lab.search) == (("10.7.0.1",), ("lab.example",))
    assert (default.network, default.interface) == ("default", "eth1")
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, "10.7.0.2", 80) == "10.7.0.1"
        assert caller(server, "127.0.0.1", 8080) == "172.16.28.1"
    assert os.listdir("/run/rkt/networks/default") != []


def test_ip_netns_and_a_later_namespace_of_its_own_do_not_hide_ours(host: Host) -> None:
    # As on a machine where nobody made a namespace before.
    subprocess.run(["umount", "-R", "/run/netns"], check=True)
    set_up(host.state("a"), container_id="a", namespace=host.namespace("a"))
    subprocess.run(["ip", "netns", "add", "later"], check=True)
    listed = subprocess.run(["ip", "netns"], capture_output=True, check=True, text=True).stdout
    assert "rkt-a" in listed
    assert "later" in listed
    tear_down(host.state("a"))
    assert "rkt-a" not in os.listdir("/run/netns")
    with open("/proc/self/mountinfo", encoding="ascii") as mounts:
        assert "rkt-a" not in mounts.read()


LAB = {
    "name": "lab", "type": "bridge", "bridge": "lab0", "isGateway": True, "ipMasq": True,
    "hairpinMode": True,
    "ipam": {"type": "host-local", "subnet": "10.7.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]},
}  # fmt: skip


@pytest.mark.row("net_nspawn/PortFwdConnectivity")
@pytest.mark.parametrize("network", ["default", "lab"])
@pytest.mark.parametrize("port", [80, 8080])
@pytest.mark.parametrize("place", ["gateway", "127.0.0.1", HOST])
def test_ports_answer_on_networks_of_all_kinds(
    host: Host, network: str, port: int, place: str
) -> None:
    Path(host.paths.local_config, "net.d", "lab.conf").write_text(json.dumps(LAB))
    pod = host.start("a", network, ports=(published(port),))
    neighbour = host.start("b", network)
    address = str(pod.gateway) if place == "gateway" else place
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, address, port) is not None
        if place != "127.0.0.1":
            # Also from the pod itself, and from one that shares its wire.
            assert caller(server, address, port, via=host.namespace("a")) is not None
            assert caller(server, address, port, via=host.namespace("b")) is not None
        assert caller(server, str(pod.ip4), 80, via=host.namespace("b")) == neighbour.ip4


@pytest.mark.parametrize("network", ["default", "lab"])
def test_a_port_of_localhost_is_no_other_machines(host: Host, network: str) -> None:
    Path(host.paths.local_config, "net.d", "lab.conf").write_text(json.dumps(LAB))
    only, everywhere = published(8080, ip="127.0.0.1"), published(8081)
    host.start("a", network, ports=(only, everywhere, published(8080, protocol="udp")))
    host.start("b", network)
    # A machine can send what it likes.
    for command in (
        "ip -n other route add 127.0.0.0/8 via 192.0.2.1",
        "ip netns exec other sysctl -qw net.ipv4.conf.all.route_localnet=1",
    ):
        subprocess.run(command.split(), check=True)
    others = (host.other, host.namespace("b"))
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, "127.0.0.1", 8080) is not None
        assert caller(server, "127.0.0.2", 8080) is None
        for via in others:
            assert caller(server, HOST, 8080, via=via) is None
            assert caller(server, HOST, 8081, via=via) is not None
            for port in (8080, 8081):
                assert caller(server, "127.0.0.1", port, via=via) is None
    assert echo_udp(host.namespace("a"), "127.0.0.1", 8080, via=host.other) is None
    assert echo_udp(host.namespace("a"), HOST, 8080, via=host.other) == b"PING"


@pytest.mark.row("net_nspawn/CustomPtp", "net_nspawn/Override")
def test_a_network_of_ptp_and_an_address_by_argument(host: Host) -> None:
    ptp = {"type": "ptp", "name": "lab", "ipam": LAB["ipam"]}
    Path(host.paths.local_config, "net.d", "lab.conf").write_text(json.dumps(ptp))
    first, second = host.start("a", "lab:IP=10.7.0.9"), host.start("b", "lab")
    assert first.ip4 == "10.7.0.9"
    with listen(None, 8000) as server:
        assert caller(server, str(first.gateway), 8000, via=host.namespace("a")) == "10.7.0.9"
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, "10.7.0.9", 80, via=host.namespace("b")) == second.ip4


def test_connections_are_forgotten_with_the_pod(host: Host) -> None:
    pod = host.start("a", ports=(published(8080), published(5353, protocol="udp")))
    with listen(host.namespace("a"), 80) as server, socket.socket() as client:
        client.connect(("127.0.0.1", 8080))
        with server.accept()[0]:
            echo_udp(host.namespace("a"), HOST, 5353, via=host.other)
            assert str(pod.ip4) in tracked()
            tear_down(host.state("a"))
            assert str(pod.ip4) not in tracked()


def tracked() -> str:
    return Path("/proc/thread-self/net/nf_conntrack").read_text()


def test_who_sent_datagrams_before_is_answered_by_the_pod(host: Host) -> None:
    with entered(host.other):
        client = socket.socket(type=socket.SOCK_DGRAM)
    with client:
        client.connect((HOST, 5353))
        client.send(b"nobody there")
        # The refusal is what the kernel knows of the connection, until it forgets.
        host.start("a", ports=(published(5353, protocol="udp"),))
        with entered(host.namespace("a")):
            server = socket.socket(type=socket.SOCK_DGRAM)
            server.bind(("0.0.0.0", 80))
        with server:
            server.settimeout(10)
            with contextlib.suppress(ConnectionRefusedError):
                client.send(b"ping")
            client.send(b"ping")
            assert server.recv(16) == b"ping"
