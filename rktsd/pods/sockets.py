"""Where the ports of an app listen that are socket-activated: on the host, or in the pod."""

from __future__ import annotations

from rktsd.appc.types import Port, PublishedPort, RuntimeApp
from rktsd.errors import BadInput, Unsupported
from rktsd.pods.spec import PodSpec
from rktsd.stage1.types import Listener

_KINDS = {"tcp": "Stream", "udp": "Datagram"}


def listeners(spec: PodSpec, runtime: RuntimeApp) -> tuple[Listener, ...]:
    """The sockets of an app, in the order of its ports.

    A published one is a socket of the host, so that no network of the pod's is needed; another one
    is in the pod's network. Raises BadInput, Unsupported.
    """
    ports = [port for port in (runtime.app.ports if runtime.app else ()) if port.socket_activated]
    found: list[Listener] = []
    for port in ports:
        if port.count != 1:
            raise Unsupported(f"port {port.name}: a range of ports cannot be socket-activated")
        published = [each for each in spec.manifest.ports if _means(each, port)]
        found += [
            Listener(port.name, _kind(port), _address(each), inside=False) for each in published
        ]
        if not published:
            found.append(Listener(port.name, _kind(port), str(port.port), inside=True))
    if len({each.inside for each in found}) > 1:
        raise BadInput(
            f"app {runtime.name}: some of its socket-activated ports are published, and some not",
            hint="publish all of them or none",
        )
    return tuple(found)


def _means(published: PublishedPort, port: Port) -> bool:
    return published.pod_port is None and published.name == port.name


def _kind(port: Port) -> str:
    kind = _KINDS.get(port.protocol)
    if kind is None:
        raise Unsupported(f"port {port.name}: {port.protocol} cannot be socket-activated")
    return kind


def _address(published: PublishedPort) -> str:
    address, port = published.host_ip, published.host_port
    if address is None:
        return str(port)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
