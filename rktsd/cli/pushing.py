"""``rkt image push``: stored images to registries, layouts and archives."""

import sys

from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed
from rktsd.errors import UsageError


def push(context: Context, parsed: Parsed) -> int:
    """Send an image, and print the digest that it has there."""
    from rktsd.cli.fetching import fetch_options, report
    from rktsd.cli.progress import talk
    from rktsd.images.fetch import Job, called
    from rktsd.images.push import push as push_image
    from rktsd.store.store import Store

    if len(parsed.arguments) != 2:
        raise UsageError("must provide an image and where to push it to")
    reference, destination = parsed.arguments
    told = talk(report)
    with Store.open(context.paths.store) as store:
        record = called(reference, store)
        options = fetch_options(context, "never", watch=told.watch)
        job = Job(store, context.paths, options, told.report)
        digest = push_image(record, destination, job, replace=parsed.values.on("overwrite"))
    sys.stdout.write(f"{digest}\n")
    return 0
