"""Archives made byte by byte, so that tests can say what no honest tool would write."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MANIFEST = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.com/app",
    "labels": [{"name": "version", "value": "1.0"}],
}
END = bytes(1024)


def header(
    name: str | bytes,
    kind: bytes = b"0",
    *,
    size: int = 0,
    mode: int = 0o644,
    target: str | bytes = b"",
    device: tuple[int, int] = (0, 0),
    **fields: bytes,
) -> bytes:
    """One ustar header; ``fields`` (uid, gid, mtime, magic, prefix, size_field) are raw bytes."""
    raw = name if isinstance(name, bytes) else os.fsencode(name)
    link = target if isinstance(target, bytes) else os.fsencode(target)
    block = b"".join(
        [
            raw[:100].ljust(100, b"\0"),
            b"%07o\0" % mode,
            fields.get("uid", b"0000000\0").ljust(8, b"\0"),
            fields.get("gid", b"0000000\0").ljust(8, b"\0"),
            fields.get("size_field", b"%011o\0" % size).ljust(12, b"\0"),
            fields.get("mtime", b"00000000001\0").ljust(12, b"\0"),
            b" " * 8,
            kind,
            link[:100].ljust(100, b"\0"),
            fields.get("magic", b"ustar\x0000"),
            bytes(64),
            b"%07o\0%07o\0" % device,
            fields.get("prefix", b"").ljust(155, b"\0"),
            bytes(12),
        ]
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def member(name: str | bytes, content: bytes = b"", kind: bytes = b"0", **fields: object) -> bytes:
    """A header and its content, padded."""
    head = header(name, kind, size=len(content), **fields)  # type: ignore[arg-type]  # raw fields
    return head + content + bytes(-len(content) % 512)


def directory(name: str | bytes, *, mode: int = 0o755) -> bytes:
    return member(name, kind=b"5", mode=mode)


def symlink(name: str, target: str) -> bytes:
    return member(name, kind=b"2", target=target)


def hardlink(name: str, target: str) -> bytes:
    return member(name, kind=b"1", target=target)


def pax(records: dict[str, str | bytes], kind: bytes = b"x") -> bytes:
    """An extended header for the member that follows."""
    content = b""
    for key, value in records.items():
        body = b" %s=%s\n" % (key.encode(), value if isinstance(value, bytes) else value.encode())
        length = len(body)
        while length != len(body) + len(str(length)):
            length = len(body) + len(str(length))
        content += str(length).encode() + body
    return member("pax", content, kind)


def archive(*members: bytes) -> bytes:
    return b"".join(members) + END


def aci(*members: bytes) -> bytes:
    """An ACI whose rootfs holds ``members`` (named rootfs/...)."""
    manifest = member("manifest", json.dumps(MANIFEST).encode())
    return archive(manifest, directory("rootfs"), *members)


def image_id(tar: bytes) -> str:
    return "sha512-" + hashlib.sha512(tar).hexdigest()[:64]


def diff_id(tar: bytes) -> str:
    return "sha256:" + hashlib.sha256(tar).hexdigest()


class Node(NamedTuple):
    """All of a file that an archive carries."""

    mode: int
    uid: int
    gid: int
    mtime: int
    content: bytes
    xattrs: tuple[tuple[str, bytes], ...]
    links: int
    device: int


def snapshot(root: str | Path) -> dict[str, Node]:
    """Everything below ``root``, for comparison; also what is not supposed to be seen."""
    found: dict[str, Node] = {}
    for place, directories, files in os.walk(os.fsdecode(root)):
        for name in (".", *directories, *files):
            path = f"{place}/{name}"
            if name == "." and place != os.fsdecode(root):
                continue
            status = os.lstat(path)
            content = b""
            if os.path.islink(path):
                content = os.fsencode(os.readlink(path))
            elif os.path.isfile(path):
                content = Path(path).read_bytes()
            names = [n for n in os.listxattr(path, follow_symlinks=False) if n[:9] != "security."]
            names += [
                n for n in os.listxattr(path, follow_symlinks=False) if n == "security.capability"
            ]
            values = tuple((n, os.getxattr(path, n, follow_symlinks=False)) for n in sorted(names))
            is_directory = os.path.isdir(path) and not os.path.islink(path)
            found[os.path.relpath(path, root)] = Node(
                status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, values,
                0 if is_directory else status.st_nlink, status.st_rdev,
            )  # fmt: skip
    return found


def names(root: str | Path) -> set[str]:
    return set(snapshot(root))


def by_tarfile(entries: Sequence[tuple[str, bytes]], *, format: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of regular files by Python's own writer."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def stored(root: str) -> dict[str, Node]:
    """A store to the last byte, but for the time at which scratch directories came and went."""
    found = snapshot(root)
    return {**found, "tmp": found["tmp"]._replace(mtime=0)}
