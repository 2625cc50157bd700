"""``rkt cp``: files into an app and out of it."""

import os
import re

from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed
from rktsd.errors import UsageError
from rktsd.pods import approot, copy, processes, query
from rktsd.pods import spec as specs
from rktsd.pods.spec import PodSpec
from rktsd.store.rootview import RootView
from rktsd.store.users import lookup_user

_POD = re.compile(r"([a-z0-9][a-z0-9@-]*):(?:([a-z0-9-]+):)?(.*)", re.DOTALL)


def cp(context: Context, parsed: Parsed) -> int:
    """Copy a file or directory, or a tar stream."""
    if len(parsed.arguments) != 2 or not all(parsed.arguments):
        raise UsageError("must provide what to copy and where to")
    source, target = parsed.arguments
    places = [_POD.fullmatch(word) for word in (source, target)]
    outwards = places[0] is not None
    match = places[0] or places[1]
    if match is None:
        raise UsageError("neither of the two is in a pod", hint="write POD:APP:PATH, or POD:PATH")
    if all(places):
        raise UsageError("one of the two has to be on this machine", hint="./NAME has a colon")
    place = query.find(context.paths, match[1])
    app = processes.choose_app(place, match[2])
    outer = target if outwards else source
    spec = specs.load(place.directory)
    archive = parsed.values.on("archive")
    inner = f"/{match[3].lstrip('/')}"
    with approot.located(context.paths, place, app, spec=spec) as root:
        if outwards:
            wish = copy.Wish(root, inner, outer, None if archive else (os.geteuid(), os.getegid()))
            devices = copy.copy_out(wish, 1)
            if devices:
                context.note(f"left out devices: {devices} (--archive copies them)")
        else:
            wish = copy.Wish(root, inner, outer, None if archive else _owner(context, spec, app))
            copy.copy_in(wish, 0)
    return 0


def _owner(context: Context, spec: PodSpec, app: str) -> tuple[int, int]:
    """Whom the app runs as."""
    section = next(each.app for each in spec.manifest.apps if each.name == app)
    image = spec.images[app]
    if section is None:
        return 0, 0
    layers = tuple(f"{context.paths.store}/layers/{layer}" for layer in image.layers)
    found = lookup_user(
        RootView(layers),
        section.user,
        group=section.group,
        docker=image.kind == "oci",
        app=app,
    )
    return found.uid, found.gid
