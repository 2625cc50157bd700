"""A host with a network of its own, another machine beside it, and what can be seen of both."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rktsd.net.config import networks
from rktsd.net.namespace import entered
from rktsd.net.ports import PortMapping
from rktsd.net.setup import Attachment, set_up
from rktsd.paths import Paths
from rktsd.pods.networks import holder
from tests.box import syscalls

HOST = "192.0.2.1"
OTHER = "192.0.2.2"
HOST6 = "2001:db8::1"
OTHER6 = "2001:db8::2"
# Has ptp and bridge masquerade by rules of their own.
BY_PLUGIN = {"ipMasq": True, "ipMasqBackend": "iptables"}
# What portmap keeps for all containers together once it was used.
SHARED_CHAINS = ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK")


class Host(NamedTuple):
    """``other`` is the namespace of the machine beside it, which has no route to any pod."""

    paths: Paths
    other: str

    def state(self, pod: str) -> str:
        return f"{self.paths.run}/pods/{pod}/network"

    def namespace(self, pod: str) -> str:
        return f"/run/netns/rkt-{pod}"

    def start(
        self,
        pod: str,
        *wanted: str,
        ports: tuple[PortMapping, ...] = (),
        meanwhile: Callable[[], None] | None = None,
    ) -> Attachment:
        """Set up the network of ``pod``; its first attachment."""
        return set_up(
            self.state(pod),
            container_id=pod,
            namespace=self.namespace(pod),
            networks=networks(self.paths, wanted),
            ports=ports,
            called=holder,
            meanwhile=meanwhile,
        )[0]

    def start_in_process(self, pod: str, *ports: int, step: int = 0) -> subprocess.Popen[bytes]:
        """The same in a process that can be killed; by itself before its ``step``-th step."""
        return self._in_process("start", pod, *ports, step=step)

    def release_in_process(self, pod: str, *, step: int) -> subprocess.Popen[bytes]:
        """``tear_down`` likewise."""
        return self._in_process("release", pod, step=step)

    def _in_process(self, verb: str, pod: str, *ports: int, step: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.net.steps", verb, self.paths.local_config]
        command += [str(step), pod, *map(str, ports)]
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, cwd=root)


def published(port: int, *, ip: str | None = None, protocol: str = "tcp") -> PortMapping:
    return PortMapping(ip, port, 80, protocol)


def write_network(host: Host, name: str, **plugin: object) -> None:
    conf = {"name": name, **plugin}
    Path(host.paths.local_config, "net.d", f"{name}.conf").write_text(json.dumps(conf))


def write_plugin(host: Host, name: str, script: str) -> None:
    """A program that is found before Debian's plugin of the same name."""
    path = Path(host.paths.local_config, "net.d", name)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@contextlib.contextmanager
def private_host(config: str) -> Iterator[Host]:
    """Move this process to a network and mount namespace of its own, with an empty /run.

    ``config`` stands for /etc/rkt.
    """
    with syscalls.own_network_and_mounts():
        syscalls.mount("tmpfs", "/run", kind="tmpfs")
        os.mkdir("/run/netns")
        other = "/run/netns/other"
        for command in (
            "link set lo up",
            "netns add other",
            "link add lan type veth peer name lan netns other",
            f"addr add {HOST}/24 dev lan",
            "link set lan up",
            f"-n other addr add {OTHER}/24 dev lan",
            "-n other link set lan up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        yield Host(Paths(local_config=config), other)


def give_ipv6() -> None:
    """An IPv6 address to the host and to the other machine."""
    for name in (None, "other"):
        # Whoever has no settled address cannot ask for his neighbours.
        ask = ["ip", *(("-n", name) if name else ()), "-6", "addr", "show", "tentative"]
        while subprocess.run(ask, capture_output=True, check=True).stdout:
            time.sleep(0.02)
    for command in (
        f"addr add {HOST6}/64 dev lan nodad",
        f"-n other addr add {OTHER6}/64 dev lan nodad",
    ):
        subprocess.run(["ip", *command.split()], check=True)


def traces() -> dict[str, list[str]]:
    """Everything that a pod's network may leave on the host."""
    files = []
    for directory, _, names in os.walk("/run/rkt"):
        kept = (
            name
            for name in names
            if name not in ("lock", "last_reserved_ip.0", "last_reserved_ip.1")
        )
        files += [f"{directory}/{name}" for name in kept]
    return {
        "links": [line.split()[1] for line in _lines("ip", "-o", "link")],
        "routes": [
            *(
                line.replace(" linkdown", "")
                for line in _lines("ip", "-4", "route", "show", "table", "all")
            ),
            *(
                line
                for line in _lines("ip", "-6", "route", "show", "table", "all")
                # Of every link, and of every address of a host that forwards.
                if not any(word in line for word in ("fe80:", "ff00:", "anycast"))
            ),
        ],
        "rules": [
            line
            for program in ("iptables-save", "ip6tables-save")
            for line in _lines(program)
            if _is_own(line)
        ],
        "namespaces": sorted(os.listdir("/run/netns")),
        "mounts": [line for line in _lines("cat", "/proc/self/mountinfo") if "/netns/" in line],
        "files": sorted(files),
    }


def ruleset() -> list[str]:
    """The rules of whatever program, without the chains that iptables leaves empty."""
    lines = [line.strip() for line in _lines("nft", "-s", "list", "ruleset")]
    return [
        line for line in lines if line and line.split()[0] not in ("table", "chain", "type", "}")
    ]


def _is_own(line: str) -> bool:
    words = line.lstrip(":").split()
    if words[0] in SHARED_CHAINS or words[-1] in SHARED_CHAINS:
        return False
    shared = words[0] == "-A" and words[1] in SHARED_CHAINS and "id:" not in line
    return line.startswith((":CNI", ":RKT", "-A")) and not shared


def _lines(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return done.stdout.splitlines()


def listen(namespace: str | None, port: int, *, address: str = "0.0.0.0") -> socket.socket:
    """A TCP socket that listens in a namespace (None: this host)."""
    with entered(namespace) if namespace else contextlib.nullcontext():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = socket.create_server(
            (address, port), family=family, dualstack_ipv6=address == "::"
        )
    server.settimeout(3)
    return server


def caller(server: socket.socket, address: str, port: int, *, via: str | None = None) -> str | None:
    """Connect to address and port from namespace ``via``: the address that ``server`` sees.

    None when the connection is refused, unreachable or unanswered.
    """
    with entered(via) if via else contextlib.nullcontext():
        client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    with client:
        client.settimeout(1)
        try:
            client.connect((address, port))
        except OSError:
            return None
        connection, (peer, *_) = server.accept()
        with connection:
            connection.sendall(b"hello")
            assert client.recv(5) == b"hello"
        return str(peer).removeprefix("::ffff:")


def echo_udp(
    namespace: str, address: str, port: int, *, via: str | None = None, inside: int = 80
) -> bytes | None:
    """What comes back for a datagram to address and port when port ``inside`` of ``namespace``
    answers."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with entered(namespace):
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind(("", inside))
    with entered(via) if via else contextlib.nullcontext():
        client = socket.socket(family, socket.SOCK_DGRAM)
    with server, client:
        server.settimeout(2)
        client.settimeout(2)
        try:
            client.connect((address, port))
            client.send(b"ping")
            data, peer = server.recvfrom(16)
            server.sendto(data.upper(), peer)
            return client.recv(16)
        except OSError:
            return None
