"""Images in registries: the pull side of the OCI distribution specification 1.1.

Every manifest, configuration and layer is checked against its digest and size; what a tag leads to
is the registry's word alone, and left to the caller to believe.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType

from rktsd.errors import FetchError, TrustError
from rktsd.images.authenticate import Access, reason_of
from rktsd.images.credentials import find_credentials
from rktsd.images.digests import Check, Descriptor, check_bytes
from rktsd.images.http import Answer, Client
from rktsd.images.oci import DOCKER_MANIFEST, INDEXES, MANIFESTS, media_type_of
from rktsd.images.references import DockerName
from rktsd.paths import Paths

MANIFEST_LIMIT = 4 << 20
CONFIG_LIMIT = 4 << 20
_TOLD = frozenset({200, 401, 403, 404})


class Registry:
    """One repository of a registry; use it as a context manager, in any number of threads.

    ``client`` makes connections, a set for each thread.
    """

    def __init__(
        self,
        name: DockerName,
        *,
        paths: Paths,
        client: Callable[[], AbstractContextManager[Client]],
    ) -> None:
        self._name = name
        self._new_client = client
        self._local = threading.local()
        self._open = ExitStack()
        self._scheme = "https"
        self._access = Access(
            name.registry,
            f"repository:{name.repository}:pull",
            find=lambda: find_credentials(
                name.registry, name.repository, paths=paths, environment=os.environ
            ),
        )

    def __enter__(self) -> "Registry":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def top(self) -> tuple[Descriptor, bytes]:
        """The manifest or index that the name's tag or digest leads to, with its descriptor.

        A registry that does not answer over https is asked over http when the client may. Raises
        TrustError when the content does not have the digest asked for.
        """
        try:
            return self._top()
        except FetchError:
            if "http" not in self._client().insecure:
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

    def _client(self) -> Client:
        if not hasattr(self._local, "client"):
            self._local.client = self._open.enter_context(self._new_client())
        client: Client = self._local.client
        return client

    @contextmanager
    def _get(self, place: str, *, manifest: bool) -> Iterator[Answer]:
        """Ask, and once more with the credentials or the token that the registry wants."""
        client = self._client()
        url = f"{self._scheme}://{self._name.registry}/v2/{self._name.repository}/{place}"
        headers = {"Accept": ", ".join(INDEXES + MANIFESTS)} if manifest else {}
        sent = self._access.authorization
        with client.get(url, headers=headers, authorization=sent, accept=_TOLD) as answer:
            if answer.status != 401:
                yield self._good(answer)
                return
            sent = self._access.answer(client, answer, sent=sent)
        with client.get(url, headers=headers, authorization=sent, accept=_TOLD) as answer:
            yield self._good(answer)

    def _good(self, answer: Answer) -> Answer:
        if answer.status == 200:
            return answer
        if answer.status in (401, 403):
            raise self._access.refusal(answer)
        reason = reason_of(answer)
        what = f"{answer.url}: the server answered {answer.status}"
        raise FetchError(f"{what}: {reason}" if reason else what)


def _place(descriptor: Descriptor, manifest: bool) -> str:
    return f"{'manifests' if manifest else 'blobs'}/{descriptor.digest}"
