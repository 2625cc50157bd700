"""Archives of images: OCI layouts in a tar file, and what ``docker save`` writes.

An archive is read once, from its beginning to its end, and its members are laid down in a scratch
directory under numbers: no name in it becomes a path.
"""

import os
import posixpath
from typing import NamedTuple

from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.host.files import read_limited
from rktsd.images.fetch import LIMIT_HINT
from rktsd.store import tar
from rktsd.store.compression import open_stream

MAX_MEMBERS = 10_000
MAX_LINKS = 8
_KINDS = (tar.FILE, tar.SYMLINK, tar.LINK)


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


def unpack_archive(path: str, scratch: str, *, limit: int) -> Archive:
    """Lay the members of the archive ``path`` (plain or compressed) down in ``scratch``.

    ``scratch`` is made; the caller removes it. Raises NotFound, BadInput, Unsupported, and
    StoreError; BadInput, too, when there is more than ``limit`` bytes in it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        kind = NotFound if isinstance(error, FileNotFoundError) else StoreError
        raise kind(f"cannot read {path}: {error.strerror}") from error
    try:
        if not os.path.isfile(path):
            raise BadInput(f"{path}: not a regular file")
        os.mkdir(scratch, 0o700)
        reader = tar.TarReader(open_stream(descriptor, path), path)
        return _members(reader, path, scratch, limit)
    except OSError as error:
        raise StoreError(f"cannot unpack {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _members(reader: tar.TarReader, source: str, scratch: str, limit: int) -> Archive:
    found = Archive(source, {}, {})
    total = 0
    for number, member in enumerate(iter(reader.next, None)):
        if number >= MAX_MEMBERS:
            raise BadInput(f"{source}: more than {MAX_MEMBERS} members")
        total += member.size
        if total > limit:
            raise BadInput(f"{source}: more than the limit of {limit} bytes", hint=LIMIT_HINT)
        if member.kind not in _KINDS:
            continue
        name = _name(member.name, source)
        found.files.pop(name, None)
        found.links.pop(name, None)
        if member.kind == tar.SYMLINK:
            found.links[name] = _name(member.target, source)
        elif member.kind == tar.LINK:
            found.files[name] = found.path(_name(member.target, source))
        else:
            target = f"{scratch}/{number}"
            with open(target, "xb", buffering=0) as file:
                while part := reader.chunk():
                    file.write(part)
            found.files[name] = target
    return found


def _name(name: bytes, source: str) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{source}: a member's name is not UTF-8") from error
