"""The root of an app as systemd-nspawn is told of it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

# What separates the options of a mount, and the layers of an overlay.
_SEPARATORS = frozenset(",:\\")


def overlay(stack: Sequence[str], bundle: str, *, read_only: bool) -> tuple[str, str]:
    """(lines of a script, option of systemd-nspawn) for a root of directories, lowest first.

    systemd-nspawn hands the kernel their paths without what would keep separators in them apart
    (252), so those that have some are reached by links in the directory of the bundle. They lead to
    the directory above: in that of the topmost one systemd-nspawn makes another beside it.
    """
    links, places = f"{bundle}/layers", []
    lines = ""
    for number, path in enumerate(stack):
        if _SEPARATORS.isdisjoint(path):
            places.append(path)
            continue
        lines = lines or f"mkdir -p {links}\n"
        above, _, name = path.rpartition("/")
        lines += f"ln -sfn {shlex.quote(above)} {links}/{number}\n"
        places.append(f"{links}/{number}/{name}")
    return lines, f"--overlay{'-ro' if read_only else ''}={':'.join(places)}:/"
