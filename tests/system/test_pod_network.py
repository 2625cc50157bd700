"""Pods on networks: the built-in ones, and ports published on the host."""

from __future__ import annotations

import json

import pytest

from tests.box.traces import network_traces
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, SERVE, Pod, app
from tests.waiting import eventually

HTTPD = "trap 'exit 0' TERM; echo ready; httpd -f -p 80 -h /etc & wait"
PORT = '[[port]]\nname = "http"\nhost-port = {}\n{}\n'
LISTENS = 'ports = [{name = "http", port = 80}]\n'


def _fetch(pod: Pod, url: str) -> str:
    return pod.box.run(["curl", "-sS", "--max-time", "5", f"{url}/hostname"]).stdout.strip()


def _address(pod: Pod) -> str:
    uuid = pod.box.read(f"/run/rkt/pods/{pod.name}/uuid").strip()
    rows = json.loads(pod.box.read(f"/var/lib/rkt/pods/run/{uuid}/net-info.json"))
    return str(rows[0]["ip"])


@pytest.mark.row("net_nspawn/DefaultNetNS", "net_nspawn/DefaultGW")
def test_default_network_is_private_and_reachable(make_pod: MakePod) -> None:
    pod = make_pod("private", app("web", HTTPD))
    pod.start()
    address = _address(pod)
    assert address.startswith("172.16.28.")
    eventually(lambda: _fetch(pod, f"http://{address}") == "private", "the pod answers")
    pod.stop()
    assert pod.leftovers() == ""


@pytest.mark.row("net_nspawn/PortFwdConnectivity")
def test_published_port(make_pod: MakePod) -> None:
    pod = make_pod("published", PORT.format(8081, "") + app("web", HTTPD, extra=LISTENS))
    pod.start()
    eventually(lambda: _fetch(pod, "http://127.0.0.1:8081") == "published", "localhost answers")
    pod.restart()
    eventually(lambda: _fetch(pod, "http://127.0.0.1:8081") == "published", "it answers again")
    pod.stop()
    assert _fetch(pod, "http://127.0.0.1:8081") == ""
    assert "8081" not in pod.box.shell("iptables-save")
    assert pod.leftovers() == ""


def test_port_in_use(make_pod: MakePod) -> None:
    first = make_pod("port-first", PORT.format(8082, "") + app("web", HTTPD, extra=LISTENS))
    second = make_pod("port-second", PORT.format(8082, "") + app("web", HTTPD, extra=LISTENS))
    first.start()
    assert second.systemctl("start").returncode == 1
    assert second.show("ExecMainStatus") == "254"
    (error,) = second.errors()
    assert "8082" in error
    assert first.state() == "active"
    assert second.messages("RKT_POD=port-second") == []
    first.stop()
    second.start()


@pytest.mark.row("net_nspawn/NetHost", "net_nspawn/NetHostConnectivity")
def test_host_network(make_pod: MakePod) -> None:
    script = HTTPD.replace("-p 80", "-p 8083")
    pod = make_pod("on-host", 'network = "host"\n' + app("web", script))
    pod.start()
    eventually(lambda: _fetch(pod, "http://127.0.0.1:8083") == "on-host", "the host's port answers")


@pytest.mark.row("net_nspawn/NetNone")
def test_no_network(make_pod: MakePod) -> None:
    pod = make_pod("alone", 'network = "none"\n' + app("one", "ip -o link; " + SERVE))
    pod.start()
    pod.stop()
    said = pod.messages("RKT_POD=alone")
    assert [line.split(":")[1].strip() for line in said if line[0].isdigit()] == ["lo"]


def test_apps_of_a_pod_share_the_network(make_pod: MakePod) -> None:
    ask = "until wget -q -O - http://127.0.0.1/hostname; do sleep 0.1; done; " + SERVE
    pod = make_pod("shared", 'network = "none"\n' + app("web", HTTPD) + app("asks", ask))
    pod.start()
    eventually(lambda: "shared" in pod.messages("RKT_APP=asks"), "one app hears the other")


def test_unknown_network(make_pod: MakePod) -> None:
    pod = make_pod("lost", 'network = "nowhere"\n' + app("one", SERVE))
    assert pod.systemctl("start").returncode == 1
    (error,) = pod.errors()
    assert error.startswith("networks not found: nowhere (there are default, ")
    assert pod.leftovers() == ""


LAB = {
    "name": "lab", "type": "bridge", "bridge": "lab0", "isGateway": True,
    "ipam": {"type": "host-local", "subnet": "10.77.0.0/24"},
    "dns": {"nameservers": ["10.77.0.1"], "search": ["lab.example"]},
}  # fmt: skip


@pytest.mark.row("net_nspawn/CNIDNS", "net_nspawn/CNIDNSArg")
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", ["search lab.example", "nameserver 10.77.0.1"]),
        ('dns = "192.0.2.53"\n', ["nameserver 192.0.2.53"]),
        ('dns = "none"\n', []),
    ],
)
def test_name_servers_of_a_network(make_pod: MakePod, said: str, expected: list[str]) -> None:
    look = "cat /etc/resolv.conf; " + SERVE
    pod = make_pod("named", f'network = "lab"\n{said}' + app("one", look))
    pod.box.write("/etc/rkt/net.d/lab.conf", json.dumps(LAB))
    try:
        pod.start()
        pod.stop()
    finally:
        pod.box.shell("rm /etc/rkt/net.d/lab.conf; ip link delete lab0")
    run = f"RKT_POD_UUID={pod.last_run()}"
    said_by_app = pod.messages(run)
    assert [line for line in said_by_app if line.split()[0] in ("search", "nameserver")] == expected


def test_status_shows_ports(make_pod: MakePod) -> None:
    pod = make_pod("shown", PORT.format(8084, "") + app("web", HTTPD, extra=LISTENS))
    pod.start()
    status = pod.box.run(["rkt", "status", "shown"], check=True).stdout.splitlines()
    assert "ports=8084/tcp -> 80" in status


# Says when a name comes, and when it goes.
WATCH = (
    "trap 'exit 0' TERM; echo ready; (while ! grep NAME /etc/hosts; do sleep 0.1; done; echo came;"
    " until wget -q -O - http://NAME/hostname; do sleep 0.1; done;"
    " while grep -q NAME /etc/hosts; do sleep 0.1; done;"
    " echo went; cat /etc/hosts; sleep 1000) & wait"
)


def test_pods_on_one_network_find_each_other_by_name(make_pod: MakePod) -> None:
    watching = make_pod("watching", app("one", WATCH.replace("NAME", "web-1")))
    web = make_pod("web@", app("web", HTTPD))
    web.unit, web.name = "rkt@web@1.service", "web@1"
    alone = make_pod("apart", NO_NETWORK + app("one", "cat /etc/hosts; " + SERVE))
    watching.start()
    alone.start()
    web.box.run(["systemctl", "start", web.unit], check=True)
    run = f"RKT_POD_UUID={watching.last_run()}"
    eventually(lambda: "web-1" in watching.messages(run), "the name leads to the pod")
    assert "watching" in web.box.read("/run/rkt/pods/web@1/hosts")
    web.box.run(["systemctl", "stop", web.unit], check=True)
    eventually(lambda: "went" in watching.messages(run), "the name is gone")
    eventually(lambda: watching.messages(run)[-1].startswith("#"), "hosts is whole")
    said = watching.messages(run)
    assert "127.0.0.1 localhost localhost.localdomain watching" in said
    assert not any(
        "web-1" in line or "watching" in line for line in alone.messages("RKT_POD=apart")
    )


def test_names_in_hosts_of_ones_own_are_left_alone(make_pod: MakePod) -> None:
    own = '[[volume]]\nname = "hosts"\nsource = "/var/tmp/own-hosts"\n'
    mount = 'mounts = [{ volume = "hosts", path = "/etc/hosts" }]\n'
    pod = make_pod("own-names", own + app("one", SERVE, extra=mount))
    pod.box.write("/var/tmp/own-hosts", "192.0.2.7 mine\n")
    copied = make_pod("copied-names", 'hosts = ["host"]\n' + app("one", SERVE))
    pod.start()
    copied.start()
    assert pod.box.read("/var/tmp/own-hosts") == "192.0.2.7 mine\n"
    seen = pod.box.read("/run/rkt/pods/copied-names/hosts")
    assert seen == pod.box.read("/etc/hosts")


def test_names_of_pods_that_nobody_reaped_are_gone_after_gc(make_pod: MakePod) -> None:
    stays = make_pod("stays", app("one", SERVE))
    lost = make_pod("lost-names", app("one", SERVE))
    unreaped = f"/run/systemd/system/{lost.unit}.d/unreaped.conf"
    stays.start()
    lost.start()
    lost.box.write(unreaped, "[Service]\nExecStopPost=\n")
    lost.box.run(["systemctl", "daemon-reload"], check=True)
    lost.box.run(["systemctl", "kill", "--signal=KILL", lost.app_unit("one")])
    lost.stop()
    assert "lost-names" in stays.box.read("/run/rkt/pods/stays/hosts")
    lost.box.shell(f"rm {unreaped}; systemctl daemon-reload; rkt gc")
    assert "lost-names" not in stays.box.read("/run/rkt/pods/stays/hosts")
    stays.stop()
    assert stays.leftovers() == ""


def test_gc_removes_what_nobody_has_and_makes_rules_anew(make_pod: MakePod) -> None:
    pod = make_pod("mended", PORT.format(8085, "") + app("web", HTTPD, extra=LISTENS))
    pod.start()
    reservation = "/run/rkt/networks/default/172.16.28.200"
    pod.box.write(reservation, "aaaaaaaa-0000-4000-8000-000000000001\r\neth0")
    pod.box.shell("ip netns add rkt-aaaaaaaa-0000-4000-8000-000000000001; iptables -t nat -F")
    assert _fetch(pod, "http://127.0.0.1:8085") == ""
    done = pod.box.run(["rkt", "gc"], check=True)
    assert "pod mended: rules of the host's firewall were missing, and are made anew" in done.stderr
    eventually(lambda: _fetch(pod, "http://127.0.0.1:8085") == "mended", "localhost answers again")
    assert "made anew" not in pod.box.run(["rkt", "gc"], check=True).stderr
    pod.stop()
    assert pod.leftovers() == ""


def _wait_for_answer(pod: Pod, url: str) -> None:
    eventually(lambda: _fetch(pod, url) == pod.name, f"{url} answers")


def test_five_pods_leave_nothing(make_pod: MakePod) -> None:
    pods = [
        make_pod(
            f"leaves-nothing-{number}",
            PORT.format(8090 + number, "") + app("web", HTTPD, extra=LISTENS),
        )
        for number in range(5)
    ]
    # What is made but once is there from now on.
    pods[0].start()
    pods[0].stop()
    before = network_traces(pods[0].box)
    for number, pod in enumerate(pods):
        pod.start()
        _wait_for_answer(pod, f"http://127.0.0.1:{8090 + number}")
    during = network_traces(pods[0].box)
    assert len(during) > len(before) + 5 * 10
    assert sum("sport=80 " in line for line in during) >= 5
    for pod in pods:
        pod.stop()
    assert network_traces(pods[0].box) == before
    assert all(pod.leftovers() == "" for pod in pods)
