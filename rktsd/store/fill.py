"""Volumes with content: directories that begin as a copy of what an image has in a place."""

from __future__ import annotations

import json
import os
import stat
import time

from rktsd.errors import BadInput, StoreError
from rktsd.host.files import locked, write
from rktsd.store.copytree import copy_tree
from rktsd.store.merge import walk
from rktsd.store.rootview import RootView
from rktsd.store.tree import remove_tree, sync_filesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

METADATA = "volume.json"


def fill(
    directory: str,
    layers: Sequence[str],
    path: str,
    *,
    mode: int | None,
    uid: int | None,
    gid: int | None,
) -> None:
    """Make ``directory`` with the mode, owner and content of ``path`` in the image of ``layers``.

    What ``mode``, ``uid`` and ``gid`` say wins; where the image has nothing there they are 0755, 0
    and 0. Raises BadInput where the image has a file, StoreError.
    """
    view = RootView(layers)
    found = view.resolve(path)
    if found is not None and not stat.S_ISDIR(found.status.st_mode):
        raise BadInput(f"a volume cannot be mounted at {path}: in the image there is a file")
    try:
        os.mkdir(directory, 0o700)
        if found is None:
            os.chown(directory, 0, 0)
            os.chmod(directory, 0o755)
        else:
            copy_tree(walk(view.directories(path)), directory)
        if uid is not None or gid is not None:
            os.chown(directory, -1 if uid is None else uid, -1 if gid is None else gid)
        if mode is not None:
            os.chmod(directory, mode)
    except OSError as error:
        raise StoreError(f"cannot fill volume {directory}: {error.strerror}") from error


def fill_once(
    directory: str,
    layers: Sequence[str],
    path: str,
    *,
    mode: int | None = None,
    uid: int | None = None,
    gid: int | None = None,
) -> None:
    """As ``fill``, all at once, and not again where the directory exists."""
    if os.path.isdir(directory):
        return
    # No name of a volume ends so.
    temporary = f"{directory}.-"
    remove_tree(temporary)
    fill(temporary, layers, path, mode=mode, uid=uid, gid=gid)
    os.rename(temporary, directory)


def make_named(
    directory: str,
    layers: Sequence[str],
    path: str,
    *,
    pod: str,
    mode: int | None = None,
    uid: int | None = None,
    gid: int | None = None,
) -> None:
    """Make the named volume ``directory`` unless it is there: filled, synced, and all at once.

    Its content is below data/. The directory above is locked meanwhile, as by whoever removes one.
    """
    volumes = os.path.dirname(directory)
    os.makedirs(volumes, 0o700, exist_ok=True)
    with locked(volumes):
        if os.path.isdir(directory):
            return
        temporary = f"{volumes}/.new"
        remove_tree(temporary)
        try:
            os.mkdir(temporary, 0o700)
            fill(f"{temporary}/data", layers, path, mode=mode, uid=uid, gid=gid)
            write(f"{temporary}/{METADATA}", json.dumps({"created_at": time.time_ns(), "pod": pod}))
            sync_filesystem(temporary)
            os.rename(temporary, directory)
        except BaseException:
            remove_tree(temporary)
            raise
        sync_filesystem(volumes)
