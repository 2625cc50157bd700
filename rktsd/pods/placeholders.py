"""What a root has to have before anything is started in it or mounted on it."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from rktsd.stage1.types import Placeholder
from rktsd.store.rootview import RootView

_MTAB, _MOUNTS = "/etc/mtab", "../proc/self/mounts"


def placeholders(view: RootView, targets: Iterable[tuple[str, bool]]) -> tuple[Placeholder, ...]:
    """What is missing of ``targets`` (path, whether it is a file) in the root, parents first.

    Links are followed as the mount will follow them. Directories that exist appear too, with their
    own mode and owner: the layer that holds a placeholder covers them.
    """
    made: dict[str, Placeholder] = {}
    for target, is_file in targets:
        if view.resolve(target) is not None:
            continue
        parent, missing = _existing_parent(view, target)
        for place in _with_parents(parent):
            found = view.resolve(place)
            if found is not None and place not in made:
                status = found.status
                mode = stat.S_IMODE(status.st_mode)
                made[place] = Placeholder(place, mode, status.st_uid, status.st_gid)
        path = parent
        for number, name in enumerate(missing, 1):
            path = posixpath.join(path, name)
            last = number == len(missing)
            made.setdefault(path, Placeholder(path, 0o755, 0, 0, is_file=is_file and last))
    return tuple(made.values())


def with_mtab(
    view: RootView, found: Sequence[Placeholder], *, mounted: Collection[str]
) -> tuple[Placeholder, ...]:
    """``found`` and an /etc/mtab, for programs that look there, unless the root has one (rkt)."""
    if _MTAB in mounted or view.resolve(_MTAB, follow=False) is not None:
        return tuple(found)
    known = {place.path for place in found}
    *parents, last = placeholders(view, [(_MTAB, True)])
    new = (*parents, replace(last, is_file=False, link=_MOUNTS))
    return (*found, *(place for place in new if place.path not in known))


def _existing_parent(view: RootView, target: str) -> tuple[str, list[str]]:
    missing: list[str] = []
    place = posixpath.normpath(target)
    while True:
        missing.insert(0, posixpath.basename(place))
        place = posixpath.dirname(place)
        found = view.resolve(place)
        if found is not None:
            return found.path, missing


def _with_parents(path: str) -> list[str]:
    names = [name for name in path.split("/") if name]
    return ["/" + "/".join(names[:count]) for count in range(1, len(names) + 1)]
