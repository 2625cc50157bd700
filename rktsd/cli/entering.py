"""``rkt enter`` and ``rkt exec``: a command in a running app."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from rktsd.cli.arguments import read_uuid_file
from rktsd.cli.context import Context, require_systemd
from rktsd.cli.parse import Parsed
from rktsd.cli.values import environment
from rktsd.errors import UsageError
from rktsd.pods import enter as entry
from rktsd.pods.enter import Entered, Request
from rktsd.pods.processes import choose_app, running_place

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
              signal.SIGUSR2, signal.SIGCONT)  # fmt: skip


def enter(context: Context, parsed: Parsed) -> int:
    """Run a command in an app; exits as it does, with 126 or 127 when it cannot be run."""
    from rktsd.systemd.bus import Bus

    pod, words = _words(parsed)
    require_systemd()
    place = running_place(context.paths, pod)
    app = choose_app(place, parsed.values.last("app"))
    with Bus() as bus:
        if not words:
            words = [entry.shell(bus, place.pod, app)]
            context.note(f'no command specified, assuming "{words[0]}"')
        request = _request(parsed, words)
        with (
            _held_back(),
            entry.entered(bus, context.paths, place.pod, app=app, request=request) as begun,
            _passed_on(begun),
        ):
            _serve_terminal(begun)
            status, complaint = entry.outcome(begun)
    if complaint:
        context.note(complaint)
    return status


def _words(parsed: Parsed) -> tuple[str, list[str]]:
    words = list(parsed.arguments)
    file = parsed.values.last("uuid-file")
    if file is None and not words:
        raise UsageError("exactly one pod has to be given")
    pod = words.pop(0) if file is None else read_uuid_file(file)
    if words[:1] == ["--"]:
        words.pop(0)
    return pod, words


def _request(parsed: Parsed, words: list[str]) -> Request:
    values = parsed.values
    ours = os.isatty(0) and os.isatty(1)
    directory = values.last("working-dir") or ""
    if directory and not directory.startswith("/"):
        raise UsageError(f'--working-dir: "{directory}" is not an absolute path')
    return Request(
        tuple(words),
        terminal=os.environ.get("TERM", "linux") if values.on("tty", default=ours) else "",
        privileged=values.on("privileged"),
        environment=tuple(f"{k}={v}" for k, v in environment(values, "environment").items()),
        directory=directory,
    )


def _serve_terminal(begun: Entered) -> None:
    if begun.terminal is None:
        return
    from rktsd.host import terminal

    ended = os.pidfd_open(begun.process.pid)
    try:
        terminal.copy(begun.terminal, ended)
    finally:
        os.close(ended)


@contextmanager
def _held_back() -> Iterator[None]:
    """Signals wait until there is somebody to pass them on to."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _passed_on(begun: Entered) -> Iterator[None]:
    before = {
        each: signal.signal(each, lambda number, _frame: begun.process.send_signal(number))
        for each in _PASSED_ON
    }
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
