"""What lies below an image with a pathWhitelist (appc spec, aci.md; rkt's renderer)."""

from collections.abc import Callable

from rktsd.appc.read import image_manifest
from rktsd.appc.types import Dependency, ImageManifest
from rktsd.errors import BadInput
from rktsd.store.compose import composed_name
from rktsd.store.records import Below, ImageRecord, Part
from rktsd.store.store import Store

MAX_PARTS = 1000


def parts_below(
    store: Store,
    manifest: ImageManifest,
    fetch: Callable[[tuple[str, ...], Dependency], ImageRecord],
) -> Below:
    """The parts of all images below one with a list: depth first, later ones over earlier ones.

    Every one is looked at again, also below an image whose own layers are known: the topmost list
    overrides those in between. ``fetch`` gets the names of the images above and the dependency.
    Raises what ``fetch`` raises, and BadInput when there is no end to it.
    """
    parts: dict[Part, None] = {}
    _walk(store, manifest, manifest.path_whitelist, (), fetch, parts)
    return Below(tuple(parts))


def is_unchanged(store: Store, record: ImageRecord, manifest: ImageManifest, below: Below) -> bool:
    """Whether the layer of a stored image is what these parts make; it is claimed then."""
    parts = (Part(record.id, manifest.path_whitelist, None), *below.parts)
    return record.layers == (composed_name(parts),) and store.claim(record.layers[0])


def _walk(
    store: Store,
    manifest: ImageManifest,
    topmost: tuple[str, ...],
    trail: tuple[str, ...],
    fetch: Callable[[tuple[str, ...], Dependency], ImageRecord],
    parts: dict[Part, None],
) -> None:
    way = (*trail, manifest.name)
    for dependency in reversed(manifest.dependencies):
        record = fetch(way, dependency)
        found = image_manifest(store.manifest_bytes(record.id), f"image {record.id}: manifest")
        part = Part(record.id, found.path_whitelist, topmost)
        if part in parts:
            # What came before, and all below it, hides all of this one.
            continue
        parts[part] = None
        if len(parts) > MAX_PARTS:
            raise BadInput(f"image {way[0]}: more than {MAX_PARTS} dependencies")
        _walk(store, found, topmost, way, fetch, parts)
