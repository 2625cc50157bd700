"""What somebody put among the directories of pods and is no pod: told, and left alone."""

from __future__ import annotations

import os

from rktsd.pods.directories import STAGES
from rktsd.pods.locate import looks_like_uuid, may_be_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rktsd.paths import Paths


def strays(paths: Paths) -> Iterator[str]:
    """The paths of them, in the data directory and under /run."""
    for stage in STAGES:
        yield from _strays(f"{paths.pods}/{stage}", looks_like_uuid)
    yield from _strays(f"{paths.run}/pods", may_be_pod)


def _strays(directory: str, is_name: Callable[[str], bool]) -> Iterator[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        path = f"{directory}/{name}"
        fits = is_name(name) and os.path.isdir(path) and not os.path.islink(path)
        # A pod may have moved on since.
        if not fits and os.path.lexists(path):
            yield path
