"""``rkt trust``: take up keys from files, URLs or discovery. The only module that knows gnupg.

Keys are read in a GnuPG home made for the occasion, never in the caller's.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import gnupg

from rktsd.appc.names import check_ac_identifier
from rktsd.errors import BadInput, TrustError, UsageError
from rktsd.host.files import read_limited, require_regular
from rktsd.host.process import run
from rktsd.images import discovery
from rktsd.images.http import Client
from rktsd.images.keystore import KEY_LIMIT, add_key
from rktsd.images.pages import get_page
from rktsd.images.signatures import printable
from rktsd.paths import Paths


class Key(NamedTuple):
    """A public key as it is shown to the user and stored; fingerprints are lower-case hex."""

    fingerprint: str
    user_ids: tuple[str, ...]
    subkeys: tuple[str, ...]
    expires: int | None
    revoked: bool
    armored: str
    source: str

    @property
    def expired(self) -> bool:
        """Whether it has expired by now."""
        return self.expires is not None and self.expires < time.time()

    def describe(self, prefix: str | None) -> str:
        """What is shown for review, several lines."""
        lines = [
            f'prefix: "{prefix or ""}"',
            f'key: "{self.source}"',
            f"gpg key fingerprint is: {_grouped(self.fingerprint)}",
        ]
        lines += [f"    Subkey fingerprint: {_grouped(each)}" for each in self.subkeys]
        return "\n".join(lines + [f"    {user_id}" for user_id in self.user_ids])


def trust(
    prefix: str | None,
    sources: Sequence[str],
    *,
    paths: Paths,
    confirm: Callable[[Key], bool],
    insecure: frozenset[str] = frozenset(),
    report: Callable[[str], None] = lambda line: None,
    http_hint: str = "--insecure-allow-http takes keys over http",
) -> list[str]:
    """Trust keys for images below ``prefix`` (None: for all); returns the paths written.

    ``sources`` are files and http(s) URLs; with none, the keys that discovery offers for the
    prefix. ``confirm`` is asked for every key. http needs ``http`` and ``pubkey`` in ``insecure``;
    without them ``http_hint`` is what the user is told.
    Raises UsageError, FetchError, BadInput, TrustError.
    """
    if prefix is not None:
        if "://" in prefix:
            raise UsageError(f"prefix {prefix!r}: write it without a scheme")
        check_ac_identifier(prefix, "prefix")
    allowed = insecure if "pubkey" in insecure else insecure - {"http"}
    with Client(paths, insecure=allowed, report=report, http_hint=http_hint) as client:
        if not sources:
            if prefix is None:
                raise UsageError("no keys given, and there is no discovery for the root prefix")
            sources = discovery.discover_key_urls(prefix, get_page=lambda at: get_page(client, at))
        keys = [key for source in sources for key in read_keys(_get(client, source), source)]
    written = []
    for key in keys:
        if key.revoked or key.expired:
            state = "is revoked" if key.revoked else "has expired"
            raise TrustError(f"{key.source}: the key {key.fingerprint} {state}")
        if not confirm(key):
            report(f"not trusting {key.source!r}")
            continue
        what = "root key" if prefix is None else f'key for prefix "{prefix}"'
        report(f'trusting "{key.source}" as {what} after fingerprint review')
        path = add_key(paths, key.armored, fingerprint=key.fingerprint, prefix=prefix)
        report(f"added {'root' if prefix is None else ''} key at {path!r}".replace("  ", " "))
        written.append(path)
    return written


def read_keys(data: bytes, source: str) -> list[Key]:
    """The public keys in ``data``, armored or not. Raises BadInput when there are none."""
    with _home() as gpg:
        gpg.import_keys(data)
        found = [
            key._replace(armored=str(gpg.export_keys(key.fingerprint)))
            for key in _listed(gpg, source)
        ]
    if not found or not all(key.armored for key in found):
        raise BadInput(f"{source}: holds no OpenPGP public key")
    return found


def look_at(packets: bytes) -> dict[str, Key]:
    """The public keys in ``packets`` by fingerprint, without their armored form."""
    with _home() as gpg:
        if packets:
            gpg.import_keys(packets)
        return {key.fingerprint: key for key in _listed(gpg, "")}


def _listed(gpg: gnupg.GPG, source: str) -> list[Key]:
    return [
        Key(
            fingerprint=str(each["fingerprint"]).lower(),
            user_ids=tuple(printable(str(user_id)) for user_id in each["uids"]),
            subkeys=tuple(str(subkey[2]).lower() for subkey in each["subkeys"]),
            expires=int(each["expires"]) if each["expires"] else None,
            revoked="r" in each["trust"],
            armored="",
            source=source,
        )
        for each in gpg.list_keys()
    ]


def _get(client: Client, source: str) -> bytes:
    if source.startswith(("http://", "https://")):
        with client.get(source, login=True) as answer:
            return answer.read(KEY_LIMIT)
    if "://" in source:
        raise BadInput(f"{source}: keys come from files, https and http URLs only")
    require_regular(source)
    return read_limited(source, KEY_LIMIT)


@contextlib.contextmanager
def _home() -> Iterator[gnupg.GPG]:
    with tempfile.TemporaryDirectory(prefix="rkt-trust-") as home:
        try:
            yield gnupg.GPG(gnupghome=home, use_agent=False, options=["--no-autostart"])
        finally:
            run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


def _grouped(fingerprint: str) -> str:
    return " ".join(fingerprint[at : at + 4].upper() for at in range(0, len(fingerprint), 4))
