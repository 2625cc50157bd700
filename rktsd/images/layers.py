"""Layers on their way into the store: several at once, each verified while it comes.

What is downloaded goes to disk and never lies in memory. The archive of a layer is kept beside its
tree, so that images can be pushed, verified and repaired without their registry.
"""

import contextlib
import functools
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from rktsd.errors import RktError, StoreError
from rktsd.images.digests import Descriptor
from rktsd.images.fetch import Job
from rktsd.images.progress import Moved, Watch, unpacking, unwatched
from rktsd.store import publish
from rktsd.store.records import Limits, blob_name, layer_name
from rktsd.store.store import Store

MAX_DOWNLOADS = 4
_PATIENCE = 2.0


class Source(Protocol):
    """Where content comes from; both verify size and digest (TrustError), in any thread."""

    def read(self, descriptor: Descriptor) -> bytes:
        """A manifest or configuration."""

    def save(self, descriptor: Descriptor, path: str, *, watch: Watch) -> None:
        """A layer, into the new file ``path``; what ``watch`` raises ends it."""


class Layer(NamedTuple):
    """An archive and the digest of its uncompressed tar."""

    archive: Descriptor
    diff_id: str


def fetch_layers(
    job: Job, source: Source, layers: Sequence[Layer], *, where: str
) -> tuple[str, ...]:
    """Get and unpack what is not stored of ``layers``; the digests of their archives.

    ``job.store`` has claims on all of them afterwards, and knows what arrived. When one fails the
    others are ended, and what raised is raised.
    """
    wanted = dict.fromkeys(layer for layer in layers if not _stored(job.store, layer))
    if wanted:
        # The largest first: it is what takes longest, and nothing should wait for it at the end.
        ordered = sorted(wanted, key=lambda layer: -layer.archive.size)
        with job.store.temporary("layers") as place:
            try:
                os.mkdir(place, 0o700)
            except OSError as error:
                raise StoreError(f"cannot write {place}: {error.strerror}") from error
            _Crew(job, source, place, where).work(ordered)
    return tuple(dict.fromkeys(layer.archive.digest for layer in layers))


def _stored(store: Store, layer: Layer) -> bool:
    """Claims both, whether they are there or not."""
    there = store.claim(layer.diff_id), store.claim_blob(layer.archive.digest)
    return all(there)


class _Crew:
    """Threads that download, and threads that unpack what has come.

    They do not keep the program from ending: a server may be silent for long when the user has had
    enough.
    """

    def __init__(self, job: Job, source: Source, place: str, where: str) -> None:
        self._job = job
        self._source = source
        self._place = place
        self._where = where
        self._ended = threading.Event()
        self._watch = _until(self._ended, job.options.watch or unwatched)
        self._waiting: queue.SimpleQueue[Layer] = queue.SimpleQueue()
        self._downloaded: queue.SimpleQueue[Layer | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        processors = os.cpu_count() or 1
        self._slots = threading.BoundedSemaphore(processors)
        # One waits for the disk while another has its processor.
        self._unpackers = 2 * processors

    def work(self, layers: Sequence[Layer]) -> None:
        """Get and unpack ``layers``. Raises what went wrong first."""
        for layer in layers:
            self._waiting.put(layer)
        steps = [self._download] * min(len(layers), MAX_DOWNLOADS)
        steps += [self._unpack] * min(len(layers), self._unpackers)
        threads = [threading.Thread(target=self._run, args=(step,), daemon=True) for step in steps]
        try:
            for thread in threads:
                thread.start()
            for _ in layers:
                failure = self._results.get()
                if failure:
                    raise failure
        finally:
            self._ended.set()
            for _ in threads:
                self._downloaded.put(None)
            deadline = time.monotonic() + _PATIENCE
            for thread in threads:
                if thread.ident:
                    thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException as error:
            self._results.put(error)

    def _path(self, layer: Layer) -> str:
        return f"{self._place}/{layer_name(layer.diff_id)}.{blob_name(layer.archive.digest)}"

    def _download(self) -> None:
        while not self._ended.is_set():
            try:
                layer = self._waiting.get_nowait()
            except queue.Empty:
                return
            archive = layer.archive
            self._job.report(f"downloading layer {archive.digest} ({archive.size} bytes)")
            self._source.save(archive, self._path(layer), watch=self._watch)
            self._downloaded.put(layer)

    def _unpack(self) -> None:
        limits = self._job.limits()
        with Store.open(self._job.store.root) as store:
            while (layer := self._downloaded.get()) and not self._ended.is_set():
                try:
                    self._import(store, layer, limits)
                finally:
                    self._job.store.adopt(store)
                self._results.put(None)

    def _import(self, store: Store, layer: Layer, limits: Limits) -> None:
        path, digest = self._path(layer), layer.archive.digest
        publish.import_layer(
            store,
            path,
            diff_id=layer.diff_id,
            limits=limits,
            label=f"{self._where}: layer {digest}",
            watch=functools.partial(self._at_work, layer.archive),
        )
        publish.add_blob(store, path, digest, verified=True)

    @contextlib.contextmanager
    def _at_work(self, archive: Descriptor) -> Iterator[Moved]:
        """One processor each: more at once would only take memory."""
        with self._slots, self._watch(unpacking(archive.digest), archive.size) as moved:
            yield moved


class _Ended(RktError):
    """Another layer failed, or the user had enough."""


def _until(ended: threading.Event, watch: Watch) -> Watch:
    """``watch``, raising when ``ended`` is set, so that nothing outlives its purpose."""

    @contextlib.contextmanager
    def watched(what: str, total: int | None) -> Iterator[Moved]:
        with watch(what, total) as moved:

            def step(count: int) -> None:
                if ended.is_set():
                    raise _Ended(f"{what}: given up")
                moved(count)

            yield step

    return watched
