"""Whether a registry still has what is stored: one HEAD request, and next to no imports.

Only "yes" is an answer here. Whatever is unclear (a redirect, a challenge, a proxy, a certificate
that is not accepted) is left to those who can deal with it, and costs little to have tried.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from rktsd import __version__
from rktsd.paths import Paths
from rktsd.store import seen

if TYPE_CHECKING:
    import ssl

ACCEPT = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""Manifests that are asked for; a registry may answer by their order."""

_CONFIGURATION = ("registries.toml", "trust.toml")
_AUTHORITIES = "/etc/ssl/certs"
_PATIENCE = 5.0
_HEAD_LIMIT = 64 << 10
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_EVERYTHING = frozenset({"all", "all-fetch"})


def unchanged(reference: str, paths: Paths, *, insecure: Sequence[str]) -> str | None:
    """The ID of the stored image, when ``reference`` still leads to it by its registry's word.

    ``insecure`` are words of --insecure-options as given. None when that word does not count
    (without ``image``), and for everything that is not a plain yes.
    """
    allowed = frozenset(insecure)
    if not allowed & {"image", *_EVERYTHING} or not reference.startswith("docker://"):
        return None
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return None
    known = seen.recall(paths.store, reference)
    if known is None or known.state != state(paths):
        return None
    if allowed & _EVERYTHING:
        allowed |= {"tls", "http"}
    allowed |= frozenset(known.insecure.split(","))
    try:
        digest = _ask(known.url, paths, allowed)
        if digest != known.digest:
            return None
        os.utime(f"{paths.store}/images/{known.image}/used")
    except (OSError, ValueError):
        return None
    return known.image


def state(paths: Paths) -> str:
    """What tells the configuration of registries, and of whom to believe, from another one."""
    found = []
    files = [f"{each}/{name}" for each in paths.config_dirs() for name in _CONFIGURATION]
    for path in files:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.append(f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}")
    return " ".join(found)


def _ask(url: str, paths: Paths, allowed: frozenset[str]) -> str | None:
    """The digest that the registry says. Raises OSError, ValueError."""
    scheme, _, rest = url.partition("://")
    netloc, _, path = rest.partition("/")
    if scheme == "http" and "http" not in allowed:
        return None
    host, port = _split(netloc, 443 if scheme == "https" else 80)
    # As bytes: what would be encoded by IDNA, for which there is nothing here, is imported first.
    where = cast(str, host.encode("ascii"))
    with socket.create_connection((where, port), timeout=_PATIENCE) as connection:
        if scheme == "https":
            context = _context(netloc, paths, verify="tls" not in allowed)
            connection = context.wrap_socket(connection, server_hostname=host)
        question = (
            f"HEAD /{path} HTTP/1.1\r\nHost: {netloc}\r\nUser-Agent: rkt/{__version__}\r\n"
            f"Accept: {', '.join(ACCEPT)}\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(question.encode("ascii"))
        return _headers(_head(connection)).get("docker-content-digest")


def _split(netloc: str, default: int) -> tuple[str, int]:
    host, colon, port = netloc.rpartition(":")
    if not colon or not port.isdigit():
        host, port = netloc, str(default)
    return host.strip("[]"), int(port)


def _head(connection: socket.socket) -> bytes:
    """The status line and headers of the answer. Raises OSError, ValueError."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(_HEAD_LIMIT)
        data += part
        if not part or len(data) > _HEAD_LIMIT:
            raise ValueError("no head of an answer")
    return data.partition(b"\r\n\r\n")[0]


def _headers(head: bytes) -> Mapping[str, str]:
    """Of a 200; none of everything else."""
    status, *lines = head.decode("latin-1").split("\r\n")
    if not status.startswith("HTTP/1.") or status.split(" ")[1:2] != ["200"]:
        return {}
    pairs = [line.partition(":") for line in lines]
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _context(netloc: str, paths: Paths, *, verify: bool) -> "ssl.SSLContext":
    """As other connections have it; the system's authorities are looked up when they are needed."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context.load_verify_locations(capath=_AUTHORITIES)
    for directory in paths.config_dirs():
        place = f"{directory}/certs.d/{netloc}"
        names = os.listdir(place) if os.path.isdir(place) else []
        for name in sorted(each for each in names if each.endswith(".crt")):
            context.load_verify_locations(cafile=f"{place}/{name}")
    return context
