"""The image store: the one door to layers, blobs, manifests and the index of images.

What comes into it does so by ``rktsd.store.publish``.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.host.files import locked, sync_directory, write_atomic
from rktsd.store.records import (
    Freed,
    ImageRecord,
    blob_name,
    layer_name,
)
from rktsd.store.reserve import make, room
from rktsd.store.temporary import Scratch, scratch
from rktsd.store.transfer import discard
from rktsd.store.tree import is_directory

if TYPE_CHECKING:
    from rktsd.store.index import Index

_DIRECTORIES = (("layers", 0o700), ("blobs", 0o750), ("images", 0o750), ("tmp", 0o700))
_PATIENCE = 5.0
_EXTRA = re.compile(r"[a-z0-9][a-z0-9-]*\Z")


class Store:
    """Use ``Store.open``. One object is for one thread at a time; any number may be open."""

    def __init__(self, root: str, *, additive: bool = False) -> None:
        self.root = root
        self.additive = additive
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
            with writing(root):
                os.makedirs(root, 0o750, exist_ok=True)
                for name, mode in _DIRECTORIES:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(f"{root}/{name}", mode)
            cls(root).index().create()
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
            with self.exclusive(), writing(self.root), room(self.root):
                gone = take_back(self.root, self.index().all(), arrived)
                self.index().forget_layers(gone)

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
            self.claim_name(name)
            return self.has_layer(name)

    def claim_blob(self, digest: str) -> bool:
        """Whether a blob is stored; it is safe from collection until ``close`` or our end."""
        name = blob_name(digest)
        with self.shared():
            self.claim_name(name)
            return os.path.exists(self.blob_path(digest))

    def blob_path(self, digest: str) -> str:
        """Where the blob with ``digest`` lies or would lie; also for the ``blobs`` of a record."""
        return f"{self.root}/blobs/{blob_name(digest)}"

    def images(self) -> list[ImageRecord]:
        """Every image, newest import first."""
        return [self.with_use(record) for record in self.index().all()]

    def image(self, image_id: str) -> ImageRecord:
        """The image with exactly this id. Raises NotFound."""
        for record in self.index().by_prefix(image_id):
            if record.id == image_id:
                return self.with_use(record)
        raise NotFound(f'image "{image_id}" is not in the store')

    def find(self, reference: str) -> ImageRecord:
        """The image that ``reference`` means: (the beginning of) an id, or a name with labels.

        Of several with the name the newest import is taken. Raises NotFound, BadInput.
        """
        from rktsd.store import match

        find = match.by_id if match.is_image_id(reference) else match.by_name
        return self.with_use(find(self.index(), reference))

    def find_source(self, source: str) -> ImageRecord | None:
        """The image that came last from ``source``."""
        found = self.index().by_source(source)
        return self.with_use(found[0]) if found else None

    def note_latest(self, record: ImageRecord, labels: Mapping[str, str]) -> None:
        """It came for its name with ``labels`` and without a version (rkt's ``latest``).

        Does nothing for who may only add: what a name leads to goes on leading there.
        """
        from rktsd.store import match

        source, index = match.latest(record.name, labels), self.index()
        if not self.additive and [each.id for each in index.by_source(source)] != [record.id]:
            index.lead(source, record.id)

    def layer_sizes(self) -> dict[str, int]:
        """The bytes of content of every layer by its name, as far as that is on record."""
        return self.index().layer_sizes()

    def blob_size(self, blob: str) -> int:
        """The bytes of a blob of a record; 0 for one that is not there."""
        try:
            return os.stat(self.blob_path(blob)).st_size
        except OSError:
            return 0

    def manifest_bytes(self, image_id: str, *, extra: str = "manifest") -> bytes:
        """The appc image manifest as stored, or what was kept beside it. Raises NotFound."""
        try:
            with open(f"{self.image_path(image_id)}/{extra}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            what = "" if extra == "manifest" else f"{extra} of "
            raise NotFound(f'{what}image "{image_id}" is not in the store') from None
        except OSError as error:
            raise StoreError(f"cannot read image {image_id}: {error.strerror}") from error

    def touch(self, image_id: str) -> None:
        """Note that the image was used now. An image that is gone is no error."""
        with contextlib.suppress(OSError):
            os.utime(f"{self.image_path(image_id)}/used")

    def remove(self, image_id: str) -> None:
        """Forget an image; ``collect`` frees its layers and blobs. Raises NotFound."""
        with self.exclusive(), writing(self.root), room(self.root):
            self.image(image_id)
            # First, so that nobody trusts what he remembers of an image that is about to go.
            self.renew_generation()
            self.index().delete(image_id)
            discard(self.root, self.image_path(image_id))

    def collect(
        self, keep_layers: Iterable[str] = (), *, in_use: Mapping[str, int] | None = None
    ) -> Freed:
        """Free layers, blobs and leftovers that no image, claim or ``keep_layers`` needs.

        ``in_use`` maps the layers that pods run on to the time (nanoseconds since the epoch) since
        which they do: trees that were replaced since then stay.
        """
        from rktsd.store.collect import collect

        with self.exclusive(), writing(self.root), room(self.root):
            index = self.index()
            freed = collect(self.root, index.all(), keep_layers, in_use=in_use or {})
            index.forget_layers(freed.layers)
            return freed

    def index(self) -> "Index":
        """The index of images."""
        from rktsd.store.index import Index

        return Index(f"{self.root}/index")

    def image_path(self, image_id: str) -> str:
        """The directory of what is said of an image. Raises BadInput."""
        if not re.fullmatch(r"sha(256|512)-[0-9a-f]+", image_id):
            raise BadInput(f'"{image_id}": bad image ID')
        return f"{self.root}/images/{image_id}"

    def with_use(self, record: ImageRecord) -> ImageRecord:
        """A record of the index with the last use, which is not kept there."""
        with contextlib.suppress(OSError):
            used = os.stat(f"{self.image_path(record.id)}/used").st_mtime_ns
            return replace(record, last_used=used)
        return record

    def claim_name(self, name: str) -> None:
        """Keep the layer or blob of that name from collection until ``close`` or our end."""
        if self._claims is None:
            self._claims = Scratch(f"{self.root}/tmp")
        self._claims.claim(name)

    def release(self, names: Sequence[str]) -> None:
        """Give up the claims to ``names``, which an image needs from now on."""
        if self._claims is not None and self._claims.release(names):
            self.close()

    def note_arrival(self, path: str) -> None:
        """Remember for ``abandon`` what came, by its path below the root."""
        self._arrived[path] = None

    def renew_generation(self) -> None:
        """Tell whoever keeps what he found in the store that it may not hold any more."""
        write_atomic(f"{self.root}/generation", f"{time.time_ns():x}-{os.urandom(8).hex()}\n")


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
def writing(root: str) -> Iterator[None]:
    """Disk errors, above all a full disk, as StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write to the image store {root}: {error.strerror}") from error
