"""System calls for mounts, by ctypes: mount(8) would be another process at every start of a pod."""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MS_NOSUID = 2
MS_NODEV = 4
_MS_REC, _MS_PRIVATE, _MS_SLAVE = 0x4000, 1 << 18, 1 << 19
_CLONE_NEWNS = 0x00020000


def mount_tmpfs(path: str, options: str, *, devices: bool = False) -> None:
    """Mount an empty file system in memory; ``options`` as of tmpfs(5). Raises OSError."""
    flags = MS_NOSUID if devices else MS_NOSUID | MS_NODEV
    _mount("tmpfs", path, "tmpfs", flags=flags, data=options)


def private_mounts(*, follow: bool = False) -> None:
    """What this process mounts from now on is its own, and gone with it. Raises OSError.

    With ``follow`` what others mount and unmount is so here as well: nothing of theirs is held.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    kind = _MS_SLAVE if follow else _MS_PRIVATE
    _mount("none", "/", "none", flags=_MS_REC | kind, data="")


def mount_overlay(path: str, lowers: Sequence[str], *, upper: str, work: str) -> None:
    """Mount an overlay; ``lowers`` topmost first. Changes into their directory: all options
    together may not be longer than a page. Raises OSError."""
    common = os.path.dirname(lowers[0])
    os.chdir(common)
    stack = ":".join(_escape(os.path.relpath(lower, common)) for lower in lowers)
    data = f"lowerdir={stack},upperdir={_escape(upper)},workdir={_escape(work)}"
    _mount("overlay", path, "overlay", flags=MS_NODEV, data=data)


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _mount(source: str, target: str, kind: str, *, flags: int, data: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = (os.fsencode(source), os.fsencode(target), kind.encode())
    if libc.mount(*words, ctypes.c_ulong(flags), data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
