"""``rkt pod graph``: units, apps, namespaces, mounts, networks and ports of a pod, drawn."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rktsd.cli import drawing
from rktsd.cli.arguments import DRAWINGS, one_pod, output_format
from rktsd.cli.context import Context
from rktsd.cli.drawing import Branch, Node
from rktsd.cli.parse import Parsed
from rktsd.errors import SystemdError, UsageError
from rktsd.net.ports import PortMapping, listed
from rktsd.paths import Paths
from rktsd.pods import query
from rktsd.pods.asjson import mounts
from rktsd.pods.query import RUNNING, AppStatus, PodStatus
from rktsd.systemd.names import app_unit, pod_slice, pod_unit

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


class Living(NamedTuple):
    """What there is of a pod only while it runs.

    ``units`` are their ActiveState by name, ``namespaces`` those of an app as ``net:[4026531840]``,
    ``own`` the same of the host; an app whose namespaces we may not see is not there.
    """

    units: Mapping[str, str]
    namespaces: Mapping[str, Sequence[str]]
    own: frozenset[str]


def graph(context: Context, parsed: Parsed) -> int:
    """Draw a pod."""
    style = output_format(parsed.values, known=DRAWINGS)
    place = query.find(context.paths, one_pod(parsed))
    status = query.status(place, query.running(context.paths, [place]))
    living = None
    if status.state == RUNNING:
        living = _living(context.paths, status)
        if set(living.namespaces) < {app.name for app in status.apps if app.state == RUNNING}:
            context.note("namespaces are missing: only root may see them, of apps that run")
    root = drawn(status, living)
    if style == "dot":
        sys.stdout.write(drawing.dot([root], name=place.pod))
    else:
        sys.stdout.write(drawing.tree([root], lines=drawing.has_lines(os.environ)))
    return 0


def _living(paths: Paths, status: PodStatus) -> Living:
    from rktsd.pods.processes import first_process
    from rktsd.systemd.bus import Bus

    pod = status.place.pod
    try:
        with open(f"{paths.pod_run(pod)}/units", encoding="utf-8") as file:
            names = {pod_unit(pod), pod_slice(pod), *file.read().split()}
    except OSError:
        names = {pod_unit(pod), pod_slice(pod)}
    namespaces = {}
    with Bus() as bus:
        states = bus.active_states(["rkt-*", "rkt@*"])
        for app in status.apps:
            try:
                namespaces[app.name] = _namespaces(first_process(bus, pod, app.name))
            except (SystemdError, UsageError, OSError):
                # It has ended, or is not ours to look at.
                continue
    units = {name: states[name] for name in sorted(names) if name in states}
    return Living(units, namespaces, frozenset(_namespaces(os.getpid())))


def _namespaces(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in _NAMESPACES]


def drawn(status: PodStatus, living: Living | None) -> Node:
    """The pod with all that hangs on it; ``living`` is None unless it runs."""
    place = status.place
    apps = {app_unit(place.pod, app.name): _app(app, status, living) for app in status.apps}
    units = living.units if living is not None else {}
    slice_name, service = pod_slice(place.pod), pod_unit(place.pod)
    inner = [
        Node(_key(name), f"{name} ({state})", _runs(apps.get(name)))
        for name, state in units.items()
        if name not in (slice_name, service)
    ]
    state = units.get(slice_name, "inactive")
    # With an app that has ended its unit may be gone.
    rest = [app for name, app in apps.items() if name not in units]
    name = place.name or "pod"
    return Node(
        f"pod {place.uuid}",
        f"{name} ({place.uuid}, {status.state})",
        (
            Branch("unit", [Node(_key(x), f"{x} ({units[x]})") for x in units if x == service]),
            Branch(
                "slice",
                [Node(_key(slice_name), f"{slice_name} ({state})", (Branch("units", inner),))]
                if inner
                else (),
            ),
            Branch("apps", rest),
            Branch("networks", [_network(each) for each in status.networks]),
        ),
    )


def _key(unit: str) -> str:
    return f"unit {unit}"


def _runs(app: Node | None) -> tuple[Branch, ...]:
    return () if app is None else (Branch("runs", (app,)),)


def _app(app: AppStatus, status: PodStatus, living: Living | None) -> Node:
    branches = []
    if living is not None:
        found = [
            Node(f"namespace {each}", f"{each}, the host's" if each in living.own else each)
            for each in living.namespaces.get(app.name, ())
        ]
        branches.append(Branch("namespaces", found))
    for mount in mounts(app, status):
        path, source = mount["container_path"], mount["host_path"]
        inside = source.startswith(f"{status.place.directory}/")
        text = f"volume {mount['name']}" if inside else source
        name = f"mount {path}, read-only" if mount["read_only"] else f"mount {path}"
        branches.append(Branch(name, (Node(f"path {source}", text),)))
    image = app.image_name or app.image_id
    return Node(f"app {app.name}", f"app {app.name} ({image}, {app.state})", tuple(branches))


def _network(network: Mapping[str, Any]) -> Node:
    addresses = dict.fromkeys((network.get("ip"), network.get("ip6")))
    words = [network.get("ifName"), *addresses]
    text = f"{network['netName']} ({', '.join(word for word in words if word)})"
    ports = [
        PortMapping(each["hostIP"], each["hostPort"], each["podPort"], each["protocol"])
        for each in network.get("ports") or ()
    ]
    shown = [Node(f"port {each}", each) for each in (listed([port]) for port in ports)]
    return Node(
        f"network {network['netName']} {network.get('ifName')}", text, (Branch("ports", shown),)
    )
