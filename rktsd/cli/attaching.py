"""``rkt attach``: the terminal or the streams of a running app."""

import json
import sys

from rktsd.cli.arguments import one_pod
from rktsd.cli.context import Context, require_systemd
from rktsd.cli.parse import Parsed
from rktsd.errors import RktError
from rktsd.pods import attach as attaching
from rktsd.pods.endings import exit_code
from rktsd.pods.processes import choose_app, running_place
from rktsd.stage1 import attachment

_VERSION = 1


def attach(context: Context, parsed: Parsed) -> int:
    """Join an app; exits as it does, or with 0 when we leave it."""
    from rktsd.pods.run import Interrupts, caught

    mode = parsed.values.last("mode") or attaching.AUTO
    keys = attaching.detach_keys(parsed.values.last("detach-keys"))
    require_systemd()
    place = running_place(context.paths, one_pod(parsed))
    app = choose_app(place, parsed.values.last("app"))
    there = attaching.endpoints(context.paths, place.pod, app)
    if mode == attaching.LIST:
        _list(attachment.directory(context.paths.pod_run(place.pod), app), there)
        return 0
    wanted = attaching.chosen(mode, there, app=app)
    interrupts = Interrupts()
    with (
        caught(interrupts),
        attaching.connect(context.paths, place.pod, app) as channel,
    ):
        left = attaching.attach(channel, wanted, keys=keys, over=interrupts.descriptor)
    if interrupts.first:
        return 128 + interrupts.first
    if left.detached:
        return 0
    code = exit_code(place.directory, app) if left.code is None else left.code
    if code is None:
        raise RktError(f'app "{app}" of pod {place.pod} is out of reach', hint="attach again")
    return code


def _list(directory: str, there: list[str]) -> None:
    """rkt's JSON of endpoints; all are at one socket, which is one of packets."""
    names = ["tty" if each == "tty-in" else each for each in there]
    names = [each for each in names if each != "tty-out" or "tty" not in names]
    address = f"{directory}/{attachment.SOCKET}"
    targets = [{"name": each, "domain": "unixpacket", "address": address} for each in names]
    sys.stdout.write(json.dumps({"version": _VERSION, "targets": targets}, indent=4) + "\n")
