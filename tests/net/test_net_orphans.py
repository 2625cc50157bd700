"""Networks whose state is lost, of runs that a reboot ended, or that somebody else got at."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rktsd.errors import NetworkError
from rktsd.net.config import networks
from rktsd.net.orphans import remove_orphans
from rktsd.net.setup import Attachment, release_lasting, set_up, tear_down, tend
from tests.net.machines import (
    BY_PLUGIN,
    HOST,
    OTHER,
    Host,
    caller,
    give_ipv6,
    listen,
    published,
    ruleset,
    traces,
    write_network,
    write_plugin,
)

GONE = "aaaaaaaa-0000-4000-8000-000000000001"
STAYS = "bbbbbbbb-0000-4000-8000-000000000002"
NATIVE = (
    "nft add table inet guard",
    "nft add chain inet guard forward { type filter hook forward priority 0 ; policy drop ; }",
)


def collect(host: Host, *known: str) -> list[str]:
    found = remove_orphans(host.paths.run, ids=lambda: set(known), networks=["default", "lab"])
    return [str(error) for error in found]


@pytest.mark.parametrize("family", [4, 6])
def test_everything_without_a_state_goes_and_nothing_else(host: Host, family: int) -> None:
    if family == 6:
        give_ipv6()
    for command in NATIVE:
        subprocess.run(command.split(), check=True)
    host.start(STAYS, ports=(published(8081),))
    before, rules = traces(), ruleset()
    host.start(GONE, ports=(published(8080), published(5353, protocol="udp")))
    shutil.rmtree(host.state(GONE))
    assert collect(host) == []
    os.rmdir(f"/run/rkt/pods/{GONE}")
    assert (traces(), ruleset()) == (before, rules)
    with listen(host.namespace(STAYS), 80) as server:
        assert caller(server, HOST, 8081, via=host.other) == OTHER
    tear_down(host.state(STAYS))


def test_rules_of_plugins_go_where_the_network_is_one_of_ours(host: Host) -> None:
    ipam = {"type": "host-local", "subnet": "10.7.0.0/24"}
    for name in ("lab", "foreign"):
        write_network(host, name, type="ptp", **BY_PLUGIN, ipam=ipam)
    host.start(GONE, "lab")
    shutil.rmtree(host.state(GONE))
    host.start(STAYS, "foreign")
    shutil.rmtree(host.state(STAYS))
    assert collect(host, STAYS) == []
    assert f"rkt-{STAYS}" in traces()["namespaces"]
    assert not any(GONE in line for line in traces()["rules"])
    assert any(STAYS in line for line in traces()["rules"])
    assert collect(host) == []
    assert any(STAYS in line for line in traces()["rules"])


def test_what_is_not_called_as_ours_stays(host: Host) -> None:
    for name in ("mine", "rkt-mine", "cni-1", f"x-{GONE}"):
        subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "link", "add", "veth0", "type", "veth", "peer", "veth1"], check=True)
    mark = ["-m", "comment", "--comment", "rkt:of-somebody"]
    subprocess.run(["iptables", "-t", "nat", "-A", "OUTPUT", *mark], check=True)
    before = traces()
    assert collect(host) == []
    assert traces() == before


def test_cable_whose_namespace_lives_on_is_cut(host: Host) -> None:
    before = traces()
    host.start(GONE)
    with subprocess.Popen(["ip", "netns", "exec", f"rkt-{GONE}", "cat"], stdin=-1) as inside:
        shutil.rmtree(host.state(GONE))
        assert collect(host) == []
        os.rmdir(f"/run/rkt/pods/{GONE}")
        assert traces() == before
        inside.kill()


def test_broken_remains_do_not_keep_the_others(host: Host) -> None:
    before = traces()
    host.start(GONE)
    shutil.rmtree(host.state(GONE))
    os.makedirs("/run/rkt/networks/odd")
    Path("/run/rkt/networks/odd/lock").mkdir()
    Path("/run/rkt/networks/odd/10.0.0.1").mkdir()
    (error,) = collect(host)
    assert "10.0.0.1" in error
    assert traces()["links"] == before["links"]
    assert traces()["namespaces"] == before["namespaces"]


def lasting(host: Host, pod: str, *wanted: str) -> tuple[Attachment, str]:
    """Start a pod whose addresses are kept on disk."""
    data = f"{host.paths.local_config}/addresses"
    ipam = {"type": "host-local", "subnet": "10.8.0.0/29", "dataDir": data}
    write_network(host, "kept", type="ptp", ipam=ipam)
    file = f"{host.paths.local_config}/{pod}.json"
    found = set_up(
        host.state(pod),
        container_id=pod,
        namespace=host.namespace(pod),
        networks=networks(host.paths, wanted),
        lasting=file,
    )
    return found[0], file


def reserved(host: Host) -> list[str]:
    return sorted(
        name
        for name in os.listdir(f"{host.paths.local_config}/addresses/kept")
        if name.startswith("10.")
    )


def test_addresses_kept_on_disk_are_released_after_a_reboot(host: Host) -> None:
    pod, file = lasting(host, "a", "kept")
    assert reserved(host) == [pod.ip4]
    # The run of the machine ends; and meanwhile somebody changed the file.
    shutil.rmtree("/run/rkt")
    subprocess.run(["ip", "netns", "delete", "rkt-a"], check=True)
    write_network(host, "kept", type="ptp", ipam={"type": "host-local", "subnet": "10.9.0.0/29"})
    release_lasting(file)
    assert reserved(host) == []
    assert not os.path.exists(file)
    release_lasting(file)


def test_nothing_is_kept_on_disk_without_need(host: Host) -> None:
    _, file = lasting(host, "a", "default")
    assert not os.path.exists(file)
    _, file = lasting(host, "b", "kept")
    assert os.path.exists(file)
    tear_down(host.state("b"))
    assert not os.path.exists(file)


def test_a_release_after_a_reboot_that_fails_can_be_repeated(host: Host) -> None:
    _, file = lasting(host, "a", "kept")
    shutil.rmtree("/run/rkt")
    write_plugin(host, "ptp", 'echo \'{"code": 7, "msg": "not today"}\'; exit 1')
    with pytest.raises(NetworkError, match="network 'kept': plugin ptp: DEL: not today"):
        release_lasting(file)
    os.unlink(f"{host.paths.local_config}/net.d/ptp")
    release_lasting(file)
    assert reserved(host) == []


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("true", []),
        ("ip -n rkt-a addr flush dev eth0", ["network 'lab': plugin ptp: CHECK: "]),
        ("iptables -t nat -F", ["rules of the host's firewall were missing, and are made anew"]),
    ],
)
def test_running_networks_are_looked_after(host: Host, damage: str, told: list[str]) -> None:
    ipam = {"type": "host-local", "subnet": "10.7.0.0/24"}
    write_network(host, "lab", type="ptp", cniVersion="1.0.0", ipam=ipam)
    host.start("a", "lab", ports=(published(8080),))
    subprocess.run(damage.split(), check=True)
    found = tend(host.state("a"), forward=True)
    assert len(found) == len(told)
    assert all(line.startswith(beginning) for line, beginning in zip(found, told, strict=True))


def test_a_network_that_is_being_set_up_is_left_alone(host: Host) -> None:
    assert tend(host.state("a"), forward=True) == []
    host.start("a", ports=(published(8080),))
    with subprocess.Popen(["flock", host.state("a"), "cat"], stdin=-1, stdout=-1) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"x\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"x\n"
        subprocess.run(["iptables", "-t", "nat", "-F"], check=True)
        assert tend(host.state("a"), forward=True) == []
        holder.stdin.close()


SPEAKS = """case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "0.4.0", "supportedVersions": [VERSIONS]}' ;;
*)
    grep -q '"cniVersion": "\\(ACCEPTED\\)"' || { echo '{"code": 1, "msg": "which?"}'; exit 1; }
    echo $CNI_COMMAND >>/run/spoken
    echo '{"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.1.1.1/24"}]}' ;;
esac
"""


def speaking(host: Host, *versions: str) -> None:
    script = SPEAKS.replace("VERSIONS", json.dumps(versions).strip("[]"))
    write_plugin(host, "old", script.replace("ACCEPTED", "\\|".join(versions)))


def test_version_is_agreed_upon_with_plugins(host: Host) -> None:
    speaking(host, "0.2.0", "0.3.0", "0.3.1")
    write_network(host, "lab", type="old")
    assert host.start("a", "lab").ip4 == "10.1.1.1"
    state = json.loads(Path(host.state("a"), "state.json").read_text())
    assert state["joined"][0]["config"]["cni_version"] == "0.3.1"
    assert tend(host.state("a"), forward=True) == []
    tear_down(host.state("a"))
    assert Path("/run/spoken").read_text().split() == ["ADD", "DEL"]


def test_versions_of_the_file_bound_the_agreement(host: Host) -> None:
    speaking(host, "0.3.1")
    write_network(host, "lab", type="old", cniVersion="1.0.0")
    message = r"plugin old: ADD: which\? \(wanted: 1\.0\.0; old speaks 0\.3\.1\)"
    with pytest.raises(NetworkError, match=message):
        host.start("a", "lab")
    write_network(host, "lab", type="old", cniVersion="1.0.0", cniVersions=["1.1.0", "0.3.1"])
    assert host.start("a", "lab").ip4 == "10.1.1.1"
