"""``rkt export``: what an app left as an image."""

import os
import sys

from rktsd.appc import names
from rktsd.cli.arguments import read_uuid_file
from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed
from rktsd.cli.refetching import shown_id
from rktsd.errors import UsageError
from rktsd.pods import export as exporting
from rktsd.pods import processes, query
from rktsd.pods import spec as specs
from rktsd.store.store import Store


def export(context: Context, parsed: Parsed) -> int:
    """Write the root of an app to a file, or store it under a name and print its ID."""
    values = parsed.values
    words = list(parsed.arguments)
    file = values.last("uuid-file")
    if file is not None:
        words.insert(0, read_uuid_file(file))
    name = values.last("to-store")
    if name is None and (len(words) != 2 or not words[1]):
        raise UsageError("must provide a pod and an output file", hint="or --to-store=NAME")
    if name is not None and len(words) != 1:
        raise UsageError("must provide a pod, and no file with --to-store")
    place = query.find(context.paths, words[0])
    app = processes.choose_app(place, values.last("app"))
    spec = specs.load(place.directory)
    if name is None:
        with exporting.ended(context.paths, place, app, spec=spec) as ended:
            target = os.path.abspath(words[1])
            exporting.to_file(ended, target, replace=values.on("overwrite"))
        return 0
    given = names.parse_image_name(name, where="--to-store")
    with (
        exporting.ended(context.paths, place, app, spec=spec) as ended,
        Store.open(context.paths.store, create=True) as store,
    ):
        record = exporting.to_store(
            ended, store, exporting.renamed(ended.manifest, given.name, given.labels)
        )
    sys.stdout.write(f"{shown_id(record.id, values)}\n")
    return 0
