"""Which pods are removed, while it happens: systemd does not know, the kernel does (inotify(7))."""

from __future__ import annotations

import contextlib
import os
import struct

from rktsd.errors import RktError
from rktsd.host import kernel
from rktsd.pods import directories, query
from rktsd.pods.query import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rktsd.paths import Paths

_MOVED_TO, _CREATED, _DELETED_SELF = 0x80, 0x100, 0x400
_OVERFLOW, _ONLY_DIRECTORIES = 0x4000, 0x01000000
_HEAD = struct.Struct("iIII")
_MANY = 1 << 16
# Where pods come to be, or to rest; from there they only go on to their end.
_STAGES = (directories.PREPARE, directories.PREPARED, directories.RUN)


class Removals:
    """``descriptor`` is readable when there is something to be read.

    A pod's directory is watched itself, so that it does not matter where it is moved meanwhile.
    What may not be looked at is not watched.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._pods: dict[int, Place] = {}
        self.descriptor = kernel.call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._watch_all()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give up the descriptor."""
        os.close(self.descriptor)

    def read(self) -> list[Place]:
        """The pods that were removed since the last call, as they were when they came."""
        removed, new = list[Place](), False
        for watch, mask in self._events():
            gone = self._pods.pop(watch, None) if mask & _DELETED_SELF else None
            if gone is not None:
                removed.append(gone)
            if mask & _OVERFLOW:
                removed += self._missed()
            new = new or bool(mask & (_MOVED_TO | _CREATED | _OVERFLOW))
        if new:
            self._watch_all()
        return removed

    def _events(self) -> Iterator[tuple[int, int]]:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.descriptor, _MANY):
                while data:
                    watch, mask, _, length = _HEAD.unpack_from(data)
                    yield watch, mask
                    data = data[_HEAD.size + length :]

    def _missed(self) -> list[Place]:
        there = {uuid for _, uuid in self._all_pods()}
        missed = [watch for watch, place in self._pods.items() if place.uuid not in there]
        return [self._pods.pop(watch) for watch in missed]

    def _watch_all(self) -> None:
        # Directories of stages are made when they are needed, so theirs is watched as well.
        for path in (self._paths.pods, *(f"{self._paths.pods}/{stage}" for stage in _STAGES)):
            self._watch(path, _CREATED | _MOVED_TO)
        for stage, uuid in self._all_pods():
            directory = directories.stage_directory(self._paths, stage, uuid)
            if stage != directories.EMBRYO:
                watch = self._watch(directory, _DELETED_SELF)
                if watch is not None and watch not in self._pods:
                    self._pods[watch] = query.place_at(self._paths, stage, uuid)

    def _all_pods(self) -> list[tuple[str, str]]:
        try:
            return list(directories.all_pods(self._paths))
        except RktError:
            return []

    def _watch(self, path: str, mask: int) -> int | None:
        try:
            words = os.fsencode(path), mask | _ONLY_DIRECTORIES
            return kernel.call("inotify_add_watch", self.descriptor, *words)
        except OSError:
            return None
