"""How overlayfs says what is deleted (Linux, Documentation/filesystems/overlayfs.rst)."""

import os
import stat

OPAQUE = "trusted.overlay.opaque"


def is_whiteout(status: os.stat_result) -> bool:
    """Whether a file in a layer says that there is none."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: str | int) -> bool:
    """Whether ``directory``, a path or a descriptor, hides what lower layers have there."""
    try:
        value = os.getxattr(directory, OPAQUE, follow_symlinks=isinstance(directory, int))
    except OSError:
        return False
    return value == b"y"
