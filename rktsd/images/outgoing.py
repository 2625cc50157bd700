"""A stored image as what goes out: the OCI manifest, configuration and layers of it.

An OCI image goes as it came, byte for byte. An appc image is converted: its layers become gzip'ed
tar archives, the same for the same image.
"""

import contextlib
import hashlib
import os
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from rktsd.appc.read import image_manifest
from rktsd.errors import BadInput, StoreError, TrustError
from rktsd.images import oci
from rktsd.images.digests import Descriptor, check_bytes
from rktsd.images.to_oci import CONFIG_TYPE, LAYER_TYPE, to_config, to_manifest
from rktsd.store.archives import file_digest
from rktsd.store.merge import walk
from rktsd.store.records import ImageRecord
from rktsd.store.rootview import RootView
from rktsd.store.store import Store
from rktsd.store.tarwriter import END, tar_tree

_AGAIN = "rkt image verify --fetch gets it again"


class Blob(NamedTuple):
    """A piece of content, in the file ``path`` or in memory."""

    descriptor: Descriptor
    path: str = ""
    data: bytes = b""

    def pieces(self, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """``length`` bytes from ``start`` on, or all that follow."""
        left = self.descriptor.size - start if length is None else length
        if not self.path:
            yield self.data[start : start + left]
            return
        with open(self.path, "rb", buffering=0) as file:
            file.seek(start)
            while left and (data := file.read(min(left, 256 << 10))):
                left -= len(data)
                yield data


class Outgoing(NamedTuple):
    """An image to be sent: configuration and layers first, then the manifest."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What the manifest refers to, each once."""
        return tuple(
            {each.descriptor.digest: each for each in (*self.layers, self.config)}.values()
        )


@contextlib.contextmanager
def outgoing(store: Store, record: ImageRecord) -> Iterator[Outgoing]:
    """What goes out for an image. Archives made for it are gone afterwards.

    Raises TrustError when the store's copy is damaged, NotFound, StoreError.
    """
    with store.shared():
        if record.kind != "aci":
            yield _as_it_came(store, record)
            return
        with store.temporary("layers") as place:
            os.mkdir(place, 0o700)
            yield _converted(store, record, place)


def _as_it_came(store: Store, record: ImageRecord) -> Outgoing:
    where = f"image {record.id}"
    data = store.manifest_bytes(record.id, extra="oci-manifest")
    if oci.image_id(data) != record.id:
        raise TrustError(f"{where}: its manifest is damaged", hint=_AGAIN)
    image = oci.read_manifest(data, where)
    kind = oci.media_type_of(data, where)
    config = store.manifest_bytes(record.id, extra="oci-config")
    check_bytes(config, image.config, f"{where}: configuration")
    layers = []
    for descriptor in dict.fromkeys(image.layers):
        path = store.blob_path(descriptor.digest)
        if descriptor.digest not in record.blobs or not os.path.isfile(path):
            what = f"{where}: the archive of layer {descriptor.digest} is not in the store"
            raise StoreError(what, hint=_AGAIN)
        algorithm = descriptor.digest.partition(":")[0]
        if file_digest(path, algorithm) != descriptor.digest:
            raise TrustError(f"{path}: damaged", hint=_AGAIN)
        layers.append(Blob(descriptor, path))
    manifest = Blob(_described(kind, data), data=data)
    return Outgoing(manifest, Blob(image.config, data=config), tuple(layers))


def _converted(store: Store, record: ImageRecord, place: str) -> Outgoing:
    appc = store.manifest_bytes(record.id)
    manifest = image_manifest(appc, f"image {record.id}: manifest")
    made = [
        _layer(store.layer_path(layer), f"{place}/{number}")
        for number, layer in enumerate(reversed(record.layers))
    ]
    view = RootView([store.layer_path(layer) for layer in record.layers])

    def owner_of(path: str, group: bool) -> int:
        found = view.resolve(path, follow=False)
        if found is None:
            raise BadInput(f'image {record.id}: user or group "{path}": no such file in the image')
        return found.status.st_gid if group else found.status.st_uid

    config = to_config(manifest, [diff_id for _, diff_id in made], owner_of=owner_of)
    layers = tuple(blob for blob, _ in made)
    described = _described(CONFIG_TYPE, config)
    data = to_manifest(manifest, appc, described, [blob.descriptor for blob in layers])
    return Outgoing(
        Blob(_described(oci.OCI_MANIFEST, data), data=data), Blob(described, data=config), layers
    )


def _described(kind: str, data: bytes) -> Descriptor:
    return Descriptor(kind, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))


def _layer(tree: str, target: str) -> tuple[Blob, str]:
    """The tree of a layer as an OCI layer in the file ``target``, and its diff ID."""
    plain, packed, size = hashlib.sha256(), hashlib.sha256(), 0
    engine = zlib.compressobj(6, zlib.DEFLATED, 31)
    try:
        with open(target, "xb") as file:

            def write(data: bytes) -> None:
                nonlocal size
                packed.update(data)
                size += file.write(data)

            with contextlib.closing(walk([tree])) as entries:
                # Registries' clients know no sparse files (OCI layer.md).
                for piece in tar_tree(entries, "", holes=False):
                    plain.update(piece)
                    write(engine.compress(piece))
            plain.update(END)
            write(engine.compress(END) + engine.flush())
    except OSError as error:
        raise StoreError(f"cannot convert {tree}: {error.strerror}") from error
    descriptor = Descriptor(LAYER_TYPE, f"sha256:{packed.hexdigest()}", size)
    return Blob(descriptor, target), f"sha256:{plain.hexdigest()}"
