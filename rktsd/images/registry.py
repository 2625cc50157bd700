"""Images in registries: the pull side of the OCI distribution specification 1.1.

Every manifest, configuration and layer is checked against its digest and size; what a tag leads to
is the registry's word alone, and left to the caller to believe. Mirrors are asked first, and what
one of them does not have, or has wrong, is asked for at the next.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import NamedTuple, TypeVar

from rktsd.config.registries import DIGEST_ONLY, TAG_ONLY, Mirror, Registries, find
from rktsd.errors import Absent, BadInput, FetchError, TrustError, Unsupported
from rktsd.images.answer import Answer
from rktsd.images.authenticate import Access, reason_of
from rktsd.images.credentials import find_credentials
from rktsd.images.digests import Check, Descriptor, check_bytes
from rktsd.images.download import download
from rktsd.images.fetch import Job
from rktsd.images.http import Client
from rktsd.images.oci import DOCKER_MANIFEST, INDEXES, MANIFESTS, media_type_of
from rktsd.images.progress import Watch, unwatched
from rktsd.images.references import DockerName
from rktsd.images.unchanged import ACCEPT
from rktsd.store.records import ImageRecord
from rktsd.store.seen import Seen

MANIFEST_LIMIT = 4 << 20
CONFIG_LIMIT = 4 << 20
# What a place has that is no manifest is as good as nothing: another place may have one.
_FAILURES = (FetchError, TrustError, BadInput, Unsupported)
_TOLD = frozenset({401, 403, 404})
_NO_REFERRERS = frozenset({200, 400, 404, 405, 406, 501})
Result = TypeVar("Result")


class Endpoint(NamedTuple):
    """A repository at a registry or mirror; ``insecure`` are words of --insecure-options."""

    registry: str
    repository: str
    insecure: frozenset[str] = frozenset()


def endpoints(name: DockerName, known: Registries) -> list[Endpoint]:
    """Where an image may be had: at mirrors, then where its registry is. Raises FetchError."""
    image = f"{name.registry}/{name.repository}"
    entry = find(known, image)
    if entry is None:
        return [Endpoint(name.registry, name.repository)]
    if entry.blocked:
        raise FetchError(f"docker://{name}: {entry.source} blocks {entry.prefix}")
    unwanted = TAG_ONLY if name.digest else DIGEST_ONLY
    places = [each for each in entry.mirrors if each.pull != unwanted]
    places.append(Mirror(entry.location, entry.insecure))
    found = []
    for place in places:
        registry, _, repository = entry.at(place.location, image).partition("/")
        words = frozenset({"http", "tls"} if place.insecure else ())
        found.append(Endpoint(registry, repository, words))
    return found


class Registry:
    """One image in a registry and its mirrors; use it as a context manager, in any threads."""

    def __init__(self, name: DockerName, job: Job, *, places: Sequence[Endpoint]) -> None:
        self._name = name
        self._job = job
        self._lock = threading.Lock()
        self._clients: dict[frozenset[str], Client] = {}
        self._open = ExitStack()
        self._places = [Place(each, job) for each in places]
        self._order = self._places
        self._found = self._places[-1]

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
        return self._anywhere(self._top)

    def _top(self, place: "Place") -> tuple[Descriptor, bytes]:
        with self._get(place, f"manifests/{self._name.version}", manifest=True) as answer:
            data, source = answer.read(MANIFEST_LIMIT), answer.url
            said = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        digest = self._name.digest or f"sha256:{hashlib.sha256(data).hexdigest()}"
        descriptor = Descriptor(DOCKER_MANIFEST, digest, len(data))
        check_bytes(data, descriptor, source)
        self._found = place
        return descriptor._replace(media_type=media_type_of(data, source, said=said)), data

    def seen(
        self, record: ImageRecord, top: Descriptor, *, until: int, state: str, keys: Sequence[str]
    ) -> Seen:
        """What there is to remember of ``top``, which led to the image of ``record``."""
        return Seen(
            image=record.id,
            digest=top.digest,
            etag="",
            modified="",
            url=self._found.url(f"manifests/{self._name.version}"),
            insecure=",".join(sorted(self._found.granted)),
            verified_by=record.verified_by,
            until=until,
            checked=0,
            fresh=0,
            state=state,
            keys=tuple(keys),
        )

    def tagged(self, tag: str) -> bytes:
        """The manifest that another tag leads to, on the registry's word. Raises Absent."""
        return self._beside(lambda place: self._document(place, f"manifests/{tag}"))

    def referrers(self, digest: str) -> bytes:
        """The index of what refers to the manifest ``digest`` (distribution-spec 1.1). Raises
        Absent, also where a registry knows no referrers and nobody has written them down."""
        try:
            return self._beside(lambda place: self._document(place, f"referrers/{digest}"))
        except Absent:
            return self.tagged(digest.replace(":", "-", 1))

    def _document(self, place: "Place", relative: str) -> bytes:
        """What registries say that never heard of referrers counts as their absence."""
        accept = _NO_REFERRERS if relative.startswith("referrers/") else frozenset({200})
        with self._get(place, relative, manifest=True, accept=accept) as answer:
            if answer.status != 200:
                raise Absent(f"{answer.url}: {answer.said}")
            return answer.read(MANIFEST_LIMIT)

    def read(self, descriptor: Descriptor, *, beside: bool = False) -> bytes:
        """A manifest, a configuration or another small blob, verified. Raises TrustError.

        ``beside``: of something that belongs to the image, and not of the image itself.
        """
        manifest = descriptor.media_type in INDEXES + MANIFESTS

        def ask(place: "Place") -> bytes:
            with self._get(place, _path(descriptor, manifest), manifest=manifest) as answer:
                data = answer.read(min(CONFIG_LIMIT, descriptor.size + 1))
                return check_bytes(data, descriptor, answer.url)

        return self._beside(ask) if beside else self._anywhere(ask)

    def save(self, descriptor: Descriptor, path: str, *, watch: Watch = unwatched) -> None:
        """Download a layer to the new file ``path``, verified on the way. Raises TrustError."""

        def ask(place: "Place") -> None:
            url = place.url(_path(descriptor, False))

            @contextmanager
            def request(headers: Mapping[str, str], accept: frozenset[int]) -> Iterator[Answer]:
                relative = _path(descriptor, False)
                with self._get(
                    place, relative, manifest=False, headers=headers, accept=accept
                ) as answer:
                    _check_length(answer, descriptor)
                    yield answer

            client = self._client(place)
            download(
                url,
                path,
                ask=request,
                root=self._job.store.root,
                limit=descriptor.size,
                settings=client.settings,
                check=lambda: Check(descriptor, url),
                watch=watch,
                report=self._job.report,
            )

        self._anywhere(ask)

    def _anywhere(self, ask: Callable[["Place"], Result]) -> Result:
        """What the first place gives that has it; who has not is asked last from then on."""
        failure: Exception | None = None
        places = list(self._order)
        for place in places:
            try:
                return place.attempt(ask)
            except _FAILURES as error:
                if failure is None or place is self._places[-1]:
                    failure = error
                if place is not places[-1]:
                    self._job.report(f"{error}, trying elsewhere")
                    self._order = [each for each in self._order if each is not place] + [place]
        assert failure
        raise failure

    def _beside(self, ask: Callable[["Place"], Result]) -> Result:
        """What need not be where the image is; the last word has the registry."""
        for place in self._places[:-1]:
            try:
                return place.attempt(ask)
            except _FAILURES as error:
                if not isinstance(error, Absent):
                    self._job.report(f"{error}, trying elsewhere")
        return self._places[-1].attempt(ask)

    def _client(self, place: "Place") -> Client:
        with self._lock:
            if place.insecure not in self._clients:
                new = Client(self._job.paths, insecure=place.insecure, report=self._job.report)
                self._clients[place.insecure] = self._open.enter_context(new)
            return self._clients[place.insecure]

    @contextmanager
    def _get(
        self,
        place: "Place",
        relative: str,
        *,
        manifest: bool,
        headers: Mapping[str, str] | None = None,
        accept: frozenset[int] = frozenset({200}),
    ) -> Iterator[Answer]:
        """Ask, and once more with the credentials or the token that the registry wants."""
        client, access, url = self._client(place), place.access, place.url(relative)
        sent = {**(headers or {})}
        if manifest:
            sent["Accept"] = ", ".join(ACCEPT)
        known = access.authorization
        with client.get(url, headers=sent, authorization=known, accept=accept | _TOLD) as answer:
            place.answered = True
            if answer.status != 401:
                yield place.good(answer, accept)
                return
            known = access.answer(client, answer, sent=known)
        with client.get(url, headers=sent, authorization=known, accept=accept | _TOLD) as answer:
            yield place.good(answer, accept)


class Place:
    """An endpoint and what was found out about it; threads share it."""

    def __init__(self, endpoint: Endpoint, job: Job, *, actions: str = "pull") -> None:
        registry, repository, insecure = endpoint
        self._base = f"{registry}/v2/{repository}"
        self._scheme = "https"
        self.answered = False
        self.granted = insecure
        self.insecure = job.options.insecure | insecure
        self.access = Access(
            registry,
            f"repository:{repository}:{actions}",
            find=lambda: find_credentials(
                registry,
                repository,
                paths=job.paths,
                environment=os.environ,
                personal=job.options.personal,
            ),
        )

    def url(self, relative: str) -> str:
        """Where ``relative`` of the repository is."""
        return f"{self._scheme}://{self._base}/{relative}"

    def attempt(self, ask: Callable[["Place"], Result]) -> Result:
        """``ask``, and over http when nothing answers over https and that is allowed."""
        try:
            return ask(self)
        except FetchError:
            if self.answered or "http" not in self.insecure:
                raise
        self._scheme = "http"
        return ask(self)

    def good(self, answer: Answer, accept: frozenset[int]) -> Answer:
        """``answer``, if it is one. Raises FetchError with the registry's reason."""
        if answer.status in accept:
            return answer
        if answer.status in (401, 403):
            raise self.access.refusal(answer)
        reason = reason_of(answer)
        kind = Absent if answer.status == 404 else FetchError
        raise kind(f"{answer.url}: {answer.said}{f': {reason}' if reason else ''}")


def _check_length(answer: Answer, descriptor: Descriptor) -> None:
    if answer.status == 200 and answer.length not in (None, descriptor.size):
        raise TrustError(
            f"{answer.url}: {answer.length} bytes where {descriptor.size} were promised"
        )


def _path(descriptor: Descriptor, manifest: bool) -> str:
    return f"{'manifests' if manifest else 'blobs'}/{descriptor.digest}"
