"""Is a stored image what it was when it was verified? What is not is put right where that is
possible: layers from their archives, documents from what they were derived from.
"""

import enum
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from rktsd.appc.cursor import decode_json
from rktsd.appc.read import image_manifest
from rktsd.appc.types import ImageManifest
from rktsd.appc.write import dumps, image_manifest_json
from rktsd.errors import BadInput, NotFound, RktError, TrustError, Unsupported
from rktsd.images import oci
from rktsd.images.references import parse_docker_name
from rktsd.store import publish
from rktsd.store.archives import archive_id, archive_manifest, file_digest
from rktsd.store.compose import composed_name, parts_from_json
from rktsd.store.records import ImageRecord, parse_digest
from rktsd.store.store import Store
from rktsd.store.verify import Maker, check_layer, makers

LAYER, ARCHIVE, DOCUMENT = "layer", "archive", "document"
_ABOUT_ORIGIN = frozenset(
    f"appc.io/docker/{word}"
    for word in ("originalname", "registryurl", "repository", "tag", "imageid", "manifesthash")
)


class State(enum.StrEnum):
    """``unknown`` is what cannot be checked, because what it was made of is not right itself."""

    RIGHT = "right"
    REPAIRED = "repaired"
    DAMAGED = "damaged"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """What was found of one part of an image; ``differences`` are lines for the user."""

    kind: str
    name: str
    state: State
    differences: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether it is right, at the latest now."""
        return self.state in (State.RIGHT, State.REPAIRED)


Known = dict[tuple[str, str], Finding]


def check(store: Store, record: ImageRecord, *, known: Known) -> Iterator[Finding]:
    """Every archive, layer and document of an image, in this order.

    ``known`` holds what was found of other images' parts, and is added to: images share them.
    Layers and documents that differ are replaced, each in one step. Raises StoreError.
    """
    made = makers(store, (each for each in store.images() if each.id != record.id))
    made |= makers(store, [record])
    archives = dict.fromkeys(map(store.blob_path, record.blobs))
    for layer in record.layers:
        archives |= dict.fromkeys(made[layer].archives if layer in made else ())
    for path in archives:
        yield _once(known, ARCHIVE, os.path.basename(path), functools.partial(_archive, path))
    for layer in record.layers:
        find = functools.partial(_layer, store, layer, made.get(layer), known)
        yield _once(known, LAYER, layer, find)
    yield from _documents(store, record, known)


def _once(known: Known, kind: str, name: str, find: Callable[[], Finding]) -> Finding:
    found = known.get((kind, name))
    if found is None:
        found = known[kind, name] = find()
    return found


def _archive(path: str) -> Finding:
    name = os.path.basename(path)
    if not os.path.isfile(path):
        return Finding(ARCHIVE, name, State.MISSING)
    try:
        if name.endswith(".aci"):
            right = f"{archive_id(path)}.aci" == name
        else:
            algorithm, expected = parse_digest(name)
            right = file_digest(path, algorithm) == f"{algorithm}:{expected}"
    except (BadInput, Unsupported) as error:
        return Finding(ARCHIVE, name, State.DAMAGED, (str(error).removeprefix(f"{path}: "),))
    if right:
        return Finding(ARCHIVE, name, State.RIGHT)
    return Finding(ARCHIVE, name, State.DAMAGED, ("its digest is another",))


def _layer(store: Store, layer: str, maker: Maker | None, known: Known) -> Finding:
    def good(path: str) -> bool:
        found = known.get((ARCHIVE, os.path.basename(path)))
        return found is not None and found.good

    if maker is None or not all(map(good, maker.archives)):
        state = State.UNKNOWN if store.has_layer(layer) else State.MISSING
        return Finding(LAYER, layer, state)
    try:
        differences = check_layer(store, layer, maker)
    except (BadInput, TrustError) as error:
        return Finding(LAYER, layer, State.UNKNOWN, (str(error),))
    return Finding(LAYER, layer, State.REPAIRED if differences else State.RIGHT, differences)


def _documents(store: Store, record: ImageRecord, known: Known) -> Iterator[Finding]:
    """What lies beside the index of an image."""
    if record.kind == "aci":
        own = known.get((ARCHIVE, f"{record.id}.aci"))
        manifest = None
        if own is not None and own.good:
            manifest = archive_manifest(store.blob_path(f"{record.id}.aci"))
        if record.layers[0] != record.id:
            yield _parts(store, record)
        yield _document(store, record, manifest, same=lambda data: data == manifest)
        return
    found = [_oci_manifest(store, record), _oci_config(store, record)]
    yield from found
    derived = None
    if all(each.good for each in found):
        derived = dumps(image_manifest_json(_derived(store, record))).encode()
    yield _document(store, record, derived, same=lambda data: _says_the_same(data, derived or b""))


def _document(
    store: Store, record: ImageRecord, wanted: bytes | None, *, same: Callable[[bytes], bool]
) -> Finding:
    """The appc manifest, which is made again of ``wanted`` unless it is the ``same``."""
    name = "manifest"
    data = _read(store, record, name)
    if wanted is None:
        return Finding(DOCUMENT, name, State.MISSING if data is None else State.UNKNOWN)
    if data is not None and same(data):
        return Finding(DOCUMENT, name, State.RIGHT)
    difference = "is missing" if data is None else "its content differs"
    try:
        publish.renew(store, record, {name: wanted})
    except RktError as error:
        state = State.MISSING if data is None else State.DAMAGED
        return Finding(DOCUMENT, name, state, (difference, str(error)))
    return Finding(DOCUMENT, name, State.REPAIRED, (difference,))


def _read(store: Store, record: ImageRecord, name: str) -> bytes | None:
    try:
        return store.manifest_bytes(record.id, extra=name)
    except NotFound:
        return None


def _judged(name: str, data: bytes | None, right: bool) -> Finding:
    if data is None:
        return Finding(DOCUMENT, name, State.MISSING)
    return Finding(DOCUMENT, name, State.RIGHT if right else State.DAMAGED)


def _parts(store: Store, record: ImageRecord) -> Finding:
    """The layer of an image with a pathWhitelist is named after what it is composed of."""
    data = _read(store, record, "parts")
    try:
        right = data is not None and composed_name(parts_from_json(data)) == record.layers[0]
    except BadInput:
        right = False
    return _judged("parts", data, right)


def _oci_manifest(store: Store, record: ImageRecord) -> Finding:
    data = _read(store, record, "oci-manifest")
    return _judged("oci-manifest", data, data is not None and oci.image_id(data) == record.id)


def _oci_config(store: Store, record: ImageRecord) -> Finding:
    data, manifest = (_read(store, record, name) for name in ("oci-config", "oci-manifest"))
    right = False
    if data is not None and manifest is not None and oci.image_id(manifest) == record.id:
        wanted = oci.read_manifest(manifest, f"image {record.id}").config.digest
        algorithm, _ = parse_digest(wanted)
        right = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}" == wanted
    return _judged("oci-config", data, right)


def _derived(store: Store, record: ImageRecord) -> ImageManifest:
    """The appc manifest that was derived from an image's configuration when it was fetched."""
    data = store.manifest_bytes(record.id, extra="oci-manifest")
    image = oci.read_manifest(data, f"image {record.id}")
    config = oci.read_config(
        store.manifest_bytes(record.id, extra="oci-config"),
        f"image {record.id}: config",
        layers=len(image.layers),
    )
    source = record.source.partition(",platform=")[0]
    annotations = {"appc.io/docker/originalname": source}
    if source.startswith("docker://"):
        name = parse_docker_name(source.removeprefix("docker://"))
        annotations |= {
            "appc.io/docker/registryurl": name.registry,
            "appc.io/docker/repository": name.repository,
            "appc.io/docker/tag": name.tag or "",
        }
    return oci.to_appc(
        config,
        name=record.name,
        version=record.label("version"),
        annotations={
            **annotations,
            "appc.io/docker/imageid": image.config.digest,
            "appc.io/docker/manifesthash": f"sha256:{hashlib.sha256(data).hexdigest()}",
        },
        manifest_annotations=image.annotations,
    )


def _says_the_same(data: bytes, wanted: bytes) -> bool:
    """Whether two manifests differ at most in words about where the image came from."""
    try:
        found = [_without_origin(image_manifest(each, "")) for each in (data, wanted)]
        extra = decode_json(data, "").value
    except BadInput:
        return False
    known = decode_json(wanted, "").value
    members = isinstance(extra, dict) and isinstance(known, dict) and extra.keys() <= known.keys()
    return members and found[0] == found[1]


def _without_origin(manifest: ImageManifest) -> ImageManifest:
    kept = (each for each in manifest.annotations if each.name not in _ABOUT_ORIGIN)
    return replace(manifest, annotations=tuple(kept))
