"""The beginning of a run: the pod's directory, with what it needs still there. Hot path."""

from __future__ import annotations

import os

from rktsd.errors import NotFound
from rktsd.pods import directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktsd.paths import Paths
    from rktsd.pods.compile import Compiled


def check(paths: Paths, compiled: Compiled) -> None:
    """Find out before anything is made what would fail later. Raises NotFound.

    A host volume that does not exist is an error and is not made (appc spec, and rkt).
    """
    pod = compiled["plan"]["pod"]
    for name, source in compiled["host_volumes"]:
        if not os.path.exists(source):
            raise NotFound(f"pod {pod}: volume {name}: {source} does not exist")
    for layer in compiled["layers"]:
        if not os.path.isdir(f"{paths.store}/layers/{layer}"):
            raise NotFound(f"pod {pod}: layer {layer} is not in the store", hint="fetch the image")


def begin(paths: Paths, compiled: Compiled) -> Compiled:
    """Check, and make the directory of a new run of a named pod. With the store locked shared."""
    check(paths, compiled)
    directories.create(paths, directories.RUN, compiled["plan"]["uuid"], compiled["files"])
    return compiled
