"""Hosts that drop what they forward, by whatever means: pods get through, and nothing else does."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from rktsd.errors import NetworkError
from rktsd.host import process
from rktsd.net.openings import mend
from rktsd.net.setup import tear_down, tend
from rktsd.net.state import load
from tests.net.machines import (
    HOST,
    HOST6,
    OTHER,
    OTHER6,
    Host,
    caller,
    give_ipv6,
    listen,
    published,
    ruleset,
    traces,
)

IPTABLES = ("iptables -P FORWARD DROP", "ip6tables -P FORWARD DROP")
REJECTING = ("iptables -A FORWARD -j REJECT", "ip6tables -A FORWARD -j REJECT")
NATIVE = (
    "nft add table inet guard",
    "nft add chain inet guard forward { type filter hook forward priority 0 ; policy drop ; }",
    "nft add chain inet guard input { type filter hook input priority 0 ; policy accept ; }",
)
LATER = (
    "nft add table ip guard",
    "nft add chain ip guard last { type filter hook forward priority 50 ; policy accept ; }",
    "nft add rule ip guard last counter reject",
)
WAYS = [IPTABLES, REJECTING, NATIVE, LATER, (*IPTABLES, *NATIVE)]


def forbid(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True)


@pytest.mark.parametrize("commands", WAYS)
def test_pods_reach_out_and_are_reached_by_what_they_publish(
    host: Host, commands: tuple[str, ...]
) -> None:
    forbid(*commands)
    before, rules = traces(), ruleset()
    host.start("a", ports=(published(8080),))
    other = host.start("b")
    with listen(host.other, 80) as server:
        assert caller(server, OTHER, 80, via=host.namespace("a")) == HOST
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, HOST, 8080, via=host.other) == OTHER
        assert caller(server, "127.0.0.1", 8080) is not None
        # Nothing but what was published, though there is a way.
        forbid("ip -n other route add 172.16.28.0/24 via 192.0.2.1")
        assert caller(server, "172.16.28.2", 80, via=host.other) is None
        assert caller(server, "172.16.28.2", 80, via=host.namespace("b")) == other.ip4
    tear_down(host.state("a"))
    tear_down(host.state("b"))
    assert (traces(), ruleset()) == (before, rules)


@pytest.mark.parametrize("commands", [IPTABLES, NATIVE])
def test_ipv6_gets_through_as_well(host: Host, commands: tuple[str, ...]) -> None:
    give_ipv6()
    forbid(*commands)
    before, rules = traces(), ruleset()
    host.start("a", ports=(published(8080),))
    with listen(host.other, 80, address="::") as server:
        assert caller(server, OTHER6, 80, via=host.namespace("a")) == HOST6
    with listen(host.namespace("a"), 80, address="::") as server:
        assert caller(server, HOST6, 8080, via=host.other) == OTHER6
    tear_down(host.state("a"))
    assert (traces(), ruleset()) == (before, rules)


def test_networks_of_the_administrator_get_through(host: Host) -> None:
    forbid(*IPTABLES, *NATIVE)
    ipam = {"type": "host-local", "subnet": "10.7.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "lab0", "isGateway": True, "ipMasq": True, "ipam": ipam}
    file = Path(host.paths.local_config, "net.d", "lab.conf")
    file.write_text(json.dumps({"name": "lab", **bridge}))
    host.start("a", "lab", ports=(published(8080),))
    with listen(host.other, 80) as server:
        assert caller(server, OTHER, 80, via=host.namespace("a")) == HOST
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, HOST, 8080, via=host.other) == OTHER


def test_masquerading_of_an_administrators_network_is_mended(host: Host) -> None:
    ipam = {"type": "host-local", "subnet": "10.7.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
    plugin = {"type": "ptp", "ipMasq": True, "ipam": ipam}
    file = Path(host.paths.local_config, "net.d", "lab.conflist")
    file.write_text(json.dumps({"name": "lab", "plugins": [plugin]}))
    before = traces()
    host.start("a", "lab", ports=(published(8080),))
    for damage in (None, "nft flush ruleset"):
        if damage:
            forbid(damage)
            assert tend(host.state("a"), forward=True) != []
        with listen(host.other, 80) as server:
            assert caller(server, OTHER, 80, via=host.namespace("a")) == HOST
        with listen(host.namespace("a"), 80) as server:
            assert caller(server, HOST, 8080, via=host.other) == OTHER
    tear_down(host.state("a"))
    assert traces() == before


def test_a_restricted_network_stays_restricted(host: Host) -> None:
    forbid(*IPTABLES)
    host.start("a", "default-restricted")
    forbid("ip -n rkt-a route add default via 172.31.0.1")
    with listen(host.other, 80) as server:
        assert caller(server, OTHER, 80, via=host.namespace("a")) is None


def test_a_host_that_forwards_anyway_gets_no_rules_for_that(host: Host) -> None:
    host.start("a", ports=(published(8080),))
    listed = subprocess.run(["nft", "list", "chains"], capture_output=True, check=True, text=True)
    assert "PREROUTING" in listed.stdout
    assert "FORWARD" not in listed.stdout


@pytest.mark.parametrize(
    "damage",
    [
        "nft flush ruleset",
        "iptables -t nat -F",
        "iptables -t nat -F RKT-PFWD-DNAT-a",
        "iptables -t raw -F",
        "iptables -P FORWARD DROP",
    ],
)
def test_what_others_removed_or_forbade_is_mended(host: Host, damage: str) -> None:
    before = traces()
    host.start("a", ports=(published(8080),))
    state = load(host.state("a"))
    assert state is not None
    with open(os.devnull) as lock:
        assert not mend(host.state("a"), state, forward=True, lock=lock.fileno())
        forbid(damage)
        assert mend(host.state("a"), state, forward=True, lock=lock.fileno())
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, HOST, 8080, via=host.other) == OTHER
    with listen(host.other, 80) as server:
        assert caller(server, OTHER, 80, via=host.namespace("a")) == HOST
    tear_down(host.state("a"))
    assert traces() == before


@pytest.mark.parametrize("forward", [True, False])
def test_a_firewall_that_is_loaded_anew_is_told_again(host: Host, forward: bool) -> None:
    forbid(*NATIVE)
    host.start("a")
    assert tend(host.state("a"), forward=True) == []
    forbid("nft flush table inet guard")
    assert len(tend(host.state("a"), forward=forward)) == forward
    assert tend(host.state("a"), forward=forward) == []
    with listen(host.other, 80) as server:
        assert (caller(server, OTHER, 80, via=host.namespace("a")) == HOST) is forward


def test_firewall_of_an_administrator_who_reloads_it_is_no_hindrance_to_release(host: Host) -> None:
    forbid(*NATIVE)
    host.start("a", ports=(published(8080),))
    forbid("nft delete table inet guard")
    tear_down(host.state("a"))
    assert ruleset() == []


def test_a_pod_cannot_reach_the_localhost_of_the_host(host: Host) -> None:
    host.start("a", ports=(published(8080, ip="127.0.0.1"),))
    for command in (
        "ip netns exec rkt-a sysctl -qw net.ipv4.conf.all.route_localnet=1",
        "ip -n rkt-a addr del 127.0.0.1/8 dev lo",
        "ip -n rkt-a route add 127.0.0.0/8 via 172.16.28.1",
    ):
        forbid(command)
    with listen(None, 8000, address="127.0.0.1") as server:
        assert caller(server, "127.0.0.1", 8000, via=host.namespace("a")) is None


def only(monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    """Of the programs of the host, leave these: NAME leads to a path, or is a script."""
    os.mkdir("/run/bin")
    for name, content in programs.items():
        path = f"/run/bin/{name.replace('_', '-')}"
        if content.startswith("#!"):
            Path(path).write_text(content)
            os.chmod(path, 0o755)
        else:
            os.symlink(content, path)
    monkeypatch.setitem(process.ENVIRONMENT, "PATH", "/run/bin")


def test_iptables_that_fails_is_an_error_that_leaves_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = traces()
    only(
        monkeypatch,
        ip="/usr/sbin/ip",
        iptables="/usr/sbin/iptables",
        iptables_save="/usr/sbin/iptables-save",
        iptables_restore="#!/bin/sh\necho no such table >&2; exit 1\n",
    )
    with pytest.raises(NetworkError, match=r"cannot make firewall rules: .*no such table"):
        host.start("a", ports=(published(8080),))
    assert traces() == before


def test_a_host_without_iptables_is_told_what_to_install(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = traces()
    only(monkeypatch, ip="/usr/sbin/ip")
    with pytest.raises(NetworkError) as caught:
        host.start("a", ports=(published(8080),))
    said = "network 'default' needs the program iptables, which is not installed"
    assert str(caught.value) == f"{said} (apt install iptables)"
    # Where no rules are needed, there is no need of the program.
    assert host.start("b", "default-restricted").ip4
    tear_down(host.state("b"))
    assert traces() == before


def test_a_host_without_nft_is_told_what_to_install(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(*NATIVE)
    before = traces()
    names = ("ip", "iptables", "iptables-save", "iptables-restore", "ip6tables-save")
    only(monkeypatch, **{name: f"/usr/sbin/{name}" for name in names})
    with pytest.raises(NetworkError) as caught:
        host.start("a")
    said = "the host has rules of nftables (inet guard forward) that may drop what pods send"
    wanted = f"{said}, and the program nft is not installed (apt install nftables)"
    assert str(caught.value) == wanted
    assert traces() == before


def test_the_old_iptables_does_as_well(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{name}{kind}" for name in ("iptables", "ip6tables") for kind in ("", "-save")]
    names += ["iptables-restore", "ip6tables-restore"]
    # The program reads off its name what it is to do.
    old = dict.fromkeys(names, "/usr/sbin/xtables-legacy-multi")
    only(monkeypatch, ip="/usr/sbin/ip", **old)
    before = _old_rules()
    forbid("/usr/sbin/iptables-legacy -P FORWARD DROP")
    host.start("a", ports=(published(8080),))
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, HOST, 8080, via=host.other) == OTHER
        assert caller(server, "127.0.0.1", 8080) is not None
    with listen(host.other, 80) as server:
        assert caller(server, OTHER, 80, via=host.namespace("a")) == HOST
    forbid("/usr/sbin/iptables-legacy -t nat -F")
    assert tend(host.state("a"), forward=True) != []
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, HOST, 8080, via=host.other) == OTHER
    assert ruleset() == []
    tear_down(host.state("a"))
    assert _old_rules() == before


def _old_rules() -> list[str]:
    saved = subprocess.run("iptables-legacy-save", capture_output=True, check=True, text=True)
    return [line for line in saved.stdout.splitlines() if line.startswith(("-A", ":RKT"))]
