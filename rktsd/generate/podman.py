"""Values as Podman and Quadlet take them: sizes, times, ports, mounts, options (pure).

Functions raise ValueError with the reason for what a pod file cannot say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_BINARY = {"": "", "b": "", "k": "Ki", "m": "Mi", "g": "Gi", "t": "Ti"}
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|us|µs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_MOST_PORTS = 128

# Options of volumes that say what is so anyway. Files are not relabelled for SELinux, nor need be.
_USUAL = frozenset({"z", "Z", "rbind", "private", "rprivate", "copy", "exec", "dev", "suid"})
_KEPT = {"ro": "ro", "readonly": "ro", "rw": "rw", "bind": "norbind"}
_YES = ("", "true", "1")


class Published(NamedTuple):
    """A port, and where it is published: ``host`` 0 for nowhere; ``address`` empty for all."""

    port: int
    protocol: str
    host: int
    address: str


class Mounted(NamedTuple):
    """A mount: ``kind`` is bind, volume or tmpfs. ``options`` are those of a pod file's mounts."""

    kind: str
    source: str
    target: str
    options: list[str]
    size: str | None = None
    mode: str | None = None


def size(text: str) -> str:
    """``20g`` and the like as a quantity, 20Gi."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError("not a size like 512m")
    return f"{found[1]}{_BINARY[found[2].lower()]}"


def whole(text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise ValueError("not a whole number")
    return int(text)


def seconds(text: str) -> float | int:
    """``1m30s`` and the like, or a number of seconds."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text):
        total = float(text)
    else:
        parts = _TIME.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError("not a time like 1m30s")
        total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return int(total) if total == int(total) else total


def ports(text: str) -> Iterator[Published]:
    """``[[IP:][HOST]:]PORT[/PROTOCOL]``, where HOST and PORT may be ranges."""
    rest, _, protocol = text.partition("/")
    protocol = protocol or "tcp"
    if protocol not in ("tcp", "udp"):
        raise ValueError("only tcp and udp can be published")
    front, _, inside = rest.rpartition(":")
    address, _, outside = front.rpartition(":")
    first, last = _range(inside)
    if last - first >= _MOST_PORTS:
        raise ValueError(f"more than {_MOST_PORTS} ports")
    if not outside:
        raise ValueError("the port of the host would be a random one")
    host, host_last = _range(outside)
    if host_last - host != last - first:
        raise ValueError("the two ranges differ in their lengths")
    for step in range(last - first + 1):
        yield Published(first + step, protocol, host + step, address)


def exposed(text: str) -> Iterator[Published]:
    """``PORT[-LAST][/PROTOCOL]``: ports of the app alone."""
    rest, _, protocol = text.partition("/")
    first, last = _range(rest)
    if last - first >= _MOST_PORTS or protocol not in ("", "tcp", "udp"):
        raise ValueError(f"not a port, or at most {_MOST_PORTS} of them, of tcp or udp")
    for port in range(first, last + 1):
        yield Published(port, protocol or "tcp", 0, "")


def _range(text: str) -> tuple[int, int]:
    found = _PORTS.fullmatch(text)
    if not found:
        raise ValueError("not like 8080:80")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 0 < first <= last < 65536:
        raise ValueError("not a port of 1 to 65535")
    return first, last


def port_word(published: Published) -> str:
    """As a pod file has it in one string."""
    protocol = "" if published.protocol == "tcp" else f"/{published.protocol}"
    if not published.host:
        return f"{published.port}{protocol}"
    address = f"{published.address}:" if published.address else ""
    return f"{address}{published.host}:{published.port}{protocol}"


def volume(text: str) -> Mounted:
    """``[[SOURCE:]TARGET[:OPTIONS]]``; without a source an empty one."""
    parts = text.split(":")
    if len(parts) > 3:
        raise ValueError("more than two colons")
    if len(parts) == 1:
        return Mounted("volume", "", parts[0], [])
    options = volume_options(parts[2].split(",")) if len(parts) == 3 and parts[2] else []
    kind = "bind" if parts[0].startswith(("/", ".")) else "volume"
    return Mounted(kind, parts[0], parts[1], options)


def volume_options(words: list[str]) -> list[str]:
    """Options of volumes in a pod file's words."""
    found = []
    for word in words:
        if word in _KEPT:
            found.append(_KEPT[word])
        elif word not in _USUAL:
            raise ValueError(f"the option {word} has no counterpart")
    return found


def tmpfs(text: str) -> Mounted:
    """``TARGET[:OPTIONS]``."""
    target, _, rest = text.partition(":")
    options = dict(_pair(word) for word in rest.split(",")) if rest else {}
    return _in_memory(target, options)


def _in_memory(target: str, options: dict[str, str]) -> Mounted:
    found: dict[str, str | None] = {"size": None, "mode": None}
    for name, value in options.items():
        key = name.removeprefix("tmpfs-")
        if key in found:
            found[key] = size(value) if key == "size" else value.rjust(4, "0")
        elif name not in ("rw", "notmpcopyup", "tmpcopyup", "noexec", "nosuid", "nodev", "exec"):
            raise ValueError(f"the option {name} has no counterpart")
    return Mounted("tmpfs", "", target, [], found["size"], found["mode"])


def mount(text: str) -> Mounted:
    """``type=TYPE,KEY=VALUE,…``."""
    options = dict(_pair(word) for word in text.split(","))
    kind = options.pop("type", "volume")
    names = {"src": "source", "dst": "target", "destination": "target"}
    options = {names.get(name, name): value for name, value in options.items()}
    source, target = options.pop("source", ""), options.pop("target", "")
    if kind == "tmpfs":
        return _in_memory(target, options)
    if kind not in ("bind", "volume"):
        raise ValueError(f"mounts of type {kind} have no counterpart")
    words = []
    for name, value in options.items():
        if name in ("ro", "readonly", "rw"):
            read_only = (value in _YES) == (name != "rw")
            words.append("ro" if read_only else "rw")
        elif name == "bind-nonrecursive":
            words += ["norbind"] if value in _YES else []
        elif name not in ("relabel", "Z", "z") and value not in ("private", "rprivate"):
            raise ValueError(f"the option {name} has no counterpart")
    return Mounted(kind, source, target, words)


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name.strip(), value.strip()


def limit(text: str) -> tuple[str, str]:
    """``NAME=SOFT[:HARD]`` as a member of ``rlimits``."""
    name, equals, value = text.partition("=")
    if not equals or value == "host":
        raise ValueError("not like nofile=1024:4096")
    return name.lower(), ":".join("infinity" if x == "-1" else x for x in value.split(":"))


# The long and short options of podman-run(1) that a key of Quadlet says as well.
KEYS = {
    "add-host": "AddHost", "annotation": "Annotation", "cap-add": "AddCapability",
    "cap-drop": "DropCapability", "device": "AddDevice", "dns": "DNS", "dns-option": "DNSOption",
    "dns-opt": "DNSOption", "dns-search": "DNSSearch", "entrypoint": "Entrypoint",
    "env": "Environment", "e": "Environment", "env-file": "EnvironmentFile",
    "expose": "ExposeHostPort", "group-add": "GroupAdd", "health-cmd": "HealthCmd",
    "health-interval": "HealthInterval", "health-on-failure": "HealthOnFailure",
    "health-retries": "HealthRetries", "health-start-period": "HealthStartPeriod",
    "health-timeout": "HealthTimeout", "hostname": "HostName", "h": "HostName", "label": "Label",
    "l": "Label", "memory": "Memory", "m": "Memory", "mount": "Mount", "network": "Network",
    "net": "Network", "network-alias": "NetworkAlias", "pids-limit": "PidsLimit",
    "publish": "PublishPort", "p": "PublishPort", "pull": "Pull", "secret": "Secret",
    "shm-size": "ShmSize", "stop-signal": "StopSignal", "stop-timeout": "StopTimeout",
    "sysctl": "Sysctl", "tmpfs": "Tmpfs", "tz": "Timezone", "ulimit": "Ulimit", "user": "User",
    "u": "User", "userns": "UserNS", "volume": "Volume", "v": "Volume", "workdir": "WorkingDir",
    "w": "WorkingDir",
    # No key of Quadlet's, but of ours.
    "apparmor": "-apparmor", "cpu-shares": "-cpu-shares", "cpus": "-cpus", "ipc": "-ipc",
    "oom-score-adj": "-oom-score-adj",
}  # fmt: skip
SWITCHES = {"init": "RunInit", "read-only": "ReadOnly", "read-only-tmpfs": "ReadOnlyTmpfs"}
_QUOTED = frozenset({"Environment", "Annotation", "Label", "Sysctl"})


def options(arguments: list[str]) -> Iterator[tuple[str, str]]:
    """Options of podman-run(1) as (key of Quadlet, value); what is none of these has the key ``""``
    and the option as its value."""
    left = iter(_joined(arguments))
    for word in left:
        name, equals, value = word.lstrip("-").partition("=")
        if name in SWITCHES:
            yield SWITCHES[name], value or "true"
        elif name == "security-opt":
            yield _security(value if equals else next(left, ""), word)
        elif name in KEYS:
            key, text = KEYS[name], value if equals else next(left, "")
            yield key, f'"{_escaped(text)}"' if key in _QUOTED else text
        else:
            yield "", word


def _joined(arguments: list[str]) -> list[str]:
    """Each option that is not known in one word with its value."""
    found: list[str] = []
    waiting = False
    for word in arguments:
        name = word.lstrip("-")
        if waiting and found and not word.startswith("-"):
            found[-1] = f"{found[-1]} {word}"
            continue
        found.append(word)
        waiting = name not in KEYS and name not in SWITCHES and name != "security-opt"
        waiting = waiting and "=" not in word
    return found


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _security(text: str, word: str) -> tuple[str, str]:
    name, _, value = text.replace(":", "=", 1).partition("=")
    if name == "no-new-privileges":
        return "NoNewPrivileges", value or "true"
    if name == "label":
        kind, _, rest = value.partition(":")
        keys = {"disable": "SecurityLabelDisable", "type": "SecurityLabelType"}
        keys |= {"level": "SecurityLabelLevel", "filetype": "SecurityLabelFileType"}
        return keys.get(kind, ""), rest or "true" if kind in keys else text
    keys = {"seccomp": "SeccompProfile", "mask": "Mask", "unmask": "Unmask"}
    keys |= {"apparmor": KEYS["apparmor"]}
    return keys.get(name, ""), value if name in keys else f"{word} {text}"
