"""Volumes of kinds that appc does not have: persistent ones with a name, and memory.

In a pod's manifest they are empty volumes, as to anybody who knows appc alone; what else they
are is kept with the pod's options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rktsd.appc import names, read
from rktsd.appc.cursor import Cursor
from rktsd.appc.quantities import parse_bytes
from rktsd.appc.types import Volume

NAMED, TMPFS = "named", "tmpfs"
KINDS = ("host", "empty", NAMED, TMPFS)

# Less than a page is nothing to write in.
_SMALLEST = 4096


@dataclass(frozen=True, slots=True)
class VolumeKind:
    """``kind`` is NAMED, with the ``source`` that it is called by, or TMPFS, with ``size`` bytes.

    A size of None leaves it to the kernel: half of the memory (tmpfs(5)).
    """

    kind: str
    source: str | None = None
    size: int | None = None

    def to_json(self) -> dict[str, object]:
        """A JSON object of what is set, for ``kind_at``."""
        members = {"kind": self.kind, "source": self.source, "size": self.size}
        return {name: value for name, value in members.items() if value is not None}


def kind_at(place: Cursor) -> VolumeKind:
    """What a volume is beyond appc. Raises BadInput."""
    kind = place.get("kind").one_of(NAMED, TMPFS)
    source, size = place.get("source"), place.get("size")
    for wrong in (source,) if kind == TMPFS else (size,):
        if wrong.given:
            raise wrong.problem(f"not for a volume of kind {kind}")
    if kind == NAMED:
        return VolumeKind(kind, source=source.checked(names.check_ac_name))
    return VolumeKind(kind, size=_size(size) if size.given else None)


def _size(place: Cursor) -> int:
    text = str(place.value) if type(place.value) is int else place.filled()
    size = parse_bytes(text, place.where)
    if size < _SMALLEST:
        raise place.problem(f"less than {_SMALLEST} bytes")
    return size


def volume_at(place: Cursor, *, read_only_key: str) -> tuple[Volume, VolumeKind | None]:
    """A volume as pod files and command lines say it, of any of KINDS. Raises BadInput."""
    if place.get("kind").value not in (NAMED, TMPFS):
        place.get("kind").one_of(*KINDS)
        if place.get("size").given:
            raise place.get("size").problem("only for a volume of kind tmpfs")
        return read.volume(place, read_only_key=read_only_key), None
    found = kind_at(place)
    members: Mapping[str, object] = place.value if isinstance(place.value, dict) else {}
    plain = {key: value for key, value in members.items() if key not in ("source", "size")}
    empty = place._replace(value={**plain, "kind": "empty"})
    return read.volume(empty, read_only_key=read_only_key), found
