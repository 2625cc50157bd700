"""OpenPGP signatures, judged by gpgv's status lines (GnuPG doc/DETAILS).

gpgv knows neither a web of trust nor the caller's keys: it sees the keyring that it is given, and
what counts is that exactly one signature is valid and whose primary key made it.
"""

import contextlib
import fcntl
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, NamedTuple, Self, cast

from rktsd.errors import TrustError
from rktsd.host.files import read_limited
from rktsd.host.process import run, start
from rktsd.images.keystore import key_end

if TYPE_CHECKING:
    import subprocess

SIGNATURE_LIMIT = 1 << 20
MESSAGE_LIMIT = 1 << 20
_PIPE = 1 << 20
UNKNOWN = "openpgp: signature made by unknown entity"
# MD5, SHA-1 and RIPEMD-160 (RFC 4880, 9.4).
_WEAK_HASHES = frozenset({"1", "2", "3"})
_WEAK = "openpgp: the signature uses a broken digest algorithm"
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
    """Who signed: the primary key's 40 lower-case digits, and its user id made printable.

    It holds before ``until`` at least, in seconds since the epoch; 0 for always.
    """

    fingerprint: str
    user_id: str
    until: int


Ring = Mapping[str, bytes]
Elsewhere = Callable[[str], Sequence[str]]


def verify(
    path: str, signature: str, *, ring: Ring, directory: str, image: str, elsewhere: Elsewhere
) -> Signer:
    """Check the file ``path`` against its detached ``signature`` by a key of ``ring``.

    The keyring is written to ``directory``, which is the caller's to remove. ``elsewhere`` says for
    what prefixes another key is trusted. Raises TrustError beginning with ``image``: signature by
    an unknown key, not of this file, expired, revoked.
    """
    lines = _judge([signature, path], ring=ring, directory=directory)
    return _signer(lines, image, ring=ring, elsewhere=elsewhere)


def verify_message(
    path: str, *, ring: Ring, directory: str, image: str, elsewhere: Elsewhere
) -> tuple[Signer, bytes]:
    """Check the signed message ``path`` as ``verify`` does; who signed it, and what was signed."""
    content = f"{directory}/content"
    lines = _judge([path], ring=ring, directory=directory, content=content)
    if ("FAILED", str(-signal.SIGXFSZ)) in lines:
        raise TrustError(f"{image}: openpgp: what is signed is larger than {MESSAGE_LIMIT} bytes")
    said = [words[0] for words in lines]
    if "PLAINTEXT" not in said and "NODATA" not in said:
        raise TrustError(f"{image}: openpgp: not a signed message")
    try:
        signer = _signer(lines, image, ring=ring, elsewhere=elsewhere)
        if said.count("PLAINTEXT") != 1:
            raise TrustError(f"{image}: openpgp: several messages where one is needed")
        return signer, read_limited(content, MESSAGE_LIMIT)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(content)


class Hearing:
    """``verify`` for a file that is still coming: gpgv is at work meanwhile.

    Use it as a context manager, ``begin`` whenever the file begins to come, and tell every byte.
    """

    def __init__(self, signature: str, *, ring: Ring, directory: str) -> None:
        self._command = [*_gpgv(ring, directory), "--", os.path.abspath(signature), "-"]
        self._ring = ring
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: list[tuple[str, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def begin(self) -> Self:
        """Forget what was heard; the first byte of the file is next. Raises CommandFailed."""
        self._drop()
        self._process = start(self._command, fed=True)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._input(), fcntl.F_SETPIPE_SZ, _PIPE)
        return self

    def update(self, data: bytes) -> None:
        """The next bytes of the file."""
        try:
            self._input().write(data)
        except BrokenPipeError:
            # It has seen enough, and says of what at the end.
            return

    def finish(self) -> None:
        """That was the whole file."""
        assert self._process
        output, _ = self._process.communicate()
        self._lines = _said(output, self._process.returncode)

    def signer(self, image: str, *, elsewhere: Elsewhere) -> Signer | None:
        """As ``verify``; None when the file was not heard to its end."""
        if self._lines is None:
            return None
        return _signer(self._lines, image, ring=self._ring, elsewhere=elsewhere)

    def _input(self) -> IO[bytes]:
        assert self._process
        return cast(IO[bytes], self._process.stdin)

    def _drop(self) -> None:
        process, self._process, self._lines = self._process, None, None
        if process is None:
            return
        process.kill()
        with contextlib.suppress(OSError):
            process.communicate()


def check_signer(
    signature: str, *, ring: Ring, directory: str, image: str, elsewhere: Elsewhere
) -> None:
    """Raise TrustError unless a key of ``ring`` seems to have made the detached ``signature``.

    Looks at the signature alone, so that nothing large is downloaded in vain; proves nothing.
    """
    lines = _judge([signature, "/dev/null"], ring=ring, directory=directory)
    _refuse(lines, image, words=("NO_PUBKEY", "NODATA", "UNEXPECTED"), elsewhere=elsewhere)


def unknown(image: str, key: str, elsewhere: Elsewhere) -> TrustError:
    """rkt's words, and which key it would take; the ID is what an attacker chose to write."""
    if not re.fullmatch("[0-9A-Fa-f]{8,64}", key):
        return TrustError(f"{image}: {UNKNOWN}")
    others = elsewhere(key)
    only = f", which is trusted for {' and '.join(others)} alone" if others else ""
    return TrustError(
        f"{image}: {UNKNOWN}: key {key.upper()}{only}",
        hint="rkt trust --prefix=NAME takes up a key that you know",
    )


def printable(text: str) -> str:
    """``text`` without what could move a terminal's cursor or look like another line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _signer(
    lines: list[tuple[str, ...]], image: str, *, ring: Ring, elsewhere: Elsewhere
) -> Signer:
    _refuse(lines, image, words=tuple(_VERDICTS), elsewhere=elsewhere)
    valid = [words for words in lines if words[0] == "VALIDSIG"]
    if len(valid) != 1 or len(valid[0]) < 11:
        raise TrustError(f"{image}: openpgp: {len(valid)} valid signatures where one is needed")
    hash_algorithm, signature_class, fingerprint = valid[0][8], valid[0][9], valid[0][10].lower()
    if hash_algorithm in _WEAK_HASHES:
        raise TrustError(f"{image}: {_WEAK}")
    if signature_class != "00":
        raise TrustError(f"{image}: openpgp: not a signature of a binary document")
    if fingerprint not in ring:
        raise unknown(image, fingerprint, elsewhere)
    good = next((words for words in lines if words[0] == "GOODSIG"), ())
    # What gpgv says of the signature, and what is true of the key.
    ends = [int(valid[0][4]) if valid[0][4].isdigit() else 1, key_end(ring[fingerprint], image)]
    return Signer(
        fingerprint, printable(" ".join(good[2:])), min((end for end in ends if end), default=0)
    )


def _judge(
    files: list[str], *, ring: Ring, directory: str, content: str | None = None
) -> list[tuple[str, ...]]:
    """gpgv's status lines, split into words; a last ``FAILED`` when it exited with an error.

    ``content`` is where what a message says is written to.
    """
    command = _gpgv(ring, directory)
    if content:
        # What is packed into a message may be larger than any disk.
        limit = ["prlimit", f"--fsize={MESSAGE_LIMIT}", "--cpu=60", "--core=0", "--"]
        command = [*limit, *command, "--output", content]
    done = run([*command, "--", *map(os.path.abspath, files)], check=False)
    return _said(done.stdout, done.returncode)


def _gpgv(ring: Ring, directory: str) -> list[str]:
    """The beginning of its command line; the keyring is written to ``directory``."""
    place = f"{directory}/keyring"
    with open(place, "wb") as file:
        file.write(b"".join(ring.values()))
    return ["gpgv", "--homedir", directory, "--status-fd", "1", "--keyring", place]


def _said(output: bytes, status: int) -> list[tuple[str, ...]]:
    text = output.decode(errors="replace")
    lines = [
        tuple(line.removeprefix("[GNUPG:] ").split(" "))
        for line in text.splitlines()
        if line.startswith("[GNUPG:] ")
    ]
    return [*lines, ("FAILED", str(status))] if status else lines


def _refuse(
    lines: list[tuple[str, ...]], image: str, *, words: tuple[str, ...], elsewhere: Elsewhere
) -> None:
    said = {line[0] for line in lines}
    for word in words:
        found = [line for line in lines if line[0] == word]
        if word == "NO_PUBKEY" and found:
            raise unknown(image, found[0][1] if len(found[0]) > 1 else "", elsewhere)
        # gpgv takes MD5 for no digest at all.
        if word == "ERRSIG" and any(len(line) > 3 and line[3] in _WEAK_HASHES for line in found):
            raise TrustError(f"{image}: {_WEAK}")
        if found:
            raise TrustError(f"{image}: {_VERDICTS[word]}")
    if "FAILED" in said and words == tuple(_VERDICTS):
        status = re.sub(r"[^ -~]", "?", " ".join(lines[-1]))
        raise TrustError(f"{image}: openpgp: gpgv refuses the signature ({status})")
