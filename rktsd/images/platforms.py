"""What machine an image is for, in the words of OCI and Docker (GOOS, GOARCH, variant). Pure.

appc's words for architectures are understood, too. Variants are those of the OCI image
specification ("Platform Variants") and of Go's GOAMD64.
"""

import re
from typing import NamedTuple

from rktsd.appc.names import host_labels
from rktsd.errors import BadInput

# appc's words, where they differ.
_OF_APPC = {
    "i386": ("386", ""),
    "aarch64": ("arm64", ""),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "x86_64": ("amd64", ""),
}
_TO_APPC = {("386", ""): "i386", ("arm64", ""): "aarch64", ("arm", "v7"): "armv7l"}
_WORD = re.compile(r"[a-z0-9_]+\Z")
# Newest first: a machine runs what is for its own variant or an older one.
_VARIANTS = {
    "arm": ("v8", "v7", "v6", "v5"),
    "arm64": ("v9", "v8"),
    "amd64": ("v4", "v3", "v2", "v1"),
}
_DEFAULTS = {"arm": "v7", "arm64": "v8", "amd64": "v1"}


class Platform(NamedTuple):
    """``variant`` is empty for the usual one of the architecture."""

    os: str
    arch: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)

    @property
    def appc_arch(self) -> str:
        """The architecture as a label of appc names it."""
        if self.arch == "arm":
            return "armv7l" if self.variant in ("", "v7", "v8") else "armv6l"
        return _TO_APPC.get((self.arch, ""), self.arch)


def platform(os: str, arch: str, variant: str = "") -> Platform:
    """A platform by its parts, the architecture in the words of OCI or of appc."""
    arch, own = _OF_APPC.get(arch, (arch, ""))
    variant = variant or own
    return Platform(os, arch, "" if variant == _DEFAULTS.get(arch) else variant)


def host_platform() -> Platform:
    """This machine."""
    labels = host_labels()
    return platform(labels["os"], labels["arch"])


def parse_platform(text: str) -> Platform:
    """Read ``OS/ARCH[/VARIANT]``. Raises BadInput."""
    parts = text.lower().split("/")
    if len(parts) not in (2, 3) or not all(map(_WORD.match, parts)):
        raise BadInput(f"platform {text!r}: write OS/ARCH[/VARIANT], like linux/arm64")
    return platform(*parts)


def rank(offered: Platform, wanted: Platform) -> int | None:
    """How well an image for ``offered`` fits ``wanted``: 0 is best, None not at all."""
    if (offered.os, offered.arch) != (wanted.os, wanted.arch):
        return None
    if offered.variant == wanted.variant:
        return 0
    order = _VARIANTS.get(wanted.arch, ())
    mine, its = (each.variant or _DEFAULTS.get(each.arch, "") for each in (wanted, offered))
    if mine not in order or its not in order or order.index(its) < order.index(mine):
        return None
    return order.index(its) - order.index(mine)
