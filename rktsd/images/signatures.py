"""Detached OpenPGP signatures, judged by gpgv's status lines (GnuPG doc/DETAILS).

gpgv knows neither a web of trust nor the caller's keys: it sees the keyring that it is given, and
what counts is that exactly one signature is valid and whose primary key made it.
"""

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from rktsd.errors import TrustError
from rktsd.host.process import run
from rktsd.images.keystore import TrustedKey, keyring

SIGNATURE_LIMIT = 1 << 20
UNKNOWN = "openpgp: signature made by unknown entity"
# MD5, SHA-1 and RIPEMD-160 (RFC 4880, 9.4).
_WEAK_HASHES = frozenset({"1", "2", "3"})
# What makes a signature bad although gpgv may call it valid; the first that applies is told.
_VERDICTS = {
    "BADSIG": "openpgp: invalid signature: the file is not what was signed",
    "REVKEYSIG": "openpgp: the key that made the signature is revoked",
    "EXPKEYSIG": "openpgp: the key that made the signature has expired",
    "EXPSIG": "openpgp: the signature has expired",
    "NO_PUBKEY": UNKNOWN,
    "NODATA": "openpgp: the signature file holds no OpenPGP signature",
    "UNEXPECTED": "openpgp: the signature file holds no detached signature",
    "ERRSIG": "openpgp: a signature of an unknown kind",
}


class Signer(NamedTuple):
    """Who signed: the primary key's 40 lower-case digits, and its user id made printable."""

    fingerprint: str
    user_id: str


def verify(
    path: str, signature: str, *, keys: Iterable[TrustedKey], directory: str, image: str
) -> Signer:
    """Check the file ``path`` against its detached ``signature`` by one of ``keys``.

    The keyring is written to ``directory``, which is the caller's to remove. Raises TrustError
    beginning with ``image``: signature by an unknown key, not of this file, expired, revoked.
    """
    keys = tuple(keys)
    lines = _judge(path, signature, keys=keys, directory=directory)
    _refuse(lines, image, words=tuple(_VERDICTS))
    valid = [words for words in lines if words[0] == "VALIDSIG"]
    if len(valid) != 1 or len(valid[0]) < 11:
        raise TrustError(f"{image}: openpgp: {len(valid)} valid signatures where one is needed")
    hash_algorithm, signature_class, fingerprint = valid[0][8], valid[0][9], valid[0][10].lower()
    if hash_algorithm in _WEAK_HASHES:
        raise TrustError(f"{image}: openpgp: the signature uses a broken digest algorithm")
    if signature_class != "00":
        raise TrustError(f"{image}: openpgp: not a signature of a binary document")
    if fingerprint not in {key.fingerprint for key in keys}:
        raise _unknown(image, fingerprint)
    good = next((words for words in lines if words[0] == "GOODSIG"), ())
    return Signer(fingerprint, printable(" ".join(good[2:])))


def check_signer(signature: str, *, keys: Iterable[TrustedKey], directory: str, image: str) -> None:
    """Raise TrustError unless one of ``keys`` seems to have made ``signature``.

    Looks at the signature alone, so that nothing large is downloaded in vain; proves nothing.
    """
    lines = _judge("/dev/null", signature, keys=tuple(keys), directory=directory)
    _refuse(lines, image, words=("NO_PUBKEY", "NODATA", "UNEXPECTED"))


def require_trusted(signer: Signer, keys: Iterable[TrustedKey], *, image: str) -> None:
    """Raise TrustError unless ``signer`` is among ``keys``."""
    if signer.fingerprint not in {key.fingerprint for key in keys}:
        raise _unknown(image, signer.fingerprint)


def printable(text: str) -> str:
    """``text`` without what could move a terminal's cursor or look like another line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _judge(
    path: str, signature: str, *, keys: tuple[TrustedKey, ...], directory: str
) -> list[tuple[str, ...]]:
    """gpgv's status lines, split into words; a last ``FAILED`` when it exited with an error."""
    ring = f"{directory}/keyring"
    with open(ring, "wb") as file:
        file.write(keyring(keys))
    command = ["gpgv", "--homedir", directory, "--status-fd", "1", "--keyring", ring]
    done = run([*command, "--", os.path.abspath(signature), os.path.abspath(path)], check=False)
    text = done.stdout.decode(errors="replace")
    lines = [
        tuple(line.removeprefix("[GNUPG:] ").split(" "))
        for line in text.splitlines()
        if line.startswith("[GNUPG:] ")
    ]
    return [*lines, ("FAILED", str(done.returncode))] if done.returncode else lines


def _refuse(lines: list[tuple[str, ...]], image: str, *, words: tuple[str, ...]) -> None:
    said = {line[0] for line in lines}
    for word in words:
        if word == "NO_PUBKEY" in said:
            keys = [line[1] for line in lines if line[0] == word and len(line) > 1]
            raise _unknown(image, keys[0] if keys else "")
        if word in said:
            raise TrustError(f"{image}: {_VERDICTS[word]}")
    if "FAILED" in said and words == tuple(_VERDICTS):
        status = re.sub(r"[^ -~]", "?", " ".join(lines[-1]))
        raise TrustError(f"{image}: openpgp: gpgv refuses the signature ({status})")


def _unknown(image: str, key: str) -> TrustError:
    """rkt's words, and which key it would take; the ID is what an attacker chose to write."""
    if not re.fullmatch("[0-9A-Fa-f]{8,64}", key):
        return TrustError(f"{image}: {UNKNOWN}")
    return TrustError(
        f"{image}: {UNKNOWN}: key {key.upper()}",
        hint="rkt trust --prefix=NAME takes up a key that you know",
    )
