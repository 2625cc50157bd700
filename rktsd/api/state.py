"""What pods and images there are at a moment, and what has become of them at another one."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from rktsd.api import objects
from rktsd.api.interfaces import INVALIDATED, OF_POD, TOLD
from rktsd.errors import NotFound
from rktsd.pods import directories, query
from rktsd.pods.query import RUNNING
from rktsd.store.sizes import size_in_store
from rktsd.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rktsd.api.values import Typed
    from rktsd.paths import Paths
    from rktsd.store.records import ImageRecord

_TOLD = tuple(each.name for each in OF_POD[0].properties if each.change == TOLD)
INVALID_AT_CHANGE = [each.name for each in OF_POD[0].properties if each.change == INVALIDATED]
"""What of a pod has to be asked for again when its state has changed."""


class State(NamedTuple):
    """Properties of pods by UUID and of images by ID; ``places`` are the directories where a change
    of an entry may mean a change of these."""

    pods: Mapping[str, Mapping[str, Typed]]
    images: Mapping[str, Mapping[str, Typed]]
    places: tuple[str, ...]


EMPTY = State({}, {}, ())


def look(paths: Paths, before: State, *, warn: Callable[[str], None]) -> State:
    """What there is; images that were there ``before`` are as they were.

    ``warn`` hears of damaged pods. Raises SystemdError, StoreError.
    """
    statuses = query.all_statuses(paths, warn=warn)
    places = [
        paths.data,
        paths.pods,
        *(f"{paths.pods}/{stage}" for stage in directories.STAGES),
        paths.store,
        f"{paths.store}/images",
    ]
    for each in statuses:
        if each.state == RUNNING:
            # What apps a pod has, and how their health changes, is in files alone.
            places += [each.place.directory, f"{each.place.directory}/health"]
    return State(
        {each.place.uuid: objects.pod(each) for each in statuses},
        _images(paths, before.images),
        tuple(each for each in places if os.path.isdir(each)),
    )


def _images(
    paths: Paths, known: Mapping[str, Mapping[str, Typed]]
) -> dict[str, Mapping[str, Typed]]:
    found = {}
    for record in records(paths):
        # One that is removed meanwhile was never there.
        with contextlib.suppress(NotFound):
            found[record.id] = known.get(record.id) or image(paths, record.id)
    return found


def records(paths: Paths) -> Sequence[ImageRecord]:
    """The stored images, newest import first."""
    try:
        return Store.open(paths.store).images()
    except NotFound:
        return ()


def image(paths: Paths, image_id: str) -> dict[str, Typed]:
    """All properties of an image. Raises NotFound, StoreError."""
    store = Store.open(paths.store)
    record = store.image(image_id)
    manifest = store.manifest_bytes(image_id).decode(errors="replace")
    size = size_in_store(store, record, store.layer_sizes())
    return objects.image(record, size=size, manifest=manifest)


def changed(before: Mapping[str, Typed], after: Mapping[str, Typed]) -> dict[str, Typed]:
    """Of the properties of a pod those whose changes are told and that are others now."""
    return {name: after[name] for name in _TOLD if after[name] != before[name]}
