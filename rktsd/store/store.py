"""The image store: the one door to layers, blobs, manifests and the index of images.

::

    <root>/layers/LAYER/     the tree of a layer, complete and synced when it has that name
    <root>/blobs/            archives as downloaded (IMAGE.aci), blobs of OCI images (SHA-HEX)
    <root>/images/ID/        manifest, oci-manifest, oci-config, parts (of a composed layer); the
                             time of "used" is last use
    <root>/index             SQLite
    <root>/generation        replaced whenever images are added or removed
    <root>/seen/             what references to registries led to, by reference
    <root>/reserve/          room for removing things where the disk is full
    <root>/tmp/              scratch directories of living processes, and leftovers of dead ones

The lock is flock(2) on <root>. Who resolves images and then uses their layers holds it shared;
removal holds it exclusively. Between import and ``add_image`` a claim keeps layers.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rktsd.errors import BadInput, NotFound, StoreError, TrustError
from rktsd.host.files import locked, rename_durable, sync_directory, write_atomic
from rktsd.store.records import (
    Below,
    Freed,
    ImageRecord,
    Limits,
    Part,
    blob_name,
    layer_name,
    parse_digest,
)
from rktsd.store.reserve import make, room
from rktsd.store.temporary import Scratch, scratch
from rktsd.store.transfer import discard, is_ours, take
from rktsd.store.tree import is_directory

if TYPE_CHECKING:
    from rktsd.appc.types import ImageManifest
    from rktsd.store.index import Index
    from rktsd.store.unpack import Watch

_DIRECTORIES = (("layers", 0o700), ("blobs", 0o750), ("images", 0o750), ("tmp", 0o700))
_PATIENCE = 5.0
_EXTRA = re.compile(r"[a-z0-9][a-z0-9-]*\Z")


class Store:
    """Use ``Store.open``. One object is for one thread at a time; any number may be open."""

    def __init__(self, root: str, *, additive: bool = False) -> None:
        self.root = root
        self._additive = additive
        self._claims: Scratch | None = None
        self._arrived: dict[str, None] = {}
        self._exclusive = 0
        self._shared = 0

    @classmethod
    def open(cls, root: str, *, create: bool = False, additive: bool = False) -> Self:
        """The store in ``root``.

        ``additive`` is for those who may add images and change nothing: an image that is known
        stays as it is, whatever names and sources lead to goes on doing so, and a new image of a
        name that is known counts as the oldest of it.

        Raises NotFound when there is none and ``create`` is not given, StoreError when that cannot
        be seen.
        """
        if not _exists(f"{root}/index"):
            if not create:
                raise NotFound(f"there is no image store in {root}")
            with _writing(root):
                os.makedirs(root, 0o750, exist_ok=True)
                for name, mode in _DIRECTORIES:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(f"{root}/{name}", mode)
            cls(root)._index().create()
            make(root)
            sync_directory(root)
        return cls(root, additive=additive)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up claims. The object can be used again."""
        self._arrived.clear()
        if self._claims is not None:
            self._claims.close()
            self._claims = None

    def adopt(self, other: "Store") -> None:
        """What arrived by way of ``other``, an object for the same store, arrived by this one."""
        self._arrived.update(other._arrived)

    def abandon(self) -> None:
        """Give up claims, and free what arrived under them unless somebody needs it by now.

        Does nothing more where the lock is held shared: that is left to the next collection.
        """
        from rktsd.store.collect import take_back

        arrived = list(self._arrived)
        self.close()
        if arrived and not self._shared:
            with self.exclusive(), _writing(self.root), room(self.root):
                gone = take_back(self.root, self._index().all(), arrived)
                self._index().forget_layers(gone)

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Nothing is removed while this is held. May be nested, also in ``exclusive``."""
        if self._exclusive or self._shared:
            self._shared += 1
            try:
                yield
            finally:
                self._shared -= 1
            return
        with locked(self.root, shared=True):
            self._shared += 1
            try:
                yield
            finally:
                self._shared -= 1

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else resolves, imports or removes. May be nested, but not within ``shared``."""
        if self._exclusive:
            yield
            return
        if self._shared:
            raise StoreError(f"{self.root}: the lock is held shared and cannot become exclusive")
        with locked(self.root):
            self._exclusive += 1
            try:
                yield
            finally:
                self._exclusive -= 1

    def generation(self) -> str:
        """A text that changes whenever images are added or removed; cheap, opens no database."""
        try:
            with open(f"{self.root}/generation", "rb", buffering=0) as file:
                return file.read(64).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise StoreError(f"cannot read {self.root}/generation: {error.strerror}") from error

    @contextlib.contextmanager
    def temporary(self, suffix: str = "data") -> Iterator[str]:
        """A path that does not exist yet, in a private directory removed at the end."""
        with scratch(f"{self.root}/tmp") as place:
            yield f"{place}/{suffix}"

    def layer_path(self, layer: str) -> str:
        """The directory of ``layer``, to be a lowerdir of an overlay; it need not exist."""
        return f"{self.root}/layers/{layer_name(layer)}"

    def visible(self, layers: Sequence[str]) -> tuple[str, ...]:
        """The names of stored ``layers``, topmost first and each once, that are to be seen.

        A root that is opaque hides all below, which overlayfs knows of other directories only.
        """
        from rktsd.store.whiteouts import is_opaque

        names = tuple(dict.fromkeys(map(layer_name, layers)))
        hiding = (at for at, name in enumerate(names, 1) if is_opaque(self.layer_path(name)))
        return names[: next(hiding, None)]

    def has_layer(self, layer: str) -> bool:
        """Whether the layer is stored; see ``claim`` for a lasting answer."""
        return is_directory(self.layer_path(layer))

    def claim(self, layer: str) -> bool:
        """``has_layer``, and the layer is safe from collection until ``close`` or our end."""
        name = layer_name(layer)
        with self.shared():
            self._claim(name)
            return self.has_layer(name)

    def import_aci(
        self,
        archive: str,
        *,
        source: str,
        verified_by: str,
        limits: Limits | None = None,
        label: str | None = None,
        watch: "Watch | None" = None,
        accept: "Callable[[str, ImageManifest], Sequence[str] | Below] | None" = None,
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
        with self.temporary("aci") as place, _writing(self.root):
            os.mkdir(place, 0o700)
            blob, root = f"{place}/blob", f"{place}/root"
            take(self.root, archive, blob)
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
                size = compose(self, parts, root, trees=trees)
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
            with self.shared():
                self._place_layer(root, layers[0], size=size)
                self._place_blob(blob, f"{image_id}.aci")
                return self._put(record, files)

    def import_layer(
        self,
        archive: str,
        *,
        diff_id: str,
        limits: Limits | None = None,
        label: str | None = None,
        watch: "Watch | None" = None,
    ) -> None:
        """Unpack an OCI layer whose uncompressed tar has the digest ``diff_id`` ("sha256:HEX").

        Does nothing when it is stored. The layer is claimed until ``add_image`` or ``close``.
        ``label`` and ``watch`` are as for ``rktsd.store.unpack``. Raises TrustError when
        the digest is another, BadInput, Unsupported, StoreError; the store is then as it was.
        """
        from rktsd.store.unpack import unpack

        name = layer_name(diff_id)
        if self.claim(name):
            return
        label = archive if label is None else label
        with self.temporary("root") as root, _writing(self.root):
            os.mkdir(root, 0o755)
            algorithm, expected = name.split("-")
            unpacked = unpack(
                archive, root, kind="oci", digest=algorithm, limits=limits, label=label, watch=watch
            )
            if unpacked.digest != expected:
                actual = f"{algorithm}:{unpacked.digest}"
                raise TrustError(f"{label}: uncompressed digest is {actual}, not {diff_id}")
            with self.shared():
                self._place_layer(root, name, size=unpacked.content)

    def replace_layer(self, tree: str, layer: str, *, size: int) -> None:
        """Give the synced ``tree`` the name of ``layer``; pods that run on the old one keep it.

        ``size`` is the bytes of its content. A collection frees the old tree. Raises StoreError.
        """
        from rktsd.host.kernel import exchange
        from rktsd.store.collect import retire

        with self.exclusive(), _writing(self.root):
            if self.has_layer(layer):
                exchange(tree, self.layer_path(layer))
                retire(self.root, tree, layer_name(layer))
                sync_directory(f"{self.root}/layers")
                self._index().put_layer(layer_name(layer), size)
            else:
                self._place_layer(tree, layer_name(layer), size=size)
            # What was found out about the old tree may not hold for the new one.
            self._renew_generation()

    def claim_blob(self, digest: str) -> bool:
        """Whether a blob is stored; it is safe from collection until ``close`` or our end."""
        name = blob_name(digest)
        with self.shared():
            self._claim(name)
            return os.path.exists(self.blob_path(digest))

    def add_blob(self, path: str, digest: str, *, verified: bool = False) -> str:
        """Move the file ``path`` into the store if it has ``digest``; its path there.

        ``verified`` files are scratch of this store, written by who checked the digest. Claimed
        until ``close`` or an ``add_image`` with it. Raises TrustError, StoreError.
        """
        import hashlib

        algorithm, expected = parse_digest(digest)
        name = f"{algorithm}-{expected}"
        with self.temporary("blob") as blob, _writing(self.root):
            take(self.root, path, blob)
            with open(blob, "rb") as file:
                known = verified and is_ours(self.root, path)
                actual = expected if known else hashlib.file_digest(file, algorithm).hexdigest()
                if actual != expected:
                    raise TrustError(f"{path}: digest is {algorithm}:{actual}, not {digest}")
                os.fsync(file.fileno())
            with self.shared():
                self._claim(name)
                self._place_blob(blob, name)
            if is_ours(self.root, path):
                os.unlink(path)
        return self.blob_path(digest)

    def add_archive(self, path: str, image_id: str, *, limits: Limits, label: str) -> None:
        """Move the file ``path`` into the store as the archive of an ACI that is stored.

        ``label`` is what it is to be called. Raises TrustError when it is another one, BadInput
        when it is none or beyond ``limits``, StoreError.
        """
        from rktsd.store.archives import archive_id

        with self.temporary("blob") as blob, _writing(self.root):
            take(self.root, path, blob)
            if archive_id(blob, limits=limits, label=label) != image_id:
                raise TrustError(f"{label}: not the archive of image {image_id}")
            with open(blob, "rb") as file:
                os.fsync(file.fileno())
            with self.shared():
                self.image(image_id)
                self._place_blob(blob, f"{image_id}.aci")

    def blob_path(self, digest: str) -> str:
        """Where the blob with ``digest`` lies or would lie; also for the ``blobs`` of a record."""
        return f"{self.root}/blobs/{blob_name(digest)}"

    def add_image(
        self, record: ImageRecord, manifest: bytes, *, extra: Mapping[str, bytes] | None = None
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
        with self.shared(), _writing(self.root):
            for layer in record.layers:
                if not self.has_layer(layer):
                    raise StoreError(f"image {record.id}: layer {layer} is not in the store")
            for blob in record.blobs:
                if not os.path.exists(self.blob_path(blob)):
                    raise StoreError(f"image {record.id}: blob {blob} is not in the store")
            stored = self._put(record, {"manifest": manifest, **(extra or {})})
        if self._claims is not None:
            names = (*map(layer_name, record.layers), *map(blob_name, record.blobs))
            if self._claims.release(names):
                self.close()
        return stored

    def renew(self, record: ImageRecord, documents: Mapping[str, bytes]) -> None:
        """Put documents of a stored image in the place of those beside it. Raises StoreError."""
        with self.shared(), _writing(self.root):
            self._put(self.image(record.id), documents)

    def images(self) -> list[ImageRecord]:
        """Every image, newest import first."""
        return [self._with_use(record) for record in self._index().all()]

    def image(self, image_id: str) -> ImageRecord:
        """The image with exactly this id. Raises NotFound."""
        for record in self._index().by_prefix(image_id):
            if record.id == image_id:
                return self._with_use(record)
        raise NotFound(f'image "{image_id}" is not in the store')

    def find(self, reference: str) -> ImageRecord:
        """The image that ``reference`` means: (the beginning of) an id, or a name with labels.

        Of several with the name the newest import is taken. Raises NotFound, BadInput.
        """
        from rktsd.store import match

        find = match.by_id if match.is_image_id(reference) else match.by_name
        return self._with_use(find(self._index(), reference))

    def find_source(self, source: str) -> ImageRecord | None:
        """The image that came last from ``source``."""
        found = self._index().by_source(source)
        return self._with_use(found[0]) if found else None

    def note_latest(self, record: ImageRecord, labels: Mapping[str, str]) -> None:
        """It came for its name with ``labels`` and without a version (rkt's ``latest``).

        Does nothing for who may only add: what a name leads to goes on leading there.
        """
        from rktsd.store import match

        source, index = match.latest(record.name, labels), self._index()
        if not self._additive and [each.id for each in index.by_source(source)] != [record.id]:
            index.lead(source, record.id)

    def layer_sizes(self) -> dict[str, int]:
        """The bytes of content of every layer by its name, as far as that is on record."""
        return self._index().layer_sizes()

    def blob_size(self, blob: str) -> int:
        """The bytes of a blob of a record; 0 for one that is not there."""
        try:
            return os.stat(self.blob_path(blob)).st_size
        except OSError:
            return 0

    def manifest_bytes(self, image_id: str, *, extra: str = "manifest") -> bytes:
        """The appc image manifest as stored, or what was kept beside it. Raises NotFound."""
        try:
            with open(f"{self._image_path(image_id)}/{extra}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            what = "" if extra == "manifest" else f"{extra} of "
            raise NotFound(f'{what}image "{image_id}" is not in the store') from None
        except OSError as error:
            raise StoreError(f"cannot read image {image_id}: {error.strerror}") from error

    def touch(self, image_id: str) -> None:
        """Note that the image was used now. An image that is gone is no error."""
        with contextlib.suppress(OSError):
            os.utime(f"{self._image_path(image_id)}/used")

    def remove(self, image_id: str) -> None:
        """Forget an image; ``collect`` frees its layers and blobs. Raises NotFound."""
        with self.exclusive(), _writing(self.root), room(self.root):
            self.image(image_id)
            # First, so that nobody trusts what he remembers of an image that is about to go.
            self._renew_generation()
            self._index().delete(image_id)
            discard(self.root, self._image_path(image_id))

    def collect(
        self, keep_layers: Iterable[str] = (), *, in_use: Mapping[str, int] | None = None
    ) -> Freed:
        """Free layers, blobs and leftovers that no image, claim or ``keep_layers`` needs.

        ``in_use`` maps the layers that pods run on to the time (nanoseconds since the epoch) since
        which they do: trees that were replaced since then stay.
        """
        from rktsd.store.collect import collect

        with self.exclusive(), _writing(self.root), room(self.root):
            index = self._index()
            freed = collect(self.root, index.all(), keep_layers, in_use=in_use or {})
            index.forget_layers(freed.layers)
            return freed

    def _index(self) -> "Index":
        from rktsd.store.index import Index

        return Index(f"{self.root}/index")

    def _image_path(self, image_id: str) -> str:
        if not re.fullmatch(r"sha(256|512)-[0-9a-f]+", image_id):
            raise BadInput(f'"{image_id}": bad image ID')
        return f"{self.root}/images/{image_id}"

    def _with_use(self, record: ImageRecord) -> ImageRecord:
        with contextlib.suppress(OSError):
            used = os.stat(f"{self._image_path(record.id)}/used").st_mtime_ns
            return replace(record, last_used=used)
        return record

    def _claim(self, name: str) -> None:
        if self._claims is None:
            self._claims = Scratch(f"{self.root}/tmp")
        self._claims.claim(name)

    def _place_layer(self, root: str, name: str, *, size: int) -> None:
        """Give a complete, synced tree its name; somebody else may have been quicker."""
        try:
            rename_durable(root, self.layer_path(name))
            self._arrived[f"layers/{name}"] = None
        except OSError:
            if not self.has_layer(name):
                raise
        self._index().put_layer(name, size)

    def _place_blob(self, path: str, name: str) -> None:
        target = f"{self.root}/blobs/{name}"
        if os.path.exists(target):
            if self._additive:
                return
        else:
            self._arrived[f"blobs/{name}"] = None
        rename_durable(path, target)

    def _put(self, record: ImageRecord, files: Mapping[str, bytes]) -> ImageRecord:
        target = self._image_path(record.id)
        if self._additive:
            known, record = self._added(record, target)
            if known is not None:
                return known
        with self.temporary("image") as place:
            os.mkdir(place, 0o750)
            # Scratch lies outside the group that may read what is said of images.
            group = os.stat(f"{self.root}/images").st_gid
            for name, content in {**files, "used": b""}.items():
                write_atomic(f"{place}/{name}", content, mode=0o640)
                os.chown(f"{place}/{name}", -1, group)
            os.chown(place, -1, group)
            os.utime(f"{place}/used", ns=(record.last_used, record.last_used))
            try:
                rename_durable(place, target)
                self._arrived[f"images/{record.id}"] = None
            except OSError:
                if not is_directory(target):
                    raise
                # There already, perhaps from an import that did not end: renew it.
                for name in (*files, "used"):
                    rename_durable(f"{place}/{name}", f"{target}/{name}")
        self._index().put(record, additive=self._additive)
        self._renew_generation()
        return record

    def _added(self, record: ImageRecord, target: str) -> tuple[ImageRecord | None, ImageRecord]:
        """The image if it is known, and otherwise ``record`` as it is to be added."""
        index = self._index()
        deadline = time.monotonic() + _PATIENCE
        while True:
            for known in index.by_prefix(record.id):
                return self._with_use(known), record
            if not is_directory(target):
                break
            if time.monotonic() > deadline:
                hint = "rkt gc removes what an import left that did not end"
                raise StoreError(f"image {record.id} is being stored by somebody else", hint=hint)
            time.sleep(0.1)
        times = [each.import_time for each in index.by_name(record.name)]
        return None, replace(record, import_time=min([*times, record.import_time + 1]) - 1)

    def _renew_generation(self) -> None:
        write_atomic(f"{self.root}/generation", f"{time.time_ns():x}-{os.urandom(8).hex()}\n")


def _parts(below: Sequence[str] | Below) -> tuple[Part, ...]:
    if isinstance(below, Below):
        return below.parts
    if below:
        raise StoreError("an image with a pathWhitelist lies on parts, not on layers")
    return ()


def _exists(path: str) -> bool:
    """Whether there is such a file. Raises StoreError when that cannot be seen."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    return True


@contextlib.contextmanager
def _writing(root: str) -> Iterator[None]:
    """Disk errors, above all a full disk, as StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write to the image store {root}: {error.strerror}") from error
