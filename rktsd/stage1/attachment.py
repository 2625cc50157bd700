"""The streams of an app that others attach to, and the one unit that hands them round. Pure.

``services.attach`` is what that unit executes. It is wanted by the app and stopped when nobody
wants it any more, so it lives across restarts of the app and keeps no pod up. Required it must not
be: systemd would restart the app together with it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rktsd import paths
from rktsd.config.flavors import FLY
from rktsd.systemd import names

if TYPE_CHECKING:
    from rktsd.stage1.types import AppFacts, PodFacts, UnitPlan
    from rktsd.systemd.bus import Property

SOCKET = "socket"
TERMINAL = "terminal"
ENDED = "ended"
ENDPOINTS = "endpoints"

_PROGRAM = f"{paths.LIBEXEC}/attach-app"
_STORED = 8


def directory(run_directory: str, app: str) -> str:
    """Where the socket of an attachable app is, its FIFOs, and the way to its terminal."""
    return f"{run_directory}/attach/{app}"


def endpoints(facts: AppFacts) -> list[str]:
    """What of an app can be attached to, in rkt's words; tty-in is left out of a mute terminal."""
    streams = facts.streams
    if streams is None:
        return []
    if streams.terminal:
        return ["tty-in", "tty-out"] if streams.stdin == "tty" else ["tty-out"]
    given = {"stdin": streams.stdin, "stdout": streams.stdout, "stderr": streams.stderr}
    return [name for name, kind in given.items() if kind == "stream"]


def unit(pod: PodFacts, facts: AppFacts) -> UnitPlan:
    """The unit beside an attachable app."""
    name, streams = facts.runtime.name, facts.streams
    assert streams is not None
    words = [_PROGRAM, directory(pod.run_directory, name), *endpoints(facts)]
    # systemd-nspawn has another terminal for the app, which is the one that minds what keys mean.
    if streams.terminal and pod.flavor != FLY:
        words.append("raw")
    if streams.awaited:
        words.append("awaited")
    return {
        "name": names.attach_unit(pod.name, name),
        "properties": [
            ("Description", "s", f"Streams of {name} of pod {pod.name}"),
            ("Slice", "s", names.pod_slice(pod.name)),
            ("CollectMode", "s", "inactive-or-failed"),
            ("StopWhenUnneeded", "b", True),
            ("Type", "s", "notify"),
            # systemd keeps what it has open: killed, it comes back, and the app notices nothing.
            ("FileDescriptorStoreMax", "u", _STORED),
            ("Restart", "s", "on-failure"),
            ("StartLimitIntervalUSec", "t", 0),
            ("ExecStart", "a(sasb)", [(_PROGRAM, words, False)]),
        ],
    }


def dependencies(pod: PodFacts, facts: AppFacts) -> list[Property]:
    """What the unit of an app has to have."""
    if not endpoints(facts):
        return []
    helper = [names.attach_unit(pod.name, facts.runtime.name)]
    return [("Wants", "as", helper), ("After", "as", helper)]


def directories(pod: PodFacts, facts: AppFacts) -> Iterable[tuple[str, int, int, int]]:
    """(path, mode, uid, gid): nobody but root gets there."""
    if endpoints(facts):
        yield f"{pod.run_directory}/attach", 0o700, 0, 0
        yield directory(pod.run_directory, facts.runtime.name), 0o700, 0, 0


def files(pod: PodFacts, facts: AppFacts) -> Iterable[tuple[str, str]]:
    """What tells commands what there is to attach to."""
    found = endpoints(facts)
    if found:
        place = directory(pod.run_directory, facts.runtime.name)
        yield f"{place}/{ENDPOINTS}", "".join(f"{each}\n" for each in found)


def record(pod: PodFacts, facts: AppFacts) -> list[str]:
    """What the program that records the end of an app is to be told besides."""
    if not endpoints(facts):
        return []
    return [f"{directory(pod.run_directory, facts.runtime.name)}/{ENDED}"]


def script_line(pod: PodFacts, facts: AppFacts) -> str:
    """Words of a shell that give its streams to what it becomes.

    A terminal that is opened for reading becomes that of our session.
    """
    streams, place = facts.streams, directory(pod.run_directory, facts.runtime.name)
    if streams is None:
        return ""
    if streams.terminal:
        path = shlex.quote(f"{place}/{TERMINAL}")
        return f"exec <>{path} >&0 2>&0\n" if streams.stdin == "tty" else f"exec 1<>{path} 2>&1\n"
    words = []
    for sign, name, kind in (
        ("<", "stdin", streams.stdin),
        (">", "stdout", streams.stdout),
        ("2>", "stderr", streams.stderr),
    ):
        if kind == "stream":
            words.append(f"{sign}{shlex.quote(f'{place}/{name}')}")
        elif kind == "null" and name != "stdin":
            words.append(f"{sign}/dev/null")
    return f"exec {' '.join(words)}\n" if words else ""
