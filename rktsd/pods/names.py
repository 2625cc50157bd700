"""Pods on one network find each other by name: lines in each other's /etc/hosts.

Every pod on a network leaves its addresses in ``/run/rkt/pods/POD/addresses``. Whoever starts or
releases one writes the hosts of all anew, one after the other; nothing stays resident. The files
keep their inodes, for apps have them mounted. Hot path: imports nearly nothing.
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from rktsd.host.files import locked, write_atomic
from rktsd.net.files import PEERS, RESERVED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rktsd.net.setup import Attachment
    from rktsd.stage1.types import PodPlan

_FILE = "addresses"
_NOBODY = "-"


class Entry(NamedTuple):
    """An address of a pod on a network.

    ``name`` is the pod's, which no other pod has, or "-"; ``alias`` its host name.
    """

    network: str
    address: str
    name: str
    alias: str


def announce(plan: PodPlan, attachments: Sequence[Attachment]) -> None:
    """Tell the pods on the same networks of a pod, and the pod of them. Raises StoreError.

    Its own hosts has been written.
    """
    run_directory, pod = plan["run_directory"], plan["pod"]
    hostname = dict(plan["files"])[f"{run_directory}/hostname"].strip()
    name = _NOBODY if pod == plan["uuid"] else pod.replace("@", "-")
    entries = [
        Entry(each.network, address, name, hostname)
        for each in attachments
        for address in (each.ip4, each.ip6)
        if address
    ]
    pods = os.path.dirname(run_directory)
    with locked(pods):
        text = "".join(f"{' '.join(entry)}\n" for entry in entries)
        write_atomic(f"{run_directory}/{_FILE}", text, durable=False)
        _rewrite(pods)


def withdraw(run_directory: str) -> None:
    """Tell the others that a pod is going. Nothing to tell is fine, also no directory at all."""
    if not os.path.exists(f"{run_directory}/{_FILE}"):
        return
    pods = os.path.dirname(run_directory)
    with locked(pods):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{run_directory}/{_FILE}")
        _rewrite(pods)


def refresh(pods: str) -> None:
    """Write the hosts of all running pods anew, where they are not as they should be.

    ``pods`` is the directory of run directories.
    """
    with contextlib.suppress(FileNotFoundError), locked(pods):
        _rewrite(pods)


def _rewrite(pods: str) -> None:
    entries = {}
    for pod in os.listdir(pods):
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            open(f"{pods}/{pod}/{_FILE}") as file,
        ):
            entries[pod] = [Entry(*line.split()) for line in file]
    names = frozenset(entry.name for each in entries.values() for entry in each)
    for pod in entries:
        with contextlib.suppress(FileNotFoundError):
            _update(f"{pods}/{pod}/hosts", peers(entries, pod, names=names))


def peers(entries: Mapping[str, Iterable[Entry]], pod: str, *, names: frozenset[str]) -> str:
    """The lines of ``pod``'s hosts for the pods on its networks. Pure.

    Nobody gets the name of another pod by calling himself so: an alias counts only when it is
    not among ``names``. A pod that is called localhost is not found.
    """
    networks = {entry.network for entry in entries[pod]}
    lines = []
    for other, theirs in sorted(entries.items()):
        if other == pod:
            continue
        for entry in theirs:
            found = [entry.name] if entry.name not in (_NOBODY, *RESERVED) else []
            alias = entry.alias.lower()
            if alias not in names and alias not in RESERVED:
                found.append(entry.alias)
            if entry.network in networks and found:
                lines.append(f"{entry.address} {' '.join(found)}\n")
    return "".join(lines)


def _update(path: str, text: str) -> None:
    """Replace what follows the line PEERS, if there is one: other files are not for us to write."""
    with open(path, "r+b", buffering=0) as file:
        before = file.read()
        own, mark, _ = before.partition(PEERS.encode())
        content = own + mark + text.encode()
        if mark and content != before:
            # In one piece, and cut only then: a reader never misses what stays.
            os.pwrite(file.fileno(), content, 0)
            file.truncate(len(content))
