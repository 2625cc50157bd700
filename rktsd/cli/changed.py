"""``rkt diff``: what an app changed in its root."""

import sys

from rktsd.cli import table
from rktsd.cli.arguments import one_pod, output_format
from rktsd.cli.context import Context, one_line
from rktsd.cli.parse import Parsed
from rktsd.pods import query
from rktsd.pods.changes import ADDED, CHANGED, DELETED, changes
from rktsd.pods.processes import choose_app

_LETTERS = {ADDED: "A", CHANGED: "C", DELETED: "D"}


def diff(context: Context, parsed: Parsed) -> int:
    """A line for each path, as of Docker and Podman, or JSON."""
    style = output_format(parsed.values)
    place = query.find(context.paths, one_pod(parsed))
    found = changes(context.paths, place, choose_app(place, parsed.values.last("app")))
    if style is not None:
        described = [{"path": each.path, "change": each.kind} for each in found]
        sys.stdout.write(table.as_json(described, style))
        return 0
    sys.stdout.writelines(f"{_LETTERS[each.kind]} {one_line(each.path)}\n" for each in found)
    return 0
