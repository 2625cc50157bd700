"""Look into a stack of overlay layers without mounting it.

Resolves paths as the kernel would inside the mounted root, by overlayfs's rules: an upper entry
shadows lower ones, directories merge, a character device 0:0 is a whiteout, a directory with
trusted.overlay.opaque=y hides all below it. Nothing outside the layers is ever looked at.
"""

import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from rktsd.errors import BadInput, StoreError
from rktsd.store.whiteouts import is_opaque, is_whiteout

MAX_LINKS = 40
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class Found(NamedTuple):
    """``real`` is the path on the host, ``path`` the canonical one inside the root."""

    real: str
    path: str
    status: os.stat_result


class RootView:
    """The root that ``layers`` (directories, topmost first) make together."""

    __slots__ = ("layers",)

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = tuple(layers)

    def resolve(self, path: str, *, follow: bool = True) -> Found | None:
        """Where ``path`` leads, or None when there is nothing.

        Relative paths start at the root, symbolic links and ``..`` never leave it. With
        ``follow=False`` a link at the end is itself the answer. Raises BadInput after 40 links and
        StoreError when a layer cannot be read.
        """
        return self._walk(path, follow=follow)[0]

    def directories(self, path: str) -> tuple[str, ...]:
        """The directories, topmost first, that merge to the one at ``path``; none without one."""
        found, directories = self._walk(path, follow=True)
        return directories if found is not None and stat.S_ISDIR(found.status.st_mode) else ()

    def _walk(self, path: str, *, follow: bool) -> tuple[Found | None, tuple[str, ...]]:
        """What ``resolve`` says, and the directories that merge there."""
        if not self.layers or "\0" in path:
            return None, ()
        # Each level of the current directory: its name and the real directories merged there.
        trail: list[tuple[str, tuple[str, ...]]] = [("", self.layers)]
        pending = path.split("/")[::-1]
        found: Found | None = None
        links = 0
        while pending:
            name = pending.pop()
            if found is not None and not stat.S_ISDIR(found.status.st_mode):
                return None, ()
            if name in ("", "."):
                continue
            if name == "..":
                found = None
                if len(trail) > 1:
                    trail.pop()
                continue
            looked = _look_up(trail[-1][1], name)
            if looked is None:
                return None, ()
            real, status, below = looked
            if stat.S_ISLNK(status.st_mode) and (follow or pending):
                links += 1
                if links > MAX_LINKS:
                    raise BadInput(f'"{path}": too many symbolic links in the image')
                target = os.readlink(real)
                if target.startswith("/"):
                    del trail[1:]
                pending.extend(target.split("/")[::-1])
                found = None
                continue
            inside = "/".join([level for level, _ in trail] + [name])
            found = Found(real, inside, status)
            if stat.S_ISDIR(status.st_mode):
                trail.append((name, below))
        merged = trail[-1][1]
        if found is None:
            inside = "/".join(level for level, _ in trail) or "/"
            found = Found(merged[0], inside, os.lstat(merged[0]))
        return found, merged

    def read(self, path: str, limit: int) -> bytes | None:
        """The content of a regular file or None. Raises BadInput above ``limit`` bytes."""
        found = self.resolve(path)
        if found is None or not stat.S_ISREG(found.status.st_mode):
            return None
        if found.status.st_size > limit:
            raise BadInput(f"{path} in the image is larger than {limit} bytes")
        descriptor = os.open(found.real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return os.read(descriptor, found.status.st_size)
        finally:
            os.close(descriptor)


def _look_up(
    directories: tuple[str, ...], name: str
) -> tuple[str, os.stat_result, tuple[str, ...]] | None:
    """The topmost ``name`` in merged ``directories``, and what merges below it if a directory."""
    merged: list[str] = []
    top: tuple[str, os.stat_result] | None = None
    last = len(directories) - 1
    for index, directory in enumerate(directories):
        real = f"{directory}/{name}"
        try:
            status = os.lstat(real)
        except OSError as error:
            if error.errno in _ABSENT:
                continue
            raise StoreError(f"cannot read {real}: {error.strerror}") from error
        mode = status.st_mode
        if not stat.S_ISDIR(mode):
            if top is None and not is_whiteout(status):
                return real, status, ()
            break
        if top is None:
            top = (real, status)
        merged.append(real)
        if index < last and is_opaque(real):
            break
    return None if top is None else (*top, tuple(merged))
