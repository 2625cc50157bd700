"""Make the tar stream of an ACI: of a directory, or of a tar archive of a root.

The same content gives the same bytes, whether it comes from a directory or an archive: members are
sorted, owners are numbers, what a root does not have of its own is left out.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.store import tar
from rktsd.store.bounds import bound, bounded
from rktsd.store.compression import open_stream
from rktsd.store.merge import may_carry, order, walk
from rktsd.store.records import Limits
from rktsd.store.tarwriter import (
    END,
    read_exactly,
    tar_data,
    tar_file,
    tar_header,
    tar_time,
    tar_tree,
)

if TYPE_CHECKING:
    import tarfile

    Change = Callable[[tarfile.TarInfo], None]

_SECOND = 10**9


@dataclass(frozen=True, slots=True)
class Packing:
    """How to write members: times after ``latest`` (seconds) become it, ``owner`` replaces all.

    ``latest`` is also the time of what has none of its own.
    """

    latest: int | None = None
    owner: tuple[int, int] | None = None

    @property
    def own_time(self) -> int:
        """The time of the manifest, and of directories that an archive leaves out."""
        return self.latest or 0

    def change(self, member: "tarfile.TarInfo") -> None:
        """Alter a member so. Raises BadInput for a device that no fetch would take."""
        if member.ischr() and (member.devmajor, member.devminor) == (0, 0):
            path = member.name.removeprefix("rootfs")
            raise BadInput(f"{path}: device 0:0 would be a whiteout of overlayfs")
        if self.latest is not None:
            member.mtime = min(member.mtime, self.latest)
        if self.owner is not None:
            member.uid, member.gid = self.owner


def pack_directory(root: str, manifest: bytes, packing: Packing) -> Iterator[bytes]:
    """An uncompressed ACI with the tree below ``root``. Raises NotFound, StoreError."""
    if not os.path.isdir(root):
        raise NotFound(f"cannot read {root}: no such directory")
    yield tar_file("manifest", manifest, mtime=packing.own_time)
    try:
        # A character device 0:0 is told of, and not taken for a whiteout.
        yield from tar_tree(walk([root], whiteouts=True), "rootfs", change=packing.change)
    except OSError as error:
        where = f"{root}/{error.filename}" if error.filename else root
        raise StoreError(f"cannot read {where}: {error.strerror}") from error
    yield END


@dataclass(slots=True, eq=False)
class _Node:
    """A file of an archive; several names of one node are hard links. ``at`` is in the spool."""

    member: tar.Member
    at: int = 0


def pack_archive(
    descriptor: int,
    label: str,
    manifest: bytes,
    packing: Packing,
    *,
    spool: int,
    limits: Limits,
) -> Iterator[bytes]:
    """An uncompressed ACI with the tree that the tar archive in ``descriptor`` makes.

    The archive may be compressed, and has to stay within ``limits``. Its contents are kept in the
    empty file ``spool`` meanwhile, so that members can be sorted. Raises BadInput, Unsupported,
    StoreError.
    """
    try:
        nodes = _read_nodes(descriptor, label, spool, asdict(limits))
        _refuse_images(nodes, label)
        _complete(nodes, packing, label)
        yield tar_file("manifest", manifest, mtime=packing.own_time)
        yield from _write_nodes(nodes, spool, packing.change)
    except OSError as error:
        raise StoreError(f"cannot read {label}: {error.strerror}") from error
    yield END


def _read_nodes(
    descriptor: int, label: str, spool: int, limits: dict[str, Any]
) -> dict[str, _Node]:
    """Files by name; of several of the same name the last one counts, as with tar itself."""
    status = os.fstat(descriptor)
    # How much there is in a pipe nobody knows.
    size = status.st_size if stat.S_ISREG(status.st_mode) else limits["size"]
    most, error = bound(size, limits, label)
    reader = tar.TarReader(_counted(open_stream(descriptor, label), most, error), label)
    nodes: dict[str, _Node] = {}
    at = 0
    for member in bounded(reader, limits):
        name = member.name.decode("utf-8", "surrogateescape")
        if member.kind == tar.LINK:
            target = nodes.get(member.target.decode("utf-8", "surrogateescape"))
            if target is None or target.member.kind == tar.DIRECTORY:
                shown = f"{tar.show(member.name)}: hard link to {tar.show(member.target)}"
                raise BadInput(f"{reader.label}: {shown}, which is no file before it")
            nodes[name] = target
            continue
        nodes[name] = _Node(member, at)
        while data := reader.chunk():
            view = memoryview(data)
            while view:
                written = os.write(spool, view)
                at += written
                view = view[written:]
    return nodes


def _counted(read: Callable[[], bytes], most: int, error: BadInput) -> Callable[[], bytes]:
    """``read``, which raises ``error`` where there are more than ``most`` bytes."""
    left = most

    def counting() -> bytes:
        nonlocal left
        data = read()
        left -= len(data)
        if left < 0:
            raise error
        return data

    return counting


def _refuse_images(nodes: dict[str, _Node], label: str) -> None:
    """An archive of an image is no archive of a root, and there are other commands for it."""
    if "oci-layout" in nodes and "index.json" in nodes:
        hint = f"rkt fetch oci-archive:{label}"
        raise BadInput(f"{label}: an OCI archive, not the archive of a root", hint=hint)
    if "manifest.json" in nodes and not {"etc", "usr", "bin"} & nodes.keys():
        hint = f"rkt fetch docker-archive:{label}"
        raise BadInput(f"{label}: written by docker save, not the archive of a root", hint=hint)
    tops = {name.partition("/")[0] for name in nodes if name}
    if tops == {"manifest", "rootfs"} and nodes["manifest"].member.kind == tar.FILE:
        raise BadInput(f"{label}: an ACI, not the archive of a root", hint=f"rkt fetch {label}")


def _complete(nodes: dict[str, _Node], packing: Packing, label: str) -> None:
    """Add the directories that are only on the way to something. Raises BadInput."""
    for name in sorted(nodes):
        while name:
            name = name.rpartition("/")[0]
            node = nodes.get(name)
            if node is None:
                time = packing.own_time * _SECOND
                encoded = name.encode("utf-8", "surrogateescape")
                made = tar.Member(encoded, tar.DIRECTORY, 0o755, 0, 0, 0, time, b"", None)
                nodes[name] = _Node(made)
            elif node.member.kind != tar.DIRECTORY:
                shown = tar.show(node.member.name)
                raise BadInput(f"{label}: {shown}: is no directory, and has files below it")
    if nodes.setdefault("", _root(packing)).member.kind != tar.DIRECTORY:
        raise BadInput(f"{label}: its root is no directory")


def _root(packing: Packing) -> _Node:
    time = packing.own_time * _SECOND
    return _Node(tar.Member(b"", tar.DIRECTORY, 0o755, 0, 0, 0, time, b"", None))


def _write_nodes(nodes: dict[str, _Node], spool: int, change: "Change") -> Iterator[bytes]:
    import tarfile

    written: dict[int, str] = {}

    def key(name: str) -> list[tuple[bool, str]]:
        return order(name, nodes[name].member.kind == tar.DIRECTORY)

    for name in sorted(nodes, key=key):
        node = nodes[name]
        each = node.member
        member = tarfile.TarInfo(f"rootfs/{name}" if name else "rootfs")
        member.type, member.mode = each.kind, each.mode
        member.uid, member.gid = each.uid, each.gid
        if each.kind in (tar.CHAR, tar.BLOCK_DEVICE):
            member.devmajor, member.devminor = each.device
        member.mtime = whole = each.mtime // _SECOND
        records = {"mtime": tar_time(each.mtime)} if each.mtime % _SECOND else {}
        change(member)
        if member.mtime != whole:
            records.clear()
        first = written.setdefault(id(node), member.name)
        if first != member.name:
            member.type, member.linkname = tarfile.LNKTYPE, first
            yield tar_header(member, records)
            continue
        if each.kind == tar.SYMLINK:
            member.linkname = each.target.decode("utf-8", "surrogateescape")
        else:
            records |= _attributes(each)
        if each.kind == tar.FILE:
            given = ((0, each.size),) if each.parts is None else each.parts
            parts = [part for part in given if part[1]]
            filled = sum(length for _, length in parts)
            data = read_exactly(spool, node.at, filled)
            yield from tar_data(member, records, parts, size=each.size, data=data)
        else:
            yield tar_header(member, records)


def _attributes(member: tar.Member) -> dict[str, str]:
    return {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in sorted((member.xattrs or {}).items())
        if may_carry(name)
    }


def is_image_directory(path: str) -> bool:
    """Whether ``path`` is an image laid out as appc has it: a ``manifest`` beside a ``rootfs``."""
    try:
        found = {entry.name: entry for entry in os.scandir(path)}
    except OSError:
        return False
    return (
        found.keys() == {"manifest", "rootfs"}
        and stat.S_ISREG(found["manifest"].stat(follow_symlinks=False).st_mode)
        and found["rootfs"].is_dir(follow_symlinks=False)
    )
