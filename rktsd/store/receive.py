"""Write a tar stream below a directory that has other files already, as cp(1) would."""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rktsd.errors import StoreError
from rktsd.store import tar
from rktsd.store.contents import write_contents
from rktsd.store.merge import may_carry
from rktsd.store.tar import Member, TarReader

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = stat.S_ISUID | stat.S_ISGID
_NODES = {
    tar.FIFO: stat.S_IFIFO,
    tar.CHAR: stat.S_IFCHR,
    tar.BLOCK_DEVICE: stat.S_IFBLK,
}


class Policy(NamedTuple):
    """What of a stream counts.

    ``owner`` (user, group) is that of all files, None leaves them those that are recorded, and all
    else that gives power: set-user-ID bits, devices, capabilities. ``follow`` lets directories be
    reached through symbolic links: only where the root is no other than that of who made them.
    """

    owner: tuple[int, int] | None
    follow: bool


def receive(
    reader: TarReader, base: int, policy: Policy, *, rename: Callable[[bytes], bytes]
) -> int:
    """Create the members of a stream below the open directory ``base``, under names by ``rename``.

    Files replace what is there, directories merge. A file appears when it is complete. Returns how
    many devices were left out. Raises BadInput, StoreError naming the member.
    """
    devices = 0
    times: list[tuple[bytes, int]] = []
    while member := reader.next():
        path = rename(member.name)
        if not path:
            # The directory that it all goes into is there, and stays as it is.
            continue
        if member.kind in (tar.CHAR, tar.BLOCK_DEVICE) and policy.owner is not None:
            devices += 1
            continue
        try:
            if _add(reader, base, policy, path=path, member=member, rename=rename):
                times.append((path, member.mtime))
        except OSError as error:
            raise StoreError(f"cannot write {tar.show(path)}: {error.strerror}") from error
    # Last, because everything created in a directory changes its time.
    for path, time in times:
        with _opened(base, path.rpartition(b"/")[0], policy.follow) as directory:
            name = path.rpartition(b"/")[2]
            os.utime(name, ns=(time, time), dir_fd=directory, follow_symlinks=False)
    return devices


@contextlib.contextmanager
def _opened(base: int, path: bytes, follow: bool) -> Iterator[int]:
    """The directory ``path`` below ``base``; what is missing on the way is made."""
    descriptor = os.dup(base)
    no_links = 0 if follow else os.O_NOFOLLOW
    try:
        for name in path.split(b"/") if path else ():
            try:
                below = os.open(name, _DIRECTORY | no_links, dir_fd=descriptor)
            except FileNotFoundError:
                os.mkdir(name, 0o755, dir_fd=descriptor)
                below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _add(
    reader: TarReader,
    base: int,
    policy: Policy,
    *,
    path: bytes,
    member: Member,
    rename: Callable[[bytes], bytes],
) -> bool:
    """Whether a directory was made."""
    parent, _, name = path.rpartition(b"/")
    with _opened(base, parent, policy.follow) as directory:
        if member.kind == tar.DIRECTORY:
            return _add_directory(name, directory, member, policy)
        made = b".rkt-cp.%d" % os.getpid()
        try:
            if member.kind == tar.LINK:
                source, _, first = rename(member.target).rpartition(b"/")
                with _opened(base, source, policy.follow) as other:
                    os.link(
                        first, made, src_dir_fd=other, dst_dir_fd=directory, follow_symlinks=False
                    )
            elif member.kind == tar.FILE:
                _write_file(reader, made, directory, member, policy)
            else:
                _make_node(made, directory, member, policy)
            _put(made, name, directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(made, dir_fd=directory)
            raise
    return False


def _add_directory(name: bytes, directory: int, member: Member, policy: Policy) -> bool:
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
    except FileExistsError:
        # A link to a directory is one where links are followed.
        status = os.stat(name, dir_fd=directory, follow_symlinks=policy.follow)
        if not stat.S_ISDIR(status.st_mode):
            raise
        return False
    made = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    try:
        _dress(made, member, policy)
    finally:
        os.close(made)
    return True


def _write_file(
    reader: TarReader, name: bytes, directory: int, member: Member, policy: Policy
) -> None:
    descriptor = os.open(name, _CREATE, 0o600, dir_fd=directory)
    try:
        write_contents(reader, descriptor, member)
        _dress(descriptor, member, policy)
        os.utime(descriptor, ns=(member.mtime, member.mtime))
    finally:
        os.close(descriptor)


def _dress(descriptor: int, member: Member, policy: Policy) -> None:
    """Give a file its owner, mode and attributes, in the order in which they stay."""
    uid, gid = policy.owner or (member.uid, member.gid)
    os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, member.mode if policy.owner is None else member.mode & ~_SPECIAL)
    if policy.owner is None:
        for name, value in (member.xattrs or {}).items():
            if may_carry(name):
                os.setxattr(descriptor, name, value)


def _make_node(name: bytes, directory: int, member: Member, policy: Policy) -> None:
    uid, gid = policy.owner or (member.uid, member.gid)
    if member.kind == tar.SYMLINK:
        os.symlink(member.target, name, dir_fd=directory)
    else:
        kind = _NODES[member.kind]
        os.mknod(name, kind | 0o600, os.makedev(*member.device), dir_fd=directory)
        os.chmod(name, member.mode & 0o777, dir_fd=directory)
    os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
    os.utime(name, ns=(member.mtime, member.mtime), dir_fd=directory, follow_symlinks=False)


def _put(made: bytes, name: bytes, directory: int) -> None:
    """Give what is complete its name. A file that is a mount cannot be replaced: it is filled."""
    try:
        os.rename(made, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        source = os.open(made, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            target = os.open(name, flags, dir_fd=directory)
            try:
                while os.sendfile(target, source, None, 1 << 24):
                    pass
            finally:
                os.close(target)
        finally:
            os.close(source)
        os.unlink(made, dir_fd=directory)
