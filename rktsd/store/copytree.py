"""Copy a merged tree into a directory, with all that an image may say of its files."""

import os
import stat
from collections.abc import Iterable

from rktsd.store.merge import DIRECTORY, Entry, opened, segments, xattrs

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 16 << 20


def copy_tree(entries: Iterable[Entry], target: str) -> None:
    """Fill the empty directory ``target``: content, owner, mode, times, links, holes, xattrs.

    Parents that ``entries`` leave out are made with mode 0755. Raises OSError.
    """
    base = os.open(target, DIRECTORY)
    links: dict[tuple[int, int], str] = {}
    times: list[tuple[str, int]] = []
    made = {""}
    try:
        for entry in entries:
            path, status = entry.path, entry.status
            _make_parents(path, base, made)
            if stat.S_ISDIR(status.st_mode):
                _copy_directory(entry, base, exists=path in made)
                made.add(path)
                times.append((path or ".", status.st_mtime_ns))
                continue
            if status.st_nlink > 1:
                key = (status.st_dev, status.st_ino)
                first = links.setdefault(key, path)
                if first != path:
                    os.link(first, path, src_dir_fd=base, dst_dir_fd=base, follow_symlinks=False)
                    continue
            _copy_file(entry, base)
        # Last, because everything created in a directory changes its time.
        for path, time in times:
            os.utime(path, ns=(time, time), dir_fd=base, follow_symlinks=False)
    finally:
        os.close(base)


def _make_parents(path: str, base: int, made: set[str]) -> None:
    parent = path.rpartition("/")[0]
    missing = []
    while parent not in made:
        missing.append(parent)
        parent = parent.rpartition("/")[0]
    for name in reversed(missing):
        os.mkdir(name, 0o755, dir_fd=base)
        os.chmod(name, 0o755, dir_fd=base)
        made.add(name)


def _copy_directory(entry: Entry, base: int, *, exists: bool) -> None:
    path, status = entry.path or ".", entry.status
    if not exists:
        os.mkdir(path, 0o700, dir_fd=base)
    target = os.open(path, DIRECTORY, dir_fd=base)
    try:
        os.fchown(target, status.st_uid, status.st_gid)
        os.fchmod(target, stat.S_IMODE(status.st_mode))
        with opened(entry) as source:
            for name, value in xattrs(source).items():
                os.setxattr(target, name, value)
    finally:
        os.close(target)


def _copy_file(entry: Entry, base: int) -> None:
    path, _, status = entry
    kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
    if kind == stat.S_IFREG:
        target = os.open(path, _CREATE, 0o600, dir_fd=base)
        try:
            with opened(entry) as source:
                _copy_data(source, target, status)
                os.fchown(target, status.st_uid, status.st_gid)
                os.fchmod(target, mode)
                for name, value in xattrs(source).items():
                    os.setxattr(target, name, value)
            os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
        finally:
            os.close(target)
        return
    if kind == stat.S_IFLNK:
        os.symlink(os.readlink(path, dir_fd=entry.base), path, dir_fd=base)
    else:
        os.mknod(path, kind | 0o600, status.st_rdev, dir_fd=base)
    os.chown(path, status.st_uid, status.st_gid, dir_fd=base, follow_symlinks=False)
    if kind != stat.S_IFLNK:
        os.chmod(path, mode, dir_fd=base)
    times = (status.st_mtime_ns, status.st_mtime_ns)
    os.utime(path, ns=times, dir_fd=base, follow_symlinks=False)


def _copy_data(source: int, target: int, status: os.stat_result) -> None:
    for start, length in segments(source, status):
        os.lseek(target, start, os.SEEK_SET)
        while length:
            count = os.sendfile(target, source, start, min(length, _PIECE))
            if not count:
                break  # cut short meanwhile; the time of change tells
            start += count
            length -= count
    os.ftruncate(target, status.st_size)
