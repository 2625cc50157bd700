"""Pods that were given a name on a command line: the name is theirs until they are removed.

Unlike a pod that has a file, such a pod keeps its root from run to run; gc leaves it alone.
"""

from __future__ import annotations

import contextlib
import os

from rktsd.errors import BadInput, NotFound, UsageError
from rktsd.paths import Paths
from rktsd.pods import query
from rktsd.pods.directories import PREPARED, RUN
from rktsd.pods.locate import find_pod_file
from rktsd.pods.query import Place

MARK = "kept"
"""The file in a pod's directory that says so."""

REMOVE = "remove"
"""The file in a pod's directory that has it removed when it has ended; see ``pod-reap``."""


def is_kept(place: Place) -> bool:
    """Whether a pod has a name of its own, and no pod file that it is a run of."""
    return os.path.exists(f"{place.directory}/{MARK}")


def find(paths: Paths, name: str) -> Place | None:
    """The pod that was given ``name``."""
    for place in query.places(paths):
        if place.stage in (PREPARED, RUN) and place.name == name and is_kept(place):
            return place
    return None


def holder(paths: Paths, name: str, *, replace: bool) -> Place | None:
    """The pod to be removed before a new one can have ``name``; None for none.

    To be called with the name locked (``runs.lock``). Raises BadInput when it is taken for good, or
    taken and nothing is to be replaced.
    """
    try:
        file = find_pod_file(paths, name)
    except NotFound:
        pass
    else:
        raise BadInput(f'the name "{name}" is that of {file}', hint=f"rkt start {name} runs it")
    found = find(paths, name)
    if found is not None and not replace:
        raise BadInput(
            f'the name "{name}" is that of pod {found.uuid}',
            hint=f"rkt start {name} runs it again, --replace removes it first",
        )
    return found


def check_free(paths: Paths, name: str) -> None:
    """Raise BadInput when a pod without a file has ``name``: a file would hide it."""
    found = find(paths, name)
    if found is not None:
        raise BadInput(
            f'the name "{name}" is that of pod {found.uuid}', hint=f"rkt rm {name} removes it"
        )


def startable(paths: Paths, word: str, *, again: bool) -> str:
    """What the unit of the pod is called that ``word`` means: that of a pod file, or of a pod made
    on a command line. Raises NotFound, BadInput; UsageError where ``again`` makes no sense."""
    with contextlib.suppress(NotFound):
        find_pod_file(paths, word.lower())
        return word.lower()
    place = query.find(paths, word)
    if place.name is not None and not is_kept(place):
        # A run of a pod that has a file: the pod is started, not the run.
        find_pod_file(paths, place.name)
        return place.name
    if place.stage not in (PREPARED, RUN):
        raise BadInput(f"pod {place.uuid} cannot be started: it is to be removed")
    if again and os.path.exists(f"{place.directory}/{REMOVE}"):
        raise UsageError(f"pod {place.uuid} is removed when it ends (run --rm)")
    return place.pod
