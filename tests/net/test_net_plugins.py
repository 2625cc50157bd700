"""The administrator's networks: CNI configurations of every version, with Debian's plugins."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from rktsd.errors import NetworkError
from rktsd.net.config import networks
from rktsd.net.setup import attachments, set_up, tear_down
from tests.net.machines import BY_PLUGIN, Host, caller, listen, published, traces, write_plugin


def write(host: Host, file: str, conf: Mapping[str, object]) -> None:
    Path(host.paths.local_config, "net.d", file).write_text(json.dumps(conf))


def host_local(subnet: str) -> dict[str, object]:
    return {"type": "host-local", "subnet": subnet, "routes": [{"dst": "0.0.0.0/0"}]}


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_a_chain_of_every_version_comes_up_and_goes(host: Host, version: str) -> None:
    bridge = {
        "type": "bridge", "bridge": "lab0", "isGateway": True, **BY_PLUGIN,
        "ipam": host_local("10.7.0.0/24"),
    }  # fmt: skip
    tuning = {"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}, "mtu": 1400}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    # Debian's firewall knows no earlier version.
    firewall = [{"type": "firewall"}] if version >= "0.4.0" else []
    plugins = [bridge, *firewall, tuning, portmap]
    write(host, "lab.conflist", {"name": "lab", "cniVersion": version, "plugins": plugins})
    host.start("first", "lab")
    tear_down(host.state("first"))
    before = _without_chains()
    pod = host.start("a", "lab", ports=(published(8080),))
    assert pod.ip4 is not None
    assert pod.ip4.startswith("10.7.0.")
    assert "1400" in _inside("a", "link", "show", "eth0")
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, "127.0.0.1", 8080) is not None
    tear_down(host.state("a"))
    assert _without_chains() == before


def _without_chains() -> dict[str, list[str]]:
    """Routes of a bridge whose last port is gone come and go with its carrier."""
    return {kind: lines for kind, lines in traces().items() if kind != "routes"}


def _inside(pod: str, *command: str) -> str:
    done = subprocess.run(
        ["ip", "-n", f"rkt-{pod}", *command], capture_output=True, check=True, text=True
    )
    return done.stdout


@pytest.mark.row("net_nspawn/CustomMacvlan")
def test_pods_on_a_macvlan_talk(host: Host) -> None:
    ipam = {"type": "host-local", "subnet": "10.8.0.0/24"}
    write(host, "mac.conf", {"name": "mac", "type": "macvlan", "master": "lan", "ipam": ipam})
    before = traces()
    first, second = host.start("a", "mac"), host.start("b", "mac")
    with listen(host.namespace("b"), 80) as server:
        assert caller(server, str(second.ip4), 80, via=host.namespace("a")) == first.ip4
    tear_down(host.state("a"))
    tear_down(host.state("b"))
    assert traces() == before


@pytest.mark.row("net_nspawn/CustomBridge")
def test_pods_on_a_bridge_talk(host: Host) -> None:
    conf = {"name": "br", "type": "bridge", "bridge": "br7", "ipam": host_local("10.9.0.0/24")}
    write(host, "br.conf", conf)
    first, second = host.start("a", "br"), host.start("b", "br")
    with listen(host.namespace("b"), 80) as server:
        assert caller(server, str(second.ip4), 80, via=host.namespace("a")) == first.ip4


def test_static_address_of_the_file(host: Host) -> None:
    ipam = {"type": "static", "addresses": [{"address": "10.6.0.5/24", "gateway": "10.6.0.1"}]}
    write(host, "st.conf", {"name": "st", "type": "bridge", "bridge": "st0", "ipam": ipam})
    assert host.start("a", "st").ip4 == "10.6.0.5"


@pytest.mark.row("net_nspawn/Override")
def test_capabilities_take_address_and_mac_from_the_arguments(host: Host) -> None:
    bridge = {
        "type": "bridge", "bridge": "st0", "capabilities": {"ips": True, "mac": True},
        "ipam": {"type": "static"},
    }  # fmt: skip
    write(host, "st.conflist", {"name": "st", "cniVersion": "0.4.0", "plugins": [bridge]})
    pod = host.start("a", "st:IgnoreUnknown=1;IP=10.6.0.9/24;MAC=02:00:00:00:00:09")
    assert (pod.ip4, pod.mac) == ("10.6.0.9", "02:00:00:00:00:09")


@pytest.mark.row("net_nspawn/IPConflict")
def test_one_address_cannot_be_had_twice(host: Host) -> None:
    host.start("a", "default:IP=172.16.28.9")
    before = traces()
    with pytest.raises(NetworkError, match=r"172\.16\.28\.9"):
        host.start("b", "default:IP=172.16.28.9")
    assert traces() == before
    assert attachments(host.state("a"))[0].ip4 == "172.16.28.9"


@pytest.mark.row("net_nspawn/CNIEnv")
@pytest.mark.parametrize("kind", ["ADD", "DEL"])
def test_plugins_see_the_documented_environment(host: Host, kind: str) -> None:
    plugin = Path(host.paths.local_config, "net.d", "spy")
    result = json.dumps({"cniVersion": "0.4.0", "ips": []})
    plugin.write_text(f"#!/bin/sh\nenv >/run/spy.$CNI_COMMAND\necho '{result}'\n")
    plugin.chmod(0o755)
    write(host, "spy.conf", {"name": "spy", "type": "spy"})
    host.start("a", "spy:K=V")
    tear_down(host.state("a"))
    seen = dict(line.split("=", 1) for line in Path(f"/run/spy.{kind}").read_text().splitlines())
    assert {name: value for name, value in seen.items() if name.startswith("CNI_")} == {
        "CNI_COMMAND": kind,
        "CNI_CONTAINERID": "a",
        "CNI_NETNS": "/run/netns/rkt-a",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "K=V",
        "CNI_PATH": f"{host.paths.local_config}/net.d:/usr/lib/rkt/net.d"
        ":/usr/lib/rkt/plugins/net:/usr/lib/cni:/opt/cni/bin",
    }


def test_capabilities_bring_ports_and_limits(host: Host) -> None:
    result = json.dumps({"cniVersion": "0.4.0", "ips": []})
    write_plugin(host, "spy", f"cat >/run/spy.conf\necho '{result}'")
    capabilities = {"portMappings": True, "bandwidth": True, "ips": True, "aliases": True}
    plugins = [{"type": "spy", "capabilities": capabilities}]
    write(host, "spy.conflist", {"name": "spy", "cniVersion": "0.4.0", "plugins": plugins})
    set_up(
        host.state("a"),
        container_id="a",
        namespace=host.namespace("a"),
        networks=networks(host.paths, ["spy"]),
        ports=(published(8080),),
        bandwidth=1 << 20,
    )
    seen = json.loads(Path("/run/spy.conf").read_text())
    assert "capabilities" not in seen
    rates = {f"{way}Rate": 1 << 23 for way in ("ingress", "egress")}
    bursts = {f"{way}Burst": 838860 for way in ("ingress", "egress")}
    assert seen["runtimeConfig"] == {
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": rates | bursts,
    }
