"""The unpacking child: one pass over an untrusted archive, confined to the directory it fills.

``rktsd.store.unpack`` starts it as a process of its own (nothing of the parent's memory is in
reach) and reads from its standard output one JSON line and the bytes that the line announces.
"""

import errno
import json
import os
import stat
import sys
from collections.abc import Iterator
from typing import IO, Any, cast

from rktsd.errors import BadInput, RktError, StoreError
from rktsd.store.contents import write_contents
from rktsd.store.members import lay_down
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

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_REPORT_LIMIT = 16 << 20
_ALWAYS_FINE = 1 << 30
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
            raise self.bad(member, "the root is not a directory")
        if kind in (CHAR, BLOCK_DEVICE):
            if path.startswith(b"dev/"):
                return
            if kind == CHAR and member.device == (0, 0):
                raise self.bad(member, "device 0:0 would be a whiteout of overlayfs")
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
                raise self.bad(member, "hard link to the root")
            try:
                os.link(b"/" + target, name, dst_dir_fd=directory, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
                reason = f"hard link to {show(target)}: {error.strerror}"
                raise self.bad(member, reason) from error
            if _is_whiteout(os.lstat(name, dir_fd=directory)):
                raise self.bad(member, f"hard link to {show(target)}, which is deleted")
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
            raise self.bad(member, "both a directory and something else")
        if not self.replace:
            raise self.bad(member, "duplicate entry")
        os.unlink(name, dir_fd=directory)

    def _add_directory(self, path: bytes, member: Member) -> None:
        if path:
            parent, _, name = path.rpartition(b"/")
            directory = self._open(parent)
            try:
                os.mkdir(name, 0o700, dir_fd=directory)
            except FileExistsError:
                status = os.lstat(name, dir_fd=directory)
                if _is_whiteout(status):
                    os.unlink(name, dir_fd=directory)
                    os.mkdir(name, 0o700, dir_fd=directory)
                    self._report_opaque(path)
                elif not stat.S_ISDIR(status.st_mode):
                    raise self.bad(member, "both a directory and something else") from None
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
        name = name[len(_WHITEOUT) :]
        if name.startswith(_WHITEOUT):
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
                if not _is_whiteout(os.lstat(done)):
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
                    raise self.bad(member, reason) from error

    def _report_opaque(self, path: bytes) -> None:
        self.reported += len(path) + 1
        if self.reported > _REPORT_LIMIT:
            raise BadInput(f"{self.reader.label}: too many opaque directories")
        self.opaque.append(path)

    def bad(self, member: Member, reason: str) -> BadInput:
        """An error that names ``member`` as the archive does."""
        return _bad(self.reader, member, reason)


def _bad(reader: TarReader, member: Member, reason: str) -> BadInput:
    return BadInput(f"{reader.label}: {show(member.name)}: {reason}")


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def bounded(reader: TarReader, limits: dict[str, Any]) -> Iterator[Member]:
    """The members of an archive, as long as there are not too many or too large ones."""
    entries, longest, size = limits["entries"], limits["path"], limits["size"]
    count = total = 0
    while (member := reader.next()) is not None:
        count += 1
        if count > entries:
            hint = "maximum-entries in rktsd.toml"
            raise BadInput(f"{reader.label}: more than {entries} entries", hint=hint)
        if len(member.name) > longest:
            raise _bad(reader, member, f"path longer than {longest} bytes")
        # Holes of sparse files cost nothing here, but whoever reads them pays.
        total += member.size
        if total > size:
            what = f"{show(member.name)}: larger than {size} bytes with all before it"
            raise BadInput(
                f"{reader.label}: {what}", hint=f"{limits['size_setting']} in rktsd.toml"
            )
        yield member


def _unpack_layer(reader: TarReader, writer: Writer, limits: dict[str, Any]) -> None:
    """An OCI layer: whiteouts become overlayfs's, the last of several equal names wins."""
    add, white_out = writer.add, writer.white_out
    for member in bounded(reader, limits):
        path = member.name
        try:
            if _WHITEOUT in path and path.rpartition(b"/")[2].startswith(_WHITEOUT):
                white_out(path)
            else:
                add(path, member)
        except OSError as error:
            raise _explain(writer, member, error) from error


def _unpack_aci(reader: TarReader, writer: Writer, limits: dict[str, Any]) -> bytes:
    """An ACI (appc spec, aci.md): ``manifest`` and ``rootfs`` and nothing else; the manifest."""
    add = writer.add
    manifest: bytes | None = None
    has_root = False
    for member in bounded(reader, limits):
        name = member.name
        if name.startswith(b"rootfs/") or name == b"rootfs":
            if name == b"rootfs":
                if member.kind != DIRECTORY:
                    raise writer.bad(member, "is not a directory")
                has_root = True
            elif member.kind == LINK:
                if not member.target.startswith(b"rootfs/"):
                    raise writer.bad(member, f"hard link to {show(member.target)}: not in rootfs")
                member = member._replace(target=member.target[7:])
            try:
                add(name[7:], member)
            except OSError as error:
                raise _explain(writer, member, error) from error
        elif name == b"manifest":
            if manifest is not None:
                raise writer.bad(member, "duplicate entry")
            if member.kind != FILE:
                raise writer.bad(member, "is not a regular file")
            if member.size > limits["manifest"]:
                raise writer.bad(member, f"larger than {limits['manifest']} bytes")
            manifest = b""
            while data := reader.chunk():
                manifest += data
        elif name or member.kind != DIRECTORY:
            raise writer.bad(member, "an ACI holds only manifest and rootfs")
    if manifest is None:
        raise BadInput(f'{reader.label}: has no "manifest"')
    if not has_root:
        raise BadInput(f'{reader.label}: has no directory "rootfs"')
    return manifest


def _explain(writer: Writer, member: Member, error: OSError) -> RktError:
    if error.errno in _ARCHIVE_ERRORS:
        return writer.bad(member, str(error.strerror))
    return StoreError(f"cannot unpack {writer.reader.label}: {error.strerror}")


def bound(size: int, limits: dict[str, Any], label: str) -> tuple[int, BadInput]:
    """How large the stream of an archive of ``size`` bytes may be, and what to say otherwise."""
    unpacked, expanded = limits["size"], max(_ALWAYS_FINE, size * limits["expansion"])
    if expanded < unpacked:
        times = f"more than {limits['expansion']} times its size when uncompressed"
        return expanded, BadInput(f"{label}: {times}", hint="maximum-expansion in rktsd.toml")
    text = f"{label}: larger than {unpacked} bytes when uncompressed"
    return unpacked, BadInput(text, hint=f"{limits['size_setting']} in rktsd.toml")


def _work(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    import hashlib

    from rktsd.store.ahead import ahead
    from rktsd.store.compression import open_stream
    from rktsd.store.confine import confine

    label, limits, kind = request["label"], request["limits"], request["kind"]
    archive: int = request["archive"]
    status = os.fstat(archive)
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(f"{label}: not a regular file")
    digest = hashlib.new(request["digest"]) if request["digest"] else None
    stream = open_stream(archive, label)
    times = open(request["times"], "w+b")  # noqa: SIM115  # lives as long as the process
    os.umask(0)
    confine(request["root"])
    limit, error = bound(status.st_size, limits, label)
    update = digest.update if digest else (lambda data: None)
    # Only now: what a thread may do it has from the one that starts it.
    with ahead(stream, update, limit=limit, error=error) as read:
        reader = TarReader(read, label)
        if digest is None:
            return {}, json.dumps(lay_down(reader, bounded(reader, limits), "")).encode()
        is_aci = kind == "aci"
        writer = Writer(reader, replace=not is_aci, times=times, longest=limits["path"])
        manifest = b""
        if is_aci:
            manifest = _unpack_aci(reader, writer, limits)
        else:
            _unpack_layer(reader, writer, limits)
        writer.finish()
    opaque = dict.fromkeys(writer.opaque)
    answer = {"digest": digest.hexdigest(), "content": writer.content}
    return answer, b"\0".join([manifest.hex().encode(), *opaque])


def main() -> None:
    """Read the request from standard input, answer on standard output; never a traceback."""
    request = cast(dict[str, Any], json.load(sys.stdin))
    label = request["label"]
    body = b""
    try:
        answer, body = _work(request)
    except RktError as error:
        answer = {"error": type(error).__name__, "message": error.args[0], "hint": error.hint}
    except OSError as error:
        answer = {"error": "StoreError", "message": f"cannot unpack {label}: {error.strerror}"}
    except MemoryError:
        answer = {"error": "BadInput", "message": f"{label}: needs too much memory to unpack"}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + body)
    sys.stdout.flush()
