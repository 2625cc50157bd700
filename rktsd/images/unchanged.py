"""Whether a server still has what is stored: one HEAD request at most, and hardly any imports.

Only "yes" is an answer here. Whatever is unclear (a redirect, a challenge, a proxy, a certificate
that is not accepted) is left to those who can deal with it, and costs little to have tried.
"""

import os
import socket
import time
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

INSECURE = "insecure"
"""``ImageRecord.verified_by`` of images that only --insecure-options=image takes."""

_CONFIGURATION = ("registries.toml", "trust.toml")
_SCHEMES = ("docker://", "https://", "http://")
_AUTHORITIES = "/etc/ssl/certs"
_PATIENCE = 5.0
_HEAD_LIMIT = 64 << 10
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_EVERYTHING = frozenset({"all", "all-fetch"})


def unchanged(reference: str, paths: Paths, *, insecure: Sequence[str]) -> str | None:
    """The ID of the stored image, when ``reference`` still leads to it by its server's word.

    What vouched for the image then does so now: the policy, the keys and the image are the same,
    and neither signature nor key has come to its end. ``insecure`` are words of --insecure-options
    as given. None for everything that is not a plain yes.
    """
    if not reference.startswith(_SCHEMES):
        return None
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return None
    known = seen.recall(paths.store, reference)
    if known is None or known.state != " ".join([*state(paths), *stamps(known.keys)]):
        return None
    allowed = frozenset(insecure)
    if allowed & _EVERYTHING:
        allowed |= {"image", "tls", "http"}
    if known.verified_by == INSECURE and "image" not in allowed:
        return None
    now = time.time()
    if known.until and now >= known.until:
        return None
    try:
        allowed |= frozenset(known.insecure.split(","))
        fresh = known.checked <= now < known.fresh
        if not fresh and not _is_there(known, paths, allowed):
            return None
        os.utime(f"{paths.store}/images/{known.image}/used")
    except (OSError, ValueError):
        return None
    return known.image


def state(paths: Paths) -> list[str]:
    """What tells the configuration of registries, and of whom to believe, from another one."""
    files = [f"{each}/{name}" for each in paths.config_dirs() for name in _CONFIGURATION]
    for each in paths.config_dirs():
        for directory, _, names in os.walk(f"{each}/trustedkeys"):
            files += [directory, *(f"{directory}/{name}" for name in sorted(names))]
    return stamps(files)


def stamps(files: Sequence[str]) -> list[str]:
    """What tells each file from what it was before."""
    found = []
    for path in files:
        try:
            status = os.stat(path)
        except OSError:
            found.append("-")
            continue
        found.append(f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_ctime_ns}")
    return found


def _is_there(known: seen.Seen, paths: Paths, allowed: frozenset[str]) -> bool:
    """Raises OSError, ValueError."""
    if not known.digest:
        conditions = [("If-None-Match", known.etag), ("If-Modified-Since", known.modified)]
        headers = {name: value for name, value in conditions if value}
        headers |= {"Accept": "*/*", "Accept-Encoding": "identity"}
        asked = bool(known.etag or known.modified)
        return asked and bool(_ask(known.url, headers, paths, allowed, status="304"))
    if known.url.endswith(f"/{known.digest}"):
        # Nothing else can have that digest.
        return True
    answer = _ask(known.url, {"Accept": ", ".join(ACCEPT)}, paths, allowed, status="200")
    return answer.get("docker-content-digest") == known.digest


def _ask(
    url: str, headers: Mapping[str, str], paths: Paths, allowed: frozenset[str], *, status: str
) -> Mapping[str, str]:
    """The headers of an answer with this status, none of another. Raises OSError, ValueError."""
    scheme, _, rest = url.partition("://")
    netloc, _, path = rest.partition("/")
    if (scheme == "http" and "http" not in allowed) or "#" in url:
        return {}
    host, port = _split(netloc, 443 if scheme == "https" else 80)
    # As bytes: what would be encoded by IDNA, for which there is nothing here, is imported first.
    where = cast(str, host.encode("ascii"))
    with socket.create_connection((where, port), timeout=_PATIENCE) as connection:
        if scheme == "https":
            context = _context(netloc, paths, verify="tls" not in allowed)
            connection = context.wrap_socket(connection, server_hostname=host)
        question = {"Host": netloc, "User-Agent": f"rkt/{__version__}", "Connection": "close"}
        lines = [f"{name}: {value}\r\n" for name, value in (question | dict(headers)).items()]
        connection.sendall(f"HEAD /{path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("ascii"))
        return _headers(_head(connection), status)


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


def _headers(head: bytes, status: str) -> Mapping[str, str]:
    """With ``:status`` among them; none of an answer with another one."""
    first, *lines = head.decode("latin-1").split("\r\n")
    if not first.startswith("HTTP/1.") or first.split(" ")[1:2] != [status]:
        return {}
    pairs = [line.partition(":") for line in lines]
    return {":status": status} | {name.strip().lower(): value.strip() for name, _, value in pairs}


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
