"""Locks of pods: files that come and go with who needs them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rktsd.paths import Paths
from rktsd.pods.runs import forget_locks, lock
from tests.waiting import eventually


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(run=str(tmp_path))


def test_what_nobody_has_is_forgotten(paths: Paths) -> None:
    forget_locks(paths)
    with lock(paths, "old"):
        pass
    with lock(paths, "mine"):
        forget_locks(paths)
        assert os.listdir(f"{paths.run}/locks") == ["mine"]
        with pytest.raises(BlockingIOError), lock(paths, "mine", blocking=False):
            pass


def test_a_lock_forgotten_while_one_waited_for_it_is_none(paths: Paths) -> None:
    place = f"{paths.run}/locks/web"
    waiting, got, go = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        waiting.set()
        with lock(paths, "web"):
            got.set()
            go.wait(60)

    thread = threading.Thread(target=second)
    with lock(paths, "web"):
        thread.start()
        assert waiting.wait(60)
        eventually(lambda: _waiters(place) == 1, "somebody waits for the lock")
        os.unlink(place)
    try:
        assert got.wait(60)
        with pytest.raises(BlockingIOError), lock(paths, "web", blocking=False):
            pass
    finally:
        go.set()
        thread.join()


def _waiters(path: str) -> int:
    """How many wait for the flock(2) of a file (proc_locks(5))."""
    number = f":{os.stat(path).st_ino} "
    with open("/proc/locks") as locks:
        return sum("->" in line and number in line for line in locks)
