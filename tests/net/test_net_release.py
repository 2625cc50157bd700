"""Nothing of a network outlives it, whatever happened to whom and when."""

import itertools
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from rktsd.errors import NetworkError, StoreError
from rktsd.host import process
from rktsd.net.namespace import create, remove
from rktsd.net.setup import set_up, tear_down
from tests.net.machines import (
    BY_PLUGIN,
    HOST,
    Host,
    caller,
    listen,
    published,
    traces,
    write_network,
    write_plugin,
)


def write_default_of_plugins(host: Host) -> None:
    """The network ``default`` as an administrator may have it, with rules that plugins make."""
    ipam = {"type": "host-local", "subnet": "172.16.28.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
    ptp = {"type": "ptp", **BY_PLUGIN, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    conf = {"name": "default", "cniVersion": "1.0.0", "plugins": [ptp, portmap]}
    Path(host.paths.local_config, "net.d", "default.conflist").write_text(json.dumps(conf))


def test_a_released_network_leaves_nothing(host: Host) -> None:
    before = traces()
    host.start("a", ports=(published(8080), published(53, protocol="udp")))
    host.start("b", "default-restricted", ports=(published(8081, ip=HOST),))
    during = traces()
    assert all(during[kind] != before[kind] for kind in before)
    tear_down(host.state("a"))
    tear_down(host.state("b"))
    assert traces() == before
    tear_down(host.state("a"))
    assert traces() == before


def test_what_fails_while_a_plugin_works_leaves_nothing(host: Host) -> None:
    before = traces()
    begun = []

    def fail() -> None:
        begun.append(os.path.lexists(host.namespace("a")))
        raise StoreError("no space")

    with pytest.raises(StoreError, match="no space"):
        host.start("a", "all", ports=(published(8080),), meanwhile=fail)
    assert begun == [True]
    assert traces() == before
    write_plugin(host, "ptp", "cat >/dev/null; exit 1")
    with pytest.raises(NetworkError, match="plugin ptp"):
        host.start("a", ports=(published(8080),), meanwhile=lambda: begun.append(False))
    assert begun == [True, False]
    assert traces() == before


def test_address_and_port_can_be_had_again(host: Host) -> None:
    for _ in range(2):
        pod = host.start("a", "default:IP=172.16.28.9", ports=(published(8080),))
        with listen(host.namespace("a"), 80) as server:
            assert caller(server, "127.0.0.1", 8080) is not None
        assert pod.ip4 == "172.16.28.9"
        tear_down(host.state("a"))


@pytest.mark.row("gc/GCAfterUnmount")
@pytest.mark.parametrize(
    "damage",
    [
        "ip -n rkt-a link del eth0",
        "ip -n rkt-a addr flush dev eth0",
        "umount /run/netns/rkt-a",
        "ip netns del rkt-a",
        "rm -r /run/rkt/networks/default",
        "iptables -t nat -F POSTROUTING",
    ],
)
def test_damage_by_others_does_not_hinder_release(host: Host, damage: str) -> None:
    before = traces()
    host.start("a", ports=(published(8080),))
    subprocess.run(damage.split(), check=True)
    tear_down(host.state("a"))
    assert traces() == before


def test_release_uses_the_configuration_of_the_start(host: Host) -> None:
    ipam = {"type": "host-local", "subnet": "10.8.0.0/24"}
    write_network(host, "lab", type="ptp", **BY_PLUGIN, ipam=ipam)
    before = traces()
    assert host.start("a", "lab").ip4 == "10.8.0.2"
    ipam["subnet"] = "10.9.0.0/24"
    write_network(host, "lab", type="bridge", ipam=ipam)
    tear_down(host.state("a"))
    assert traces() == before


def test_exhausted_range_is_an_error_that_leaves_nothing(host: Host) -> None:
    ipam = {"type": "host-local", "subnet": "10.8.0.0/30"}
    write_network(host, "tiny", type="ptp", **BY_PLUGIN, ipam=ipam)
    host.start("a", "tiny")
    before = traces()
    with pytest.raises(NetworkError, match=r"network 'tiny': plugin ptp: ADD: .*no IP addresses"):
        host.start("b", "tiny", ports=(published(8080),))
    assert traces() == before


def test_failure_of_the_second_network_undoes_the_first(host: Host) -> None:
    write_network(host, "broken", type="ptp", ipam={"type": "host-local", "subnet": "nonsense"})
    before = traces()
    with pytest.raises(NetworkError, match=r"network 'broken': plugin ptp: ADD: .*nonsense"):
        host.start("a", "default", "broken")
    assert traces() == before


@pytest.mark.parametrize("plugin", ["ptp", "portmap"])
@pytest.mark.parametrize("script", ["sleep 1; exec {}", "{}; sleep 1"])
def test_release_waits_for_the_plugin_of_a_killed_start(
    host: Host, plugin: str, script: str
) -> None:
    real = f"/usr/lib/cni/{plugin}"
    slow = f"[ $CNI_COMMAND = ADD ] || exec {real}\n>/run/go\n{script.format(real)}"
    write_default_of_plugins(host)
    write_plugin(host, plugin, slow)
    before = traces()
    starting = host.start_in_process("a", 8080)
    while not os.path.exists("/run/go"):
        assert starting.poll() is None
        time.sleep(0.005)
    starting.kill()
    starting.communicate()
    tear_down(host.state("a"))
    assert traces() == before
    time.sleep(1.2)
    assert traces() == before


def test_start_killed_at_every_step(host: Host) -> None:
    before = traces()
    for step in itertools.count(1):
        starting = host.start_in_process("a", 8080, step=step)
        _, errors = starting.communicate()
        tear_down(host.state("a"))
        assert traces() == before, f"killed before step {step}"
        if starting.returncode == 0:
            break
        assert starting.returncode == -signal.SIGKILL, errors.decode()
    assert step > 15


def test_release_killed_at_every_step(host: Host) -> None:
    before = traces()
    for step in itertools.count(1):
        host.start("a", ports=(published(8080),))
        releasing = host.release_in_process("a", step=step)
        _, errors = releasing.communicate()
        tear_down(host.state("a"))
        assert traces() == before, f"killed before step {step}"
        if releasing.returncode == 0:
            break
        assert releasing.returncode == -signal.SIGKILL, errors.decode()
    assert step > 5


def test_plugin_killed_between_two_rules(host: Host) -> None:
    write_default_of_plugins(host)
    write_plugin(
        host,
        "ptp",
        "if [ $CNI_COMMAND = ADD ]; then PATH=/run/bin:$PATH; fi; exec /usr/lib/cni/ptp",
    )
    os.mkdir("/run/bin")
    wrapper = Path("/run/bin/iptables")
    wrapper.write_text(
        '#!/bin/sh\ncase "$*" in *"-j MASQUERADE"*) kill -9 $PPID; exit 1;; esac\n'
        'exec /usr/sbin/iptables "$@"\n'
    )
    wrapper.chmod(0o755)
    before = traces()
    with pytest.raises(NetworkError, match="network 'default': plugin ptp: ADD"):
        host.start("a")
    assert traces() == before


def test_failed_release_stays_on_record_and_can_be_repeated(host: Host) -> None:
    write_default_of_plugins(host)
    before = traces()
    host.start("a", ports=(published(8080),))
    write_plugin(host, "portmap", 'printf "%s" \'{"code": 7, "msg": "not\\ntoday"}\'; exit 1')
    with pytest.raises(NetworkError, match=r"^network 'default': plugin portmap: DEL: not today$"):
        tear_down(host.state("a"))
    os.unlink(f"{host.paths.local_config}/net.d/portmap")
    tear_down(host.state("a"))
    assert traces() == before


def test_missing_plugin_is_named_before_anything_is_made(host: Host) -> None:
    write_network(host, "odd", type="no-such-plugin")
    before = traces()
    with pytest.raises(NetworkError, match="network 'odd': plugin 'no-such-plugin' not found in"):
        host.start("a", "odd")
    assert traces() == before


def test_missing_iptables_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(process.ENVIRONMENT, "PATH", "/nowhere")
    with pytest.raises(NetworkError, match="'default' needs the program iptables"):
        host.start("a")


def test_network_that_exists_is_not_taken_over(host: Host) -> None:
    host.start("a")
    during = traces()
    with pytest.raises(NetworkError, match="exists already"):
        host.start("a")
    with pytest.raises(NetworkError, match="holds a network that was not released"):
        set_up(host.state("a"), container_id="a", namespace="/run/netns/free")
    with pytest.raises(NetworkError, match="/run/netns/rkt-a exists already"):
        set_up(host.state("b"), container_id="b", namespace=host.namespace("a"))
    assert traces() == during


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(("bound", "wanted"), [("0.0.0.0", HOST), (HOST, None), ("::", None)])
def test_port_of_a_host_process_is_refused(
    host: Host, protocol: str, bound: str, wanted: str | None
) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    before = traces()
    with socket.socket(family, kind) as server:
        server.bind((bound, 8080))
        if protocol == "tcp":
            server.listen()
        place = f"{wanted}:8080" if wanted else "8080"
        message = rf"cannot publish port {place}/{protocol}: a process of the"
        with pytest.raises(NetworkError, match=message):
            host.start("a", ports=(published(8080, ip=wanted, protocol=protocol),))
    assert traces() == before


def test_port_on_an_address_that_the_host_lacks_is_refused(host: Host) -> None:
    with pytest.raises(NetworkError, match=r"192\.0\.2\.99:8080/tcp: the host has no such address"):
        host.start("a", ports=(published(8080, ip="192.0.2.99"),))


def test_port_of_another_pod_is_refused(host: Host) -> None:
    host.start("a", ports=(published(8080, ip=HOST),))
    before = traces()
    message = r"8080/tcp: pod a already publishes 192\.0\.2\.1:8080/tcp"
    with pytest.raises(NetworkError, match=message):
        host.start("b", ports=(published(8079), published(8080)))
    assert traces() == before
    host.start("c", ports=(published(8080, ip="127.0.0.1"), published(8080, protocol="udp")))


def test_of_starts_at_once_one_gets_the_port(host: Host) -> None:
    starting = [host.start_in_process(pod, 8080) for pod in "abcd"]
    errors = [process.communicate()[1] for process in starting]
    assert [process.returncode for process in starting].count(0) == 1
    assert sum(b"already publishes 8080/tcp" in error for error in errors) == 3


def test_claim_of_a_deleted_pod_is_void(host: Host) -> None:
    os.makedirs("/run/rkt/ports")
    os.symlink("/run/rkt/pods/gone/network", "/run/rkt/ports/tcp:8080:")
    host.start("a", ports=(published(8080),))


def test_ports_need_a_network(host: Host) -> None:
    with pytest.raises(NetworkError, match="the pod joins no network"):
        host.start("a", "none", ports=(published(8080),))


def test_namespace_can_be_removed_after_half_a_creation(host: Host) -> None:
    Path("/run/netns/half").touch()
    remove("/run/netns/half")
    remove("/run/netns/half")
    create("/run/netns/half")
    with pytest.raises(
        NetworkError, match="cannot make network namespace /run/netns/half: File ex"
    ):
        create("/run/netns/half")
    remove("/run/netns/half")
    assert not os.path.lexists("/run/netns/half")
