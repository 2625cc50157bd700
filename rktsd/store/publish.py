"""What comes into the store: ACIs, layers, blobs, and what is said of images.

It is complete, synced and checked before it has a name there, and known to the index last. Whatever
raises leaves the store as it was.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace

from rktsd.errors import BadInput, StoreError, TrustError
from rktsd.host.files import rename_durable, sync_directory, write_atomic
from rktsd.store.records import Below, ImageRecord, Part, blob_name, layer_name, parse_digest
from rktsd.store.store import writing
from rktsd.store.transfer import is_ours, take
from rktsd.store.tree import is_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rktsd.appc.types import ImageManifest
    from rktsd.store.records import Limits
    from rktsd.store.store import Store
    from rktsd.store.unpack import Watch

_PATIENCE = 5.0
_EXTRA = re.compile(r"[a-z0-9][a-z0-9-]*\Z")


def import_aci(
    store: Store,
    archive: str,
    *,
    source: str,
    verified_by: str,
    limits: Limits | None = None,
    label: str | None = None,
    watch: Watch | None = None,
    accept: Callable[[str, ImageManifest], Sequence[str] | Below] | None = None,
) -> ImageRecord:
    """Store an ACI, and the archive as it is; one already stored is renewed.

    The id is "sha512-" and the first 64 digits of the sha512 of the uncompressed tar (rkt).
    An archive outside the store is copied first, so that it cannot change underneath.
    ``limits`` bounds what it may unpack to, ``label`` and ``watch`` are as for
    ``rktsd.store.unpack``. ``accept`` is told ID and manifest while nothing is stored yet: it
    raises what it likes to refuse the image, and returns the layers below the image's own,
    topmost first, or for an image with a pathWhitelist what parts lie below it. Raises
    BadInput, Unsupported, StoreError; the store is then as it was.
    """
    from rktsd.appc.read import image_manifest
    from rktsd.store.compose import compose, composed_name, parts_json
    from rktsd.store.unpack import unpack

    label = archive if label is None else label
    with store.temporary("aci") as place, writing(store.root):
        os.mkdir(place, 0o700)
        blob, root = f"{place}/blob", f"{place}/root"
        take(store.root, archive, blob)
        os.mkdir(root, 0o755)
        unpacked = unpack(
            blob, root, kind="aci", digest="sha512", limits=limits, label=label, watch=watch
        )
        image_id = f"sha512-{unpacked.digest[:64]}"
        manifest = image_manifest(unpacked.manifest, f"{label}: manifest")
        below = accept(image_id, manifest) if accept else ()
        layers: tuple[str, ...] = (image_id,)
        size, files = unpacked.content, {"manifest": unpacked.manifest}
        if not isinstance(below, Below):
            layers = (image_id, *below)
        if manifest.path_whitelist:
            parts = (Part(image_id, manifest.path_whitelist, None), *_parts(below))
            trees, root = {image_id: root}, f"{place}/composed"
            os.mkdir(root, 0o755)
            size = compose(store, parts, root, trees=trees)
            layers, files["parts"] = (composed_name(parts),), parts_json(parts)
        now = time.time_ns()
        record = ImageRecord(
            id=image_id,
            name=manifest.name,
            labels=manifest.labels,
            kind="aci",
            layers=layers,
            size=os.stat(blob).st_size,
            import_time=now,
            last_used=now,
            source=source,
            verified_by=verified_by,
            blobs=(f"{image_id}.aci",),
        )
        with store.shared():
            _place_layer(store, root, layers[0], size=size)
            _place_blob(store, blob, f"{image_id}.aci")
            return _put(store, record, files)


def import_layer(
    store: Store,
    archive: str,
    *,
    diff_id: str,
    limits: Limits | None = None,
    label: str | None = None,
    watch: Watch | None = None,
) -> None:
    """Unpack an OCI layer whose uncompressed tar has the digest ``diff_id`` ("sha256:HEX").

    Does nothing when it is stored. The layer is claimed until ``add_image`` or ``close``.
    ``label`` and ``watch`` are as for ``rktsd.store.unpack``. Raises TrustError when
    the digest is another, BadInput, Unsupported, StoreError; the store is then as it was.
    """
    from rktsd.store.unpack import unpack

    name = layer_name(diff_id)
    if store.claim(name):
        return
    label = archive if label is None else label
    with store.temporary("root") as root, writing(store.root):
        os.mkdir(root, 0o755)
        algorithm, expected = name.split("-")
        unpacked = unpack(
            archive, root, kind="oci", digest=algorithm, limits=limits, label=label, watch=watch
        )
        if unpacked.digest != expected:
            actual = f"{algorithm}:{unpacked.digest}"
            raise TrustError(f"{label}: uncompressed digest is {actual}, not {diff_id}")
        with store.shared():
            _place_layer(store, root, name, size=unpacked.content)


def replace_layer(store: Store, tree: str, layer: str, *, size: int) -> None:
    """Give the synced ``tree`` the name of ``layer``; pods that run on the old one keep it.

    ``size`` is the bytes of its content. A collection frees the old tree. Raises StoreError.
    """
    from rktsd.host.kernel import exchange
    from rktsd.store.collect import retire

    with store.exclusive(), writing(store.root):
        if store.has_layer(layer):
            exchange(tree, store.layer_path(layer))
            retire(store.root, tree, layer_name(layer))
            sync_directory(f"{store.root}/layers")
            store.index().put_layer(layer_name(layer), size)
        else:
            _place_layer(store, tree, layer_name(layer), size=size)
        # What was found out about the old tree may not hold for the new one.
        store.renew_generation()


def add_blob(store: Store, path: str, digest: str, *, verified: bool = False) -> str:
    """Move the file ``path`` into the store if it has ``digest``; its path there.

    ``verified`` files are scratch of this store, written by who checked the digest. Claimed
    until ``close`` or an ``add_image`` with it. Raises TrustError, StoreError.
    """
    import hashlib

    algorithm, expected = parse_digest(digest)
    name = f"{algorithm}-{expected}"
    with store.temporary("blob") as blob, writing(store.root):
        take(store.root, path, blob)
        with open(blob, "rb") as file:
            known = verified and is_ours(store.root, path)
            actual = expected if known else hashlib.file_digest(file, algorithm).hexdigest()
            if actual != expected:
                raise TrustError(f"{path}: digest is {algorithm}:{actual}, not {digest}")
            os.fsync(file.fileno())
        with store.shared():
            store.claim_name(name)
            _place_blob(store, blob, name)
        if is_ours(store.root, path):
            os.unlink(path)
    return store.blob_path(digest)


def add_archive(store: Store, path: str, image_id: str, *, limits: Limits, label: str) -> None:
    """Move the file ``path`` into the store as the archive of an ACI that is stored.

    ``label`` is what it is to be called. Raises TrustError when it is another one, BadInput
    when it is none or beyond ``limits``, StoreError.
    """
    from rktsd.store.archives import archive_id

    with store.temporary("blob") as blob, writing(store.root):
        take(store.root, path, blob)
        if archive_id(blob, limits=limits, label=label) != image_id:
            raise TrustError(f"{label}: not the archive of image {image_id}")
        with open(blob, "rb") as file:
            os.fsync(file.fileno())
        with store.shared():
            store.image(image_id)
            _place_blob(store, blob, f"{image_id}.aci")


def add_image(
    store: Store, record: ImageRecord, manifest: bytes, *, extra: Mapping[str, bytes] | None = None
) -> ImageRecord:
    """Make an image known whose layers and blobs are stored; the record as stored.

    ``manifest`` is the appc image manifest, ``extra`` maps names to content kept beside it.
    An ``import_time`` of 0 means now. Raises StoreError when a layer or blob is missing.
    """
    now = time.time_ns()
    for name in extra or {}:
        if not _EXTRA.match(name) or name in ("manifest", "parts", "used"):
            raise BadInput(f'image {record.id}: "{name}" cannot be kept beside its manifest')
    moment = record.import_time or now
    record = replace(record, import_time=moment, last_used=record.last_used or moment)
    with store.shared(), writing(store.root):
        for layer in record.layers:
            if not store.has_layer(layer):
                raise StoreError(f"image {record.id}: layer {layer} is not in the store")
        for blob in record.blobs:
            if not os.path.exists(store.blob_path(blob)):
                raise StoreError(f"image {record.id}: blob {blob} is not in the store")
        stored = _put(store, record, {"manifest": manifest, **(extra or {})})
    store.release((*map(layer_name, record.layers), *map(blob_name, record.blobs)))
    return stored


def renew(store: Store, record: ImageRecord, documents: Mapping[str, bytes]) -> None:
    """Put documents of a stored image in the place of those beside it. Raises StoreError."""
    with store.shared(), writing(store.root):
        _put(store, store.image(record.id), documents)


def _place_layer(store: Store, root: str, name: str, *, size: int) -> None:
    """Give a complete, synced tree its name; somebody else may have been quicker."""
    try:
        rename_durable(root, store.layer_path(name))
        store.note_arrival(f"layers/{name}")
    except OSError:
        if not store.has_layer(name):
            raise
    store.index().put_layer(name, size)


def _place_blob(store: Store, path: str, name: str) -> None:
    target = f"{store.root}/blobs/{name}"
    if os.path.exists(target):
        if store.additive:
            return
    else:
        store.note_arrival(f"blobs/{name}")
    rename_durable(path, target)


def _put(store: Store, record: ImageRecord, files: Mapping[str, bytes]) -> ImageRecord:
    target = store.image_path(record.id)
    if store.additive:
        known, record = _added(store, record, target)
        if known is not None:
            return known
    with store.temporary("image") as place:
        os.mkdir(place, 0o750)
        # Scratch lies outside the group that may read what is said of images.
        group = os.stat(f"{store.root}/images").st_gid
        for name, content in {**files, "used": b""}.items():
            write_atomic(f"{place}/{name}", content, mode=0o640)
            os.chown(f"{place}/{name}", -1, group)
        os.chown(place, -1, group)
        os.utime(f"{place}/used", ns=(record.last_used, record.last_used))
        try:
            rename_durable(place, target)
            store.note_arrival(f"images/{record.id}")
        except OSError:
            if not is_directory(target):
                raise
            # There already, perhaps from an import that did not end: renew it.
            for name in (*files, "used"):
                rename_durable(f"{place}/{name}", f"{target}/{name}")
    store.index().put(record, additive=store.additive)
    store.renew_generation()
    return record


def _added(
    store: Store, record: ImageRecord, target: str
) -> tuple[ImageRecord | None, ImageRecord]:
    """The image if it is known, and otherwise ``record`` as it is to be added."""
    index = store.index()
    deadline = time.monotonic() + _PATIENCE
    while True:
        for known in index.by_prefix(record.id):
            return store.with_use(known), record
        if not is_directory(target):
            break
        if time.monotonic() > deadline:
            hint = "rkt gc removes what an import left that did not end"
            raise StoreError(f"image {record.id} is being stored by somebody else", hint=hint)
        time.sleep(0.1)
    times = [each.import_time for each in index.by_name(record.name)]
    return None, replace(record, import_time=min([*times, record.import_time + 1]) - 1)


def _parts(below: Sequence[str] | Below) -> tuple[Part, ...]:
    if isinstance(below, Below):
        return below.parts
    if below:
        raise StoreError("an image with a pathWhitelist lies on parts, not on layers")
    return ()
