"""Keys of Quadlet's [Container] and [Pod] alike: volumes, ports, networks, names, users."""

from __future__ import annotations

import os
from functools import partial

from rktsd.appc.cursor import Cursor
from rktsd.errors import RktError
from rktsd.generate import podman
from rktsd.generate.draft import (
    Draft,
    app_name,
    append,
    doubt,
    member,
    put,
    put_mount,
    put_variables,
    tell,
)
from rktsd.generate.keys import Handler, To, parsed, quantity, several, text
from rktsd.generate.unitfile import read_unit
from rktsd.host.files import read_limited

_MAX_FILE = 1 << 20


def mount(to: To, found: podman.Mounted, at: Cursor) -> None:
    """A mount of an app, with the volume that it needs."""
    if not found.source and found.kind != "tmpfs":
        append(to.draft, to.app, "mounts", found.target, at)
        return
    source = found.source
    options = f":{','.join(found.options)}" if found.options else ""
    if found.kind == "bind":
        if source.startswith("."):
            source = os.path.normpath(f"{to.unit.directory}/{source}")
        if not source.startswith("/"):
            tell(to.draft, at, "not a whole path")
            return
    else:
        try:
            table = _in_memory(to, found, at) if found.kind == "tmpfs" else _named(to, source, at)
        except RktError as error:
            tell(to.draft, at, str(error).removeprefix(f"{at.where}: "))
            return
        put_mount(to.draft, to.app, table, f"{found.target}{options}", at)
        return
    append(to.draft, to.app, "mounts", f"{source}:{found.target}{options}", at)


def _in_memory(to: To, found: podman.Mounted, at: Cursor) -> dict[str, object]:
    name = app_name(f"{to.app}-{found.target.strip('/') or 'root'}", at)
    table = {"name": name, "kind": "tmpfs", "mode": found.mode or "1777", "size": found.size}
    return {key: value for key, value in table.items() if value is not None}


def _named(to: To, source: str, at: Cursor) -> dict[str, object]:
    """A named volume; one with a .volume file is called as that says."""
    if "/" in source:
        raise at.problem("neither a whole path nor the name of a volume")
    table: dict[str, object] = {}
    called = source
    if source.endswith(".volume"):
        called = source.removesuffix(".volume")
        path = to.unit.beside(source)
        if not os.path.isfile(path):
            doubt(to.draft, at, f"{path} is not there: a named volume {called}")
        else:
            unit = read_unit(path)
            for key, given in unit.sections.get("Volume", {}).items():
                for each in given[-1:]:
                    if key == "VolumeName":
                        called = each.text
                    elif key in ("User", "Group") and each.text.isdecimal():
                        table["uid" if key == "User" else "gid"] = int(each.text)
                    elif key not in ("Copy", "Label"):
                        tell(to.draft, each.at, "a named volume is a directory of this machine")
    name = app_name(called, at)
    return {"name": name, "kind": "named", "source": name, **table}


def _mounts(to: To, key: str) -> None:
    read = {"Volume": podman.volume, "Mount": podman.mount, "Tmpfs": podman.tmpfs}[key]
    for found, at in parsed(to, key, read):
        assert isinstance(found, podman.Mounted)
        mount(to, found, at)


def _devices(to: To, key: str) -> None:
    for given in to.given(key):
        source, _, rest = given.text.partition(":")
        target, _, rights = rest.partition(":")
        if target and not target.startswith("/"):
            target, rights = "", target
        if source.startswith("-"):
            doubt(to.draft, given.at, "a device that is missing is an error")
            source = source[1:]
        options = ":ro" if rights and "w" not in rights else ""
        append(to.draft, to.app, "mounts", f"{source}:{target or source}{options}", given.at)


def publish_port(draft: Draft, app: str, found: podman.Published, at: Cursor) -> None:
    """A port of the app; a second one of the host that leads to it too is one of the pod's."""
    word = podman.port_word(found)
    own = f"{found.port}" + ("" if found.protocol == "tcp" else "/udp")
    ports = draft.apps[app].get("ports")
    taken = [str(x) for x in ports] if isinstance(ports, list) else []
    if not any(each == own or each.endswith(f":{own}") for each in taken):
        append(draft, app, "ports", word, at)
        return
    if found.host and word not in taken:
        table: dict[str, object] = {
            "name": f"{found.port}-{found.protocol}",
            "host-port": found.host,
        }
        if found.address:
            table["host-ip"] = found.address.strip("[]")
        append(draft, None, "port", table, at)


def _ports(to: To, key: str) -> None:
    read = podman.ports if key == "PublishPort" else podman.exposed
    for found, at in parsed(to, key, lambda word: list(read(word))):
        assert isinstance(found, list)
        for each in found:
            publish_port(to.draft, to.app, each, at)


def _network(to: To, key: str) -> None:
    for given in to.given(key):
        kind, colon, _ = given.text.partition(":")
        if kind in ("host", "none") and not colon:
            put(to.draft, None, "network", [kind], given.at)
        elif given.text in ("bridge", "podman", "private", "pasta", "slirp4netns"):
            continue
        elif kind in ("container", "ns") or kind.endswith((".container", ".pod")):
            tell(to.draft, given.at, "a network is shared by the apps of one pod")
        else:
            why = "Podman's networks are not there; the default one of rktsd-networking(7) is taken"
            tell(to.draft, given.at, why)


def _hosts(to: To, key: str) -> None:
    for given in to.given(key):
        name, _, address = given.text.partition(":")
        if address == "host-gateway":
            tell(to.draft, given.at, "write the address: the gateway is known at the start only")
            continue
        for each in name.split(";"):
            member(to.draft, None, "hosts", each, address.strip("[]"), given.at)


def _files(to: To, key: str) -> None:
    """What the files say is written out: a pod file leads to no other one."""
    found: dict[str, tuple[str, Cursor]] = {}
    for given in to.given(key):
        path = os.path.normpath(os.path.join(to.unit.directory, given.text))
        try:
            data = read_limited(path, _MAX_FILE).decode()
            if os.stat(path).st_mode & 0o004 == 0:
                to.draft.secrets.append(path)
        except (RktError, OSError, UnicodeDecodeError) as error:
            tell(to.draft, given.at, str(error))
            continue
        for line in data.splitlines():
            name, equals, value = line.strip().partition("=")
            if name[:1] in ("", "#", ";"):
                continue
            at = given.at._replace(value=name)
            if equals:
                found[name] = value, at
            else:
                tell(to.draft, at, "no value: Podman takes that of the host")
    table = to.draft.apps[to.app].get("environment")
    own = table if isinstance(table, dict) else {}
    variables = [(name, *rest) for name, rest in found.items() if name not in own]
    put_variables(to.draft, to.app, variables)


def _users(to: To, key: str) -> None:
    given = to.last(key)
    if given is not None and given.text.partition(":")[0] in ("auto", "nomap"):
        put(to.draft, None, "private-users", True, given.at)
    elif given is not None and given.text not in ("", "host"):
        tell(to.draft, given.at, "users are the host's, or with private-users a range of the pod's")


def _exit_policy(to: To, key: str) -> None:
    given = to.last(key)
    if given is not None and given.text != "stop":
        tell(to.draft, given.at, "a pod ends with its last app")


def _nothing(to: To, key: str) -> None:
    """What is dealt with elsewhere."""


SHARED: dict[str, Handler] = {
    "AddDevice": _devices,
    "AddHost": _hosts,
    "DNS": partial(several, field="dns"),
    "DNSOption": partial(several, field="dns-options"),
    "DNSSearch": partial(several, field="dns-search"),
    "EnvironmentFile": _files,
    "ExposeHostPort": _ports,
    "HostName": partial(text, field="hostname", of_pod=True),
    "Mount": _mounts,
    "Network": _network,
    "PublishPort": _ports,
    "ShmSize": partial(quantity, field="shm-size", of_pod=True),
    "Tmpfs": _mounts,
    "UserNS": _users,
    "Volume": _mounts,
}
_OF_PODS = "AddHost DNS DNSOption DNSSearch HostName Network PublishPort ShmSize UserNS"
OF_PODS: dict[str, Handler] = {
    **{key: SHARED[key] for key in _OF_PODS.split()},
    "ExitPolicy": _exit_policy,
    "PodName": _nothing,
    "PodmanArgs": _nothing,
    "Volume": _nothing,
}
