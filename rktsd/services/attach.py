"""The streams or the terminal of an app, for all who attach to it.

The one process of ours that lives beside an app, and only beside one that asks for it. The app is
never to wait for it longer than for its restart: it reads what the app writes at once, whoever
takes it or not, and systemd keeps what it has open for the one that follows it
(sd_pid_notify_with_fds(3)).
"""

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import sys
import termios
import time

from rktsd.host.packets import CHUNK, ENDED, ERRORS, HELLO, INPUT, OUTPUT, SIZE, SLOW
from rktsd.services.muxed import Client, Mux, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_BACKLOG = 1 << 16
"""Bytes kept for the next client while there is none."""

_WAITING = 1 << 20
"""Bytes that wait for a client before it holds up the app."""

_PATIENCE = 5.0
"""Seconds that it may do so until it has taken everything; then it is given up."""

_PENDING = 1 << 16
"""Bytes that wait for an app which does not read; then clients wait as well."""

_LAST_WORDS = 5.0


def _read(descriptor: int) -> bytes:
    """What there is to read, "" for nothing."""
    try:
        return os.read(descriptor, CHUNK)
    except BlockingIOError:
        return b""
    except OSError as error:
        # Nobody has the terminal open any more.
        if error.errno == errno.EIO:
            return b""
        raise


def _watch(mux: Mux, client: Client) -> None:
    """Be told what of a client matters now."""
    number = client.channel.fileno()
    if client.gone:
        return
    wanted = select.EPOLLOUT if client.waiting else 0
    if not client.leaving and not (client.input and len(mux.pending) > _PENDING):
        wanted |= select.EPOLLIN
    mux.poll.modify(number, wanted)


def _drop(mux: Mux, client: Client) -> None:
    number = client.channel.fileno()
    if mux.clients.pop(number, None) is not None:
        if not client.gone:
            mux.poll.unregister(number)
        client.channel.close()


def _send(mux: Mux, client: Client, packet: bytes) -> None:
    client.waiting.append(packet)
    client.size += len(packet)
    _flush(mux, client)
    if client.size > _WAITING and not client.late:
        client.late = time.monotonic()


def _flush(mux: Mux, client: Client) -> None:
    sent = 0
    try:
        for packet in client.waiting:
            client.channel.send(packet, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            sent += 1
    except BlockingIOError:
        pass
    except OSError:
        _drop(mux, client)
        return
    client.size -= sum(len(packet) for packet in client.waiting[:sent])
    del client.waiting[:sent]
    if not client.waiting:
        client.late = 0.0
    if client.leaving and not client.waiting:
        _drop(mux, client)
    else:
        _watch(mux, client)


def _spread(mux: Mux, packet: bytes) -> None:
    takers = [each for each in mux.clients.values() if packet[0] in each.kinds and not each.leaving]
    for each in takers:
        _send(mux, each, packet)
    if not takers:
        mux.backlog.append(packet)
        mux.kept += len(packet)
        while mux.kept > _BACKLOG:
            mux.kept -= len(mux.backlog.pop(0))


def _arm(mux: Mux, descriptor: int) -> None:
    """Be told what of a stream of the app matters now."""
    wanted = select.EPOLLIN if descriptor in mux.outputs and not mux.held else 0
    if descriptor == mux.input and mux.pending:
        wanted |= select.EPOLLOUT
    mux.poll.modify(descriptor, wanted)


def _hold_up(mux: Mux) -> float:
    """Let the app wait for clients that are late, or not. Returns for how many seconds, or -1."""
    now = time.monotonic()
    for each in [each for each in mux.clients.values() if each.late]:
        if now - each.late >= _PATIENCE:
            each.waiting, each.size, each.late, each.leaving = [SLOW], 0, 0.0, True
            _flush(mux, each)
    late = [each.late for each in mux.clients.values() if each.late]
    if mux.held != bool(late):
        mux.held = bool(late)
        for descriptor in mux.outputs:
            _arm(mux, descriptor)
    return max(0.0, min(late) + _PATIENCE - now) if late else -1


def _pour(mux: Mux) -> None:
    """Give the app what waits for it, as much as it takes."""
    before = len(mux.pending) > _PENDING
    try:
        while mux.pending:
            del mux.pending[: os.write(mux.input, mux.pending[:CHUNK])]
    except BlockingIOError:
        pass
    _arm(mux, mux.input)
    if before != (len(mux.pending) > _PENDING):
        for each in list(mux.clients.values()):
            if each.input:
                _watch(mux, each)
                if each.gone:
                    _hear(mux, each)


def _hear(mux: Mux, client: Client) -> None:
    while not (client.input and len(mux.pending) > _PENDING):
        try:
            packet = client.channel.recv(CHUNK + 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            _drop(mux, client)
            return
        kind, data = packet[:1], packet[1:]
        if kind == HELLO:
            _welcome(mux, client, data.decode(errors="replace").split(","))
        elif kind == INPUT and client.input:
            mux.pending += data
            _pour(mux)
        elif kind == SIZE and mux.slave >= 0 and (client.input or mux.input < 0):
            with contextlib.suppress(OSError):
                fcntl.ioctl(next(iter(mux.outputs)), termios.TIOCSWINSZ, data)
        if client.channel.fileno() < 0:
            return


def _welcome(mux: Mux, client: Client, wanted: "Sequence[str]") -> None:
    for words, kind in ((("stdout", "tty-out"), OUTPUT), (("stderr",), ERRORS)):
        if any(each in wanted for each in words) and kind in mux.outputs.values():
            client.kinds += kind
    client.input = mux.input >= 0 and ("stdin" in wanted or "tty-in" in wanted)
    kept = [each for each in mux.backlog if each[0] in client.kinds]
    mux.backlog = [each for each in mux.backlog if each[0] not in client.kinds]
    mux.kept = sum(len(each) for each in mux.backlog)
    for each in kept:
        _send(mux, client, each)
    if mux.awaited:
        mux.awaited = False
        tell("READY=1")


def _drain(mux: Mux) -> None:
    for descriptor, kind in mux.outputs.items():
        while data := _read(descriptor):
            _spread(mux, kind + data)


def _app_ended(mux: Mux) -> None:
    """Pass on its last words, and how it ended; and leave nothing to the one that may follow it."""
    told = _read(mux.ended).splitlines()
    if not told:
        return
    _drain(mux)
    for each in list(mux.clients.values()):
        if not each.leaving and (each.kinds or each.input):
            each.leaving = True
            _send(mux, each, ENDED + told[-1])
    mux.pending.clear()
    if mux.slave >= 0:
        # What ended has hung up: it takes a new descriptor.
        os.close(mux.slave)
        mux.slave = os.open(f"{mux.directory}/terminal", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        termios.tcflush(mux.slave, termios.TCIFLUSH)
        termios.tcsetattr(mux.slave, termios.TCSANOW, mux.modes)
    elif mux.input >= 0:
        while _read(mux.input):
            pass


def _accept(mux: Mux) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            channel, _ = mux.listener.accept()
            mux.clients[channel.fileno()] = Client(channel)
            mux.poll.register(channel, select.EPOLLIN)


def _serve(mux: Mux, stop: int) -> None:
    """Until we are asked to end."""
    while True:
        found = dict(mux.poll.poll(_hold_up(mux)))
        if stop in found:
            return
        # A new one may get the number of one that leaves meanwhile.
        new = found.pop(mux.listener.fileno(), 0)
        for number, event in found.items():
            if number == mux.ended:
                _app_ended(mux)
            elif number in mux.clients:
                _client(mux, mux.clients[number], event)
            else:
                if number in mux.outputs and event & ~select.EPOLLOUT:
                    data = _read(number)
                    if data:
                        _spread(mux, mux.outputs[number] + data)
                if number == mux.input and event & select.EPOLLOUT:
                    _pour(mux)
        if new:
            _accept(mux)


def _client(mux: Mux, client: Client, event: int) -> None:
    if event & select.EPOLLOUT and client.waiting:
        _flush(mux, client)
    if client.channel.fileno() < 0:
        return
    if event & select.EPOLLIN:
        _hear(mux, client)
    elif event & (select.EPOLLHUP | select.EPOLLERR) and client.leaving:
        _drop(mux, client)
    elif event & (select.EPOLLHUP | select.EPOLLERR):
        # It is gone, and what it left is for later: the app takes no more now.
        mux.poll.unregister(client.channel.fileno())
        client.gone, client.kinds, client.waiting = True, b"", []
        _hear(mux, client)


def _leave(mux: Mux) -> None:
    """Wait until everybody has what is for him, but not for ever."""
    mux.listener.close()
    _app_ended(mux)
    _drain(mux)
    mux.poll = select.epoll()
    for each in [each for each in mux.clients.values() if not each.gone]:
        mux.poll.register(each.channel, select.EPOLLOUT)
        each.leaving = True
        _flush(mux, each)
    while any(not each.gone for each in mux.clients.values()):
        found = mux.poll.poll(_LAST_WORDS)
        if not found:
            return
        for number, _ in found:
            _flush(mux, mux.clients[number])


def main(arguments: "Sequence[str]") -> "NoReturn":
    """``DIRECTORY ENDPOINT... [raw] [awaited]``: serve those of an app (stage1.attachment).

    ``raw``: its terminal passes on bytes as they are. ``awaited``: we are ready when somebody is
    there.
    """
    directory, *words = arguments
    status = 1
    try:
        stop, signalled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(signalled)
        signal.signal(signal.SIGTERM, lambda *_: None)
        mux = Mux(directory, words)
        mux.poll.register(stop, select.EPOLLIN)
        if not mux.awaited:
            tell("READY=1")
        _serve(mux, stop)
        _leave(mux)
        status = 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"<3>{where}{error.strerror or error}\n")
        sys.stderr.flush()
    os._exit(status)
