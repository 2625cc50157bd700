"""Images in registries: the pull side of the OCI distribution specification 1.1.

Every manifest, configuration and layer is checked against its digest and size; what a tag leads to
is the registry's word alone, and left to the caller to believe.
"""

import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager

from rktsd.appc.cursor import decode_json
from rktsd.errors import FetchError, TrustError, Unsupported
from rktsd.images.digests import Check, Descriptor, check_bytes
from rktsd.images.http import Answer, Client
from rktsd.images.oci import DOCKER_MANIFEST, INDEXES, MANIFESTS, media_type_of
from rktsd.images.references import DockerName

MANIFEST_LIMIT = 4 << 20
CONFIG_LIMIT = 4 << 20
_PARAMETER = re.compile(r'([A-Za-z]+)="?((?<=")[^"]*|[^",\s]*)"?')


class Registry:
    """One repository of a registry, read through ``client``."""

    def __init__(self, client: Client, name: DockerName) -> None:
        self._client = client
        self._name = name
        self._authorization: str | None = None
        self._scheme = "https"

    def top(self) -> tuple[Descriptor, bytes]:
        """The manifest or index that the name's tag or digest leads to, with its descriptor.

        A registry that does not answer over https is asked over http when the client may. Raises
        TrustError when the content does not have the digest asked for.
        """
        try:
            return self._top()
        except FetchError:
            if "http" not in self._client.insecure:
                raise
        self._scheme = "http"
        return self._top()

    def _top(self) -> tuple[Descriptor, bytes]:
        import hashlib

        with self._get(f"manifests/{self._name.version}", manifest=True) as answer:
            data, source = answer.read(MANIFEST_LIMIT), answer.url
            said = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        digest = self._name.digest or f"sha256:{hashlib.sha256(data).hexdigest()}"
        descriptor = Descriptor(DOCKER_MANIFEST, digest, len(data))
        check_bytes(data, descriptor, source)
        return descriptor._replace(media_type=media_type_of(data, source, said=said)), data

    def read(self, descriptor: Descriptor) -> bytes:
        """A manifest or a configuration, verified. Raises TrustError."""
        manifest = descriptor.media_type in INDEXES + MANIFESTS
        with self._get(_place(descriptor, manifest), manifest=manifest) as answer:
            data = answer.read(min(CONFIG_LIMIT, descriptor.size + 1))
            return check_bytes(data, descriptor, answer.url)

    def save(self, descriptor: Descriptor, path: str) -> None:
        """Download a layer to the new file ``path``, verified on the way. Raises TrustError."""
        with self._get(_place(descriptor, False), manifest=False) as answer:
            promised = answer.headers.get("Content-Length")
            if promised is not None and promised != str(descriptor.size):
                raise TrustError(
                    f"{answer.url}: {promised} bytes where {descriptor.size} were promised"
                )
            check = Check(descriptor, answer.url)
            answer.save(path, limit=descriptor.size, check=check)

    @contextmanager
    def _get(self, place: str, *, manifest: bool) -> Iterator[Answer]:
        url = f"{self._scheme}://{self._name.registry}/v2/{self._name.repository}/{place}"
        headers = {"Accept": ", ".join(INDEXES + MANIFESTS)} if manifest else {}
        known = self._authorization
        with self._client.get(
            url, headers=headers, authorization=known, accept=frozenset({200, 401})
        ) as answer:
            if answer.status == 200:
                yield answer
                return
            challenge = answer.headers.get("WWW-Authenticate", "")
        self._authorization = self._anonymous_token(challenge)
        with self._client.get(url, headers=headers, authorization=self._authorization) as answer:
            yield answer

    def _anonymous_token(self, challenge: str) -> str:
        """Ask the token server that a registry names for what everybody may have."""
        kind, _, rest = challenge.partition(" ")
        where = self._name.registry
        if kind.lower() == "basic":
            raise Unsupported(
                f"{where}: wants a user name and password, which this version does not send"
            )
        parameters = {key.lower(): value for key, value in _PARAMETER.findall(rest)}
        realm = parameters.get("realm")
        if kind.lower() != "bearer" or not realm:
            raise FetchError(f"{where}: refuses access to {self._name.repository}")
        query = {"service": parameters.get("service", "")}
        query["scope"] = parameters.get("scope") or f"repository:{self._name.repository}:pull"
        separator = "&" if "?" in realm else "?"
        url = f"{realm}{separator}{urllib.parse.urlencode(query)}"
        with self._client.get(url) as answer:
            document = decode_json(answer.read(CONFIG_LIMIT), realm)
        token = document.get("token")
        found = (token if token.given else document.get("access_token")).line()
        return f"Bearer {found}"


def _place(descriptor: Descriptor, manifest: bool) -> str:
    return f"{'manifests' if manifest else 'blobs'}/{descriptor.digest}"
