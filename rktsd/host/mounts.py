"""System calls for mounts, by ctypes: mount(8) would be another process at every start of a pod."""

from __future__ import annotations

import ctypes
import os

MS_NOSUID = 2
MS_NODEV = 4


def mount_tmpfs(path: str, options: str) -> None:
    """Mount an empty file system in memory; ``options`` as of tmpfs(5). Raises OSError."""
    _mount("tmpfs", path, "tmpfs", flags=MS_NOSUID | MS_NODEV, data=options)


def _mount(source: str, target: str, kind: str, *, flags: int, data: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = (os.fsencode(source), os.fsencode(target), kind.encode())
    if libc.mount(*words, ctypes.c_ulong(flags), data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
