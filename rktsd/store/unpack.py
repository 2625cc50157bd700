"""Unpack an untrusted archive into a directory, by a confined child; the parent's side."""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from subprocess import CompletedProcess
from typing import Any, NamedTuple

import rktsd
from rktsd.errors import BadInput, StoreError, Unsupported
from rktsd.host import process
from rktsd.store.members import Found
from rktsd.store.records import Limits
from rktsd.store.tree import mark_opaque, sync_filesystem

Watch = Callable[[], AbstractContextManager[Callable[[int], None]]]
"""Entered while the processor is at work, and not while the disk is. What it gives is told now and
then how many bytes of the archive were read; what that raises ends the unpacking."""

_ERRORS = {"BadInput": BadInput, "Unsupported": Unsupported}


class Unpacked(NamedTuple):
    """``digest`` (hex) is that of the uncompressed archive, ``content`` how many bytes its files
    have."""

    digest: str
    manifest: bytes
    content: int


def unpack(
    archive: str,
    root: str,
    *,
    kind: str,
    digest: str,
    limits: Limits | None = None,
    label: str | None = None,
    watch: Watch | None = None,
) -> Unpacked:
    """Fill the empty directory ``root`` from ``archive`` and sync it.

    ``kind`` is "aci" (its rootfs/ becomes ``root``) or "oci" (a layer, whiteouts in overlayfs's
    form), ``digest`` the hash to compute over the uncompressed tar ("sha256", "sha512"). ``label``
    names the archive in messages. After an error ``root`` is the caller's to remove, and so is the
    scratch file beside it. Raises BadInput, Unsupported, StoreError.
    """
    label = archive if label is None else label
    try:
        os.chown(root, 0, 0)
        os.chmod(root, 0o755)
    except OSError as error:
        raise StoreError(f"cannot unpack into {root}: {error.strerror}") from error
    answer, body = _ask(archive, root, kind, digest, limits, label, watch)
    manifest, *opaque = body.split(b"\0")
    try:
        mark_opaque(root, opaque)
    except OSError as error:
        raise StoreError(f"cannot unpack {label}: {error.strerror}") from error
    sync_filesystem(root)
    return Unpacked(answer["digest"], bytes.fromhex(manifest.decode()), answer["content"])


def lay_down(
    archive: str,
    directory: str,
    *,
    limits: Limits | None = None,
    label: str | None = None,
    watch: Watch | None = None,
) -> list[Found]:
    """Fill the empty directory ``directory`` with the files of ``archive``, under numbers.

    The members, in their order; of other kinds than files and links there is none. ``label`` and
    ``watch`` are as for ``unpack``, and so is what is raised, and what is left to the caller.
    """
    label = archive if label is None else label
    _, body = _ask(archive, directory, "members", None, limits, label, watch)
    return [(name, kind, target) for name, kind, target in json.loads(body)]


def _ask(
    archive: str,
    root: str,
    kind: str,
    digest: str | None,
    limits: Limits | None,
    label: str,
    watch: Watch | None,
) -> tuple[dict[str, Any], bytes]:
    """Have the child do it: what it answers, and what it announced."""
    times = f"{os.path.abspath(root)}.times"
    request = {
        "root": os.path.abspath(root),
        "times": times,
        "kind": kind,
        "digest": digest,
        "limits": asdict(limits or Limits()),
        "label": label,
    }
    with watch() if watch else contextlib.nullcontext() as moved:
        done = _run(request, archive, moved)
    line, _, body = done.stdout.partition(b"\n")
    if done.returncode != 0 or not line:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no answer"]
        status = done.returncode
        raise StoreError(f"cannot unpack {label}: the unpacker ended with {status}: {lines[-1]}")
    answer = json.loads(line)
    if "error" in answer:
        raise _ERRORS.get(answer["error"], StoreError)(answer["message"], hint=answer.get("hint"))
    try:
        os.unlink(times)
    except OSError as error:
        raise StoreError(f"cannot unpack {label}: {error.strerror}") from error
    return answer, body


def _run(
    request: dict[str, Any], archive: str, moved: Callable[[int], None] | None
) -> CompletedProcess[bytes]:
    """Run the child. It reads the archive through a description that it shares with us: where it is
    in there tells how far it got."""
    # -I keeps the environment and the current directory of whoever called us out of the child.
    home = os.path.dirname(os.path.dirname(os.path.abspath(rktsd.__file__)))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import rktsd.store.unpacker as u; u.main()"
    )
    command = [sys.executable, "-I", "-c", program, home]
    try:
        descriptor = os.open(archive, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"cannot unpack {request['label']}: {error.strerror}") from error
    before = 0

    def tick() -> None:
        nonlocal before
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        if moved:
            moved(position - before)
        before = position

    try:
        return process.run(
            command,
            input=json.dumps({**request, "archive": descriptor}).encode(),
            check=False,
            pass_fds=(descriptor,),
            tick=tick if moved else None,
        )
    finally:
        os.close(descriptor)
