"""Compare unpacked layers with the archives that they came from, and put right what differs."""

import contextlib
import functools
import itertools
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from rktsd.errors import BadInput, NotFound, StoreError, TrustError
from rktsd.store import publish
from rktsd.store.compose import compose, composed_name, parts_from_json
from rktsd.store.merge import Entry, opened, order, walk
from rktsd.store.records import UNLIMITED, ImageRecord, Part, layer_name
from rktsd.store.store import Store

_SHOWN = 5
_PIECE = 1 << 20


class Maker(NamedTuple):
    """What a layer is made of: ``archives`` are paths, ``make`` fills an empty directory with it.

    ``make`` returns the bytes of content, and raises BadInput or TrustError for an archive that is
    damaged.
    """

    archives: tuple[str, ...]
    make: Callable[[str], int]

    @property
    def missing(self) -> tuple[str, ...]:
        """The archives that are not in the store."""
        return tuple(path for path in self.archives if not os.path.isfile(path))


class Verdict(NamedTuple):
    """What was found of a layer.

    ``differences`` are lines for the user, empty for a layer that is as its archive says;
    ``archive`` is None when it is not in the store, so that nothing can be said.
    """

    layer: str
    archive: str | None
    differences: tuple[str, ...]


def verify(store: Store, record: ImageRecord) -> Iterator[Verdict]:
    """Check every layer of an image, and replace those that differ from their archives.

    A replaced tree is complete and synced before it gets its name; pods that run on the old one
    keep it until they end. Raises TrustError or BadInput when an archive is damaged: then nothing
    is replaced. Raises StoreError.
    """
    known = makers(store, [record])
    for layer in record.layers:
        maker = known.get(layer)
        if maker is None or maker.missing:
            yield Verdict(layer, None, ())
        else:
            yield Verdict(layer, maker.archives[0], check_layer(store, layer, maker))


def makers(store: Store, records: Iterable[ImageRecord]) -> dict[str, Maker]:
    """How the layers of images are made, whether their archives are stored or not."""
    found: dict[str, Maker] = {}
    for record in records:
        if record.kind != "aci":
            found |= _oci(store, record)
            continue
        for layer in record.layers:
            path = store.blob_path(f"{layer}.aci")
            # A composed layer is not one of an archive; its own image says how it is made.
            found.setdefault(layer, Maker((path,), functools.partial(_unpack, layer, path, "aci")))
        parts = _parts(store, record)
        if parts:
            paths = tuple(store.blob_path(f"{part.image}.aci") for part in parts)
            make = functools.partial(compose, store, parts)
            found[composed_name(parts)] = Maker(paths, make)
    return found


def _parts(store: Store, record: ImageRecord) -> tuple[Part, ...]:
    """What the layer of an image with a pathWhitelist is composed of."""
    try:
        return parts_from_json(store.manifest_bytes(record.id, extra="parts"))
    except (NotFound, BadInput):
        return ()


def _oci(store: Store, record: ImageRecord) -> dict[str, Maker]:
    try:
        manifest = json.loads(store.manifest_bytes(record.id, extra="oci-manifest"))
        config = json.loads(store.manifest_bytes(record.id, extra="oci-config"))
        digests = [layer["digest"] for layer in manifest["layers"]]
        diff_ids = config["rootfs"]["diff_ids"]
        pairs = [(layer_name(x), y) for x, y in zip(diff_ids, digests, strict=True)]
    except (NotFound, BadInput, KeyError, TypeError, ValueError, AttributeError):
        return {}
    found = {}
    for layer, digest in pairs:
        if digest in record.blobs:
            path = store.blob_path(digest)
            found[layer] = Maker((path,), functools.partial(_unpack, layer, path, "oci"))
    return found


def check_layer(store: Store, layer: str, maker: Maker) -> tuple[str, ...]:
    """Compare a layer with what its maker makes, and replace it if it differs: the differences.

    Raises TrustError, BadInput and StoreError, the layer is as it was then.
    """
    store.claim(layer)
    with store.temporary("root") as root:
        try:
            os.mkdir(root, 0o755)
        except OSError as error:
            raise StoreError(f"cannot write {root}: {error.strerror}") from error
        size = maker.make(root)
        found = differences(store.layer_path(layer), root)
        if found:
            publish.replace_layer(store, root, layer, size=size)
    return found


def _unpack(layer: str, archive: str, kind: str, root: str) -> int:
    from rktsd.store.unpack import unpack

    algorithm, expected = layer.split("-")
    unpacked = unpack(archive, root, kind=kind, digest=algorithm, limits=UNLIMITED)
    if unpacked.digest[: len(expected)] != expected:
        raise TrustError(f"{archive}: damaged: it is not the archive of layer {layer}")
    return unpacked.content


def differences(tree: str, wanted: str) -> tuple[str, ...]:
    """What is different in ``tree`` from ``wanted``, a line each, the first few and a count."""
    if not os.path.isdir(tree):
        return ("the whole tree is missing",)
    every = _differences(tree, wanted)
    found = list(itertools.islice(every, _SHOWN))
    more = sum(1 for _ in every)
    return (*found, f"and {more} more") if more else tuple(found)


def _differences(tree: str, wanted: str) -> Iterator[str]:
    """Both trees are walked in the same order, so that neither has to be held in memory."""
    with (
        contextlib.closing(walk([tree], whiteouts=True)) as has,
        contextlib.closing(walk([wanted], whiteouts=True)) as should,
    ):
        links: tuple[dict[int, str], dict[int, str]] = ({}, {})
        one, other = next(has, None), next(should, None)
        while one or other:
            if other is None or (one and _order(one) < _order(other)):
                assert one
                yield f"{_shown(one)} does not belong there"
                one = next(has, None)
            elif one is None or _order(other) < _order(one):
                yield f"{_shown(other)} is missing"
                other = next(should, None)
            else:
                difference = _difference(one, other, links)
                if difference:
                    yield f"{_shown(one)}: {difference} differs"
                one, other = next(has, None), next(should, None)


def _order(entry: Entry) -> list[tuple[bool, str]]:
    return order(entry.path, stat.S_ISDIR(entry.status.st_mode))


def _shown(entry: Entry) -> str:
    path = f"/{entry.path}".encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in path)


def _difference(one: Entry, other: Entry, links: tuple[dict[int, str], dict[int, str]]) -> str:
    """What of a file differs; "" when nothing does."""
    has, should = one.status, other.status
    if has.st_mode != should.st_mode:
        return "the mode"
    if (has.st_uid, has.st_gid) != (should.st_uid, should.st_gid):
        return "the owner"
    if not stat.S_ISDIR(has.st_mode) and max(has.st_nlink, should.st_nlink) > 1:
        first = links[0].setdefault(has.st_ino, one.path)
        if first != links[1].setdefault(should.st_ino, other.path):
            return "the hard link"
        if has.st_nlink != should.st_nlink:
            return "the number of hard links"
    if has.st_rdev != should.st_rdev:
        return "the device"
    if stat.S_ISLNK(has.st_mode):
        targets = [os.readlink(each.path, dir_fd=each.base) for each in (one, other)]
        if targets[0] != targets[1]:
            return "the target"
    elif stat.S_ISREG(has.st_mode) or stat.S_ISDIR(has.st_mode):
        with opened(one) as first_file, opened(other) as second_file:
            if _attributes(first_file) != _attributes(second_file):
                return "an extended attribute"
            if stat.S_ISREG(has.st_mode) and not _same(first_file, second_file):
                return "the content"
    return "the time" if has.st_mtime_ns != should.st_mtime_ns else ""


def _attributes(descriptor: int) -> dict[str, bytes]:
    """All but the labels of security modules, which are the host's."""
    return {
        name: os.getxattr(descriptor, name)
        for name in os.listxattr(descriptor)
        if not name.startswith("security.") or name == "security.capability"
    }


def _same(first: int, second: int) -> bool:
    while True:
        data = os.read(first, _PIECE)
        if data != os.read(second, _PIECE):
            return False
        if not data:
            return True
