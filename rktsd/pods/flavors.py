"""What a pod of the flavor fly cannot be, refused before anything starts; and what it may do.

rkt's fly left out without a word what it could not do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rktsd.appc import isolators
from rktsd.appc.types import App
from rktsd.config.flavors import FLY
from rktsd.errors import Unsupported
from rktsd.pods.options import PodOptions
from rktsd.stage1.types import Launcher

HOST = ("host",)


def settled(options: PodOptions) -> PodOptions:
    """The options with what the flavor makes of those that are not given. Raises Unsupported."""
    if options.stage1 != FLY:
        return replace(options, networks=options.networks or ("default",))
    for field, reason in _contradictions(options):
        raise Unsupported(f"{field}: with stage1 fly {reason}", hint="stage1 nspawn can do that")
    return replace(options, networks=HOST, ipc="parent" if options.ipc == "auto" else options.ipc)


def _contradictions(options: PodOptions) -> Iterator[tuple[str, str]]:
    """(field, why not)"""
    if options.networks not in (None, HOST):
        yield "network", "apps have the network of the host"
    if options.hostname is not None:
        yield "hostname", "apps have the name of the host"
    if options.private_users:
        yield "private-users", "apps have the users of the host"
    if options.pid == "shared":
        yield "pid", "apps see all processes of the host"
    if options.register:
        yield "register", "there is no machine that could be registered"
    if options.shm_size is not None and options.ipc != "private":
        yield "shm-size", 'apps have the /dev/shm of the host, unless ipc is "private"'
    for name, app in options.apps.items():
        if app.output == "tty":
            yield f"app {name}: output", "nothing stays that could hold a terminal"


def freedoms(app: App, launcher: Launcher | None) -> frozenset[str]:
    """What an app of fly does without: all that its manifest says nothing of."""
    said = {each.name for each in app.isolators}
    found = {"paths"}
    if not said & {isolators.CAPABILITIES_RETAIN, isolators.CAPABILITIES_REMOVE}:
        found.add("capabilities")
    if launcher is None or not launcher.filters:
        found.add("seccomp")
    return frozenset(found)
