"""Remove pods (rkt's rm and gc), images, and what the store keeps for nobody.

A pod goes by rename(2) from run to exited-garbage or from prepared to garbage, and from there for
good. Whoever removes a directory holds its lock, so two at once do the work of one.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import NamedTuple

from rktsd.errors import BadInput, RktError, StoreError, SystemdError
from rktsd.host.files import locked
from rktsd.pods import directories, query, runs, usage
from rktsd.pods.directories import EMBRYO, EXITED_GARBAGE, GARBAGE, PREPARE, PREPARED, RUN
from rktsd.pods.kept import is_kept
from rktsd.pods.query import Live, Place
from rktsd.pods.strays import strays
from rktsd.pods.tending import LASTING, repair
from rktsd.systemd.names import pod_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence, Set

    from rktsd.paths import Paths
    from rktsd.store.records import Freed, ImageRecord
    from rktsd.store.store import Store

KEPT_RUNS = 3
"""Of a named pod so many ended runs are kept, if the grace period allows."""

# An embryo lives for milliseconds; one this old is what a crash left.
_EMBRYO_AGE = 3600.0


class Ages(NamedTuple):
    """Seconds after which a marked pod, and a prepared one, is removed."""

    grace: float = 30 * 60
    prepared: float = 24 * 3600


def remove(paths: Paths, place: Place, *, live: Live) -> None:
    """Remove a pod now. Raises BadInput when it is not at rest, StoreError."""
    shown = f"pod {place.uuid}" if place.name is None else f"pod {place.name} ({place.uuid})"
    if place.uuid in live.pods:
        raise BadInput(f"{shown} is running", hint="stop it first")
    if place.stage in (EMBRYO, PREPARE):
        raise BadInput(f"{shown} is being prepared")
    if place.stage in (RUN, PREPARED):
        target = EXITED_GARBAGE if place.stage == RUN else GARBAGE
        moved = _move(paths, place, target)
        if moved is None:
            raise BadInput(f"{shown} is being started or removed by somebody else")
        place = moved
    _delete(paths, place)


def collect(
    paths: Paths, ages: Ages, *, mark_only: bool, say: Callable[[str], None]
) -> list[RktError]:
    """rkt's gc: mark ended pods, then remove what is old enough. Returns what went wrong.

    Networks are put right before. ``say`` hears of that, of every pod that is removed, and of what
    is no pod and in the place of one. Raises SystemdError before anything is done.
    """
    found = query.places(paths)
    live = query.running(paths, found)
    for path in strays(paths):
        say(f"{path}: is no pod, and left alone")
    problems: list[RktError] = []
    _reap_leftovers(paths, problems)
    problems += repair(paths, say=say)
    for place in found:
        target = _target(place, live, ages, mark_only=mark_only)
        if target is not None:
            _attempt(problems, functools.partial(_move, paths, place, target))
    if mark_only:
        return problems
    garbage = [place for place in query.places(paths) if place.stage in (EXITED_GARBAGE, GARBAGE)]
    surplus = _surplus(garbage)
    for place in garbage:
        age = _age(place.directory)
        if place.stage == GARBAGE or place.uuid in surplus or age >= ages.grace:
            say(f'Garbage collecting pod "{place.uuid}"')
            _attempt(problems, functools.partial(_delete, paths, place))
    _attempt(problems, functools.partial(runs.forget_locks, paths))
    return problems


def _attempt(problems: list[RktError], action: Callable[[], object]) -> None:
    """One pod that cannot be removed does not keep the others (rkt)."""
    try:
        action()
    except RktError as error:
        problems.append(error)
    except OSError as error:
        problems.append(StoreError(f"cannot remove {error.filename}: {error.strerror}"))


def _target(place: Place, live: Live, ages: Ages, *, mark_only: bool) -> str | None:
    """Where a pod goes now, if anywhere."""
    if place.stage == RUN and place.uuid not in live.pods:
        return None if is_kept(place) else EXITED_GARBAGE
    if place.stage == PREPARE:
        return GARBAGE
    if place.stage == EMBRYO and _age(place.directory) > _EMBRYO_AGE:
        return GARBAGE
    if (
        place.stage == PREPARED
        and not mark_only
        and not is_kept(place)
        and _age(place.directory) >= ages.prepared
    ):
        return GARBAGE
    return None


def _surplus(garbage: Iterable[Place]) -> set[str]:
    """The UUIDs of runs of named pods beyond those that are kept."""
    runs: dict[str, list[Place]] = {}
    for place in garbage:
        if place.name is not None:
            runs.setdefault(place.name, []).append(place)
    for each in runs.values():
        each.sort(key=lambda place: _age(f"{place.directory}/pod"))
    return {place.uuid for each in runs.values() for place in each[KEPT_RUNS:]}


def _age(path: str) -> float:
    """Seconds since the last change of the inode, which a rename of it is."""
    try:
        return time.time() - os.stat(path).st_ctime
    except OSError:
        return 0.0


def _move(paths: Paths, place: Place, target: str) -> Place | None:
    """Rename a pod that is at rest. None when it is gone, or was started meanwhile."""
    if place.stage == RUN and place.uuid in runs.held(paths):
        return None
    try:
        # Locked until it is sure that the pod is at rest, so that nobody deletes it before.
        with locked(place.directory):
            directory = directories.move(paths, place.uuid, place.stage, target)
            moved = place._replace(directory=directory)
            if place.stage == RUN and query.running(paths, [moved]).pods:
                # Started between our look and the rename: put back before anybody misses it.
                os.rename(directory, place.directory)
                return None
    except FileNotFoundError:
        return None
    return moved._replace(stage=target)


def _delete(paths: Paths, place: Place) -> None:
    """Remove a pod's directory for good, or wait until whoever is at it has done so."""
    from rktsd.net.setup import release_lasting
    from rktsd.store.tree import remove_tree

    own = place.name is None or is_kept(place)
    try:
        with locked(place.directory):
            # Nobody could do it later.
            release_lasting(f"{place.directory}/{LASTING}")
            remove_tree(place.directory)
    except FileNotFoundError:
        return
    if own:
        with contextlib.suppress(OSError):
            os.unlink(f"{paths.run}/data/{place.pod}")
        _forget_unit(place)


def _forget_unit(place: Place) -> None:
    """A pod that is gone for good leaves no failed unit behind; that of a pod file comes again."""
    if not os.path.isdir("/run/systemd/system"):
        return
    from rktsd.pods.run import reset_failed
    from rktsd.systemd.bus import Bus

    with contextlib.suppress(SystemdError), Bus() as bus:
        reset_failed(bus, pod_unit(place.pod))


def _reap_leftovers(paths: Paths, problems: list[RktError]) -> None:
    """What of ended pods is still under /run: their network could not be released, say."""
    for pod in runs.begun(paths):
        # Somebody who has the lock is starting the pod, and has reaped it before.
        with contextlib.suppress(BlockingIOError), runs.lock(paths, pod, blocking=False):
            _reap(paths, pod, problems)


def _reap(paths: Paths, pod: str, problems: list[RktError]) -> None:
    """With the pod locked: its state cannot change to started under our hands."""
    from rktsd.host.process import run
    from rktsd.paths import LIBEXEC
    from rktsd.systemd.bus import Bus

    unit = pod_unit(pod)
    with Bus() as bus:
        state = bus.active_states([unit]).get(unit, "inactive")
    if state not in ("inactive", "failed"):
        return
    # Its exit status says how the pod ended.
    run([f"{LIBEXEC}/pod-reap", pod], check=False)
    if os.path.isdir(paths.pod_run(pod)):
        problems.append(StoreError(f"pod {pod}: what is left of it cannot be removed"))


def free_images(paths: Paths, store: Store, *, warn: Callable[[str], None]) -> Freed | None:
    """Free what neither an image nor a pod needs; None, and nothing freed, while a pod's needs are
    unknown.

    Raises StoreError.
    """
    with store.exclusive():
        try:
            uses = usage.of_pods(paths)
        except BadInput as error:
            warn(f"{error}; nothing is freed")
            return None
        kept = {layer for use in uses for layer in use.layers}
        return store.collect(kept, in_use=usage.layers_since(uses))


def collect_images(
    paths: Paths,
    store: Store,
    *,
    grace: float | None,
    keep: int | None,
    warn: Callable[[str], None],
) -> tuple[list[ImageRecord], Freed | None]:
    """Remove images that nobody used for ``grace`` seconds, then free what is not needed.

    Of each name the ``keep`` images imported last stay, however old. Images of pods and of pod
    files stay, and what they depend on. Nothing happens while a pod's needs are unknown: then the
    second result is None. Raises StoreError.
    """
    with store.exclusive():
        try:
            uses = usage.of_pods(paths)
        except BadInput as error:
            warn(f"{error}; nothing is freed")
            return [], None
        needed = {image for use in uses for image in use.images}
        needed |= set(usage.of_pod_files(paths, store, warn=warn))
        gone = old_images(store.images(), needed, grace=grace, keep=keep, now=time.time())
        for record in gone:
            store.remove(record.id)
        return gone, free_images(paths, store, warn=warn)


def old_images(
    records: Sequence[ImageRecord],
    needed: Set[str],
    *,
    grace: float | None,
    keep: int | None,
    now: float,
) -> list[ImageRecord]:
    """Which of ``records`` (newest import first) to remove; those with IDs in ``needed`` stay.

    So does what an image that stays depends on, for its manifest may be needed again.
    """
    staying: set[str] = set()
    seen: dict[str, int] = {}
    for record in records:
        number = seen[record.name] = seen.get(record.name, 0) + 1
        kept = keep is not None and number <= keep
        young = grace is not None and now - record.last_used / 1e9 < grace
        if kept or young or record.id in needed:
            staying |= {record.id, *record.layers}
    return [record for record in records if record.id not in staying]
