"""Layers made of parts of others: what is left of images by their ``pathWhitelist``.

The rules are those of rkt's renderer (appc/spec, pkg/acirenderer): of an image with a list only the
listed files survive, its directories all; below an image with a list only listed paths survive,
directories included. A list names paths exactly. What one image has hides what deeper ones have.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rktsd.errors import BadInput, StoreError, TrustError
from rktsd.store.copytree import copy_tree
from rktsd.store.merge import Entry, walk
from rktsd.store.records import UNLIMITED, Part
from rktsd.store.tree import sync_filesystem

if TYPE_CHECKING:
    from rktsd.store.store import Store


def composed_name(parts: Sequence[Part]) -> str:
    """The layer that these parts make: the same parts, the same name."""
    return f"sha512-{hashlib.sha512(parts_json(parts)).hexdigest()[:64]}"


def parts_json(parts: Sequence[Part]) -> bytes:
    """``parts`` as they are kept beside an image."""
    return json.dumps([list(part) for part in parts], separators=(",", ":")).encode()


def parts_from_json(data: bytes) -> tuple[Part, ...]:
    """The opposite of ``parts_json``. Raises BadInput."""
    try:
        return tuple(
            Part(str(image), tuple(own), None if above is None else tuple(above))
            for image, own, above in json.loads(data)
        )
    except (ValueError, TypeError) as error:
        raise BadInput(f"parts of an image: {error}") from error


def compose(
    store: "Store", parts: Sequence[Part], target: str, *, trees: Mapping[str, str] | None = None
) -> int:
    """Fill the empty directory ``target`` with what survives of ``parts``, topmost first, and sync
    it; the bytes of content.

    ``trees`` are roots of images that are unpacked; others are unpacked from their archives in the
    store, which are checked. Raises StoreError, BadInput and TrustError.
    """
    with contextlib.ExitStack() as stack:
        roots = dict(trees or {})
        for part in parts:
            if part.image not in roots:
                roots[part.image] = stack.enter_context(_unpacked(store, part.image))
        try:
            copy_tree(_surviving(parts, roots), target)
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error.strerror}") from error
    sync_filesystem(target)
    return sum(
        entry.status.st_size // max(entry.status.st_nlink, 1)
        for entry in walk([target])
        if stat.S_ISREG(entry.status.st_mode)
    )


@contextlib.contextmanager
def _unpacked(store: "Store", image: str) -> Iterator[str]:
    from rktsd.store.unpack import unpack

    archive = store.blob_path(f"{image}.aci")
    with store.temporary("root") as root:
        os.mkdir(root, 0o755)
        unpacked = unpack(archive, root, kind="aci", digest="sha512", limits=UNLIMITED)
        if f"sha512-{unpacked.digest[:64]}" != image:
            raise TrustError(f"{archive}: damaged: it is not the archive of image {image}")
        yield root


def _surviving(parts: Sequence[Part], roots: Mapping[str, str]) -> Iterator[Entry]:
    """What the parts show together; directories that are only on the way to something are left to
    whoever copies."""
    kinds: dict[str, bool] = {}
    on_the_way: set[str] = set()
    for part in parts:
        own = _listed(part.own) if part.own else None
        above = None if part.above is None else _listed(part.above)
        with contextlib.closing(walk([roots[part.image]])) as entries:
            for entry in entries:
                path, is_directory = entry.path, stat.S_ISDIR(entry.status.st_mode)
                if path:
                    if own is not None and not is_directory and path not in own:
                        continue
                    if above is not None and path not in above:
                        continue
                if path in kinds or (path in on_the_way and not is_directory):
                    continue
                parents = list(_parents(path))
                if any(not kinds.get(parent, True) for parent in parents):
                    continue
                kinds[path] = is_directory
                on_the_way.update(parents)
                yield entry


def _listed(paths: Sequence[str]) -> frozenset[str]:
    return frozenset(os.path.normpath(path).lstrip("/") for path in paths)


def _parents(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path
