"""``rkt image export``, ``extract`` and ``render``: images out of the store."""

import os
from typing import TYPE_CHECKING

from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed
from rktsd.errors import BadInput, StoreError, UsageError
from rktsd.host.files import arriving

if TYPE_CHECKING:
    from rktsd.store.records import ImageRecord
    from rktsd.store.store import Store


def export(context: Context, parsed: Parsed) -> int:
    """Write an image to a file, as an uncompressed ACI."""
    from rktsd.store.export import archive

    store, record, target = _asked(context, parsed, "an output file")
    if record.kind != "aci":
        context.note(f"{record.name} is an OCI image: what is written is an ACI with another ID")
    if os.path.lexists(target) and not parsed.values.on("overwrite"):
        raise BadInput("output ACI file exists (try --overwrite)")
    with arriving(target, replace=True) as file:
        for piece in archive(store, record):
            file.write(piece)
    return 0


def extract(context: Context, parsed: Parsed) -> int:
    """Write an image alone to a directory."""
    return _write_directory(context, parsed, alone=True)


def render(context: Context, parsed: Parsed) -> int:
    """Write an image with all that it depends on to a directory."""
    return _write_directory(context, parsed, alone=False)


def _write_directory(context: Context, parsed: Parsed, *, alone: bool) -> int:
    from rktsd.store.export import extract
    from rktsd.store.tree import remove_tree

    store, record, target = _asked(context, parsed, "an output directory")
    bare = parsed.values.on("rootfs-only")
    old = None
    if os.path.lexists(target):
        if not parsed.values.on("overwrite"):
            raise BadInput("output directory exists (try --overwrite)")
        if os.path.realpath(target) == "/":
            raise BadInput("this would delete your root filesystem. Refusing.")
        old = f"{target}.{os.getpid()}.old"
    made = f"{target}.{os.getpid()}.made" if old else target
    extract(store, record, made, alone=alone, bare=bare)
    if old:
        try:
            os.rename(target, old)
            os.rename(made, target)
        except OSError as error:
            remove_tree(made)
            raise StoreError(f"cannot replace {target}: {error.strerror}") from error
        remove_tree(old)
    return 0


def _asked(context: Context, parsed: Parsed, what: str) -> "tuple[Store, ImageRecord, str]":
    """The image and the absolute path that a command is about."""
    from rktsd.images.fetch import called
    from rktsd.store.store import Store

    if len(parsed.arguments) != 2 or not parsed.arguments[1]:
        raise UsageError(f"must provide an image and {what}")
    store = Store.open(context.paths.store)
    return store, called(parsed.arguments[0], store), os.path.abspath(parsed.arguments[1])
