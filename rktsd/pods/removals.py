"""Which pods are removed, while it happens: systemd does not know, the kernel does (inotify(7))."""

from __future__ import annotations

import os

from rktsd.errors import RktError
from rktsd.host import kernel
from rktsd.pods import directories, query
from rktsd.pods.query import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktsd.paths import Paths

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
        self.descriptor = kernel.inotify()
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
        for watch, mask, _ in kernel.noticed(self.descriptor):
            gone = self._pods.pop(watch, None) if mask & kernel.IN_DELETE_SELF else None
            if gone is not None:
                removed.append(gone)
            if mask & kernel.IN_Q_OVERFLOW:
                removed += self._missed()
            new = new or bool(mask & (kernel.IN_MOVED_TO | kernel.IN_CREATE | kernel.IN_Q_OVERFLOW))
        if new:
            self._watch_all()
        return removed

    def _missed(self) -> list[Place]:
        there = {uuid for _, uuid in self._all_pods()}
        missed = [watch for watch, place in self._pods.items() if place.uuid not in there]
        return [self._pods.pop(watch) for watch in missed]

    def _watch_all(self) -> None:
        # Directories of stages are made when they are needed, so theirs is watched as well.
        for path in (self._paths.pods, *(f"{self._paths.pods}/{stage}" for stage in _STAGES)):
            self._watch(path, kernel.IN_CREATE | kernel.IN_MOVED_TO)
        for stage, uuid in self._all_pods():
            directory = directories.stage_directory(self._paths, stage, uuid)
            if stage != directories.EMBRYO:
                watch = self._watch(directory, kernel.IN_DELETE_SELF)
                if watch is not None and watch not in self._pods:
                    self._pods[watch] = query.place_at(self._paths, stage, uuid)

    def _all_pods(self) -> list[tuple[str, str]]:
        try:
            return list(directories.all_pods(self._paths))
        except RktError:
            return []

    def _watch(self, path: str, mask: int) -> int | None:
        try:
            return kernel.watch(self.descriptor, path, mask)
        except OSError:
            return None
