"""``rkt image inspect``: all that is known of a stored image, and who uses it."""

import json
import sys
from typing import Any

from rktsd.cli import table
from rktsd.cli.arguments import output_format
from rktsd.cli.context import Context
from rktsd.cli.images import shown_name, vouched
from rktsd.cli.parse import Parsed
from rktsd.errors import BadInput, NotFound, UsageError
from rktsd.images.fetch import called
from rktsd.store.records import ImageRecord
from rktsd.store.sizes import size_in_store
from rktsd.store.store import Store


def inspect(context: Context, parsed: Parsed) -> int:
    """Print what is known of images, as text or JSON."""
    if not parsed.arguments:
        raise UsageError("must provide at least one image ID or name")
    style = output_format(parsed.values)
    store = Store.open(context.paths.store)
    found = [called(reference, store) for reference in parsed.arguments]
    users = users_of_images(context, store)
    described = [_describe(store, record, users) for record in found]
    if style is not None:
        sys.stdout.write(table.as_json(described, style))
        return 0
    texts = [_text(record, each) for record, each in zip(found, described, strict=True)]
    sys.stdout.write("\n".join(texts))
    return 0


def users_of_images(context: Context, store: Store) -> dict[str, list[dict[str, str]]]:
    """Image ID → who uses it: pods on disk, pod files, and images that lie on top of it."""
    from rktsd.pods import usage

    found: dict[str, list[dict[str, str]]] = {}
    try:
        for use in usage.of_pods(context.paths):
            name = {"name": use.place.name} if use.place.name else {}
            for image in use.images:
                found.setdefault(image, []).append({"pod": use.place.uuid, **name})
    except BadInput as error:
        context.note(str(error))
    files = usage.of_pod_files(context.paths, store, warn=context.note)
    for image, pods in files.items():
        found.setdefault(image, []).extend({"pod_file": pod} for pod in pods)
    for record in store.images():
        for layer in record.layers:
            if layer != record.id:
                by = {"image": record.id, "name": shown_name(record)}
                found.setdefault(layer, []).append(by)
    return found


def _describe(
    store: Store, record: ImageRecord, users: dict[str, list[dict[str, str]]]
) -> dict[str, Any]:
    sizes = store.layer_sizes()
    return {
        "id": record.id,
        "name": record.name,
        "labels": [{"name": label.name, "value": label.value} for label in record.labels],
        "kind": record.kind,
        "source": record.source,
        "verified_by": record.verified_by,
        "import_time": record.import_time,
        "last_used_time": record.last_used,
        "size": size_in_store(store, record, sizes),
        "transferred": record.size,
        "layers": [{"digest": each, "size": sizes.get(each)} for each in record.layers],
        "blobs": [{"digest": each, "size": store.blob_size(each)} for each in record.blobs],
        "manifest": json.loads(store.manifest_bytes(record.id)),
        "oci_manifest": _extra(store, record, "oci-manifest"),
        "oci_config": _extra(store, record, "oci-config"),
        "used_by": users.get(record.id, []),
    }


def _extra(store: Store, record: ImageRecord, name: str) -> Any:
    try:
        return json.loads(store.manifest_bytes(record.id, extra=name))
    except NotFound:
        return None


def _text(record: ImageRecord, known: dict[str, Any]) -> str:
    app = known["manifest"].get("app") or {}
    rows = [
        ["ID", record.id],
        ["Name", shown_name(record)],
        ["Labels", ", ".join(f"{x.name}={x.value}" for x in record.labels)],
        ["Kind", record.kind],
        ["Source", record.source],
        ["Verified by", vouched(record.verified_by)],
        ["Imported", table.exactly(record.import_time)],
        ["Last used", table.exactly(record.last_used)],
        ["Size", f"{table.size(known['size'])} ({table.size(known['transferred'])} transferred)"],
        ["Exec", " ".join(app.get("exec", []))],
        ["User", f"{app['user']}:{app['group']}" if app else ""],
    ]
    rows += [["Layer", _with_size(each)] for each in known["layers"]]
    rows += [["Archive", _with_size(each)] for each in known["blobs"]]
    rows += [["Used by", _user(each)] for each in known["used_by"]]
    return table.columns([[f"{name}:", value] for name, value in rows if value])


def _with_size(each: dict[str, Any]) -> str:
    size = each["size"]
    return each["digest"] if size is None else f"{each['digest']} ({table.size(size)})"


def _user(each: dict[str, str]) -> str:
    if "pod_file" in each:
        return f"pod file of {each['pod_file']}"
    if "image" in each:
        return f"image {each['name']} ({each['image']})"
    return f"pod {each['pod']}" + (f" ({each['name']})" if "name" in each else "")
