"""``rkt image push``: stored images to registries, layouts and archives."""

import os
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
    _require_store(context)
    told = talk(report)
    with Store.open(context.paths.store) as store:
        record = called(reference, store)
        options = fetch_options(context, "never", watch=told.watch)
        job = Job(store, context.paths, options, told.report)
        digest = push_image(record, destination, job, replace=parsed.values.on("overwrite"))
    sys.stdout.write(f"{digest}\n")
    return 0


def _require_store(context: Context) -> None:
    """Raises UsageError for whoever may not make scratch files in the store."""
    scratch = f"{context.paths.store}/tmp"
    # Where there is no store at all, the image is what is missing.
    if not os.access(scratch, os.W_OK) and not _is_absent(scratch):
        raise UsageError(
            "cannot run as unprivileged user: what is sent is put together in the store, where only"
            " root may write",
            hint="run it as root, who needs the credentials: sudo rkt login",
        )


def _is_absent(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
