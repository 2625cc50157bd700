"""``rkt metadata-service``: the service in the foreground, and its key."""

import os
from _socket import AF_INET, SO_REUSEADDR, SO_REUSEPORT, SOCK_STREAM, SOL_SOCKET, socket

from rktsd.cli.arguments import none
from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed
from rktsd.errors import NetworkError, UsageError
from rktsd.pods import metadata

_NOBODY = 65534


def serve(context: Context, parsed: Parsed) -> int:
    """Serve pods on the network of the host until a signal, or make a new key."""
    none(parsed)
    port = _port(parsed.values.last("listen-port"))
    if parsed.values.on("rotate-key"):
        if parsed.values.last("listen-port") is not None:
            raise UsageError("--rotate-key listens nowhere: --listen-port has no meaning with it")
        metadata.rotate_key()
        _begin_anew()
        return 0
    from rktsd.services.http import passed
    from rktsd.services.metadata import IDLE, run

    listeners = passed()
    activated = bool(listeners)
    if not activated:
        listeners = [_listener(port)]
        context.note(f"listening on http://{metadata.ADDRESS}:{port}")
    metadata.make_ready()
    directory = os.open(metadata.OF_HOST, os.O_RDONLY | os.O_DIRECTORY)
    keys = metadata.read_keys()
    # What is open already is all that it takes.
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    run(listeners, directory, keys, idle=IDLE if activated else None)
    return 0


def _port(text: str | None) -> int:
    if text is None:
        return metadata.PORT
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise UsageError(f'invalid argument "{text}" for --listen-port: not a port')
    return int(text)


def _listener(port: int) -> socket:
    listener = socket(AF_INET, SOCK_STREAM)
    listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    # The socket unit listens there as well, when pods ask.
    listener.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
    try:
        listener.bind((metadata.ADDRESS, port))
    except OSError as error:
        listener.close()
        raise NetworkError(
            f"cannot listen on {metadata.ADDRESS}:{port}: {error.strerror}"
        ) from error
    listener.listen(1024)
    return listener


def _begin_anew() -> None:
    """Have the services that run read the key again; no request to them is lost."""
    if not os.path.isdir("/run/systemd/system"):
        return
    from rktsd.systemd.bus import Bus

    with Bus() as bus:
        states = bus.active_states(["rkt-metadata.service", "rkt-metadata@*.service"])
        jobs = [bus.restart(unit) for unit, state in states.items() if state == "active"]
        for job in jobs:
            bus.wait(job)
