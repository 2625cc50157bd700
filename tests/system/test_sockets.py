"""Sockets that systemd holds: the first connection starts an app, or the whole pod."""

from __future__ import annotations

import re

import pytest

from tests.box import Box
from tests.conftest import BoxFactory
from tests.system.conftest import MakePod, store_image
from tests.system.pods import SERVE, Pod, app
from tests.system.test_app_life import python
from tests.unit.test_manual import blocks
from tests.waiting import eventually

# Answers one connection and ends.
ONCE = """
names = os.environ["LISTEN_FDNAMES"].split(":")
assert os.environ["LISTEN_FDS"] == str(len(names)) and os.environ["LISTEN_PID"] == "1"
print("begun", flush=True)
listener = socket.socket(fileno=3 + names.index("http"))
peer, _ = listener.accept()
peer.sendall(f"{names} {os.listdir('/sys/class/net')}\\n".encode())
peer.close()
"""
PORTS = 'ports = [{ name = "http", port = 80, socket-activated = true }]\n'
PUBLISHED = '[[port]]\nname = "http"\nhost-port = 8088\n'
ASK = (
    "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10);"
    " print(s.makefile().read(), end='')"
)


def ask(box: Box, host: str, port: int) -> str:
    return box.run(["python3", "-c", ASK, host, str(port)]).stdout


@pytest.mark.row("socket_activation/SocketActivation")
def test_the_first_connection_starts_the_app(pod_box: Box, make_pod: MakePod) -> None:
    pod = make_pod("asleep", 'network = "none"\n' + PUBLISHED + python("one", ONCE, PORTS))
    pod.start()
    assert pod.state() == "active"
    assert pod.state(pod.app_unit("one")) == "inactive"
    run = f"RKT_POD_UUID={pod.last_run()}"
    # The app has no network of its own at all, and answers.
    assert ask(pod_box, "127.0.0.1", 8088) == "['http'] ['lo']\n"
    pod_box.run(["systemctl", "daemon-reload"], check=True)
    eventually(lambda: pod.state(pod.app_unit("one")) == "inactive", "the app has ended")
    assert ask(pod_box, "127.0.0.1", 8088) == "['http'] ['lo']\n"
    assert pod.messages(run) == ["begun", "begun"]
    assert pod.state() == "active"
    pod.stop()
    assert ask(pod_box, "127.0.0.1", 8088) == ""
    assert pod.leftovers() == ""


def test_a_socket_in_the_network_of_the_pod(pod_box: Box, make_pod: MakePod) -> None:
    pod = make_pod("inside", python("one", ONCE, PORTS) + app("other", SERVE))
    pod.start()
    shown = pod_box.run(["rkt", "status", "inside"], check=True).stdout
    found = re.search(r"ip4=([0-9.]+)", shown)
    assert found is not None
    assert ask(pod_box, "127.0.0.1", 80) == ""
    assert "eth0" in ask(pod_box, found[1], 80)
    pod.stop()
    assert pod.leftovers() == ""


def test_an_activated_app_that_fails_ends_the_pod(pod_box: Box, make_pod: MakePod) -> None:
    broken = python("one", 'sys.exit("broken")', PORTS)
    pod = make_pod("brittle", 'network = "none"\n' + PUBLISHED + broken)
    pod.start()
    ask(pod_box, "127.0.0.1", 8088)
    pod.wait_for("failed")
    assert pod.status("one") == "exit-code exited 1"
    assert pod.leftovers() == ""


def test_a_port_that_another_program_has(pod_box: Box, make_pod: MakePod) -> None:
    text = 'network = "none"\n' + PUBLISHED + python("one", ONCE, PORTS)
    first, second = make_pod("here", text), make_pod("there", text)
    first.start()
    assert second.systemctl("start").returncode != 0
    assert "rkt-there.one.socket (is another program at a port" in second.errors()[-1]
    assert ask(pod_box, "127.0.0.1", 8088) == "['http'] ['lo']\n"
    first.stop()
    assert second.leftovers() == ""


def test_a_port_that_another_pod_publishes(make_pod: MakePod) -> None:
    there = make_pod(
        "publishing", PUBLISHED + app("one", SERVE, extra='ports = [{ name = "http", port = 80 }]')
    )
    there.start()
    second = make_pod("listening", 'network = "none"\n' + PUBLISHED + python("one", ONCE, PORTS))
    assert second.systemctl("start").returncode == 1
    message = "cannot publish port 8088/tcp: pod publishing already publishes 8088/tcp"
    assert second.errors()[-1] == message
    there.stop()
    second.start()
    assert there.systemctl("start").returncode == 1
    assert "8088/tcp: a process of the host uses it" in there.errors()[-1]


def test_only_all_or_none_are_published(make_pod: MakePod) -> None:
    ports = PORTS.replace("]", ', { name = "more", port = 81, socket-activated = true }]')
    pod = make_pod("mixed", PUBLISHED + python("one", ONCE, ports))
    assert pod.systemctl("start").returncode != 0
    assert "some of its socket-activated ports are published, and some not" in pod.errors()[-1]


def test_one_port_of_the_host_for_a_socket_and_a_mapping(make_pod: MakePod) -> None:
    other = app("other", SERVE, extra='ports = ["8088:81"]\n')
    pod = make_pod("twice", PUBLISHED + python("one", ONCE, PORTS) + other)
    assert pod.systemctl("start").returncode != 0
    assert "8088" in pod.errors()[-1]
    assert pod.leftovers() == ""


@pytest.mark.row("socket_proxyd")
def test_a_connection_wakes_a_pod_as_the_manual_says(pod_box: Box, make_pod: MakePod) -> None:
    pod_file, socket, service, idle = blocks("rkt@.service.8.rst", "WAKING A POD")
    head, _, ports = pod_file.partition("[[port]]")
    text = f'network = "none"\n[[port]]{ports}\n' + python("front", ONCE, PORTS)
    assert 'network = "none"' in head
    pod = make_pod("web", text)
    units = "/etc/systemd/system"
    pod_box.write(f"{units}/wake-web.socket", socket)
    pod_box.write(f"{units}/wake-web.service", service.replace("5min", "1s"))
    pod_box.write(f"{units}/rkt@web.service.d/idle.conf", idle)
    pod_box.shell("systemctl daemon-reload; systemctl start wake-web.socket")
    for _ in range(2):
        assert pod.state() == "inactive"
        assert ask(pod_box, "127.0.0.1", 8080) == "['http'] ['lo']\n"
        assert pod.state() == "active"
        eventually(lambda: pod.state() == "inactive", "the pod goes when nobody needs it")
    pod_box.shell(f"systemctl stop wake-web.socket; rm {units}/wake-web.*")
    assert pod.leftovers() == ""


def test_sockets_on_debian_13(make_box: BoxFactory, debian13: str, busybox_aci: str) -> None:
    box = make_box(debian13, cgroup="unified")
    store_image(box, busybox_aci)
    pod = Pod(box, "asleep", 'network = "none"\n' + PUBLISHED + python("one", ONCE, PORTS))
    pod.start()
    assert ask(box, "127.0.0.1", 8088) == "['http'] ['lo']\n"
    pod.stop()
    assert pod.leftovers() == ""
