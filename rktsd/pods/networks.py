"""What is kept of a pod's networks for ``rkt list`` and ``status`` (rkt's net-info.json)."""

from __future__ import annotations

import json
import os

from rktsd.host.files import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rktsd.net.setup import Attachment
    from rktsd.pods.compile import Compiled


def record(directory: str, attachments: Sequence[Attachment]) -> None:
    """Write down the interfaces of a run."""
    rows = [
        {
            "netName": each.network,
            "ifName": each.interface,
            "ip": each.ip4 or each.ip6,
            "prefix": each.prefix,
            "mask": _mask(each.prefix) if each.ip4 else None,
            "hostIP": each.gateway,
            "mac": each.mac,
            "ip6": each.ip6,
            "ports": [
                {
                    "hostIP": port.host_ip,
                    "hostPort": port.host_port,
                    "podPort": port.pod_port,
                    "protocol": port.protocol,
                }
                for port in each.ports
            ],
        }
        for each in attachments
    ]
    write(f"{directory}/net-info.json", json.dumps(rows))


def use_name_servers(compiled: Compiled, attachments: Sequence[Attachment]) -> None:
    """Give the apps the DNS settings of their networks, unless the pod says something of DNS.

    Those of the first network that has any; rule of rkt: ``--dns*``, networks, the image.
    """
    from rktsd.net.files import resolv_conf
    from rktsd.stage1.bundle import with_bind
    from rktsd.stage1.mounts import BindMount

    plan = compiled["plan"]
    path = f"{plan['run_directory']}/resolv.conf"
    said = json.loads(compiled["files"]["options"])
    if "none" in said.get("dns", ()) or any(file == path for file, _ in plan["files"]):
        return
    first = next(each for each in attachments if each.nameservers or each.search or each.options)
    text = resolv_conf(
        first.nameservers, search=first.search, options=first.options, domain=first.domain
    )
    plan["files"].append((path, text))
    if plan["users"] is not None:
        plan["users"]["owned"].append(path)
    bind = BindMount(path, "/etc/resolv.conf", read_only=True, recursive=False)
    for bundle in plan["bundles"]:
        bundle["run"] = with_bind(bundle["run"], bind)


def check_sockets(sockets: Sequence[tuple[str | None, int, int, str]]) -> None:
    """Find out whether another pod publishes a port where systemd is to listen: both could, and
    only one would be answered. Raises NetworkError."""
    from rktsd.net.claims import check
    from rktsd.net.ports import PortMapping
    from rktsd.net.setup import PORTS

    check(PORTS, mappings=[PortMapping(*each) for each in sockets], called=holder)


def holder(state_directory: str) -> str:
    """The pod whose network is recorded in ``/run/rkt/pods/POD/network``."""
    return f"pod {os.path.basename(os.path.dirname(state_directory))}"


def _mask(prefix: int | None) -> str | None:
    """``255.255.0.0``, as rkt has it."""
    if prefix is None:
        return None
    bits = (1 << 32) - (1 << (32 - prefix))
    return ".".join(str(bits >> shift & 0xFF) for shift in (24, 16, 8, 0))


def load(directory: str) -> list[dict[str, Any]]:
    """The interfaces of a run; none before they are set up."""
    path = f"{directory}/net-info.json"
    if not os.path.exists(path):
        return []
    with open(path) as file:
        rows: list[dict[str, Any]] = json.load(file)
    return rows
