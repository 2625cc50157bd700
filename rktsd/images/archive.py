"""Archives of images: OCI layouts in a tar file, and what ``docker save`` writes.

An archive is read once, from its beginning to its end, by a confined child, and its members are
laid down in a scratch directory under numbers: no name in it becomes a path.
"""

import os
import posixpath
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.host.files import read_limited, require_regular
from rktsd.images.fetch import Job
from rktsd.images.progress import unpacking, unwatched
from rktsd.store.members import Found
from rktsd.store.unpack import lay_down

MAX_LINKS = 8


class Archive(NamedTuple):
    """Members of ``source`` by name: paths of scratch files, and targets of symbolic links."""

    source: str
    files: dict[str, str]
    links: dict[str, str]

    def path(self, name: str) -> str:
        """The scratch file of a member; symbolic links are followed within the archive."""
        wanted = name
        for _ in range(MAX_LINKS):
            if name in self.files:
                return self.files[name]
            if name not in self.links:
                break
            name = posixpath.normpath(posixpath.join(posixpath.dirname(name), self.links[name]))
        raise NotFound(f"{self.source}: has no file {wanted}")

    def read(self, name: str, limit: int) -> bytes:
        """A small member. Raises NotFound, BadInput."""
        path = self.path(name)
        if os.stat(path).st_size > limit:
            raise BadInput(f"{self.source}: {name}: larger than {limit} bytes")
        return read_limited(path, limit)


def unpack_archive(path: str, scratch: str, job: Job) -> Archive:
    """Lay the members of the archive ``path`` (plain or compressed) down in ``scratch``.

    ``scratch`` is made; the caller removes it. A confined child reads the archive, within the
    limits that hold for layers. Raises NotFound, BadInput, Unsupported, StoreError.
    """
    require_regular(path)
    try:
        size = os.stat(path).st_size
        os.mkdir(scratch, 0o700)
    except OSError as error:
        raise StoreError(f"cannot unpack {path}: {error.strerror}") from error
    watch, limits = job.options.watch or unwatched, job.limits()
    if job.options.limit < limits.size:
        # What is in it is as if it had been downloaded.
        limits = replace(limits, size=job.options.limit, size_setting="maximum-archive")
    members = lay_down(path, scratch, limits=limits, watch=lambda: watch(unpacking(path), size))
    return find_members(path, scratch, members)


def find_members(source: str, scratch: str, members: Iterable[Found]) -> Archive:
    """The archive whose ``members`` are laid down; of several with one name the last counts."""
    found = Archive(source, {}, {})
    for name, kind, target in members:
        found.files.pop(name, None)
        found.links.pop(name, None)
        if kind == "symlink":
            found.links[name] = target
        elif kind == "link":
            found.files[name] = found.path(target)
        else:
            found.files[name] = f"{scratch}/{target}"
    return found
