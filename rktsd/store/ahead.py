"""Read a stream ahead: what decompresses it and what hashes it have a thread each.

Both leave the interpreter to others while they work, so that one large archive keeps as many
processors busy as it has steps. The order of chunks, and the place of an error among them, stay.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator

# With chunks of 256 KiB enough to get over a directory of small files, and little memory.
_AHEAD = 16


class _Stopped(Exception):
    """Nobody wants to read on."""


class _Ahead:
    def __init__(
        self,
        source: Callable[[], bytes],
        update: Callable[[bytes], None],
        limit: int,
        error: Exception,
    ) -> None:
        self._source = source
        self._update = update
        self._limit = limit
        self._error = error
        self._read: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._hashing: queue.Queue[bytes] = queue.Queue(_AHEAD)
        self._stopped = self._ended = False
        self._threads = [
            threading.Thread(target=step, daemon=True) for step in (self._decompress, self._hash)
        ]
        for thread in self._threads:
            thread.start()

    def read(self) -> bytes:
        """The next chunk, b"" at the end: all are hashed then. Raises what ``source`` raised."""
        if self._ended:
            return b""
        found = self._read.get()
        if not isinstance(found, bytes):
            raise found
        if not found:
            self._ended = True
            self._join()
        return found

    def stop(self) -> None:
        """End the threads wherever they are."""
        self._stopped = True
        for waiting in (self._read, self._hashing):
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
        self._hashing.put(b"")
        self._join()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _decompress(self) -> None:
        total = 0
        try:
            while True:
                data = self._source()
                total += len(data)
                if total > self._limit:
                    raise self._error
                if self._stopped:
                    raise _Stopped
                self._hashing.put(data)
                self._read.put(data)
                if not data:
                    return
        except BaseException as error:
            self._read.put(error)

    def _hash(self) -> None:
        while data := self._hashing.get():
            if not self._stopped:
                self._update(data)


@contextlib.contextmanager
def ahead(
    source: Callable[[], bytes],
    update: Callable[[bytes], None],
    *,
    limit: int,
    error: Exception,
) -> Iterator[Callable[[], bytes]]:
    """What reads ``source``, a function as ``open_stream`` returns it, while it is read ahead.

    ``update`` has been given every chunk by the time that the end was read. ``error`` is raised in
    the place of the chunk with which there are more than ``limit`` bytes.
    """
    reader = _Ahead(source, update, limit, error)
    try:
        yield reader.read
    finally:
        reader.stop()
