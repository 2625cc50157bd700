"""The root of an app that has ended as an image of its own: to a file, or into the store."""

from __future__ import annotations

import contextlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from rktsd.appc import write
from rktsd.appc.types import ImageManifest, NameValue
from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.host.files import arriving
from rktsd.paths import USER_RANGE, Paths
from rktsd.pods import query, runs
from rktsd.pods.directories import EXITED_GARBAGE, RUN
from rktsd.pods.query import Place
from rktsd.pods.spec import PodSpec
from rktsd.pods.userranges import first_user
from rktsd.store import publish
from rktsd.store.compression import compressed
from rktsd.store.merge import walk
from rktsd.store.records import ImageRecord
from rktsd.store.store import Store
from rktsd.store.tarwriter import END, tar_file, tar_tree

VOUCHED = "import"


class Ended(NamedTuple):
    """The root of an app that does not run: its directories, topmost first."""

    place: Place
    app: str
    layers: tuple[str, ...]
    manifest: ImageManifest
    first: int


@contextlib.contextmanager
def ended(paths: Paths, place: Place, app: str, *, spec: PodSpec) -> Iterator[Ended]:
    """An app of a pod that has ended and is not started meanwhile. Raises BadInput, NotFound."""
    with runs.lock(paths, place.pod):
        state = query.state(place, query.running(paths, [place]))
        if place.stage not in (RUN, EXITED_GARBAGE) or state == query.RUNNING:
            raise BadInput(f'pod "{place.uuid}" is not exited: it is {state}')
        upper = f"{place.directory}/overlay/{app}"
        if not os.path.isdir(upper):
            raise NotFound(f"app {app} of pod {place.pod} has no root of its own: it never ran")
        image = spec.images[app]
        runs.check_layers(paths, list(image.layers), pod=place.pod)
        stack = (upper, *(f"{paths.store}/layers/{layer}" for layer in image.layers))
        yield Ended(place, app, stack, _complete(image.manifest), first_user(paths, place, spec))


def _complete(manifest: ImageManifest) -> ImageManifest:
    """Without what would be fetched below, or cut away: all of the root is there (unlike rkt)."""
    return replace(manifest, dependencies=(), path_whitelist=())


def renamed(manifest: ImageManifest, name: str, labels: Sequence[NameValue]) -> ImageManifest:
    """An image with another name and other labels; of the old ones os and arch stay."""
    given = {label.name for label in labels}
    kept = [each for each in manifest.labels if each.name in {"os", "arch"} - given]
    return replace(manifest, name=name, labels=(*labels, *kept))


def _unshift(first: int, member: tarfile.TarInfo) -> None:
    """Give a file the owners that it has for a pod whose range of users begins with ``first``."""
    if first <= member.uid < first + USER_RANGE:
        member.uid -= first
    if first <= member.gid < first + USER_RANGE:
        member.gid -= first


def _pieces(ended: Ended, manifest: ImageManifest) -> Iterator[bytes]:
    yield tar_file("manifest", write.dumps(write.image_manifest_json(manifest)).encode())
    try:
        yield from tar_tree(walk(ended.layers), "rootfs", change=partial(_unshift, ended.first))
    except OSError as error:
        raise StoreError(f"cannot read {ended.layers[0]}: {error.strerror}") from error
    yield END


def to_file(ended: Ended, target: str, *, replace: bool) -> None:
    """Write a compressed ACI. Raises BadInput, StoreError."""
    if os.path.lexists(target) and not replace:
        raise BadInput("output ACI file exists (try --overwrite)")
    with arriving(target, replace=replace) as file:
        for piece in compressed(_pieces(ended, ended.manifest), "gzip"):
            file.write(piece)


def to_store(ended: Ended, store: Store, manifest: ImageManifest) -> ImageRecord:
    """Store the root as an image, for which the caller vouches. Raises BadInput, StoreError."""
    where = f"pod:{ended.place.uuid}/{ended.app}"
    with store.temporary("aci") as place:
        try:
            with open(place, "xb") as file:
                for piece in compressed(_pieces(ended, manifest), "gzip"):
                    file.write(piece)
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"cannot write {place}: {error.strerror}") from error
        return publish.import_aci(
            store, place, source=f"{VOUCHED}:{where}", verified_by=VOUCHED, label=where
        )
