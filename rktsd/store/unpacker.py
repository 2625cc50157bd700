"""The unpacking child: one pass over an untrusted archive, confined to the directory it fills.

``rktsd.store.unpack`` starts it as a process of its own (nothing of the parent's memory is in
reach) and reads from its standard output one JSON line and the bytes that the line announces.
"""

import json
import os
import stat
import sys
from typing import Any, cast

from rktsd.errors import BadInput, RktError
from rktsd.store.bounds import bad_member, bound, bounded
from rktsd.store.members import lay_down
from rktsd.store.tar import DIRECTORY, FILE, LINK, TarReader, show
from rktsd.store.writer import WHITEOUT, Writer


def _unpack_layer(reader: TarReader, writer: Writer, limits: dict[str, Any]) -> None:
    """An OCI layer: whiteouts become overlayfs's, the last of several equal names wins."""
    add, white_out = writer.add, writer.white_out
    for member in bounded(reader, limits):
        path = member.name
        try:
            if WHITEOUT in path and path.rpartition(b"/")[2].startswith(WHITEOUT):
                white_out(path)
            else:
                add(path, member)
        except OSError as error:
            raise writer.explained(member, error) from error


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
                    raise bad_member(reader, member, "is not a directory")
                has_root = True
            elif member.kind == LINK:
                if not member.target.startswith(b"rootfs/"):
                    raise bad_member(
                        reader, member, f"hard link to {show(member.target)}: not in rootfs"
                    )
                member = member._replace(target=member.target[7:])
            try:
                add(name[7:], member)
            except OSError as error:
                raise writer.explained(member, error) from error
        elif name == b"manifest":
            if manifest is not None:
                raise bad_member(reader, member, "duplicate entry")
            if member.kind != FILE:
                raise bad_member(reader, member, "is not a regular file")
            if member.size > limits["manifest"]:
                raise bad_member(reader, member, f"larger than {limits['manifest']} bytes")
            manifest = b""
            while data := reader.chunk():
                manifest += data
        elif name or member.kind != DIRECTORY:
            raise bad_member(reader, member, "an ACI holds only manifest and rootfs")
    if manifest is None:
        raise BadInput(f'{reader.label}: has no "manifest"')
    if not has_root:
        raise BadInput(f'{reader.label}: has no directory "rootfs"')
    return manifest


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
