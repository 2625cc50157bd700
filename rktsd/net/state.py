"""What is known of a pod's network while it exists: everything that its release needs."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from rktsd.errors import NotFound, StoreError
from rktsd.host.files import read_limited, write_atomic
from rktsd.net.config import NetworkConfig
from rktsd.net.ports import PortMapping

FILE = "state.json"
LIMIT = 16 << 20

Result = dict[str, Any]


class Opened(TypedDict):
    """What was opened of the host: rules by program and table (``net.firewall``), chains of others
    with rules of ours, and addresses that firewalld was told to trust."""

    rules: Mapping[str, Mapping[str, Sequence[str]]]
    chains: Sequence[tuple[str, str, str]]
    trusted: Sequence[str]


class Joined(NamedTuple):
    """A network that was joined, or was about to be when ``result`` is None."""

    config: NetworkConfig
    interface: str
    ports: tuple[PortMapping, ...]
    result: Result | None


class State(NamedTuple):
    """``namespace`` is a path; ``ports_dir`` holds the claims of ``ports``.

    ``lasting`` is a file for a copy that is there still after a reboot; None where nothing of the
    networks is.
    """

    container_id: str
    namespace: str
    ports_dir: str
    ports: tuple[PortMapping, ...] = ()
    joined: tuple[Joined, ...] = ()
    opened: Opened | None = None
    lasting: str | None = None


def save(state_dir: str, state: State) -> None:
    """Write ``state``: whole or not at all, also when killed. Raises StoreError."""
    import json

    tree = state._asdict() | {
        "joined": [each._asdict() | {"config": each.config._asdict()} for each in state.joined]
    }
    text = json.dumps(tree, indent=1)
    if state.lasting is not None:
        write_atomic(state.lasting, text)
    # Not synced: a crash of the machine takes /run along, and the interfaces with it.
    write_atomic(f"{state_dir}/{FILE}", text, durable=False)


def load(state_dir: str) -> State | None:
    """The state saved in ``state_dir``, None when there is none. Raises StoreError."""
    return load_file(f"{state_dir}/{FILE}")


def load_file(path: str) -> State | None:
    """The state in a file, None when there is none. Raises StoreError."""
    import json

    try:
        tree = json.loads(read_limited(path, LIMIT))
    except (NotFound, NotADirectoryError):
        return None
    except ValueError as error:
        raise StoreError(f"{path}: not JSON: {error}") from error
    joined = tuple(
        Joined(_config(each["config"]), each["interface"], _ports(each["ports"]), each["result"])
        for each in tree["joined"]
    )
    ports = _ports(tree["ports"])
    known = tree["container_id"], tree["namespace"], tree["ports_dir"], ports, joined
    return State(*known, tree["opened"], tree["lasting"])


def forget(state_dir: str, lasting: str | None = None) -> None:
    """Remove the directory of a released network, with what a killed ``save`` left in it.

    ``lasting`` goes with it, and before.
    """
    if lasting is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lasting)
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(state_dir):
            if name == FILE or name.startswith(f".{FILE}."):
                os.unlink(f"{state_dir}/{name}")
        os.rmdir(state_dir)


def _config(tree: dict[str, Any]) -> NetworkConfig:
    return NetworkConfig(
        tree["name"],
        tree["cni_version"],
        tuple(tree["plugins"]),
        tree["args"],
        tuple(tree["plugin_path"]),
        tree["masquerade"],
        tuple(tree["versions"]),
        tree["check"],
    )


def ips(result: Result) -> list[dict[str, Any]]:
    """The "ips" of a result, also of one in the format before CNI 0.3.0."""
    old = [result[key] for key in ("ip4", "ip6") if result.get(key)]
    return [
        *(result.get("ips") or ()),
        *({"address": ip["ip"], "gateway": ip.get("gateway")} for ip in old),
    ]


def addresses(result: Result) -> list[str]:
    """The pod's addresses in a result, with the length of their prefix."""
    return [str(ip["address"]) for ip in ips(result)]


def _ports(tree: list[list[Any]]) -> tuple[PortMapping, ...]:
    return tuple(PortMapping(*each) for each in tree)
