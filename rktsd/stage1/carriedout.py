"""Settings of systemd that rktsd carries out in the app, since they would hit systemd-nspawn. Pure.

And those that hold for every app whatever it says.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from rktsd.appc.cursor import shown
from rktsd.errors import BadInput
from rktsd.systemd import values
from rktsd.systemd.settings import HELD

if TYPE_CHECKING:
    from collections.abc import Mapping

USUAL_UMASK = 0o022

# File systems that are not of the image, and mounted when it would be too late or too early.
_OTHERS = ("/dev", "/proc", "/run", "/sys")
_OCTAL = re.compile("[0-7]{1,4}")


def check(table: Mapping[str, object], where: str) -> None:
    """Raise BadInput, beginning with ``where``, for a value that cannot be."""
    umask(table, where)
    inaccessible(table, where)
    for setting in HELD:
        value = table.get(setting, True)
        words = HELD[setting].split()
        if value not in words and not values.boolean(value, f"{where}.{setting}"):
            raise BadInput(f"{where}.{setting}: no app can do without: its root is its own")


def umask(table: Mapping[str, object], where: str) -> int | None:
    """UMask= of an app; None for what is so anyway. Raises BadInput."""
    value = table.get("UMask")
    if value is None:
        return None
    if not isinstance(value, str) or not _OCTAL.fullmatch(value) or int(value, 8) > 0o777:
        raise BadInput(f'{where}.UMask: {shown(value)} is not octal digits in quotes, as "0027"')
    mask = int(value, 8)
    return None if mask == USUAL_UMASK else mask


def inaccessible(table: Mapping[str, object], where: str) -> list[tuple[str, bool]]:
    """InaccessiblePaths= of an app as (path, whether it may be missing). Raises BadInput.

    Both are inside the root; systemd's ``+`` says so of the root of a service.
    """
    found, at = [], f"{where}.InaccessiblePaths"
    for word in values.words(table.get("InaccessiblePaths", []), at):
        optional = word.startswith("-")
        path = word.removeprefix("-").removeprefix("+")
        if not path.startswith("/") or "\0" in path:
            raise BadInput(f"{at}: {shown(word)} is not an absolute path")
        path = posixpath.normpath(f"/{path.lstrip('/')}")
        if path == "/" or any(f"{path}/".startswith(f"{other}/") for other in _OTHERS):
            raise BadInput(f"{at}: {path} is not a part of the image")
        found.append((path, optional))
    return found
