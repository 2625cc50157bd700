"""What the store knows of an image, and how layers and blobs are named. Values only."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from rktsd.appc.types import NameValue, value_of
from rktsd.errors import BadInput

_HEX = {"sha256": 64, "sha512": 128}
_ARCHIVE = re.compile(r"sha512-[0-9a-f]{64}\.aci\Z")
_LAYER = re.compile(r"(sha256|sha512)-[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One stored image.

    ``layers`` are layer names, topmost first: an ACI's own, then those of its dependencies, or one
    that is composed of parts of them all.
    ``blobs`` are the digests ("sha256:HEX") that the image keeps from collection. Times are
    nanoseconds since the epoch, ``size`` is in bytes as the image was transferred.
    ``source`` is a canonical text that ``Store.find_source`` finds again; ``verified_by`` says who
    vouches: the fingerprint of an OpenPGP key, "sigstore:HEX" with the sha256 of a public key,
    "digest", "import" for whoever made it here, or nobody: "policy" where trust.toml wants nothing,
    "insecure" where the user did.
    """

    id: str
    name: str
    labels: tuple[NameValue, ...]
    kind: str
    layers: tuple[str, ...]
    size: int
    import_time: int
    last_used: int
    source: str
    verified_by: str
    blobs: tuple[str, ...] = ()

    def label(self, name: str) -> str | None:
        """The value of the label ``name``."""
        return value_of(name, self.labels)


class Part(NamedTuple):
    """What is taken of the image with this ID for a composed layer.

    ``own`` is the image's pathWhitelist, ``above`` that of the topmost image above it that has one.
    """

    image: str
    own: tuple[str, ...]
    above: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Below:
    """What lies below an image that has a pathWhitelist, topmost first."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Freed:
    """What ``Store.collect`` removed; ``size`` is bytes of disk."""

    layers: tuple[str, ...]
    blobs: tuple[str, ...]
    temporaries: int
    size: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may hold.

    ``size`` bounds the bytes of the uncompressed stream, and those of all files together;
    ``expansion`` is how many times as large as the archive the stream may be, once it is large.
    ``size_setting`` is what an administrator changes to have ``size`` changed.
    """

    size: int = 64 << 30
    entries: int = 4_000_000
    expansion: int = 2_000
    path: int = 4095
    manifest: int = 4 << 20
    size_setting: str = "maximum-unpacked"


# For what is stored: it was taken within the limits of its time, and its digest is checked.
UNLIMITED = Limits(size=1 << 62, entries=1 << 62, expansion=1 << 62)


def parse_digest(digest: str) -> tuple[str, str]:
    """Split "sha256:HEX" or "sha256-HEX" into algorithm and hex. Raises BadInput."""
    algorithm, separator, value = digest.replace("-", ":", 1).partition(":")
    length = _HEX.get(algorithm)
    if not separator or length is None or not re.fullmatch(f"[0-9a-f]{{{length}}}", value):
        raise BadInput(f'digest "{digest}": not sha256: or sha512: and lower-case hex')
    return algorithm, value


def layer_name(diff_id: str) -> str:
    """The layer of an OCI diff id ("sha256:HEX"); a layer's name is returned as it is."""
    name = diff_id.replace(":", "-", 1)
    if not _LAYER.match(name):
        raise BadInput(f'layer "{diff_id}": not sha256- or sha512- and 64 lower-case hex digits')
    return name


def blob_name(digest: str) -> str:
    """The file of a blob: of "sha256:HEX", or of an ACI as downloaded ("IMAGE_ID.aci")."""
    if _ARCHIVE.match(digest):
        return digest
    return "-".join(parse_digest(digest))
