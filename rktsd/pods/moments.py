"""When single apps came to a pod that runs, and were started in it: times of files of its own."""

from __future__ import annotations

import contextlib
import os

APPS, ADDED, STARTED = "apps", "added", "started"
"""``apps/APP/added`` and ``apps/APP/started`` in a pod's directory."""


def moments(directory: str, app: str) -> tuple[int, int]:
    """When an app was added to its pod while that ran, and when it was started by itself.

    In nanoseconds since the epoch; 0 for never, or never in this run.
    """
    own = f"{directory}/{APPS}/{app}"
    return modified(f"{own}/{ADDED}"), modified(f"{own}/{STARTED}")


def forget_starts(directory: str) -> None:
    """A new run begins: none of its apps was started by itself. Raises OSError."""
    if os.path.isdir(f"{directory}/{APPS}"):
        for app in os.listdir(f"{directory}/{APPS}"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{directory}/{APPS}/{app}/{STARTED}")


def modified(path: str) -> int:
    """When a file was written, in nanoseconds since the epoch; 0 for no file."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
