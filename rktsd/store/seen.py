"""What references led to when their servers were last asked, a small file each.

``<store>/seen/REFERENCE``. With it a fetch of what has not changed is one question; it is read
without the index and without knowing images, for that would take longer than to ask.
"""

import os
from typing import NamedTuple

from rktsd.errors import NotFound, StoreError
from rktsd.host.files import read_limited, write_atomic

_LIMIT = 16 << 10
_LONGEST_NAME = 220


class Seen(NamedTuple):
    """``url`` gave what has the digest ``digest`` (a manifest or index), or what its server called
    ``etag`` or ``modified``, for the image ``image``.

    ``insecure`` are the words of --insecure-options that configuration had for it, with commas
    between. ``verified_by`` is as in the image's record, and holds before ``until`` (0: always);
    from ``checked`` to ``fresh`` the server need not be asked: all in seconds since the epoch.
    ``state`` tells configuration, trusted keys and the files ``keys`` from other ones.
    """

    image: str
    digest: str
    etag: str
    modified: str
    url: str
    insecure: str
    verified_by: str
    until: int
    checked: int
    fresh: int
    state: str
    keys: tuple[str, ...] = ()


# What is said once; the files of keys come behind it.
_LINES = len(Seen._fields) - 1


def recall(root: str, reference: str) -> Seen | None:
    """What ``reference``, as it was written, led to; None when that is not known (any more)."""
    path = _path(root, reference)
    if path is None:
        return None
    try:
        lines = read_limited(path, _LIMIT).decode().split("\n")[:-1]
        image, digest, etag, modified, url, insecure, by, *times, state = lines[:_LINES]
        until, checked, fresh = map(int, times)
        found = Seen(
            image, digest, etag, modified, url, insecure, by, until, checked, fresh, state,
            tuple(lines[_LINES:]),
        )  # fmt: skip
    except (NotFound, StoreError, ValueError):
        return None
    return found if _is_there(root, found.image) else None


def note(root: str, reference: str, seen: Seen) -> None:
    """Remember for ``recall``. Raises StoreError."""
    path = _path(root, reference)
    lines = [*map(str, seen[:_LINES]), *seen.keys]
    if path is None or any("\n" in line for line in lines):
        return
    try:
        os.makedirs(f"{root}/seen", 0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {root}/seen: {error.strerror}") from error
    write_atomic(path, "".join(f"{line}\n" for line in lines), mode=0o600, durable=False)


def sweep(root: str) -> None:
    """Remove what is of no use any more. Raises OSError."""
    for path in _files(root):
        if not _is_there(root, _image_of(path)):
            os.unlink(path)


def _path(root: str, reference: str) -> str | None:
    name = reference.replace("%", "%25").replace("/", "%2F")
    return f"{root}/seen/{name}" if len(name.encode()) <= _LONGEST_NAME else None


def _files(root: str) -> list[str]:
    try:
        return [f"{root}/seen/{name}" for name in os.listdir(f"{root}/seen")]
    except FileNotFoundError:
        return []


def _image_of(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(_LIMIT).partition(b"\n")[0].decode("ascii", "replace")


def _is_there(root: str, image: str) -> bool:
    return bool(image) and "/" not in image and os.path.exists(f"{root}/images/{image}/manifest")
