"""Firewalls that the host loads, real ones: pods get through them, and still after a reload."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.box import Box
from tests.box.traces import network_traces
from tests.system.conftest import store_image
from tests.system.pods import Pod, app
from tests.waiting import eventually

HOST, OTHER = "192.0.2.1", "192.0.2.2"
OUTSIDE = f"http://{OTHER}:8000/page"
FROM_OTHER = "ip netns exec other"
# The machine beside it, with a web server; so has the host, on a port that no zone lets in.
MACHINES = f"""
ip netns add other
ip link add lan type veth peer name lan netns other
ip addr add {HOST}/24 dev lan
ip link set lan up
ip -n other addr add {OTHER}/24 dev lan
ip -n other link set lan up
mkdir /srv/www
echo outside >/srv/www/page
serve='busybox httpd -f -p 8000 -h /srv/www'
systemd-run --quiet --unit=outside -p NetworkNamespacePath=/run/netns/other $serve
systemd-run --quiet --unit=inside $serve
"""
WEB = (
    '[[port]]\nname = "http"\nhost-port = 8080\n'
    + app(
        "web",
        "trap 'exit 0' TERM; echo ready; httpd -f -p 80 -h /etc & wait",
        extra='ports = [{name = "http", port = 80}]\n',
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def wall_box(deb: str, busybox_aci: str) -> Iterator[Box]:
    with Box(debs=[deb]) as box:
        store_image(box, busybox_aci)
        box.shell(MACHINES)
        yield box


@pytest.fixture
def firewalld(wall_box: Box) -> Iterator[Box]:
    wall_box.shell("systemctl start firewalld")
    yield wall_box
    wall_box.shell("systemctl stop firewalld; nft flush ruleset")


@pytest.fixture
def web(wall_box: Box) -> Iterator[Pod]:
    """A pod that publishes a port; made after the firewall."""
    pod = Pod(wall_box, "web", WEB)
    yield pod
    pod.remove()


def get(box: Box, url: str, via: str = "") -> str:
    return box.shell(f"{via} curl -sS --max-time 10 {url} 2>/dev/null || :").strip()


def reached(pod: Pod) -> list[str]:
    """What the other machine and the host (by two ways) get from the pod, and it from there."""
    uuid = pod.box.read(f"/run/rkt/pods/{pod.name}/uuid").strip()
    return [
        get(pod.box, f"http://{HOST}:8080/hostname", FROM_OTHER),
        get(pod.box, f"http://{HOST}:8080/hostname"),
        get(pod.box, "http://127.0.0.1:8080/hostname"),
        get(pod.box, OUTSIDE, f"ip netns exec rkt-{uuid}"),
    ]


ALL = ["web", "web", "web", "outside"]


def restored(pod: Pod) -> int:
    """How often the pod's rules were made anew."""
    return pod.box.journal("-o", "cat", "-u", "rkt-net-restore").count("pod web: rules of the host")


def check_restored(pod: Pod, before: int) -> None:
    eventually(lambda: restored(pod) > before, "the rules are made anew")
    eventually(lambda: reached(pod) == ALL, "the pod is reached, and reaches out")


def test_pods_get_through_firewalld(firewalld: Box, web: Pod) -> None:
    assert firewalld.shell("firewall-cmd --get-default-zone").strip() == "public"
    assert "table inet firewalld" in firewalld.shell("nft list tables")
    # What is made but once is there from now on.
    web.start()
    web.stop()
    before = network_traces(firewalld)
    web.start()
    eventually(lambda: reached(web) == ALL, "the pod is reached, and reaches out")
    # It is a firewall still.
    assert get(firewalld, f"http://{HOST}:8000/page") == "outside"
    assert get(firewalld, f"http://{HOST}:8000/page", FROM_OTHER) == ""
    web.stop()
    assert web.leftovers() == ""
    assert network_traces(firewalld) == before
    assert firewalld.shell("firewall-cmd --zone=trusted --list-sources").strip() == ""


@pytest.mark.parametrize(
    "command",
    [
        "firewall-cmd --reload",
        "firewall-cmd --complete-reload",
        "systemctl reload firewalld",
        "systemctl restart firewalld",
        "systemctl stop firewalld",
    ],
)
def test_pods_get_through_firewalld_that_is_loaded_anew(
    firewalld: Box, web: Pod, command: str
) -> None:
    web.start()
    for _ in range(2 if "reload" in command else 1):
        before = restored(web)
        firewalld.shell(command)
        check_restored(web, before)


def test_a_firewall_that_is_started_later_is_told_of_the_pods(wall_box: Box, web: Pod) -> None:
    web.start()
    before = restored(web)
    wall_box.shell("systemctl start firewalld")
    try:
        check_restored(web, before)
    finally:
        wall_box.shell("systemctl stop firewalld; nft flush ruleset")


# What Debian's begins with, and one that forwards nothing.
NFTABLES = """\
flush ruleset
table inet filter {
    chain forward {
        type filter hook forward priority filter; policy drop;
    }
}
"""


@pytest.mark.parametrize("verb", ["start", "reload", "restart", "stop"])
def test_pods_get_through_nftables_that_is_loaded_anew(wall_box: Box, web: Pod, verb: str) -> None:
    wall_box.write("/etc/nftables.conf", NFTABLES)
    if verb != "start":
        wall_box.shell("systemctl start nftables")
    web.start()
    before = restored(web)
    wall_box.shell(f"systemctl {verb} nftables")
    check_restored(web, before)
    assert ("policy drop" in wall_box.shell("nft list ruleset")) is (verb != "stop")
    wall_box.shell("systemctl stop nftables")


def test_an_administrator_restores_rules_by_hand(wall_box: Box, web: Pod) -> None:
    web.start()
    eventually(lambda: reached(web) == ALL, "the pod is reached, and reaches out")
    for command in ("reload rkt-net-restore", "restart rkt-net-restore"):
        wall_box.shell("nft flush ruleset")
        assert get(wall_box, "http://127.0.0.1:8080/hostname") == ""
        wall_box.shell(f"systemctl {command}")
        assert reached(web) == ALL
    # With nothing to do it does nothing.
    before = restored(web)
    wall_box.shell("systemctl reload rkt-net-restore")
    assert restored(web) == before


def test_what_cannot_be_restored_is_told(wall_box: Box, web: Pod) -> None:
    web.start()
    wall_box.write("/etc/rkt/rktsd.toml", "[network]\nforward = 1\n")
    done = wall_box.run(["systemctl", "reload", "rkt-net-restore"])
    assert done.returncode == 1
    said = wall_box.journal("-o", "cat", "-p", "err", "-u", "rkt-net-restore").splitlines()
    assert any(line.startswith("/etc/rkt/rktsd.toml: network.forward: ") for line in said)
    wall_box.shell("rm /etc/rkt/rktsd.toml; systemctl reload rkt-net-restore")
