"""``rkt volume list``, ``inspect``, ``rm`` and ``prune``."""

import sys
from typing import Any

from rktsd.cli import table
from rktsd.cli.arguments import none, output_format
from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed
from rktsd.errors import RktError, UsageError
from rktsd.pods import volumes
from rktsd.pods.volumes import NamedVolume, User


def list_volumes(context: Context, parsed: Parsed) -> int:
    """Print the named volumes."""
    none(parsed)
    found = volumes.all_volumes(context.paths, warn=context.note)
    style = output_format(parsed.values)
    if style is not None:
        sys.stdout.write(table.as_json([_described(each) for each in found], style))
        return 0
    rows = [] if parsed.values.on("no-legend") else [["NAME", "CREATED", "USED BY"]]
    rows += [[each.name, table.ago(each.created), _users(each)] for each in found]
    sys.stdout.write(table.columns(rows))
    return 0


def inspect(context: Context, parsed: Parsed) -> int:
    """Print all that is known of volumes."""
    names = _given(parsed)
    found = [volumes.find(context.paths, name, warn=context.note) for name in names]
    style = output_format(parsed.values)
    if style is not None:
        described = [{**_described(each), "size": volumes.size(each)} for each in found]
        sys.stdout.write(table.as_json(described, style))
        return 0
    sys.stdout.write("\n".join(_text(each, volumes.size(each)) for each in found))
    return 0


def rm(context: Context, parsed: Parsed) -> int:
    """Remove volumes; carry on with the others when one cannot be."""
    status = 0
    for name in _given(parsed):
        try:
            volumes.remove(context.paths, name)
        except RktError as error:
            context.fail(error)
            status = error.exit_code
            continue
        sys.stdout.write(f'"{name}"\n')
    return status


def prune(context: Context, parsed: Parsed) -> int:
    """Remove the volumes that nobody uses."""
    none(parsed)
    for name in volumes.prune(context.paths, warn=context.note):
        sys.stdout.write(f'"{name}"\n')
    return 0


def _given(parsed: Parsed) -> tuple[str, ...]:
    if not parsed.arguments:
        raise UsageError("must provide at least one volume")
    return tuple(parsed.arguments)


def _described(volume: NamedVolume) -> dict[str, Any]:
    return {
        "name": volume.name,
        "path": volume.path,
        "created_at": volume.created,
        "created_by": volume.made_by,
        "used_by": [_user(each) for each in volume.users],
    }


def _user(user: User) -> dict[str, str]:
    if user.uuid is None or user.state is None:
        return {"pod_file": user.pod}
    return {"pod": user.pod, "uuid": user.uuid, "state": user.state}


def _users(volume: NamedVolume) -> str:
    """Pods that run or are prepared, and pod files: what ended is not worth a column."""
    found = [user.pod for user in volume.users if user.holds or user.uuid is None]
    return ", ".join(dict.fromkeys(found))


def _text(volume: NamedVolume, size: int) -> str:
    rows = [
        ["Name:", volume.name],
        ["Path:", volume.path],
        ["Created:", table.exactly(volume.created)],
        ["Created by:", f"pod {volume.made_by}" if volume.made_by else "unknown"],
        ["Size:", table.size(size)],
    ]
    for user in volume.users:
        whom = f"pod file of {user.pod}"
        if user.uuid is not None:
            name = "" if user.pod == user.uuid else f" ({user.pod})"
            whom = f"pod {user.uuid}{name}, {user.state}"
        rows.append(["Used by:", whom])
    return table.columns(rows)
