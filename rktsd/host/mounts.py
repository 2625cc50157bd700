"""What pods have mounted, without mount(8), another process at every start of one."""

from __future__ import annotations

import os

from rktsd.host import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def mount_tmpfs(path: str, options: str, *, devices: bool = False) -> None:
    """Mount an empty file system in memory; ``options`` as of tmpfs(5). Raises OSError."""
    flags = kernel.MS_NOSUID if devices else kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", path, "tmpfs", flags=flags, data=options)


def private_mounts(*, follow: bool = False) -> None:
    """What this process mounts from now on is its own, and gone with it. Raises OSError.

    With ``follow`` what others mount and unmount is so here as well: nothing of theirs is held.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kind = kernel.MS_SLAVE if follow else kernel.MS_PRIVATE
    kernel.mount("none", "/", "none", flags=kernel.MS_REC | kind)


def mount_overlay(
    path: str,
    lowers: Sequence[str],
    *,
    upper: str | None = None,
    work: str = "",
    flags: int = kernel.MS_NODEV,
) -> None:
    """Mount an overlay, without ``upper`` one that cannot be written to; ``lowers`` topmost first.

    Changes into the directory of the lowest: all options together may not be longer than a page.
    Raises OSError.
    """
    common = os.path.dirname(lowers[-1])
    os.chdir(common)
    data = f"lowerdir={':'.join(_escape(os.path.relpath(lower, common)) for lower in lowers)}"
    if upper is not None:
        data += f",upperdir={_escape(upper)},workdir={_escape(work)}"
    kernel.mount("overlay", path, "overlay", flags=flags, data=data)


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
