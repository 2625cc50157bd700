"""What systemd-nspawn would find wrong with a root, told before it starts.

Its own complaints would look like the app's output.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Mapping, Sequence

from rktsd.errors import BadInput, NotFound
from rktsd.stage1 import carriedout
from rktsd.stage1.mounts import BindMount
from rktsd.store.rootview import RootView

# What is below these in the image is hidden by mounts of systemd-nspawn's own.
HIDDEN = ("/dev", "/proc", "/run", "/sys", "/tmp")


def missing_directory(
    view: RootView, directory: str, *, mounted: Iterable[str], app: str, make: bool
) -> str | None:
    """The working directory ``directory`` if it has to be made in the app's own layer.

    Docker makes the one that an image names and does not have (``make``); for appc it has to be
    there. Raises NotFound or BadInput, naming the app.
    """
    path = posixpath.normpath(directory)
    if _is_below(path, mounted):
        return None
    place = path
    found = view.resolve(place)
    if found is None and not make:
        raise NotFound(f"app {app}: working directory {directory}: not in the image")
    while found is None:
        place = posixpath.dirname(place)
        found = view.resolve(place)
    if not stat.S_ISDIR(found.status.st_mode):
        raise BadInput(f"app {app}: working directory {directory}: {place} is not a directory")
    return path if place != path else None


def inaccessible_paths(
    view: RootView, table: Mapping[str, object], *, mounted: Sequence[str], app: str
) -> tuple[str, ...]:
    """What of InaccessiblePaths= of the app is there. Raises BadInput, NotFound."""
    where, found = f"app {app}: systemd", []
    for path, optional in carriedout.inaccessible(table, where):
        in_volume = _is_below(path, mounted)
        if in_volume and optional:
            raise BadInput(f"{where}.InaccessiblePaths: -{path}: it is in a volume, and has to be")
        if in_volume or view.resolve(path) is not None:
            found.append(path)
        elif not optional:
            raise NotFound(
                f"{where}.InaccessiblePaths: {path}: not in the image",
                hint=f"write -{path} where that is no matter",
            )
    return tuple(dict.fromkeys(found))


def check_mounts(view: RootView, binds: Sequence[BindMount], *, app: str) -> None:
    """Raise BadInput where a file would be mounted on a directory of the image, or the reverse."""
    targets = [bind.target for bind in binds]
    for bind in binds:
        others = [target for target in targets if target != bind.target]
        found = view.resolve(bind.target)
        # What does not exist yet is a directory that the pod gets, or an error of its own.
        if found is None or not os.path.exists(bind.source) or _is_below(bind.target, others):
            continue
        directory, on_directory = os.path.isdir(bind.source), stat.S_ISDIR(found.status.st_mode)
        if directory != on_directory:
            kinds = ("a file", "a directory")
            raise BadInput(
                f"app {app}: {bind.source} cannot be mounted at {bind.target}: it is"
                f" {kinds[directory]}, and in the image there is {kinds[on_directory]}"
            )


def _is_below(path: str, places: Iterable[str]) -> bool:
    return any(f"{path}/".startswith(f"{place.rstrip('/')}/") for place in places)
