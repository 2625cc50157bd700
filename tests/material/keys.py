"""OpenPGP keys made for one test, and signatures by them."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

_ATTEMPTS, _PAUSE = 50, 0.1


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret key in the GnuPG home ``home``; ``fingerprint`` is its 40 upper-case hex digits."""

    home: str
    fingerprint: str
    public: str

    @classmethod
    def create(
        cls,
        home: str | os.PathLike[str],
        name: str,
        *,
        expires: str = "never",
        when: str | None = None,
        signing_subkey: bool = False,
    ) -> "SigningKey":
        """Make a key for user id ``name``; ``home`` is made when absent and may hold several keys.

        ``when`` (as 20200101T000000) is the moment the key pretends to be made at; ``expires`` is
        gpg's (``1y``). Signatures come from a subkey with ``signing_subkey``.
        """
        home = os.fspath(home)
        os.makedirs(home, mode=0o700, exist_ok=True)
        clock = ["--faked-system-time", when] if when else []
        usage = "cert" if signing_subkey else "sign"
        with _agent_ended(home):
            made = _gpg(
                home, *clock, "--status-fd", "1", "--passphrase", "",
                "--quick-generate-key", name, "ed25519", usage, expires,
            )  # fmt: skip
            created = next(line for line in made.splitlines() if "KEY_CREATED" in line)
            fingerprint = created.split()[3]
            if signing_subkey:
                _gpg(home, "--passphrase", "", "--quick-add-key", fingerprint, "ed25519", "sign")
            public = _gpg(home, "--armor", "--export", fingerprint)
        return cls(home, fingerprint, public)

    def sign(
        self,
        path: str | os.PathLike[str],
        *,
        armor: bool = True,
        when: str | None = None,
        expires: str | None = None,
    ) -> str:
        """A detached signature over the file ``path``; returns its path, ``PATH.asc``."""
        signature = f"{os.fspath(path)}.asc"
        clock = ["--faked-system-time", when] if when else []
        limit = ["--default-sig-expire", expires] if expires else []
        with _agent_ended(self.home):
            _gpg(
                self.home, *clock, *limit, *(["--armor"] if armor else []), "--local-user",
                self.fingerprint, "--yes", "--output", signature, "--detach-sign", os.fspath(path),
            )  # fmt: skip
        return signature

    def message(
        self, data: bytes, *options: str, when: str | None = None, mode: str = "--sign"
    ) -> bytes:
        """``data`` as a signed message; ``options`` and ``mode`` are gpg's."""
        path = f"{self.home}/message"
        with open(path, "wb") as file:
            file.write(data)
        clock = ["--faked-system-time", when] if when else []
        with _agent_ended(self.home):
            _gpg(
                self.home, *clock, *options, "--local-user", self.fingerprint, "--yes",
                "--output", f"{path}.gpg", mode, path,
            )  # fmt: skip
        with open(f"{path}.gpg", "rb") as file:
            return file.read()

    def revoked(self) -> str:
        """The armored public key once it is revoked; revokes it in its home for good."""
        certificate = f"{self.home}/openpgp-revocs.d/{self.fingerprint}.rev"
        with open(certificate, encoding="utf-8") as file:
            text = file.read().replace(":-----BEGIN", "-----BEGIN")
        with _agent_ended(self.home):
            _gpg(self.home, "--import", data=text)
            return _gpg(self.home, "--armor", "--export", self.fingerprint)


@contextlib.contextmanager
def _agent_ended(home: str) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


def _gpg(home: str, *arguments: str, data: str | None = None) -> str:
    command = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback"]
    for _ in range(_ATTEMPTS):
        done = subprocess.run(
            [*command, *arguments],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout
        # An agent that was told to end answers for a moment, and then hangs up.
        if "No agent running" not in done.stderr:
            break
        time.sleep(_PAUSE)
    raise RuntimeError(f"gpg {' '.join(arguments)}: {done.stderr}")
