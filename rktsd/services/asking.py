"""Have rkt-fetch.socket fetch images: what stands at the other end of ``services.wire``."""

from __future__ import annotations

import array
import contextlib
import socket

from rktsd.errors import RktError, StoreError, UsageError
from rktsd.services import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rktsd.images.progress import Moved, Watch


def ask(
    wishes: Sequence[Mapping[str, object]],
    files: Sequence[int] = (),
    *,
    policy: str,
    report: Callable[[str], None],
    watch: Watch | None = None,
) -> Iterator[str]:
    """Have images fetched; their IDs as they come. Raises RktError.

    ``wishes`` are the ``images`` of ``services.wire``, ``files`` what is handed over beside them.
    """
    if len(files) > wire.FILES_LIMIT:
        raise UsageError(f"more than {wire.FILES_LIMIT} files at once")
    request = wire.line(policy=policy, images=list(wishes))
    if len(request) > wire.REQUEST_LIMIT:
        raise UsageError("too many images at once")
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files).tobytes())
    with _connected() as connection:
        try:
            sent = connection.sendmsg([request], [rights] if files else [])
            connection.sendall(request[sent:])
            yield from _listen(connection, report, watch)
        except OSError as error:
            raise StoreError(f"{wire.SOCKET}: {error.strerror}") from error


def _connected() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(wire.SOCKET)
    except OSError as error:
        connection.close()
        hint = "to store an image needs root, or to be in the group rkt"
        raise StoreError(f"{wire.SOCKET}: {error.strerror}", hint=hint) from error
    return connection


def _listen(
    connection: socket.socket, report: Callable[[str], None], watch: Watch | None
) -> Iterator[str]:
    bars: dict[object, tuple[contextlib.ExitStack, Moved]] = {}
    with contextlib.ExitStack() as stack:
        for said in wire.lines(connection):
            match said:
                case {"say": str(message)}:
                    report(message)
                case {"id": str(image)}:
                    yield image
                case {"begin": [number, str(what), total]} if watch:
                    bar = stack.enter_context(contextlib.ExitStack())
                    size = total if isinstance(total, int) else None
                    bars[number] = bar, bar.enter_context(watch(what, size))
                case {"moved": [number, int(count)]} if number in bars:
                    bars[number][1](count)
                case {"end": number} if number in bars:
                    bars.pop(number)[0].close()
                case {"done": 0}:
                    return
                case {"done": int(), "error": str(message)}:
                    raise RktError(message)
    hint = "journalctl -u 'rkt-fetch@*' has more"
    raise StoreError(f"{wire.SOCKET}: ended before it was done", hint=hint)
