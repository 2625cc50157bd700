"""A small HTTP server for callers that may be hostile: one thread, and a bound for everything.

asyncio and http.server take several times as long to load as all the rest of a service, and whoever
sends its first request waits for that.
"""

from __future__ import annotations

import errno
import os
import select
import time
from _socket import SHUT_WR, socket
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEAD_LIMIT = 8 << 10
BODY_LIMIT = 256 << 10
PLACES = 128
PATIENCE = 5.0
"""Seconds from the connection to the last byte of the answer."""

TEXT = "text/plain; charset=us-ascii"

_READ = 16 << 10
_AT_ONCE = 32
_DISCARD = 1 << 20
_REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 411: "Length Required", 413: "Content Too Large",
    431: "Request Header Fields Too Large", 500: "Internal Server Error",
    503: "Service Unavailable", 505: "HTTP Version Not Supported",
}  # fmt: skip
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Head(NamedTuple):
    """A request without its body, which is ``length`` bytes long, and a ``form`` or something else.

    ``path`` is as it was sent, without the query. ``expects``: the body comes when we ask for it.
    """

    method: str
    path: str
    length: int = 0
    form: bool = False
    expects: bool = False


class Answer(NamedTuple):
    """``allow`` are the methods that would have been right, for status 405."""

    status: int
    body: bytes = b""
    kind: str = TEXT
    allow: str = ""


if TYPE_CHECKING:
    # Called with None for the body first: no answer then means that the body is wanted.
    Respond = Callable[[Head, bytes | None], Answer | None]


def problem(status: int, reason: str) -> Answer:
    """An answer that says in a line what is wrong."""
    return Answer(status, f"{reason}\n".encode("ascii", "replace"))


class _Connection:
    """One request and its answer."""

    __slots__ = ("deadline", "discarded", "head", "outgoing", "received", "socket", "whole")

    def __init__(self, descriptor: int, deadline: float) -> None:
        self.socket = socket(fileno=descriptor)
        self.socket.setblocking(False)
        self.deadline = deadline
        self.received = bytearray()
        self.head: Head | None = None
        self.outgoing = b""
        self.whole = False
        self.discarded = 0


class _Server:
    def __init__(self, respond: Respond, *, patience: float, places: int) -> None:
        self.respond = respond
        self.patience = patience
        self.places = places
        self.poll = select.epoll()
        # In the order of their coming, which is that of their deadlines.
        self.connections: dict[int, _Connection] = {}

    def accept(self, listener: socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                descriptor, _ = listener._accept()  # type: ignore[attr-defined]  # unknown to typeshed
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self.drop_oldest()
                return
            if len(self.connections) >= self.places:
                self.drop_oldest()
            connection = _Connection(descriptor, time.monotonic() + self.patience)
            self.connections[descriptor] = connection
            self.poll.register(descriptor, select.EPOLLIN)
            # Mostly the request is there already.
            self.advance(descriptor)

    def drop_oldest(self) -> None:
        for descriptor in self.connections:
            self.drop(descriptor)
            return

    def drop(self, descriptor: int) -> None:
        self.poll.unregister(descriptor)
        self.connections.pop(descriptor).socket.close()

    def expire(self, now: float) -> None:
        for descriptor, connection in list(self.connections.items()):
            if connection.deadline > now:
                return
            self.drop(descriptor)

    def advance(self, descriptor: int) -> None:
        connection = self.connections[descriptor]
        try:
            done = self._step(connection, descriptor)
        except BlockingIOError:
            return
        except OSError:
            done = True
        if done:
            self.drop(descriptor)

    def _step(self, connection: _Connection, descriptor: int) -> bool:
        """Go on as far as there is something to do. Whether the connection is done with.

        Raises BlockingIOError when there is nothing more for now, OSError when the other side left.
        """
        if connection.outgoing:
            return self._send(connection, descriptor)
        data = connection.socket.recv(_READ)
        if not data:
            return True
        if connection.discarded:
            connection.discarded += len(data)
            return connection.discarded > _DISCARD
        connection.received += data
        answer = self._look(connection)
        if answer is None:
            return False
        connection.outgoing = _encoded(answer)
        return self._send(connection, descriptor)

    def _look(self, connection: _Connection) -> Answer | None:
        """The answer to what has been received so far; None when more has to come."""
        received = connection.received
        if connection.head is None:
            end = received.find(b"\r\n\r\n", 0, HEAD_LIMIT)
            if end < 0:
                too_long = len(received) >= HEAD_LIMIT
                return problem(431, f"more than {HEAD_LIMIT} bytes of head") if too_long else None
            head = parse(bytes(received[:end]))
            if isinstance(head, Answer):
                return head
            answer = self.respond(head, None)
            if answer is not None:
                connection.whole = head.length <= len(received) - end - 4
                return answer
            if head.length > BODY_LIMIT:
                return problem(413, f"more than {BODY_LIMIT} bytes of body")
            del received[: end + 4]
            connection.head = head
            if head.expects and len(received) < head.length:
                connection.socket.send(_CONTINUE)
        if len(received) < connection.head.length:
            return None
        connection.whole = True
        body = bytes(received[: connection.head.length])
        return self.respond(connection.head, body) or problem(500, "no answer")

    def _send(self, connection: _Connection, descriptor: int) -> bool:
        try:
            sent = connection.socket.send(connection.outgoing)
        except BlockingIOError:
            sent = 0
        connection.outgoing = connection.outgoing[sent:]
        if connection.outgoing:
            self.poll.modify(descriptor, select.EPOLLOUT)
            return False
        if connection.whole:
            return True
        # To close with data unread would reset the connection, and take the answer away.
        connection.socket.shutdown(SHUT_WR)
        connection.discarded = 1
        self.poll.modify(descriptor, select.EPOLLIN)
        return False


def serve(
    listeners: Sequence[socket],
    respond: Respond,
    *,
    stop: int,
    idle: float | None = None,
    patience: float = PATIENCE,
    places: int = PLACES,
) -> None:
    """Answer one request of each connection, until ``stop`` is readable or nobody came for ``idle``
    seconds; then those that are under way are brought to their end.

    A connection has ``patience`` seconds for all of it. Of more than ``places`` at once the one
    that has taken the longest is dropped.
    """
    server = _Server(respond, patience=patience, places=places)
    waiting = {listener.fileno(): listener for listener in listeners}
    for descriptor, listener in waiting.items():
        listener.setblocking(False)
        server.poll.register(descriptor, select.EPOLLIN)
    server.poll.register(stop, select.EPOLLIN)
    last = time.monotonic()
    with server.poll:
        while waiting or server.connections:
            until = next((each.deadline for each in server.connections.values()), None)
            if until is None and idle is not None:
                until = last + idle
            timeout = None if until is None else max(0.0, until - time.monotonic()) + 0.001
            for descriptor, _ in server.poll.poll(timeout):
                if descriptor in server.connections:
                    server.advance(descriptor)
                elif descriptor in waiting:
                    server.accept(waiting[descriptor])
                elif descriptor == stop:
                    _close(server, waiting, stop)
            now = time.monotonic()
            server.expire(now)
            if server.connections:
                last = now
            elif idle is not None and now - last >= idle:
                return


def _close(server: _Server, waiting: dict[int, socket], stop: int) -> None:
    server.poll.unregister(stop)
    for descriptor in waiting:
        server.poll.unregister(descriptor)
    waiting.clear()


def parse(data: bytes) -> Head | Answer:
    """The head of a request, or what is wrong with it (RFC 9112)."""
    first, *lines = data.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/"):
        return problem(400, "not a request")
    method, target, version = words
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        return problem(505, "not HTTP/1.0 or HTTP/1.1")
    plain = target.startswith("/") and all("!" <= c <= "~" for c in target)
    if not plain or not (method.isascii() and method.isalpha()):
        return problem(400, "not a request")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        usual = name.isascii() and name.isprintable() and " " not in name
        if not (name and colon and usual) or any(c < " " and c != "\t" for c in value):
            return problem(400, "malformed header field")
        name = name.lower()
        if name in fields and name in ("content-length", "host"):
            return problem(400, f"several fields {name}")
        fields[name] = value.strip(" \t")
    if version == "HTTP/1.1" and "host" not in fields:
        return problem(400, "no field host")
    if "transfer-encoding" in fields:
        return problem(411, "the length of the body has to be given")
    length = fields.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) <= 15):
        return problem(400, "malformed field content-length")
    kind = fields.get("content-type", "").partition(";")[0].strip().lower()
    return Head(
        method,
        target.partition("?")[0],
        int(length),
        form=kind == "application/x-www-form-urlencoded",
        expects=fields.get("expect", "").lower() == "100-continue",
    )


def _encoded(answer: Answer) -> bytes:
    allow = f"Allow: {answer.allow}\r\n" if answer.allow else ""
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
        f"Content-Type: {answer.kind}\r\nContent-Length: {len(answer.body)}\r\n"
        f"{allow}Metadata-Flavor: AppContainer\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + answer.body


def passed() -> list[socket]:
    """The listening sockets that systemd passed to this process (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    return [socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
