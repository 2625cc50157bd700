"""What servers said of the versions that are stored, so that they can be asked for changes only.

It lies beside an image's manifest (``images/ID/remotes``, JSON by source) and goes with the image.
"""

import json
import os
import time
from typing import NamedTuple

from rktsd.errors import NotFound, StoreError
from rktsd.host.files import read_limited, write_atomic

_LIMIT = 1 << 20


class Remote(NamedTuple):
    """``checked`` and ``max_age`` are seconds, since the epoch and from then on (RFC 9111)."""

    etag: str | None
    modified: str | None
    max_age: int
    checked: float

    def fresh(self, now: float) -> bool:
        """Whether the server need not be asked; never when the clock went back."""
        return self.checked <= now < self.checked + self.max_age


def recall(root: str, image_id: str, source: str) -> Remote | None:
    """What is known of the image as it came from ``source``, in the store in ``root``."""
    found = _read(_path(root, image_id)).get(source)
    try:
        remote = Remote(**found) if isinstance(found, dict) else None
    except TypeError:
        return None
    return remote if remote and (remote.etag or remote.modified or remote.max_age) else None


def remember(root: str, image_id: str, source: str, remote: Remote) -> None:
    """Note what the server said just now. An image that is gone is no error. Raises StoreError."""
    path = _path(root, image_id)
    known = {**_read(path), source: remote._asdict()}
    try:
        group = os.stat(os.path.dirname(path)).st_gid
        write_atomic(path, json.dumps(known), mode=0o640)
        os.chown(path, -1, group)
    except (OSError, StoreError):
        if os.path.isdir(os.path.dirname(path)):
            raise


def forget(root: str, image_id: str, source: str) -> None:
    """Ask the server for everything the next time. Raises StoreError."""
    if recall(root, image_id, source) is not None:
        remember(root, image_id, source, Remote(None, None, 0, time.time()))


def _path(root: str, image_id: str) -> str:
    return f"{root}/images/{image_id}/remotes"


def _read(path: str) -> dict[str, object]:
    """What is said there; a file that cannot be understood costs a download, and no more."""
    try:
        found = json.loads(read_limited(path, _LIMIT))
    except (NotFound, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
