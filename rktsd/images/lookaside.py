"""GPG "simple signing": signed messages beside a registry (containers-registries.d(5)).

Of the manifest ``sha256:HEX`` they are BASE/REPOSITORY@sha256=HEX/signature-1 and so on.
"""

import os
import urllib.parse
from collections.abc import Iterator

from rktsd.errors import Absent, FetchError, NotFound, RktError, TrustError
from rktsd.host.files import read_limited
from rktsd.images import signatures
from rktsd.images.claims import GPG_TYPE, Vouched, Wanted, check_claim
from rktsd.images.fetch import Job
from rktsd.images.http import Client
from rktsd.images.keystore import ring_of, ring_of_files, trusted_keys, trusted_prefixes
from rktsd.images.signatures import SIGNATURE_LIMIT

MAX_SIGNATURES = 32


class Lookaside:
    """The signatures in ``base`` (file: or http(s)), judged by the keys in ``files``.

    Without ``files`` the keys count that are trusted for the appc name ``trusted_for``.
    """

    def __init__(
        self, job: Job, base: str, *, repository: str, files: tuple[str, ...], trusted_for: str
    ) -> None:
        self._job, self._base, self._repository = job, base, repository
        if files:
            self._ring = ring_of_files(files)
            return
        self._ring = ring_of(trusted_keys(job.paths, trusted_for))
        if not self._ring:
            hint = f"rkt trust --prefix={trusted_for} FILE takes one up, or keys= in trust.toml"
            raise TrustError(f"no trusted keys for image {trusted_for!r}", hint=hint)

    @property
    def place(self) -> str:
        """Where signatures are looked for, for messages."""
        return self._base

    def find(self, digest: str) -> Iterator[tuple[str, bytes]]:
        """Where each signature of a manifest is, and the signature.

        Raises FetchError when that cannot be told: that one is absent is no error.
        """
        if self._base.startswith("file:"):
            yield from self._files(digest)
            return
        with self._job.client() as client:
            yield from self._pages(client, digest)

    def judge(self, found: bytes, source: str, *, wanted: Wanted, directory: str) -> Vouched:
        """Who signed, when that is one of the keys and the claim is what is wanted.

        ``directory`` is to work in. Raises TrustError beginning with ``source``.
        """
        path = f"{directory}/message"
        with open(path, "wb") as file:
            file.write(found)
        signer, content = signatures.verify_message(
            path,
            ring=self._ring,
            directory=directory,
            image=source,
            elsewhere=lambda key: trusted_prefixes(self._job.paths, key),
        )
        check_claim(content, source, kinds=(GPG_TYPE,), wanted=wanted)
        return Vouched(signer.fingerprint, signer.user_id, signer.until)

    def _addresses(self, digest: str) -> Iterator[str]:
        below = f"{self._repository}@{digest.replace(':', '=', 1)}"
        for number in range(1, MAX_SIGNATURES + 1):
            yield f"{self._base}/{below}/signature-{number}"

    def _files(self, digest: str) -> Iterator[tuple[str, bytes]]:
        if not os.path.isdir(_path(self._base)):
            raise FetchError(
                f"cannot look for signatures in {_path(self._base)}: no such directory"
            )
        for address in self._addresses(digest):
            try:
                yield address, read_limited(_path(address), SIGNATURE_LIMIT)
            except NotFound:
                return

    def _pages(self, client: Client, digest: str) -> Iterator[tuple[str, bytes]]:
        for address in self._addresses(digest):
            try:
                with client.get(address, login=True) as answer:
                    yield address, answer.read(SIGNATURE_LIMIT)
            except Absent:
                return
            except RktError as error:
                raise FetchError(f"cannot look for signatures: {error}") from error


def _path(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path)
