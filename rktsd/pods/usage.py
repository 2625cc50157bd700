"""What pods need of the store: the images they were made from, the layers they stand on."""

from __future__ import annotations

import contextlib
import json
import os
from typing import NamedTuple

from rktsd.errors import BadInput, NotFound, RktError
from rktsd.host.files import read_limited
from rktsd.pods import directories, query
from rktsd.pods.directories import EMBRYO, GARBAGE, RUN
from rktsd.pods.query import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktsd.paths import Paths
    from rktsd.store.store import Store

_LIMIT = 16 << 20


class Use(NamedTuple):
    """What one pod needs; ``began`` (nanoseconds since the epoch) is when it was made."""

    place: Place
    images: frozenset[str]
    layers: frozenset[str]
    began: int


def of_pods(paths: Paths) -> list[Use]:
    """The needs of all pods but garbage. Raises BadInput for a pod that does not say."""
    found = []
    for place in query.places(paths):
        if place.stage in (EMBRYO, GARBAGE):
            continue
        path = f"{place.directory}/images"
        try:
            images = json.loads(read_limited(path, _LIMIT)).values()
            layers = frozenset(layer for image in images for layer in image["layers"])
            ids = frozenset(image["id"] for image in images if "id" in image)
            began = os.stat(path).st_mtime_ns
        except (RktError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if directories.find(paths, place.uuid) is None:
                continue
            raise BadInput(f"{path}: cannot tell which layers the pod needs") from error
        found.append(Use(place, ids, layers, began))
    return found


def layers_since(uses: list[Use]) -> dict[str, int]:
    """The layers of pods that may be running, and since when (nanoseconds since the epoch)."""
    since: dict[str, int] = {}
    for use in uses:
        if use.place.stage == RUN:
            for layer in use.layers:
                since[layer] = min(use.began, since.get(layer, use.began))
    return since


def of_pod_files(
    paths: Paths, store: Store, *, warn: Callable[[str], None]
) -> dict[str, list[str]]:
    """Image ID → the pods whose files would take that image from the store when they start."""
    found: dict[str, list[str]] = {}
    try:
        names = sorted(os.listdir(paths.pod_files))
    except OSError:
        return found
    for name in names:
        pod, dot, form = name.rpartition(".")
        if not dot or form not in ("toml", "json"):
            continue
        try:
            references = _references(paths, pod)
        except RktError as error:
            warn(f"{error}; what it needs cannot be told")
            continue
        for reference in references:
            with contextlib.suppress(RktError):
                found.setdefault(_stored(reference, store), []).append(pod)
    return found


def _references(paths: Paths, pod: str) -> set[str]:
    from rktsd.pods import podfile

    # A template is read as one of its instances.
    file = podfile.load(paths, f"{pod}x" if pod.endswith("@") else pod)
    references = {app.image for app in file.options.apps.values() if app.image is not None}
    return references | {app.image.id for app in file.manifest.apps if app.image.id}


def _stored(reference: str, store: Store) -> str:
    """The ID of the image that ``reference`` has in the store. Raises RktError."""
    from rktsd.images.references import Kind, parse_reference

    parsed = parse_reference(reference, is_file=os.path.isfile)
    if parsed.kind in (Kind.ID, Kind.NAME):
        return store.find(parsed.target).id
    prefix = {Kind.DOCKER: "docker://", Kind.FILE: "file://"}.get(parsed.kind, "")
    record = store.find_source(f"{prefix}{parsed.target}")
    if record is None:
        raise NotFound(f"image {reference!r} is not in the store")
    return record.id
