"""Networks of pods that a crash, a reboot or somebody else got at: what gc and starts put right."""

from __future__ import annotations

import os

from rktsd.errors import NetworkError, RktError
from rktsd.net.setup import release_lasting
from rktsd.pods import directories, names, runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktsd.paths import Paths

LASTING = "network.json"
"""In the directory of a pod: what of its networks outlives the run of the machine."""


def release_earlier(paths: Paths, directory: str | None = None) -> list[RktError]:
    """Release what runs that ended with the machine still have, addresses for one.

    ``directory`` is that of a pod which begins a run now, and so holds nothing of an earlier one.
    Returns what went wrong; that can be tried again.
    """
    held = runs.held(paths)
    found = [
        directories.stage_directory(paths, stage, uuid)
        for stage, uuid in directories.all_pods(paths)
        if uuid not in held
    ]
    problems: list[RktError] = []
    for each in (directory, *found):
        if each is not None:
            try:
                release_lasting(f"{each}/{LASTING}")
            except RktError as error:
                problems.append(error)
    return problems


def repair(paths: Paths, *, say: Callable[[str], None]) -> list[RktError]:
    """Put right what can be, in the networks of running pods and of those that are gone.

    ``say`` hears what was found in those of running pods, and of a bad file in net.d. Returns what
    went wrong.
    """
    from rktsd.net import config
    from rktsd.net.orphans import remove_orphans

    problems = release_earlier(paths)
    try:
        settings, known = config.settings(paths), [each.name for each in config.known(paths)]
    except RktError as error:
        # What can be done without that file is done; who starts a pod will hear of it as well.
        say(str(error))
        settings, known = config.Settings(), []
    problems += remove_orphans(paths.run, ids=lambda: runs.held(paths), networks=known)
    problems += _tend(paths, forward=settings.forward, say=say)
    try:
        names.refresh(f"{paths.run}/pods")
    except OSError as error:
        problems.append(NetworkError(f"{error.filename}: {error.strerror}"))
    return problems


def restore(paths: Paths, *, say: Callable[[str], None]) -> list[RktError]:
    """Make anew the rules of running pods that a firewall removed when it was loaded.

    ``say`` hears of which pods there were none. Returns what went wrong. Raises BadInput for a bad
    rktsd.toml.
    """
    from rktsd.net.config import settings
    from rktsd.net.forwarding import wait_for_firewalld
    from rktsd.net.setup import mend

    if not _joined(paths):
        return []
    forward = settings(paths).forward
    wait_for_firewalld()
    return _each(paths, lambda state_dir: mend(state_dir, forward=forward), say=say)


def _tend(paths: Paths, *, forward: bool, say: Callable[[str], None]) -> list[RktError]:
    from rktsd.net.setup import tend

    return _each(paths, lambda state_dir: tend(state_dir, forward=forward), say=say)


def _each(
    paths: Paths, look_after: Callable[[str], list[str]], *, say: Callable[[str], None]
) -> list[RktError]:
    problems: list[RktError] = []
    for pod in _joined(paths):
        try:
            for line in look_after(f"{paths.pod_run(pod)}/network"):
                say(f"pod {pod}: {line}")
        except RktError as error:
            problems.append(NetworkError(f"pod {pod}: {error}"))
    return problems


def _joined(paths: Paths) -> list[str]:
    """The pods that have joined networks, or are about to."""
    return [pod for pod in runs.begun(paths) if os.path.isdir(f"{paths.pod_run(pod)}/network")]
