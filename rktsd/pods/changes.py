"""What an app changed in its root: its own layer of the overlay against those of the image."""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rktsd.errors import NotFound
from rktsd.host.files import read_limited
from rktsd.paths import Paths
from rktsd.pods.query import Place
from rktsd.store.whiteouts import is_opaque, is_whiteout

ADDED, CHANGED, DELETED = "added", "changed", "deleted"


class Change(NamedTuple):
    """``path`` is that in the app."""

    path: str
    kind: str


def changes(paths: Paths, place: Place, app: str) -> list[Change]:
    """By path. A directory in which something changed has changed itself.

    Raises NotFound for a pod that never ran, StoreError.
    """
    upper = f"{place.directory}/overlay/{app}"
    if not os.path.isdir(upper):
        raise NotFound(f"app {app} of pod {place.pod} has no root of its own: it never ran")
    layers = json.loads(read_limited(f"{place.directory}/images", 16 << 20))[app]["layers"]
    return sorted(_walk(upper, "", [f"{paths.store}/layers/{layer}" for layer in layers]))


def _walk(upper: str, path: str, lowers: Sequence[str]) -> Iterator[Change]:
    """``lowers`` are the directories below ``upper``, topmost first."""
    for entry in os.scandir(upper):
        inside = f"{path}/{entry.name}"
        below = list(_below(lowers, entry.name))
        status = entry.stat(follow_symlinks=False)
        if is_whiteout(status):
            if below:
                yield Change(inside, DELETED)
            continue
        yield Change(inside, CHANGED if below else ADDED)
        if stat.S_ISDIR(status.st_mode):
            directories = _directories(below)
            if is_opaque(entry.path):
                # It was deleted and made again.
                yield from _hidden(entry.path, inside, directories)
            yield from _walk(entry.path, inside, directories)


def _below(lowers: Sequence[str], name: str) -> Iterator[tuple[str, os.stat_result]]:
    """What lies there in the layers, down to where one hides those below it."""
    for lower in lowers:
        path = f"{lower}/{name}"
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if is_whiteout(status):
            return
        yield path, status
        if not stat.S_ISDIR(status.st_mode) or is_opaque(path):
            return


def _directories(below: Sequence[tuple[str, os.stat_result]]) -> list[str]:
    if not below or not stat.S_ISDIR(below[0][1].st_mode):
        return []
    return [path for path, status in below if stat.S_ISDIR(status.st_mode)]


def _hidden(upper: str, path: str, lowers: Sequence[str]) -> Iterator[Change]:
    """What of ``lowers`` is not in a directory that hides them."""
    here = set(os.listdir(upper))
    names = {name for lower in lowers for name in os.listdir(lower)} - here
    for name in names:
        if any(True for _ in _below(lowers, name)):
            yield Change(f"{path}/{name}", DELETED)
