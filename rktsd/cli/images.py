"""``rkt image list``, ``rm``, ``gc`` and ``cat-manifest``."""

import sys
from collections.abc import Callable
from dataclasses import replace

from rktsd.cli import table
from rktsd.cli.arguments import none, output_format, span
from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed, Values, truth
from rktsd.errors import NotFound, RktError, UsageError
from rktsd.images.fetch import called
from rktsd.store.records import ImageRecord
from rktsd.store.sizes import size_in_store
from rktsd.store.store import Store

_HEADERS = {
    "id": "ID",
    "name": "NAME",
    "size": "SIZE",
    "importtime": "IMPORT TIME",
    "lastused": "LAST USED",
    "verifiedby": "VERIFIED BY",
}
# What rkt shows, and no more unless it is asked for.
_USUAL = ("id", "name", "size", "importtime", "lastused")
_SORTS: dict[str, Callable[[ImageRecord], str | int]] = {
    "name": lambda record: shown_name(record),
    "importtime": lambda record: record.import_time,
    "lastused": lambda record: record.last_used,
    "size": lambda record: record.size,
}
SHORT_ID = len("sha512-") + 12
_GRACE = 24 * 3600.0


def shown_name(record: ImageRecord) -> str:
    """``name:version``, as lists show it."""
    version = record.label("version")
    return f"{record.name}:{version}" if version else record.name


def vouched(verified_by: str, *, whole: bool = True) -> str:
    """``ImageRecord.verified_by`` in words; unless ``whole``, of a key the end of its number."""
    words = {
        "digest": "its digest",
        "insecure": "nobody (--insecure-options=image)",
        "policy": "nobody (trust.toml)",
        "import": "whoever imported it here",
    }
    if verified_by in words:
        return words[verified_by]
    kind, separator, digest = verified_by.rpartition(":")
    if separator:
        return f"{kind} key {digest if whole else digest[:16]}"
    return f"OpenPGP key {(verified_by if whole else verified_by[-16:]).upper()}"


def list_images(context: Context, parsed: Parsed) -> int:
    """Print the stored images."""
    none(parsed)
    values = parsed.values
    fields = _known(values, "fields", tuple(_HEADERS)) or list(_USUAL)
    records = _sorted(_stored(context), values)
    style = output_format(values)
    if style is not None:
        rows = [
            {
                "id": record.id,
                "name": shown_name(record),
                "import_time": record.import_time,
                "last_used_time": record.last_used,
                "size": record.size,
                "verified_by": record.verified_by,
            }
            for record in records
        ]
        sys.stdout.write(table.as_json(rows, style))
        return 0
    whole = values.on("full")
    lines = [] if values.on("no-legend") else [[_HEADERS[field] for field in fields]]
    for record in records:
        cells = _cells(record, whole)
        lines.append([cells[field] for field in fields])
    sys.stdout.write(table.columns(lines))
    return 0


def _stored(context: Context) -> list[ImageRecord]:
    """The images; their size is that of what they have in the store, archive and tree (rkt)."""
    try:
        store = Store.open(context.paths.store)
    except NotFound:
        return []
    layers = store.layer_sizes()
    return [replace(each, size=size_in_store(store, each, layers)) for each in store.images()]


def _known(values: Values, flag: str, words: tuple[str, ...]) -> list[str]:
    given = [word.strip() for word in values.words(flag)]
    for word in given:
        if word not in words:
            raise UsageError(f'--{flag}: unknown field "{word}", not one of {", ".join(words)}')
        if given.count(word) > 1:
            raise UsageError(f'--{flag}: "{word}" is given more than once')
    return given


def _sorted(records: list[ImageRecord], values: Values) -> list[ImageRecord]:
    order = values.last("order") or "asc"
    if order not in ("asc", "desc"):
        raise UsageError(f'--order: "{order}" is neither asc nor desc')
    keys = [_SORTS[field] for field in _known(values, "sort", tuple(_SORTS))]
    keys = keys or [_SORTS["importtime"]]
    return sorted(records, key=lambda each: [key(each) for key in keys], reverse=order == "desc")


def _cells(record: ImageRecord, whole: bool) -> dict[str, str]:
    show = table.exactly if whole else table.ago
    return {
        "id": record.id if whole else record.id[:SHORT_ID],
        "name": shown_name(record),
        "size": str(record.size) if whole else table.size(record.size),
        "importtime": show(record.import_time),
        "lastused": show(record.last_used),
        "verifiedby": vouched(record.verified_by, whole=whole),
    }


def remove(context: Context, parsed: Parsed) -> int:
    """Remove images; layers that pods stand on stay until the pods are gone."""
    from rktsd.pods.remove import free_images

    if not parsed.arguments:
        raise UsageError("must provide at least one image ID or name")
    store = Store.open(context.paths.store)
    removed = failed = 0
    done: set[str] = set()
    for reference in parsed.arguments:
        try:
            record = called(reference, store)
            store.remove(record.id)
        except RktError as error:
            # The same image given twice, by whatever name, is no mistake (rkt).
            if not any(image.startswith(reference) for image in done):
                context.fail(error)
                failed += 1
            continue
        done |= {record.id, record.name, shown_name(record), reference}
        removed += 1
        sys.stdout.write(f'successfully removed aci for image: "{record.id}"\n')
    if removed:
        free_images(context.paths, store, warn=context.note)
        context.note(f"{removed} image(s) successfully removed")
    if failed:
        context.note(f"{failed} image(s) cannot be removed")
    return 254 if failed else 0


def gc(context: Context, parsed: Parsed) -> int:
    """Remove images that nobody used for a while, and free what nobody needs."""
    from rktsd.pods.remove import collect_images

    none(parsed)
    given, number = parsed.values.last("grace-period"), parsed.values.last("keep")
    keep = None if number is None else _count(number)
    # With --keep alone, that many stay and no more.
    usual = _GRACE if keep is None else None
    grace = usual if given is None else span(given, "grace-period")
    try:
        store = Store.open(context.paths.store)
    except NotFound:
        return 0
    removed, freed = collect_images(context.paths, store, grace=grace, keep=keep, warn=context.note)
    for record in removed:
        line = f'successfully removed aci for image: "{record.id}" ({shown_name(record)})'
        sys.stdout.write(f"{line}\n")
    if freed is None:
        return 254
    context.note(
        f"{len(removed)} image(s), {len(freed.layers)} layer(s), {len(freed.blobs)} archive(s) and"
        f" {freed.temporaries} leftover(s) removed, {table.size(freed.size)} freed"
    )
    return 0


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise UsageError(f'invalid argument "{text}" for --keep: not a number')
    return int(text)


def cat_manifest(context: Context, parsed: Parsed) -> int:
    """Print the manifest of an image."""
    if len(parsed.arguments) != 1:
        raise UsageError("must provide one image ID or name")
    store = Store.open(context.paths.store)
    print_manifest(store.manifest_bytes(called(parsed.arguments[0], store).id), parsed.values)
    return 0


def print_manifest(data: bytes, values: Values, *, source: str = "manifest") -> None:
    """A manifest as it is stored, or indented. Raises BadInput, naming ``source``."""
    from rktsd.appc.cursor import decode_json

    pretty = values.last("pretty-print")
    if pretty is not None and not truth(pretty, "pretty-print"):
        sys.stdout.write(data.decode("utf-8", "replace").rstrip("\n") + "\n")
        return
    sys.stdout.write(table.as_json(decode_json(data, source).value, "json-pretty"))
