"""What is said on /run/rkt/fetch: lines of JSON, and open files beside the first one.

The member asks once: ``{"policy": …, "images": [{"image": …, "platform": …, "files": 0-2}]}``, the
files of all images in order beside it. The service answers with lines of one member each:
``say``, ``begin``, ``moved``, ``end`` (how far it is), ``id`` (an image is stored), and last
``done`` with an exit status, with ``error`` beside it when that is not 0.
"""

import json
import socket
from collections.abc import Iterator

from rktsd.errors import BadInput

SOCKET = "/run/rkt/fetch"
REQUEST_LIMIT = 64 << 10
LINE_LIMIT = 64 << 10
FILES_LIMIT = 32


def line(**members: object) -> bytes:
    """A message."""
    return json.dumps(members, separators=(",", ":")).encode() + b"\n"


def lines(connection: socket.socket) -> Iterator[dict[str, object]]:
    """The messages that come, until the other side ends. Raises BadInput, OSError."""
    buffer = b""
    while data := connection.recv(LINE_LIMIT):
        buffer += data
        while b"\n" in buffer:
            text, _, buffer = buffer.partition(b"\n")
            try:
                found = json.loads(text)
            except ValueError as error:
                raise BadInput(f"{SOCKET}: said what is no JSON") from error
            if not isinstance(found, dict):
                raise BadInput(f"{SOCKET}: said what is no object")
            yield found
        if len(buffer) > LINE_LIMIT:
            raise BadInput(f"{SOCKET}: said a line without end")
