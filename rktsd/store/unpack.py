"""Unpack an untrusted archive into a directory, by a confined child; the parent's side."""

import os
import sys
from dataclasses import asdict
from typing import NamedTuple

import rktsd
from rktsd.errors import BadInput, StoreError, Unsupported
from rktsd.host import process
from rktsd.store.records import Limits
from rktsd.store.tree import mark_opaque, sync_filesystem

_ERRORS = {"BadInput": BadInput, "Unsupported": Unsupported}


class Unpacked(NamedTuple):
    """``digest`` (hex) and ``size`` are those of the uncompressed archive, ``content`` is how many
    bytes its files have."""

    digest: str
    size: int
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
) -> Unpacked:
    """Fill the empty directory ``root`` from ``archive`` and sync it.

    ``kind`` is "aci" (its rootfs/ becomes ``root``) or "oci" (a layer, whiteouts in overlayfs's
    form), ``digest`` the hash to compute over the uncompressed tar ("sha256", "sha512"). ``label``
    names the archive in messages. After an error ``root`` is the caller's to remove, and so is the
    scratch file beside it. Raises BadInput, Unsupported, StoreError.
    """
    import json

    label = archive if label is None else label
    times = f"{os.path.abspath(root)}.times"
    request = {
        "archive": os.path.abspath(archive),
        "root": os.path.abspath(root),
        "times": times,
        "kind": kind,
        "digest": digest,
        "limits": asdict(limits or Limits()),
        "label": label,
    }
    try:
        os.chown(root, 0, 0)
        os.chmod(root, 0o755)
    except OSError as error:
        raise StoreError(f"cannot unpack into {root}: {error.strerror}") from error
    # -I keeps the environment and the current directory of whoever called us out of the child.
    home = os.path.dirname(os.path.dirname(os.path.abspath(rktsd.__file__)))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import rktsd.store.unpacker as u; u.main()"
    )
    command = [sys.executable, "-I", "-c", program, home]
    done = process.run(command, input=json.dumps(request).encode(), check=False)
    line, _, body = done.stdout.partition(b"\n")
    if done.returncode != 0 or not line:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no answer"]
        status = done.returncode
        raise StoreError(f"cannot unpack {label}: the unpacker ended with {status}: {lines[-1]}")
    answer = json.loads(line)
    if "error" in answer:
        raise _ERRORS.get(answer["error"], StoreError)(answer["message"], hint=answer.get("hint"))
    manifest, *opaque = body.split(b"\0")
    try:
        mark_opaque(root, opaque)
        os.unlink(times)
    except OSError as error:
        raise StoreError(f"cannot unpack {label}: {error.strerror}") from error
    sync_filesystem(root)
    return Unpacked(
        answer["digest"], answer["size"], bytes.fromhex(manifest.decode()), answer["content"]
    )
