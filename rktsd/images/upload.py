"""Images into registries: the push side of the OCI distribution specification 1.1.

What a registry has is not sent again; what another repository of it has, it is asked to take from
there. Large blobs go in pieces, so that a broken connection costs one piece.
"""

import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType

from rktsd.errors import FetchError
from rktsd.images.answer import Answer
from rktsd.images.fetch import Job
from rktsd.images.http import Client
from rktsd.images.outgoing import Blob, Outgoing
from rktsd.images.progress import Moved, unwatched
from rktsd.images.registry import Endpoint, Place

CHUNK = 32 << 20
_TOLD = frozenset({401, 403, 404})
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})\Z")


class Upload:
    """One repository to push to; use it as a context manager."""

    def __init__(self, endpoint: Endpoint, job: Job, *, chunk: int = CHUNK) -> None:
        self._place = Place(endpoint, job, actions="pull,push")
        self._host = endpoint.registry
        self._job = job
        self._chunk = chunk
        self._stack = ExitStack()
        self._client: Client | None = None

    def __enter__(self) -> "Upload":
        new = Client(self._job.paths, insecure=self._place.insecure, report=self._job.report)
        self._client = self._stack.enter_context(new)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def push(self, image: Outgoing, tag: str, *, near: str | None) -> None:
        """Send an image, its manifest last; ``near`` is a repository there that may have it.

        Raises FetchError, TrustError.
        """
        for blob in image.blobs:
            self._put(blob, near)
        descriptor = image.manifest.descriptor
        headers = {"Content-Type": descriptor.media_type}
        relative = f"manifests/{tag}"
        with self._ask("PUT", relative, headers=headers, blob=image.manifest) as answer:
            said = answer.headers.get("Docker-Content-Digest")
        if said not in (None, descriptor.digest):
            raise FetchError(f"{answer.url}: took the manifest for {said}, not {descriptor.digest}")

    def _put(self, blob: Blob, near: str | None) -> None:
        digest, size = blob.descriptor.digest, blob.descriptor.size
        if self._has(digest):
            self._job.report(f"{digest} is there already")
            return
        location = self._begin(digest, near)
        if location is None:
            self._job.report(f"{digest} taken from {near}")
            return
        self._job.report(f"uploading {digest} ({size} bytes)")
        watch = self._job.options.watch or unwatched
        with watch(digest, size) as moved:
            if size > self._chunk:
                location = self._pieces(location, blob, moved)
                self._end(location, digest, None, moved)
            else:
                self._end(location, digest, blob, moved)

    def _has(self, digest: str) -> bool:
        accept = frozenset({200, 404})

        def ask(place: Place) -> bool:
            with self._ask("HEAD", f"blobs/{digest}", accept=accept) as answer:
                return answer.status == 200

        # The first question also finds out whether the registry speaks https.
        return self._place.attempt(ask)

    def _begin(self, digest: str, near: str | None) -> str | None:
        """Where to send a blob; None when the registry took it from the repository ``near``."""
        if near:
            query = urllib.parse.urlencode({"mount": digest, "from": near})
            try:
                accept = frozenset({201, 202})
                with self._ask("POST", f"blobs/uploads/?{query}", accept=accept) as answer:
                    return None if answer.status == 201 else _location(answer)
            except FetchError as error:
                self._job.report(f"{error}, uploading")
        with self._ask("POST", "blobs/uploads/", accept=frozenset({202})) as answer:
            return _location(answer)

    def _end(self, location: str, digest: str, blob: Blob | None, moved: Moved) -> None:
        separator = "&" if "?" in location else "?"
        url = f"{location}{separator}{urllib.parse.urlencode({'digest': digest})}"
        headers = {"Content-Type": "application/octet-stream"}
        with self._ask("PUT", url, headers=headers, blob=blob, moved=moved):
            return

    def _pieces(self, location: str, blob: Blob, moved: Moved) -> str:
        """Send a blob in pieces; where it is to be closed."""
        size, start, failures = blob.descriptor.size, 0, 0
        while start < size:
            length = min(self._chunk, size - start)
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{start}-{start + length - 1}",
            }
            try:
                with self._ask(
                    "PATCH", location, headers=headers, blob=blob, part=(start, length),
                    moved=moved, accept=frozenset({202}),
                ) as answer:  # fmt: skip
                    location = _location(answer)
                    arrived = _arrived(answer) or start + length
                if not start < arrived <= start + length:
                    raise FetchError(f"{location}: has {arrived} bytes, and {start} before")
                start = arrived
            except FetchError as error:
                failures += 1
                client = self._client
                if client is None or failures > client.settings.retries:
                    raise
                with self._ask("GET", location, accept=frozenset({202, 204})) as answer:
                    location, start = _location(answer), min(_arrived(answer), size)
                self._job.report(f"{error}, going on after {start} bytes")
        return location

    @contextmanager
    def _ask(
        self,
        method: str,
        where: str,
        *,
        headers: Mapping[str, str] | None = None,
        blob: Blob | None = None,
        part: tuple[int, int] | None = None,
        moved: Moved = lambda count: None,
        accept: frozenset[int] = frozenset({201}),
    ) -> Iterator[Answer]:
        """Ask, and once more with the credentials or the token that the registry wants."""
        client, access = self._client, self._place.access
        assert client
        url = where if "://" in where else self._place.url(where)
        ours = urllib.parse.urlsplit(url).netloc == self._host
        start, length = part or (0, blob.descriptor.size if blob else 0)
        body: Callable[[], _Body] | None = None
        if blob is not None:
            kept = blob
            body = lambda: _Body(kept, start, length, moved)  # noqa: E731  # one line says it
        for attempt in range(2):
            # Where an upload goes on is the registry's to say, but who we are is for it alone.
            known = access.authorization if ours else None
            with client.get(
                url,
                headers=headers,
                authorization=known,
                accept=accept | _TOLD,
                method=method,
                body=body,
            ) as answer:
                self._place.answered = True
                if answer.status != 401 or attempt or not ours:
                    yield self._place.good(answer, accept)
                    return
                access.answer(client, answer, sent=known)


class _Body:
    """Bytes of a blob to be sent, with the length that a request wants to know beforehand."""

    def __init__(self, blob: Blob, start: int, length: int, moved: Moved) -> None:
        self._blob = blob
        self._range = start, length
        self._moved = moved

    def __len__(self) -> int:
        return self._range[1]

    def __iter__(self) -> Iterator[bytes]:
        for data in self._blob.pieces(*self._range):
            yield data
            self._moved(len(data))


def _location(answer: Answer) -> str:
    said = answer.headers.get("Location")
    if not said:
        raise FetchError(f"{answer.url}: the server does not say where to go on")
    return urllib.parse.urljoin(answer.url, said)


def _arrived(answer: Answer) -> int:
    """How many bytes a registry has of a blob, by its header Range; 0 when it does not say."""
    found = _RANGE.match(answer.headers.get("Range", "").strip())
    return int(found[1]) + 1 if found and found[1] != "0" else 0
