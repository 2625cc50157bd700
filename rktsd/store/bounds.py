"""How much an untrusted archive may have: bytes, members, and the length of their names."""

from collections.abc import Iterator
from typing import Any

from rktsd.errors import BadInput
from rktsd.store.tar import Member, TarReader, show

_ALWAYS_FINE = 1 << 30


def bound(size: int, limits: dict[str, Any], label: str) -> tuple[int, BadInput]:
    """How large the stream of an archive of ``size`` bytes may be, and what to say otherwise."""
    unpacked, expanded = limits["size"], max(_ALWAYS_FINE, size * limits["expansion"])
    if expanded < unpacked:
        times = f"more than {limits['expansion']} times its size when uncompressed"
        return expanded, BadInput(f"{label}: {times}", hint="maximum-expansion in rktsd.toml")
    text = f"{label}: larger than {unpacked} bytes when uncompressed"
    return unpacked, BadInput(text, hint=f"{limits['size_setting']} in rktsd.toml")


def bounded(reader: TarReader, limits: dict[str, Any]) -> Iterator[Member]:
    """The members of an archive, as long as there are not too many or too large ones."""
    entries, longest, size = limits["entries"], limits["path"], limits["size"]
    count = total = 0
    while (member := reader.next()) is not None:
        count += 1
        if count > entries:
            hint = "maximum-entries in rktsd.toml"
            raise BadInput(f"{reader.label}: more than {entries} entries", hint=hint)
        if len(member.name) > longest:
            raise bad_member(reader, member, f"path longer than {longest} bytes")
        # Holes of sparse files cost nothing here, but whoever reads them pays.
        total += member.size
        if total > size:
            what = f"{show(member.name)}: larger than {size} bytes with all before it"
            raise BadInput(
                f"{reader.label}: {what}", hint=f"{limits['size_setting']} in rktsd.toml"
            )
        yield member


def bad_member(reader: TarReader, member: Member, reason: str) -> BadInput:
    """An error that names ``member`` as the archive does."""
    return BadInput(f"{reader.label}: {show(member.name)}: {reason}")
