"""``rkt image verify``: stored images are still what their archives say."""

import sys

from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed
from rktsd.errors import RktError, UsageError
from rktsd.store.records import ImageRecord
from rktsd.store.store import Store


def verify(context: Context, parsed: Parsed) -> int:
    """Check images against their archives, and repair them."""
    if not parsed.arguments:
        raise UsageError("must provide at least one image ID or name")
    status = 0
    with Store.open(context.paths.store) as store:
        for reference in parsed.arguments:
            try:
                record = store.find(reference)
                if _verify(context, store, record):
                    line = (
                        f'successfully verified checksum for image: "{reference}" ("{record.id}")'
                    )
                    sys.stdout.write(f"{line}\n")
                else:
                    status = 254
            except RktError as error:
                context.fail(error)
                status = error.exit_code
    return status


def _verify(context: Context, store: Store, record: ImageRecord) -> bool:
    """Whether every layer is known to be right, at the latest now."""
    from rktsd.pods.remove import free_images
    from rktsd.store.verify import verify

    whole, repaired = True, list[str]()
    for verdict in verify(store, record):
        if verdict.archive is None:
            why = "its archive is not in the store, so it cannot be checked"
            context.note(f"layer {verdict.layer}: {why}")
            whole = False
        for difference in verdict.differences:
            context.note(f"layer {verdict.layer}: {difference}")
        if verdict.differences:
            context.note(f"layer {verdict.layer}: tree cache verification failed; rebuilt")
            repaired.append(verdict.layer)
    if repaired:
        _tell_pods(context, set(repaired))
        store.close()
        free_images(context.paths, store, warn=context.note)
    return whole


def _tell_pods(context: Context, layers: set[str]) -> None:
    """Who runs on a layer goes on with the old tree: it is not taken from under anybody."""
    from rktsd.errors import BadInput
    from rktsd.pods import usage
    from rktsd.pods.directories import RUN

    try:
        uses = usage.of_pods(context.paths)
    except BadInput as error:
        context.note(str(error))
        return
    pods = sorted(use.place.pod for use in uses if use.place.stage == RUN and use.layers & layers)
    if pods:
        names = ", ".join(pods)
        context.note(f"pods that run keep the old tree until they are started again: {names}")
