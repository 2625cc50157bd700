"""Mounts and ports in one string, as Docker and Podman take them on the command line."""

from __future__ import annotations

import re

from rktsd.appc import names, read
from rktsd.appc.cursor import Cursor
from rktsd.appc.types import Mount, Port, PublishedPort, Volume

_PORT = re.compile(
    r"(?:(?:(?P<ip>\[[0-9A-Fa-f:.]+\]|[0-9.]+):)?(?P<host>[0-9]{1,5}):)?(?P<port>[0-9]{1,5})"
    r"(?:/(?P<protocol>tcp|udp))?"
)
_OPTIONS = {"ro": False, "rw": False, "rbind": True, "norbind": True}


def mount(place: Cursor, *, app: str, number: int, volumes: dict[str, Volume]) -> Mount:
    """``/SOURCE:/PATH[:OPTION,...]``, ``VOLUME:/PATH[:OPTION,...]``, or ``/PATH`` for an empty one.

    Options are ro, rw, rbind and norbind. A volume that is not in ``volumes`` is called after the
    app and the ``number`` of the mount. Raises BadInput.
    """
    source, colon, rest = place.line().partition(":")
    target, _, options = rest.partition(":") if colon else (source, "", "")
    if not target.startswith("/") or (colon and not source):
        raise place.wrong("like /SOURCE:/PATH:ro, VOLUME:/PATH or /PATH")
    words = options.split(",") if options else []
    for word in words:
        if word not in _OPTIONS:
            raise place.problem(f"unknown option {word}", hint=", ".join(_OPTIONS))
    read_only = "ro" in words
    if ("rw" in words and read_only) or {"rbind", "norbind"} <= set(words):
        raise place.problem("two options that exclude each other")
    if colon and not source.startswith("/"):
        names.check_ac_name(source, place.where)
        if source not in volumes:
            hint = f'add a [[volume]] with name = "{source}", or write a whole path'
            raise place.problem(f"the pod has no volume {source}", hint=hint)
        own = _restricted(volumes[source], words) if words else None
        return Mount(source, target, own)
    name = f"{app}-{number}"
    volume = Volume(name, "host", source=source) if colon else Volume(name, "empty")
    return Mount(name, target, _restricted(volume, words))


def _restricted(volume: Volume, words: list[str]) -> Volume:
    from dataclasses import replace

    if "ro" in words or "rw" in words:
        volume = replace(volume, read_only="ro" in words)
    if "rbind" in words or "norbind" in words:
        volume = replace(volume, recursive="rbind" in words)
    return volume


def port(place: Cursor) -> tuple[Port, PublishedPort | None]:
    """``[[IP:]HOST_PORT:]PORT[/PROTOCOL]``: a port of the app, and how it is published if it is.

    Raises BadInput.
    """
    found = _PORT.fullmatch(place.line())
    if found is None:
        raise place.wrong("like 8080:80, 127.0.0.1:8080:80/tcp or 80/udp")
    number, protocol = _number(place, found["port"]), found["protocol"] or "tcp"
    own = Port(f"{number}-{protocol}", protocol, number)
    if found["host"] is None:
        return own, None
    address = found["ip"].strip("[]") if found["ip"] else None
    if address is not None:
        read.address(place._replace(value=address))
    host = _number(place, found["host"])
    return own, PublishedPort(own.name, host, address, pod_port=own)


def _number(place: Cursor, text: str) -> int:
    return read.port_number(place._replace(value=int(text)))
