"""How much of the disk images take."""

from collections.abc import Mapping

from rktsd.store.records import ImageRecord
from rktsd.store.store import Store


def size_in_store(store: Store, record: ImageRecord, layers: Mapping[str, int]) -> int:
    """Bytes of the archives and of the unpacked layers of an image, shared ones included.

    ``layers`` are the sizes of ``Store.layer_sizes``.
    """
    return sum(map(store.blob_size, record.blobs)) + sum(layers.get(x, 0) for x in record.layers)
