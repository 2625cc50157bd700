"""Kernel settings (os/unix/sysctl): those that a namespace of a pod has for itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rktsd.appc import limits
from rktsd.appc.types import Isolator
from rktsd.errors import BadInput, Unsupported

_KEY = re.compile(r"[a-z0-9_]+(\.[A-Za-z0-9_-]+)+")
# ipc_namespaces(7)
_IPC = frozenset(
    f"kernel.{name}"
    for name in (
        "msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced",
    )
)  # fmt: skip


def of_network(settings: Mapping[str, str]) -> dict[str, str]:
    """Those that belong to the network namespace."""
    return {name: value for name, value in settings.items() if name.startswith("net.")}


def of_ipc(settings: Mapping[str, str]) -> dict[str, str]:
    """Those that belong to the IPC namespace."""
    return {name: value for name, value in settings.items() if not name.startswith("net.")}


def _of_ipc(name: str) -> bool:
    return name in _IPC or name.startswith("fs.mqueue.")


def checked(
    values: Sequence[Isolator], where: str, *, own_network: bool, own_ipc: bool
) -> dict[str, str]:
    """The settings among ``values``. Raises BadInput, and Unsupported for one of the whole host."""
    settings = limits.sysctl(values)
    for name, value in settings.items():
        if not _KEY.fullmatch(name) or any(ord(character) < 32 for character in value):
            raise BadInput(f"{where}: sysctl {name}: not the name of a setting, or a bad value")
        if name.startswith("net."):
            if not own_network:
                raise Unsupported(f"{where}: sysctl {name} with the network of the host")
        elif not own_ipc and _of_ipc(name):
            raise Unsupported(f"{where}: sysctl {name} with the IPC namespace of the host")
        elif not _of_ipc(name):
            raise Unsupported(
                f"{where}: sysctl {name} would change the whole machine",
                hint="net.*, fs.mqueue.* and the System V IPC limits of kernel.* are a pod's own",
            )
    return settings
