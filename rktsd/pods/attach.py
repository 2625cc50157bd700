"""Join the terminal or the streams of an app, as far as it has any for others."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import NamedTuple

from rktsd.errors import NotFound, RktError, UsageError
from rktsd.host import terminal
from rktsd.host.packets import CHUNK, ENDED, ERRORS, HELLO, INPUT, OUTPUT, SIZE, SLOW
from rktsd.paths import Paths
from rktsd.pods.endings import code_of
from rktsd.stage1 import attachment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LIST, AUTO = "list", "auto"
_STREAMS = ("stdin", "stdout", "stderr")
_TERMINAL = {"tty": ("tty-in", "tty-out"), "tty-in": ("tty-in",), "tty-out": ("tty-out",)}
MODES = (LIST, AUTO, *_TERMINAL, *_STREAMS)

DEFAULT_KEYS = "ctrl-p,ctrl-q"
"""As Docker and Podman have it."""

_INPUTS, _OUTPUTS = ("stdin", "tty-in"), ("stdout", "stderr", "tty-out")
_WHERE = {OUTPUT: 1, ERRORS: 2}
_MOMENT = 0.01


class Leaving(NamedTuple):
    """Why we are not attached any more: ``code`` is that of the app that has ended, as of a shell,
    None where nobody told. ``detached``: by the keys, or since there is nothing left to pass on."""

    detached: bool = False
    code: int | None = None


def detach_keys(text: str | None) -> bytes:
    """The bytes of ``ctrl-p,ctrl-q``: single characters, and ctrl- with one; none for "".

    None is for the usual ones. Raises UsageError.
    """
    text, found = DEFAULT_KEYS if text is None else text, b""
    for word in text.split(",") if text else ():
        control = word.removeprefix("ctrl-")
        if len(word) == 1 and word.isascii() and word.isprintable():
            found += word.encode()
        elif control != word and len(control) == 1 and "@" <= control.upper() <= "_":
            found += bytes([ord(control.upper()) & 0x1F])
        else:
            raise UsageError(f'--detach-keys: "{word}" is not a character, or like ctrl-p')
    return found


def endpoints(paths: Paths, pod: str, app: str) -> list[str]:
    """What of an app of a running pod there is to attach to. Raises UsageError for nothing."""
    place = attachment.directory(paths.pod_run(pod), app)
    try:
        with open(f"{place}/{attachment.ENDPOINTS}") as file:
            return file.read().split()
    except FileNotFoundError as error:
        raise UsageError(
            f'app "{app}" of pod {pod} has nothing to attach to',
            hint="it has to ask for that: --stdin, --stdout, --stderr of rkt run; stdin, stdout,"
            " stderr in a pod file",
        ) from error


def chosen(mode: str, there: Sequence[str], *, app: str) -> list[str]:
    """The endpoints that a mode means. Raises UsageError."""
    if mode == AUTO:
        return list(there)
    words = mode.split(",")
    for word in words:
        if word not in MODES:
            raise UsageError(f'--mode: "{word}" is not one of {", ".join(MODES)}')
    if len(words) > 1 and not set(words) <= set(_STREAMS):
        raise UsageError("--mode: only stdin, stdout and stderr can be combined")
    wanted = [each for word in words for each in _TERMINAL.get(word, (word,))]
    if mode == "tty":
        # That of an app that reads nothing is to look at only.
        wanted = [each for each in wanted if each in there] or wanted
    for each in wanted:
        if each not in there:
            raise UsageError(f'app "{app}" has no {each}, only {", ".join(there)}')
    return wanted


def connect(paths: Paths, pod: str, app: str) -> socket.socket:
    """Reach those who hand round the streams of an app. Raises NotFound."""
    place = f"{attachment.directory(paths.pod_run(pod), app)}/{attachment.SOCKET}"
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        channel.connect(place)
    except OSError as error:
        channel.close()
        raise NotFound(f'app "{app}" of pod {pod} does not run') from error
    return channel


def connect_when_there(paths: Paths, pod: str, app: str, over: int) -> socket.socket | None:
    """The same while the pod is being started; None when ``over`` becomes readable before."""
    while not select.select([over], [], [], _MOMENT)[0]:
        with contextlib.suppress(NotFound):
            return connect(paths, pod, app)
    return None


def attach(
    channel: socket.socket, wanted: Sequence[str], *, keys: bytes, over: int, end: bytes = b""
) -> Leaving:
    """Pass on what we read, and what the app writes, until it ends, we detach, or all is done.

    When ``over`` becomes readable what is there is still passed on. A terminal of the app has ours
    raw meanwhile; there ``keys`` detach us, and ``end`` is said when our input ends. Raises
    RktError when we were too slow.
    """
    channel.setblocking(False)
    ours = any(each in _TERMINAL for each in wanted)
    typed = ours and any(each in _INPUTS for each in wanted) and os.isatty(0)
    channel.send(HELLO + ",".join(wanted).encode())
    with contextlib.ExitStack() as stack:
        if ours and os.isatty(1):
            stack.enter_context(terminal.size_follows(lambda size: _tell_size(channel, size)))
        if typed:
            stack.enter_context(terminal.raw(0))
        return _pass_on(channel, wanted, keys=keys if typed else b"", over=over, end=end)


def _tell_size(channel: socket.socket, size: bytes) -> None:
    channel.send(SIZE + size)


def _pass_on(
    channel: socket.socket, wanted: Sequence[str], *, keys: bytes, over: int, end: bytes
) -> Leaving:
    reading = any(each in _INPUTS for each in wanted)
    listening = any(each in _OUTPUTS for each in wanted)
    held = waiting = b""
    while True:
        sources: list[socket.socket | int] = [channel, over]
        if reading and not waiting:
            sources.append(0)
        readable, writable, _ = select.select(sources, [channel] if waiting else [], [])
        if channel in readable:
            leaving = _receive(channel)
            if leaving is not None:
                return leaving
        elif over in readable:
            return Leaving()
        if writable and _sent(channel, waiting):
            waiting = b""
        if 0 in readable:
            data = terminal.read(0, CHUNK)
            typed, held, found = divided(held + data, keys)
            if not data:
                reading, typed, held = False, held + end, b""
            waiting = b"" if not typed or _sent(channel, typed) else typed
            if found:
                # The cursor may be anywhere.
                terminal.write(1, b"\r\n")
                return Leaving(detached=True)
        if not (reading or listening or waiting):
            return Leaving(detached=True)


def divided(data: bytes, keys: bytes) -> tuple[bytes, bytes, bool]:
    """What of the typed ``data`` is to be passed on now, what may be the beginning of ``keys``, and
    whether they are there."""
    if not keys:
        return data, b"", False
    before, found, _ = data.partition(keys)
    if found:
        return before, b"", True
    longest = min(len(keys) - 1, len(data))
    length = next((n for n in range(longest, 0, -1) if data.endswith(keys[:n])), 0)
    return data[: len(data) - length], data[len(data) - length :], False


def _sent(channel: socket.socket, data: bytes) -> bool:
    """Whether it could be sent; when the other side is gone it need not be."""
    try:
        channel.send(INPUT + data)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _receive(channel: socket.socket) -> Leaving | None:
    try:
        packet = channel.recv(CHUNK + 1)
    except BlockingIOError:
        return None
    except OSError:
        packet = b""
    kind, data = packet[:1], packet[1:]
    if kind in _WHERE:
        terminal.write(_WHERE[kind], data)
        return None
    if kind == SLOW:
        raise RktError("output of the app was lost: it came faster than it was taken here")
    if kind == ENDED:
        result, code, status = data.decode(errors="replace").split(" ")
        return Leaving(code=code_of((result, code, status)))
    return Leaving()
