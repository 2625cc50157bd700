"""Of an app's process what has to be looked up in its image: handlers, signals, standard output."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence

from rktsd.appc.types import App, value_of
from rktsd.stage1.types import SIGTERM, Handler
from rktsd.store.executables import find_executable
from rktsd.store.rootview import RootView

STOP_SIGNAL = "appc.io/docker/stopsignal"

_STREAMS = frozenset(
    f"{place}{name}"
    for place, names in (
        ("/dev/", ("stdout", "stderr")),
        ("/dev/fd/", "12"),
        ("/proc/self/fd/", "12"),
        ("/proc/1/fd/", "12"),
    )
    for name in names
)
_LOGS = "/var/log"
_DEPTH = 3
_ENTRIES = 500


def handlers(view: RootView, app: App, *, mounted: Sequence[str], name: str) -> tuple[Handler, ...]:
    """The event handlers of the app called ``name``. Raises NotFound or BadInput."""
    return tuple(
        Handler(
            each.name,
            find_executable(
                view,
                each.exec[0],
                working_directory=app.working_directory or "/",
                path=value_of("PATH", app.environment),
                mounted=mounted,
                app=name,
            ),
            tuple(each.exec),
        )
        for each in app.event_handlers
    )


def signal_number(text: str) -> int | None:
    """The number of ``SIGQUIT``, ``QUIT``, ``3`` or ``SIGRTMIN+3``; None for no signal."""
    import signal

    if text.isascii() and text.isdigit():
        return int(text) if 0 < int(text) <= signal.SIGRTMAX else None
    found = re.fullmatch(r"(?:SIG)?([A-Z0-9]+)(?:([+-])([0-9]{1,2}))?", text.upper())
    if found is None:
        return None
    number = signal.Signals.__members__.get(f"SIG{found[1]}")
    if number is None or (found[2] and not found[1].startswith("RTM")):
        return None
    value = int(number) + (int(f"{found[2]}{found[3]}") if found[2] else 0)
    return value if 0 < value <= signal.SIGRTMAX else None


def stop_signal(said: int | None, annotations: dict[str, str]) -> int:
    """What the pod says, else the image (an OCI image's StopSignal), else SIGTERM.

    A word in an image that is no signal is none, as for Docker.
    """
    if said is not None:
        return said
    return signal_number(annotations.get(STOP_SIGNAL, "")) or SIGTERM


def logs_to_streams(view: RootView) -> bool:
    """Whether the image has links in /var/log that lead to standard output or error.

    Opened by such a name, what systemd gives a service as its output is an error: it is a socket.
    """
    waiting, looked = [(_LOGS, 0)], 0
    while waiting:
        path, depth = waiting.pop()
        for entry in _entries(view, path):
            looked += 1
            if looked > _ENTRIES:
                return False
            inside = f"{path}/{entry.name}"
            if entry.is_symlink():
                if os.readlink(entry.path) in _STREAMS and _is_link(view, inside):
                    return True
            elif entry.is_dir() and depth < _DEPTH:
                waiting.append((inside, depth + 1))
    return False


def _entries(view: RootView, path: str) -> Iterator[os.DirEntry[str]]:
    for directory in view.directories(path):
        with os.scandir(directory) as found:
            yield from found


def _is_link(view: RootView, path: str) -> bool:
    # A layer above may have replaced it.
    found = view.resolve(path, follow=False)
    return found is not None and stat.S_ISLNK(found.status.st_mode)
