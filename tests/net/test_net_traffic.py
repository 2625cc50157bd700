"""Who reaches whom: pod, host and another machine, with real plugins."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from rktsd.net.setup import attachments, set_up, tear_down
from tests.net.machines import HOST, OTHER, Host, caller, echo_udp, listen, published


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


def test_default_pod_and_host_reach_each_other(host: Host) -> None:
    pod = host.start("a")
    assert (pod.interface, pod.ip4, pod.prefix) == ("eth0", "172.16.28.2", 24)
    assert pod.gateway == "172.16.28.1"
    assert attachments(host.state("a")) == [pod]
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, str(pod.ip4), 80) == "172.16.28.1"
    with listen(None, 8000) as server:
        assert caller(server, str(pod.gateway), 8000, via=host.namespace("a")) == pod.ip4


def test_default_pod_reaches_another_machine_as_the_host(host: Host) -> None:
    host.start("a")
    with listen(host.other, 80) as server:
        assert caller(server, OTHER, 80, via=host.namespace("a")) == HOST


def test_default_pods_reach_each_other_without_masquerading(host: Host) -> None:
    first, second = host.start("a"), host.start("b")
    with listen(host.namespace("b"), 80) as server:
        assert caller(server, str(second.ip4), 80, via=host.namespace("a")) == first.ip4


def test_default_restricted_reaches_only_the_host(host: Host) -> None:
    pod = host.start("a", "default-restricted")
    assert str(pod.ip4).startswith("172.31.0.")
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, str(pod.ip4), 80) == pod.gateway
    with listen(host.other, 80) as server:
        assert caller(server, OTHER, 80, via=host.namespace("a")) is None


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


def test_address_can_be_asked_for(host: Host) -> None:
    assert host.start("a", "default:IP=172.16.28.77").ip4 == "172.16.28.77"


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
