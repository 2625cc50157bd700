"""Debian's docker-registry with TLS, run on loopback for as long as a test needs it."""

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType

from tests.material.certificates import Certificate
from tests.material.tokens import TokenServer

CONFIGURATION = """\
version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {directory}/data
  delete:
    enabled: true
http:
  addr: {address}:{port}
  secret: none
"""
TLS = """\
  tls:
    certificate: {certificate}
    key: {key}
"""
HTPASSWD = """\
auth:
  htpasswd:
    realm: tests
    path: {path}
"""
TOKEN = """\
auth:
  token:
    realm: {realm}
    service: {service}
    issuer: {issuer}
    rootcertbundle: {certificate}
"""


class RegistryServer:
    """docker-registry on ``address``, its data in ``directory``, up while entered.

    Without ``certificate`` it speaks plain HTTP; with ``htpasswd`` (a file with bcrypt lines) it
    wants a password, with ``tokens`` a token of that server. Port 0 takes a free one.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        certificate: Certificate | None = None,
        *,
        port: int = 0,
        address: str = "127.0.0.1",
        htpasswd: str | None = None,
        tokens: TokenServer | None = None,
    ) -> None:
        self.directory = os.fspath(directory)
        self.address = address
        self.port = port or _free_port(address)
        self._certificate = certificate
        self._htpasswd = htpasswd
        self._tokens = tokens
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """ADDRESS:PORT, as image references name it."""
        return f"{self.address}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        os.makedirs(f"{self.directory}/data", exist_ok=True)
        text = CONFIGURATION.format(directory=self.directory, address=self.address, port=self.port)
        if self._certificate is not None:
            text += TLS.format(**self._certificate._asdict())
        if self._htpasswd is not None:
            text += HTPASSWD.format(path=self._htpasswd)
        if self._tokens is not None:
            text += TOKEN.format(**self._tokens.configuration)
        configuration = f"{self.directory}/config.yml"
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(text)
        log = f"{self.directory}/log"
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", configuration],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + 20
        while not _listens(self.address, self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                with open(log, encoding="utf-8", errors="replace") as file:
                    raise RuntimeError(f"docker-registry did not start: {file.read()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None

    def __enter__(self) -> "RegistryServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def push(
        self,
        source: str,
        name: str,
        *,
        ca: Certificate | None = None,
        style: str = "",
        credentials: str | None = None,
        flags: Sequence[str] = (),
    ) -> str:
        """Copy ``source`` (as skopeo names it) to ``name`` (``web/app:v1``) with skopeo.

        ``style`` is skopeo's ``--format`` (oci, v2s2), ``credentials`` are USER:PASSWORD, ``flags``
        further ones. Returns the digest of the manifest stored.
        """
        trust = _ca_directory(self.directory, ca) if ca else None
        format_flag = ["--format", style] if style else []
        tls = ["--dest-tls-verify=false"] if trust is None else ["--dest-cert-dir", trust]
        login = ["--dest-creds", credentials] if credentials else []
        digest_file = f"{self.directory}/digest"
        done = subprocess.run(
            [
                "skopeo", "copy", "--quiet", "--insecure-policy", "--multi-arch=all",
                *format_flag, *tls, *login, *flags, "--digestfile", digest_file,
                source, f"docker://{self.host}/{name}",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"skopeo copy {source}: {done.stderr}")
        with open(digest_file, encoding="ascii") as file:
            return file.read().strip()


def _ca_directory(directory: str, ca: Certificate) -> str:
    """A directory as docker's certs.d has per host, holding only the authority's certificate."""
    made = f"{directory}/certs"
    os.makedirs(made, exist_ok=True)
    with open(ca.certificate, "rb") as source, open(f"{made}/ca.crt", "wb") as target:
        target.write(source.read())
    return made


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False
