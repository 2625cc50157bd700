"""Whether the file of a pod is still what a run of it was started with."""

from __future__ import annotations

import difflib

from rktsd.errors import NotFound
from rktsd.host.files import read_limited
from rktsd.paths import Paths
from rktsd.pods.locate import MAX_POD_FILE, find_pod_file
from rktsd.pods.podfile import COPY
from rktsd.pods.query import Place

CHANGED, REMOVED = "changed", "removed"


def pod_file(paths: Paths, place: Place) -> str | None:
    """CHANGED or REMOVED; None when it is the same, or the pod has none."""
    before, now = _texts(paths, place)
    if before is None or before == now:
        return None
    return REMOVED if now is None else CHANGED


def difference(paths: Paths, place: Place) -> list[str]:
    """What changed in the pod file since the run was started, as lines of a unified diff.

    Raises NotFound for a pod that was not started from one.
    """
    before, now = _texts(paths, place)
    if before is None or place.name is None:
        raise NotFound(f"pod {place.pod} was not started from a pod file")
    name = find_pod_file(paths, place.name) if now is not None else "/dev/null"
    lines = difflib.unified_diff(
        before.splitlines(), (now or "").splitlines(), f"run {place.uuid}", name, lineterm=""
    )
    return list(lines)


def _texts(paths: Paths, place: Place) -> tuple[str | None, str | None]:
    """The pod file at the start, and now."""
    try:
        before = read_limited(f"{place.directory}/{COPY}", MAX_POD_FILE)
    except NotFound:
        return None, None
    try:
        now = read_limited(find_pod_file(paths, place.name or ""), MAX_POD_FILE)
    except NotFound:
        return before.decode(errors="replace"), None
    return before.decode(errors="replace"), now.decode(errors="replace")
