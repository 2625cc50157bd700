"""Free what no image needs."""

import os
import time
from collections.abc import Iterable, Mapping

from rktsd.store import seen
from rktsd.store.records import Freed, ImageRecord, blob_name, layer_name
from rktsd.store.temporary import sweep
from rktsd.store.transfer import discard
from rktsd.store.tree import remove_tree

_RETIRED = "retired"


def collect(
    root: str,
    records: Iterable[ImageRecord],
    keep_layers: Iterable[str],
    *,
    in_use: Mapping[str, int],
) -> Freed:
    """Remove from the store in ``root`` all that ``records`` and ``keep_layers`` do not need.

    What living processes claim stays, and a tree that was replaced for as long as a pod may run
    on it: ``in_use`` says since when (nanoseconds since the epoch) a layer is. The caller holds the
    store's lock exclusively. Raises StoreError, OSError.
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
    seen.sweep(root)
    size += _free_retired(root, in_use)
    for name in os.listdir(root):
        if name.startswith(".generation."):
            size += remove_tree(f"{root}/{name}")
    return Freed(freed["layers"], freed["blobs"], temporaries, size)


def take_back(root: str, records: Iterable[ImageRecord], arrived: Iterable[str]) -> list[str]:
    """Remove what ``arrived`` (KIND/NAME) and neither ``records`` nor a claim needs; the layers.

    The caller holds the store's lock exclusively. Raises StoreError, OSError.
    """
    needed = {f"{kind}/{name}" for name in sweep(f"{root}/tmp")[2] for kind in ("layers", "blobs")}
    for record in records:
        needed.add(f"images/{record.id}")
        needed.update(f"layers/{layer_name(layer)}" for layer in record.layers)
        needed.update(f"blobs/{blob_name(blob)}" for blob in record.blobs)
    gone = [each for each in arrived if each not in needed]
    for each in gone:
        discard(root, f"{root}/{each}")
    return [each.removeprefix("layers/") for each in gone if each.startswith("layers/")]


def retire(root: str, tree: str, layer: str) -> None:
    """Keep the tree of a layer that was replaced, for the pods that run on it."""
    os.makedirs(f"{root}/{_RETIRED}", 0o700, exist_ok=True)
    os.rename(tree, f"{root}/{_RETIRED}/{layer}.{time.time_ns()}")


def _free_retired(root: str, in_use: Mapping[str, int]) -> int:
    try:
        names = os.listdir(f"{root}/{_RETIRED}")
    except FileNotFoundError:
        return 0
    size = 0
    for name in names:
        layer, _, moment = name.rpartition(".")
        if in_use.get(layer, int(moment)) >= int(moment):
            size += discard(root, f"{root}/{_RETIRED}/{name}")
    return size
