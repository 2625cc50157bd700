"""``rkt image tree``: what images consist of and lie on, and who uses them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rktsd.appc.names import ImageName
from rktsd.appc.read import image_manifest
from rktsd.appc.types import Dependency
from rktsd.cli import drawing, table
from rktsd.cli.arguments import DRAWINGS, output_format
from rktsd.cli.context import Context
from rktsd.cli.drawing import Branch, Node
from rktsd.cli.images import SHORT_ID, shown_name
from rktsd.cli.inspecting import users_of_images
from rktsd.cli.parse import Parsed
from rktsd.errors import NotFound, RktError
from rktsd.images.fetch import called
from rktsd.store.compose import parts_from_json
from rktsd.store.match import matches
from rktsd.store.records import ImageRecord
from rktsd.store.sizes import size_in_store
from rktsd.store.store import Store

# What a manifest names, and the stored image that is meant.
_Dependency = tuple[ImageName, ImageRecord | None]


class _Known(NamedTuple):
    """All that is drawn from; ``users`` as of ``users_of_images``, ``whole`` is for whole IDs.

    ``below`` has what was found of dependencies, by image ID, and is added to.
    """

    store: Store
    records: Sequence[ImageRecord]
    sizes: Mapping[str, int]
    users: Mapping[str, Sequence[Mapping[str, str]]]
    whole: bool
    warn: Callable[[str], None]
    below: dict[str, list[_Dependency]]


def tree(context: Context, parsed: Parsed) -> int:
    """Draw images, or all that no other one lies on."""
    style = output_format(parsed.values, known=DRAWINGS)
    try:
        store = Store.open(context.paths.store)
    except NotFound:
        if parsed.arguments:
            raise
        return 0
    found = list(dict.fromkeys(called(word, store) for word in parsed.arguments))
    known = _Known(
        store,
        store.images(),
        store.layer_sizes(),
        users_of_images(context, store),
        parsed.values.on("full"),
        context.note,
        {},
    )
    roots = [_image(known, record, set()) for record in found or _tops(known)]
    if style == "dot":
        sys.stdout.write(drawing.dot(roots, name="images"))
    else:
        sys.stdout.write(drawing.tree(roots, lines=drawing.has_lines(os.environ)))
    return 0


def _tops(known: _Known) -> list[ImageRecord]:
    below = {
        each.id
        for record in known.records
        for _, each in _dependencies(known, record)
        if each is not None
    }
    tops = [record for record in known.records if record.id not in below]
    return sorted(tops, key=lambda record: (shown_name(record), record.id))


def _image(known: _Known, record: ImageRecord, above: set[str], *, root: bool = True) -> Node:
    """``above`` are images that are drawn already, and is added to: ways to one may multiply."""
    key, name = f"image {record.id}", shown_name(record)
    if record.id in above:
        return Node(key, f"{name} ({_short(known, record.id)}, see above)")
    above.add(record.id)
    size = table.size(size_in_store(known.store, record, known.sizes))
    text = f"{name} ({_short(known, record.id)}, {record.kind}, {size})"
    below = _dependencies(known, record)
    others = {layer for _, each in below if each is not None for layer in each.layers}
    layers = [_layer(known, each) for each in record.layers if each not in others]
    lower = [
        Node(f"dependency {dependency}", f"{dependency} (not in the store)")
        if each is None
        else _image(known, each, above, root=False)
        for dependency, each in below
    ]
    users = known.users.get(record.id, ())
    # What is drawn below another one need not say so.
    shown = [_user(known, each) for each in users if root or "image" not in each]
    return Node(
        key,
        text,
        (Branch("layers", layers), Branch("depends on", lower), Branch("used by", shown)),
    )


def _layer(known: _Known, layer: str) -> Node:
    size = known.sizes.get(layer)
    text = _short(known, layer) + ("" if size is None else f" ({table.size(size)})")
    return Node(f"layer {layer}", text)


def _user(known: _Known, user: Mapping[str, str]) -> Node:
    if "pod_file" in user:
        return Node(f"pod file {user['pod_file']}", f"pod file of {user['pod_file']}")
    if "image" in user:
        text = f"image {user['name']} ({_short(known, user['image'])})"
        return Node(f"image {user['image']}", text)
    name = f" ({user['name']})" if "name" in user else ""
    return Node(f"pod {user['pod']}", f"pod {user['pod']}{name}")


def _short(known: _Known, digest: str) -> str:
    return digest if known.whole else digest[:SHORT_ID]


def _dependencies(known: _Known, record: ImageRecord) -> list[_Dependency]:
    """With the images that ``record`` was put on, topmost first."""
    found = known.below.get(record.id)
    if found is None:
        found = known.below[record.id] = []
        try:
            data = known.store.manifest_bytes(record.id)
            named = image_manifest(data, f"image {record.id}: manifest").dependencies
            for each in reversed(named):
                name = ImageName(each.image_name, each.labels)
                found.append((name, _below(known, record, each)))
        except RktError as error:
            known.warn(f"{error}; what it depends on cannot be told")
    return found


def _below(known: _Known, record: ImageRecord, dependency: Dependency) -> ImageRecord | None:
    """A younger image of the same name may be there that ``record`` does not lie on."""
    try:
        data = known.store.manifest_bytes(record.id, extra="parts")
        images = {part.image for part in parts_from_json(data)}
    except NotFound:
        images = set()
    for each in known.records:
        if each.name != dependency.image_name or not matches(each.labels, dependency.labels):
            continue
        if each.id in images or (not images and set(each.layers) <= set(record.layers)):
            return each
    return None
