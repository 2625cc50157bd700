"""``rkt fetch``, where it ends at once: what is stored is what its registry has.

To find that out takes less time than to import what could fetch it, so that comes later.
"""

import sys

from rktsd.cli import flags
from rktsd.cli.context import Context, note
from rktsd.cli.parse import Parsed, Values
from rktsd.images.unchanged import unchanged

# All that a fetch may be told without it being another one.
_NO_MATTER = frozenset({"full", "pull-policy", "no-store"})
_SHORT = len("sha512-") + 32


def fetch(context: Context, parsed: Parsed) -> int:
    """Fetch every image that is not stored as its registry has it, and print the IDs of all."""
    found = _unchanged(context, parsed)
    if found is None:
        from rktsd.cli import fetching

        return fetching.fetch(context, parsed)
    for reference, image in found:
        note("image", f"image from {reference} has not changed")
        sys.stdout.write(f"{shown_id(image, parsed.values)}\n")
    return 0


def shown_id(image_id: str, values: Values) -> str:
    """An image ID as commands print it that store one: whole with --full."""
    return image_id if values.on("full") else image_id[:_SHORT]


def _unchanged(context: Context, parsed: Parsed) -> list[tuple[str, str]] | None:
    """References and IDs; None when there is one to fetch, or anything special to do."""
    given = set(parsed.values) - {flag.name for flag in flags.GLOBAL}
    if not parsed.apps or given - _NO_MATTER or any(app.values for app in parsed.apps):
        return None
    if parsed.values.last("pull-policy") not in (None, "update"):
        return None
    found = []
    for app in parsed.apps:
        image = unchanged(app.image, context.paths, insecure=context.insecure)
        if image is None:
            return None
        found.append((app.image, image))
    return found
