"""``rkt fetch`` without being root: rkt-fetch.socket does it for members of group rkt."""

import array
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

from rktsd import paths
from rktsd.cli.context import Context
from rktsd.cli.parse import AppArguments, Parsed
from rktsd.cli.progress import Talk
from rktsd.errors import BadInput, RktError, StoreError, UsageError
from rktsd.images.progress import Moved
from rktsd.images.references import Kind, parse_reference
from rktsd.pods.locate import configured
from rktsd.services import wire

_ROOTS_OWN = "without being root the system's own configuration and trust apply"


class _Asked(NamedTuple):
    """One image as it is asked for, and the files that are handed over with it."""

    wish: dict[str, object]
    files: list[int]


def possible(context: Context) -> bool:
    """Whether somebody else is to be asked: we are not root, and it is about the system's store."""
    if os.geteuid() == 0 or not os.path.exists(wire.SOCKET):
        return False
    return context.paths.data == configured(paths.Paths()).data


def fetch(context: Context, parsed: Parsed, *, policy: str, told: Talk) -> Iterator[str]:
    """Have images fetched; their IDs as they come. Raises RktError."""
    _check(context)
    with contextlib.ExitStack() as stack:
        asked = [_asked(app, parsed, stack) for app in parsed.apps]
        files = [file for each in asked for file in each.files]
        if len(files) > wire.FILES_LIMIT:
            raise UsageError(f"more than {wire.FILES_LIMIT} files at once")
        connection = stack.enter_context(_connected())
        request = wire.line(policy=policy, images=[each.wish for each in asked])
        if len(request) > wire.REQUEST_LIMIT:
            raise UsageError("too many images at once")
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files).tobytes())
        try:
            sent = connection.sendmsg([request], [rights] if files else [])
            connection.sendall(request[sent:])
            yield from _listen(connection, told)
        except OSError as error:
            raise StoreError(f"{wire.SOCKET}: {error.strerror}") from error


def _check(context: Context) -> None:
    """Refuse what only root may say."""
    if set(context.insecure) - {"none"}:
        raise UsageError(f"--insecure-options: {_ROOTS_OWN}")
    if context.trust_keys_from_https:
        raise UsageError(f"--trust-keys-from-https: {_ROOTS_OWN}")
    usual = (paths.SYSTEM_CONFIG, paths.LOCAL_CONFIG)
    if context.paths.config_dirs() != usual:
        raise UsageError(f"--system-config, --local-config, --user-config: {_ROOTS_OWN}")


def _asked(app: AppArguments, parsed: Parsed, stack: contextlib.ExitStack) -> _Asked:
    reference = parse_reference(app.image, is_file=os.path.isfile)
    wish: dict[str, object] = {"image": app.image}
    platform = app.values.last("platform") or parsed.values.last("platform")
    if platform:
        wish["platform"] = platform
    signature = app.values.last("signature")
    if reference.kind is not Kind.FILE:
        if signature:
            raise BadInput(f"{app.image}: --signature is for local files only")
        return _Asked(wish, [])
    path = os.path.abspath(reference.target)
    files = [_opened(path, stack)]
    if signature or os.path.exists(f"{path}.asc"):
        files.append(_opened(signature or f"{path}.asc", stack))
    return _Asked({**wish, "image": path, "files": len(files)}, files)


def _opened(path: str, stack: contextlib.ExitStack) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    stack.callback(os.close, descriptor)
    return descriptor


def _connected() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(wire.SOCKET)
    except OSError as error:
        connection.close()
        hint = "to store an image needs root, or to be in the group rkt"
        raise StoreError(f"{wire.SOCKET}: {error.strerror}", hint=hint) from error
    return connection


def _listen(connection: socket.socket, told: Talk) -> Iterator[str]:
    bars: dict[object, tuple[contextlib.ExitStack, Moved]] = {}
    with contextlib.ExitStack() as stack:
        for said in wire.lines(connection):
            match said:
                case {"say": str(message)}:
                    told.report(message)
                case {"id": str(image)}:
                    yield image
                case {"begin": [number, str(what), total]} if told.watch:
                    bar = stack.enter_context(contextlib.ExitStack())
                    size = total if isinstance(total, int) else None
                    bars[number] = bar, bar.enter_context(told.watch(what, size))
                case {"moved": [number, int(count)]} if number in bars:
                    bars[number][1](count)
                case {"end": number} if number in bars:
                    bars.pop(number)[0].close()
                case {"done": 0}:
                    return
                case {"done": int(), "error": str(message)}:
                    raise RktError(message)
    raise StoreError(f"{wire.SOCKET}: ended before it was done", hint=_look())


def _look() -> str:
    return "journalctl -u 'rkt-fetch@*' has more"
