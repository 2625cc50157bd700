"""Create the files of an image or a layer as its archive has them, whiteouts as overlayfs does."""

import errno
import os
import stat
from typing import IO, Any

from rktsd.errors import BadInput, RktError, StoreError
from rktsd.store.bounds import bad_member
from rktsd.store.contents import write_contents
from rktsd.store.tar import (
    BLOCK_DEVICE,
    CHAR,
    DIRECTORY,
    FIFO,
    FILE,
    LINK,
    SYMLINK,
    Member,
    TarReader,
    show,
)
from rktsd.store.whiteouts import is_whiteout

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_REPORT_LIMIT = 16 << 20
_NAME_MAX = 256
_NODES = {CHAR: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}
# What these say is the archive's doing; every other error is the disk's.
_ARCHIVE_ERRORS = frozenset(
    (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EPERM,
     errno.EINVAL, errno.EMLINK, errno.ENXIO, errno.ENODATA, errno.E2BIG, errno.ERANGE, errno.EFBIG)
)  # fmt: skip


class Writer:
    """Creates members below ``/``, which is the image's root after confinement.

    One directory is kept open, the one that was last written to: archives come directory by
    directory. Times of directories are set at the end, from ``times``, a file and not a list, so
    that memory does not grow with the archive.
    """

    def __init__(self, reader: TarReader, *, replace: bool, times: IO[bytes], longest: int) -> None:
        self.reader = reader
        self.longest = longest
        self.replace = replace
        self.times = times
        self.opaque: list[bytes] = []
        self.reported = 0
        self.content = 0
        self._parent = b""
        self._directory = os.open("/", _OPEN_DIRECTORY)
        self._set_gid = False
        # What the archive does not bring gets a time as well, so that unpacking it again makes the
        # same tree to the last byte.
        self._note_time(b"", 0)

    def _note_time(self, path: bytes, mtime: int) -> None:
        self.times.write(b"%s\0%d\n" % (path, mtime))

    def add(self, path: bytes, member: Member) -> None:
        """Create ``path`` (cleaned, relative to the root) as ``member`` describes it."""
        kind = member.kind
        if kind == DIRECTORY:
            self._add_directory(path, member)
            return
        parent, _, name = path.rpartition(b"/")
        if not name:
            raise bad_member(self.reader, member, "the root is not a directory")
        if kind in (CHAR, BLOCK_DEVICE):
            if path.startswith(b"dev/"):
                return
            if kind == CHAR and member.device == (0, 0):
                raise bad_member(self.reader, member, "device 0:0 would be a whiteout of overlayfs")
        directory = self._open(parent)
        try:
            self._create(name, directory, member)
        except FileExistsError:
            self._make_room(name, directory, member)
            self._create(name, directory, member)

    def _create(self, name: bytes, directory: int, member: Member) -> None:
        _, kind, mode, uid, gid, size, mtime, target, xattrs, parts, device = member
        if kind == FILE:
            owned = uid or gid or self._set_gid
            descriptor = os.open(name, _CREATE, mode if not (owned or mode & 0o7000) else 0o600,
                                 dir_fd=directory)  # fmt: skip
            try:
                self.content += size if parts is None else sum(length for _, length in parts)
                write_contents(self.reader, descriptor, member)
                if owned:
                    os.fchown(descriptor, uid, gid)
                if owned or mode & 0o7000:
                    os.fchmod(descriptor, mode)
                if xattrs:
                    self._set_xattrs(descriptor, member, xattrs)
                os.utime(descriptor, ns=(mtime, mtime))
            finally:
                os.close(descriptor)
            return
        if kind == LINK:
            if not target:
                raise bad_member(self.reader, member, "hard link to the root")
            try:
                os.link(b"/" + target, name, dst_dir_fd=directory, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
                reason = f"hard link to {show(target)}: {error.strerror}"
                raise bad_member(self.reader, member, reason) from error
            if is_whiteout(os.lstat(name, dir_fd=directory)):
                raise bad_member(
                    self.reader, member, f"hard link to {show(target)}, which is deleted"
                )
            return
        if kind == SYMLINK:
            os.symlink(target, name, dir_fd=directory)
        else:
            os.mknod(name, _NODES[kind] | 0o600, os.makedev(*device), dir_fd=directory)
        os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
        if kind != SYMLINK:
            os.chmod(name, mode, dir_fd=directory)
        os.utime(name, ns=(mtime, mtime), dir_fd=directory, follow_symlinks=False)

    def _make_room(self, name: bytes, directory: int, member: Member) -> None:
        """A name came twice: in layers the later one counts, a whiteout included."""
        status = os.lstat(name, dir_fd=directory)
        if stat.S_ISDIR(status.st_mode):
            raise bad_member(self.reader, member, "both a directory and something else")
        if not self.replace:
            raise bad_member(self.reader, member, "duplicate entry")
        os.unlink(name, dir_fd=directory)

    def _add_directory(self, path: bytes, member: Member) -> None:
        if path:
            parent, _, name = path.rpartition(b"/")
            directory = self._open(parent)
            try:
                os.mkdir(name, 0o700, dir_fd=directory)
            except FileExistsError:
                status = os.lstat(name, dir_fd=directory)
                if is_whiteout(status):
                    os.unlink(name, dir_fd=directory)
                    os.mkdir(name, 0o700, dir_fd=directory)
                    self._report_opaque(path)
                elif not stat.S_ISDIR(status.st_mode):
                    raise bad_member(
                        self.reader, member, "both a directory and something else"
                    ) from None
            below = os.open(name, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        else:
            below = os.open("/", _OPEN_DIRECTORY)
        os.close(self._directory)
        self._directory, self._parent = below, path
        self._check_depth(path)
        self._set_gid = bool(member.mode & stat.S_ISGID)
        os.fchown(below, member.uid, member.gid)
        os.fchmod(below, member.mode)
        if member.xattrs:
            self._set_xattrs(below, member, member.xattrs)
        self._note_time(path, member.mtime)

    def white_out(self, path: bytes) -> None:
        """An OCI ``.wh.`` entry (image-spec, layer.md): hide what lower layers have there."""
        parent, _, name = path.rpartition(b"/")
        if name == _OPAQUE:
            self._open(parent)
            self._report_opaque(parent)
            return
        name = name[len(WHITEOUT) :]
        if name.startswith(WHITEOUT):
            return  # AUFS's own housekeeping (.wh..wh.plnk and the like)
        if name in (b"", b".", b".."):
            raise BadInput(f"{self.reader.label}: {show(path)}: bad whiteout")
        directory = self._open(parent)
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory)
            os.utime(name, ns=(0, 0), dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            # This layer brings the name itself: it shadows a lower file anyway, and a lower
            # directory must not shine through one of ours.
            if stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
                self._report_opaque(parent + b"/" + name if parent else name)

    def finish(self) -> None:
        """Set the times of directories, now that nothing is created in them any more."""
        os.close(self._directory)
        self.times.seek(0)
        for record in self._records():
            path, _, mtime = record.rpartition(b"\0")
            try:
                os.utime(b"/" + path, ns=(int(mtime), int(mtime)), follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError) as error:
                reason = "came through a link that was replaced"
                raise BadInput(f"{self.reader.label}: {show(path)}: {reason}") from error

    def _records(self) -> Any:
        """Records of ``times``; a path may hold newlines, so they end at NUL, number, newline."""
        path = b""
        for line in self.times:
            path += line
            if b"\0" in line:
                yield path[:-1]
                path = b""

    def _open(self, parent: bytes) -> int:
        """The directory ``parent``, made 0755 root:root if the archive did not bring it."""
        if parent == self._parent:
            return self._directory
        path = b"/" + parent
        made = False
        try:
            directory = os.open(path, _OPEN_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            # Missing, or what is there is our own whiteout.
            made = True
            self._make_parents(parent)
            directory = os.open(path, _OPEN_DIRECTORY)
        os.close(self._directory)
        self._directory, self._parent = directory, parent
        if made:
            self._check_depth(parent)
        self._set_gid = bool(os.fstat(directory).st_mode & stat.S_ISGID)
        return directory

    def _make_parents(self, path: bytes) -> None:
        done = b""
        for name in path.split(b"/"):
            done += b"/" + name
            try:
                os.mkdir(done, 0o755)
            except FileExistsError:
                if not is_whiteout(os.lstat(done)):
                    continue
                os.unlink(done)
                os.mkdir(done, 0o755)
                self._report_opaque(done[1:])
            os.chown(done, 0, 0)
            os.chmod(done, 0o755)
            self._note_time(done[1:], 0)

    def _check_depth(self, path: bytes) -> None:
        """Refuse the directory that is kept open when it lies deeper than its name ``path`` says,
        by way of links, and so deep that others could not reach what is in it."""
        os.fchdir(self._directory)
        if len(os.getcwdb()) > max(len(path) + 1, self.longest - _NAME_MAX):
            reason = f"path longer than {self.longest} bytes"
            raise BadInput(f"{self.reader.label}: {show(path)}: {reason}")

    def _set_xattrs(self, descriptor: int, member: Member, xattrs: dict[str, bytes]) -> None:
        """security.capability and user.*, as rkt; the rest is not for an image to set."""
        for name, value in xattrs.items():
            ours = name.startswith("user.") and not name.startswith("user.overlay.")
            if not ours and name != "security.capability":
                continue
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:
                if not (ours and error.errno == errno.ENOTSUP):
                    reason = f"extended attribute {show(os.fsencode(name))}: {error.strerror}"
                    raise bad_member(self.reader, member, reason) from error

    def _report_opaque(self, path: bytes) -> None:
        self.reported += len(path) + 1
        if self.reported > _REPORT_LIMIT:
            raise BadInput(f"{self.reader.label}: too many opaque directories")
        self.opaque.append(path)

    def explained(self, member: Member, error: OSError) -> RktError:
        """What to say of an ``error`` of ``add`` or ``white_out``."""
        if error.errno in _ARCHIVE_ERRORS:
            return bad_member(self.reader, member, str(error.strerror))
        return StoreError(f"cannot unpack {self.reader.label}: {error.strerror}")
