"""Free what no image needs."""

import os
from collections.abc import Iterable

from rktsd.store.records import Freed, ImageRecord, blob_name, layer_name
from rktsd.store.temporary import sweep
from rktsd.store.transfer import discard
from rktsd.store.tree import remove_tree


def collect(root: str, records: Iterable[ImageRecord], keep_layers: Iterable[str]) -> Freed:
    """Remove from the store in ``root`` all that ``records`` and ``keep_layers`` do not need.

    What living processes claim stays. The caller holds the store's lock exclusively. Raises
    StoreError, OSError.
    """
    temporaries, size, keep = sweep(f"{root}/tmp")
    keep.update(map(layer_name, keep_layers))
    images = set()
    for record in records:
        images.add(record.id)
        keep.update(map(layer_name, record.layers))
        keep.update(map(blob_name, record.blobs))
    freed: dict[str, tuple[str, ...]] = {}
    for kind, needed in (("layers", keep), ("blobs", keep), ("images", images)):
        gone = sorted(set(os.listdir(f"{root}/{kind}")) - needed)
        size += sum([discard(root, f"{root}/{kind}/{name}") for name in gone])
        freed[kind] = tuple(gone)
    for name in os.listdir(root):
        if name.startswith(".generation."):
            size += remove_tree(f"{root}/{name}")
    return Freed(freed["layers"], freed["blobs"], temporaries, size)
