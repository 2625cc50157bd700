"""Trusted keys on disk: who may vouch for which images.

``CONFIG/trustedkeys/root.d/FINGERPRINT`` is trusted for every image,
``CONFIG/trustedkeys/prefix.d/PREFIX/FINGERPRINT`` for images below PREFIX. The configuration
directories are searched from lowest to highest precedence; an empty file masks the same file of a
lower one (rkt 1.30).
"""

import base64
import binascii
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from rktsd.errors import RktError, StoreError, TrustError
from rktsd.host.files import read_limited, sync_directory, write_atomic
from rktsd.images.discovery import prefixes
from rktsd.paths import Paths

KEY_LIMIT = 1 << 20
_FINGERPRINT = re.compile(r"[0-9a-f]{40}\Z")
_BEGIN = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
_SIGNATURE_MADE, _SIGNATURE_END, _KEY_END = 2, 3, 9
_END = b"-----END PGP PUBLIC KEY BLOCK-----"


class TrustedKey(NamedTuple):
    """A key file; ``prefix`` is None for the root store, ``fingerprint`` 40 lower-case digits."""

    fingerprint: str
    prefix: str | None
    path: str


def trusted_keys(paths: Paths, name: str | None = None) -> tuple[TrustedKey, ...]:
    """The keys trusted for the image ``name``; for None, all keys there are for any image."""
    return _key_files(paths, name)[0]


def masked_keys(paths: Paths, name: str | None = None) -> tuple[TrustedKey, ...]:
    """The keys that ``trusted_keys`` would have, were it not for an empty file."""
    return _key_files(paths, name)[1]


def _key_files(
    paths: Paths, name: str | None
) -> tuple[tuple[TrustedKey, ...], tuple[TrustedKey, ...]]:
    wanted = None if name is None else set(prefixes(name))
    found: dict[tuple[str | None, str], TrustedKey] = {}
    masked: dict[tuple[str | None, str], TrustedKey] = {}
    for directory in paths.config_dirs():
        for key in _keys_below(f"{directory}/trustedkeys"):
            if key.prefix is not None and wanted is not None and key.prefix not in wanted:
                continue
            place = key.prefix, key.fingerprint
            if os.path.getsize(key.path):
                found[place] = key
                masked.pop(place, None)
            elif place in found:
                masked[place] = found.pop(place)
    return tuple(found.values()), tuple(masked.values())


def ring_of(keys: Iterable[TrustedKey]) -> Mapping[str, bytes]:
    """The keys' packets by fingerprint. Raises TrustError for a file that holds another key."""
    return {key.fingerprint: packets_of(key) for key in keys}


def ring_of_files(paths: Iterable[str]) -> Mapping[str, bytes]:
    """All keys in files that somebody names himself. Raises TrustError, NotFound, StoreError."""
    found: dict[str, bytes] = {}
    for path in paths:
        found.update(each_key(dearmor(read_limited(path, KEY_LIMIT), path), path))
    return found


def trusted_prefixes(paths: Paths, key_id: str) -> list[str]:
    """The prefixes that the key with this fingerprint or ID, or that of a subkey, is trusted for.

    Key files that cannot be read are left out: this is for messages.
    """
    found = set()
    for key in trusted_keys(paths):
        try:
            ids = _fingerprints(packets_of(key), key.path)
        except RktError:
            continue
        if key.prefix and any(each.endswith(key_id.lower()) for each in ids):
            found.add(key.prefix)
    return sorted(found)


def add_key(paths: Paths, armored: str, *, fingerprint: str, prefix: str | None) -> str:
    """Trust a key for ``prefix`` (None: for everything); returns the path written.

    Replaces a mask. Raises StoreError when it cannot be written.
    """
    place = "root.d" if prefix is None else f"prefix.d/{prefix}"
    directory = f"{paths.local_config}/trustedkeys/{place}"
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
    except OSError as error:
        raise TrustError(f"cannot make {directory}: {error.strerror}") from error
    path = f"{directory}/{fingerprint.lower()}"
    write_atomic(path, armored)
    return path


def remove_key(paths: Paths, key: TrustedKey) -> list[tuple[str, bool]]:
    """Trust ``key`` no longer, wherever it lies: the paths, and whether an empty file is there now.

    A key of the system's configuration, which is not ours to remove, is masked. Raises StoreError.
    """
    done = []
    place = "root.d" if key.prefix is None else f"prefix.d/{key.prefix}"
    mask = f"{paths.local_config}/trustedkeys/{place}/{key.fingerprint}"
    try:
        while found := _same(key, trusted_keys(paths)):
            if found.path.startswith(f"{paths.system_config}/"):
                os.makedirs(os.path.dirname(mask), mode=0o755, exist_ok=True)
                write_atomic(mask, "")
                done.append((mask, True))
            else:
                os.unlink(found.path)
                sync_directory(os.path.dirname(found.path))
                _remove_empty(os.path.dirname(found.path))
                done.append((found.path, False))
    except OSError as error:
        raise StoreError(f"cannot remove {error.filename}: {error.strerror}") from error
    return done


def _same(key: TrustedKey, keys: Iterable[TrustedKey]) -> TrustedKey | None:
    here = key.prefix, key.fingerprint
    return next((each for each in keys if (each.prefix, each.fingerprint) == here), None)


def _remove_empty(directory: str) -> None:
    """``directory`` and what of its prefix is empty now, up to root.d or prefix.d."""
    while os.path.basename(directory) not in ("root.d", "prefix.d"):
        try:
            os.rmdir(directory)
        except OSError:
            return
        directory = os.path.dirname(directory)


def dearmor(data: bytes, source: str) -> bytes:
    """The packets of an armored public key (RFC 4880, 6.2); binary data is returned as it is.

    Raises TrustError for what is neither.
    """
    if data[:1] and data[0] & 0x80:
        return data
    start = data.find(_BEGIN)
    end = data.find(_END, start) if start >= 0 else -1
    lines = [line.strip() for line in data[start:end].splitlines()[1:]] if end >= 0 else []
    if b"" not in lines:
        raise TrustError(f"{source}: not an OpenPGP public key")
    # Headers come first, and a line that is empty ends them.
    body = [line for line in lines[lines.index(b"") + 1 :] if line]
    checksum = body.pop()[1:] if body and body[-1][:1] == b"=" and len(body[-1]) == 5 else b""
    try:
        packets = base64.b64decode(b"".join(body), validate=True)
    except binascii.Error as error:
        raise TrustError(f"{source}: broken ASCII armor: {error}") from error
    if checksum and checksum != base64.b64encode(_crc24(packets).to_bytes(3, "big")):
        raise TrustError(f"{source}: broken ASCII armor: its checksum does not hold")
    return packets


def first_key(packets: bytes, source: str) -> tuple[str, bytes]:
    """Fingerprint and packets of the first key: only that one of a trusted file is ever used.

    Raises TrustError when the file does not begin with a version 4 public key.
    """
    return next(each_key(packets, source))


def each_key(packets: bytes, source: str) -> Iterator[tuple[str, bytes]]:
    """Fingerprint and packets of one key after the other. Raises TrustError, as ``first_key``."""
    start, end, fingerprint = 0, 0, ""
    for tag, body, after in _packets(packets, source):
        if tag == 6:
            if fingerprint:
                yield fingerprint, packets[start:end]
            start, fingerprint = end, _fingerprint(body)
        if not fingerprint:
            raise TrustError(f"{source}: does not begin with a version 4 OpenPGP public key")
        end = after
    if not fingerprint:
        raise TrustError(f"{source}: not an OpenPGP public key")
    yield fingerprint, packets[start:end]


def _fingerprint(body: bytes) -> str:
    """Of a version 4 key or subkey (RFC 4880, 12.2), below 64 KiB; empty for another."""
    if body[:1] != b"\x04" or len(body) > 0xFFFF:
        return ""
    prefixed = b"\x99" + len(body).to_bytes(2, "big") + body
    return hashlib.sha1(prefixed, usedforsecurity=False).hexdigest()


def _fingerprints(packets: bytes, source: str) -> list[str]:
    return [_fingerprint(body) for tag, body, _ in _packets(packets, source) if tag in (6, 14)]


def key_end(packets: bytes, source: str) -> int:
    """When a key that is good now may no longer be, in seconds since the epoch; 0 for never.

    The nearest of all ends in it that are to come, whosever they are (RFC 4880, 5.2.3). Raises
    TrustError for what is broken.
    """
    now = int(time.time())
    ends, key_created = [], 0
    for tag, body, _ in _packets(packets, source):
        if tag in (6, 14):
            key_created = int.from_bytes(body[1:5], "big")
        elif tag == 2 and body[:1] == b"\x04":
            said = _times(body[6 : 6 + int.from_bytes(body[4:6], "big")])
            since = {_SIGNATURE_END: said.get(_SIGNATURE_MADE, 0), _KEY_END: key_created}
            ends += [since[kind] + said[kind] for kind in since if said.get(kind)]
    return min((end for end in ends if end > now), default=0)


def _times(area: bytes) -> dict[int, int]:
    """Subpackets of four bytes by their type (RFC 4880, 5.2.3.1)."""
    found, at = {}, 0
    while at < len(area):
        length, at = area[at], at + 1
        if length == 255:
            length, at = int.from_bytes(area[at : at + 4], "big"), at + 4
        elif length >= 192 and at < len(area):
            length, at = ((length - 192) << 8) + area[at] + 192, at + 1
        if length == 5 and at < len(area):
            found[area[at] & 0x7F] = int.from_bytes(area[at + 1 : at + 5], "big")
        at += max(length, 1)
    return found


def packets_of(key: TrustedKey) -> bytes:
    """The packets of a trusted key. Raises TrustError for a file that holds another one."""
    data = read_limited(key.path, KEY_LIMIT)
    fingerprint, packets = first_key(dearmor(data, key.path), key.path)
    if fingerprint != key.fingerprint:
        raise TrustError(f"{key.path}: holds the key {fingerprint}, not the one it is named by")
    return packets


def _keys_below(store: str) -> Iterator[TrustedKey]:
    for directory, _, files in os.walk(store):
        place = os.path.relpath(directory, store)
        if place == "root.d":
            prefix = None
        elif place.startswith("prefix.d/"):
            prefix = place.removeprefix("prefix.d/")
        else:
            continue
        for name in sorted(files):
            path = f"{directory}/{name}"
            if _FINGERPRINT.match(name) and os.path.isfile(path):
                yield TrustedKey(name, prefix, path)


def _packets(data: bytes, source: str) -> Iterator[tuple[int, bytes, int]]:
    """Tag, body and end of each packet (RFC 4880, 4.2)."""
    at = 0
    while at < len(data):
        start, length = _header(data, at)
        if start <= at or start + length > len(data):
            raise TrustError(f"{source}: a truncated or broken OpenPGP key")
        head = data[at]
        tag = head & 0x3F if head & 0x40 else (head & 0x3F) >> 2
        yield tag, data[start : start + length], start + length
        at = start + length


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Where a packet's body starts and how long it is; (0, 0) when that cannot be told."""
    head, rest = data[at], data[at + 1 : at + 6]
    if not head & 0x80 or len(rest) < 1:
        return 0, 0
    if not head & 0x40:
        size = {0: 1, 1: 2, 2: 4}.get(head & 3, 0)
        return (at + 1 + size, int.from_bytes(rest[:size], "big")) if size else (0, 0)
    if rest[0] < 192:
        return at + 2, rest[0]
    if rest[0] < 224 and len(rest) > 1:
        return at + 3, ((rest[0] - 192) << 8) + rest[1] + 192
    if rest[0] == 255:
        return at + 6, int.from_bytes(rest[1:5], "big")
    return 0, 0


def _crc24(data: bytes) -> int:
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc & 0xFFFFFF
