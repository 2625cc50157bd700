"""Interfaces of the host that pods left behind."""

import contextlib
from collections.abc import Iterable

_CABLE = "veth"
"""How CNI's plugins begin the names of the host's ends of cables; bridges are called otherwise."""


def remove_cables(names: Iterable[str]) -> None:
    """Remove those of ``names`` that are ends of cables; none of them there is fine."""
    from _socket import if_nametoindex

    from rktsd.host.process import run

    for name in names:
        if name.startswith(_CABLE):
            with contextlib.suppress(OSError):
                if_nametoindex(name)
                run(["ip", "link", "delete", name], check=False)
