"""Write a merged tree as a tar stream: PAX, sorted, numbers for owners, holes and xattrs kept."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rktsd.store.merge import Entry, opened, segments, xattrs

if TYPE_CHECKING:
    import tarfile

_PIECE = 1 << 20
_BLOCK = 512
END = bytes(2 * _BLOCK)


def tar_file(name: str, content: bytes, *, mtime: int = 0) -> bytes:
    """A regular file as a member, root's and readable for all; ``mtime`` in seconds."""
    import tarfile

    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(content), mtime
    return tar_header(member, {}) + content + bytes(-len(content) % _BLOCK)


def tar_tree(
    entries: Iterable[Entry],
    prefix: str,
    *,
    change: "Callable[[tarfile.TarInfo], None] | None" = None,
    holes: bool = True,
) -> Iterator[bytes]:
    """The members of a merged tree below ``prefix`` ("" or "rootfs"), without the end mark.

    ``change`` may alter a member before it is written. Without ``holes`` zeros are in their place,
    for readers that do not know sparse files. Sockets are left out: tar has none. Raises
    OSError.
    """
    import tarfile

    links: dict[tuple[int, int], str] = {}
    for entry in entries:
        path, _, status = entry
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFSOCK or not (path or prefix):
            continue
        name = f"{prefix}/{path}" if prefix and path else path or prefix
        member = tarfile.TarInfo(name)
        member.mode = stat.S_IMODE(status.st_mode)
        member.uid, member.gid = status.st_uid, status.st_gid
        records = {"mtime": tar_time(status.st_mtime_ns)} if status.st_mtime_ns % 10**9 else {}
        member.mtime = status.st_mtime_ns // 10**9
        member.type = _TYPES[kind]
        member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        if kind != stat.S_IFDIR and status.st_nlink > 1:
            first = links.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                member.type, member.linkname = tarfile.LNKTYPE, first
        if change:
            whole = member.mtime
            change(member)
            if member.mtime != whole:
                records.clear()
        if member.type == tarfile.REGTYPE:
            yield from _file(entry, member, records, holes=holes)
            continue
        if member.type == tarfile.DIRTYPE:
            with opened(entry) as descriptor:
                records.update(_attributes(descriptor))
        elif member.type == tarfile.SYMTYPE:
            member.linkname = os.readlink(path, dir_fd=entry.base)
        yield tar_header(member, records)


_TYPES = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}


def tar_time(nanoseconds: int) -> str:
    """A time as PAX has it."""
    sign = "-" if nanoseconds < 0 else ""
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    return f"{sign}{seconds}.{rest:09d}".rstrip("0")


def _attributes(descriptor: int) -> dict[str, str]:
    return {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in xattrs(descriptor).items()
    }


def tar_header(member: "tarfile.TarInfo", records: dict[str, str]) -> bytes:
    """A member's header blocks; ``records`` go into its PAX header."""
    import tarfile

    member.pax_headers = records
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _file(
    entry: Entry, member: "tarfile.TarInfo", records: dict[str, str], *, holes: bool
) -> Iterator[bytes]:
    size = entry.status.st_size
    with opened(entry) as descriptor:
        records.update(_attributes(descriptor))
        parts = segments(descriptor, entry.status) if holes else [(0, size)] * bool(size)
        data = (
            piece for start, length in parts for piece in read_exactly(descriptor, start, length)
        )
        yield from tar_data(member, records, parts, size=size, data=data)


def tar_data(
    member: "tarfile.TarInfo",
    records: dict[str, str],
    parts: Sequence[tuple[int, int]],
    *,
    size: int,
    data: Iterable[bytes],
) -> Iterator[bytes]:
    """A regular file of ``size`` bytes that has ``data`` at ``parts`` (offset, length)."""
    table = b""
    filled = sum(length for _, length in parts)
    if filled < size:
        # GNU's sparse format 1.0: the map in decimal lines before the data. A part of no
        # length says where the file ends.
        records |= {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": member.name,
            "GNU.sparse.realsize": str(size),
        }
        table = _table([*parts, (size, 0)])
        member.name = f"GNUSparseFile.0/{os.path.basename(member.name)}"
    member.size = len(table) + filled
    yield tar_header(member, records) + table
    yield from data
    yield bytes(-member.size % _BLOCK)


def _table(parts: Sequence[tuple[int, int]]) -> bytes:
    numbers = [len(parts), *(number for part in parts for number in part)]
    text = "".join(f"{number}\n" for number in numbers).encode()
    return text + bytes(-len(text) % _BLOCK)


def read_exactly(descriptor: int, start: int, length: int) -> Iterator[bytes]:
    """Exactly ``length`` bytes: a file that shrinks meanwhile must not shift what follows."""
    while length:
        data = os.pread(descriptor, min(length, _PIECE), start) or bytes(min(length, _PIECE))
        yield data
        start += len(data)
        length -= len(data)
