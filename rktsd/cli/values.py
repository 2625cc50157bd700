"""Values of flags that have a grammar of their own: volumes, mounts, ports, environments."""

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import unquote_plus

from rktsd.appc import isolators, names, read
from rktsd.appc.cursor import Cursor
from rktsd.appc.types import Isolator, Mount, NameValue, Port, PublishedPort, Volume
from rktsd.cli.parse import Values
from rktsd.config import stage1 as flavors
from rktsd.errors import BadInput, UsageError
from rktsd.host.files import read_limited
from rktsd.pods.volumekinds import NAMED, TMPFS, VolumeKind, volume_at

_VOLUME = ("kind", "source", "readOnly", "recursive", "mode", "uid", "gid", "size")
_MAX_FILE = 1 << 20
PROTOCOLS = ("tcp", "udp")
RUN_INSECURE = ("capabilities", "paths", "seccomp", "all-run")


def stage1(values: Values) -> str | None:
    """The flavor that one of the flags --stage1-… names, None without one (rkt: one at most)."""
    given = [
        (flag, read)
        for flag, read in (
            ("stage1-name", flavors.named),
            ("stage1-path", flavors.located),
            ("stage1-url", flavors.located),
            ("stage1-from-dir", flavors.located),
        )
        if flag in values
    ]
    if len(given) > 1:
        raise UsageError(f"--{given[0][0]} and --{given[1][0]} cannot be combined")
    return next((read(values.last(flag) or "", f"--{flag}") for flag, read in given), None)


def number(text: str, flag: str) -> int:
    """A whole number. Raises UsageError."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
        raise UsageError(f'invalid argument "{text}" for --{flag}: not a number')
    return int(text)


def _members(text: str, flag: str) -> dict[str, str]:
    """``KEY=VALUE,…`` with values escaped as in URLs, so that a comma is %2C (rkt)."""
    members: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f'--{flag}: "{part}" is not of the form KEY=VALUE')
        if name in members:
            raise UsageError(f'--{flag}: "{name}" is given more than once')
        members[name] = unquote_plus(value)
    return members


def volume(text: str) -> tuple[Volume, VolumeKind | None]:
    """``NAME,kind=host,source=/p,readOnly=true``, ``NAME,kind=empty,mode=0700,uid=1,gid=2``,
    ``NAME,kind=named,source=OTHER`` or ``NAME,kind=tmpfs,size=64Mi``."""
    name, comma, rest = text.partition(",")
    return _volume(name, _members(rest, "volume") if comma else {}, "volume")


def _volume(name: str, given: dict[str, str], flag: str) -> tuple[Volume, VolumeKind | None]:
    where = f"--{flag} {name}"
    for key in given:
        if key not in _VOLUME:
            raise UsageError(f'{where}: unknown parameter "{key}"')
    value: dict[str, object] = {"name": name, **given}
    for key in ("readOnly", "recursive"):
        if key in given:
            if given[key] not in ("true", "false"):
                raise UsageError(f'{where}: {key}: "{given[key]}" is not true or false')
            value[key] = given[key] == "true"
    for key in ("uid", "gid"):
        if key in given:
            value[key] = number(given[key], f"{flag} {name}: {key}")
    return volume_at(Cursor(where, "", value), read_only_key="readOnly")


def volumes(texts: Iterable[str]) -> tuple[tuple[Volume, ...], dict[str, VolumeKind]]:
    """All volumes of a pod, and by name what they are beyond appc.

    Raises UsageError for a name that is given twice.
    """
    found: dict[str, Volume] = {}
    kinds: dict[str, VolumeKind] = {}
    for each, kind in map(volume, texts):
        if each.name in found:
            raise UsageError(f'duplicate volume name "{each.name}"')
        found[each.name] = each
        if kind is not None:
            kinds[each.name] = kind
    return tuple(found.values()), kinds


def mount(text: str) -> Mount:
    """``volume=NAME,target=PATH``."""
    given = _members(text, "mount")
    unknown = sorted(given.keys() - {"volume", "target"})
    if unknown:
        raise UsageError(f'--mount: unknown parameter "{unknown[0]}"')
    value = {"volume": given.get("volume"), "path": given.get("target")}
    return read.mount(Cursor("--mount", "", value))


def mounted_volume(text: str) -> Mount:
    """``name=NAME,kind=KIND,target=PATH,…``: a volume and where it is mounted (rkt app add)."""
    given = _members(text, "mnt-volume")
    name, target = given.pop("name", None), given.pop("target", None)
    if name is None or target is None:
        raise UsageError(f'--mnt-volume: "{text}" has no name or no target')
    if given.get("kind") in (NAMED, TMPFS):
        raise UsageError(
            f"--mnt-volume {name}: kind {given['kind']} is for volumes of the pod",
            hint="give it to rkt app sandbox with --volume",
        )
    found, _ = _volume(name, given, "mnt-volume")
    place = Cursor("--mnt-volume", "", {"volume": name, "path": target})
    return replace(read.mount(place), app_volume=found)


def forwarded_port(text: str) -> PublishedPort:
    """``NAME:PROTOCOL:PORT:[HOSTIP]:HOSTPORT``, of a pod whose apps are not known (rkt)."""
    name, protocol, port, rest = (*text.split(":", 3), "", "", "", "")[:4]
    address, colon, host_port = rest.rpartition(":")
    if not colon or not all(each.isascii() and each.isdigit() for each in (port, host_port)):
        raise UsageError(
            f'--port: "{text}" is not of the form NAME:PROTOCOL:PORT:[HOSTIP]:HOSTPORT'
        )
    if protocol not in PROTOCOLS:
        raise UsageError(f'--port {text}: "{protocol}" is not one of {", ".join(PROTOCOLS)}')
    found = published_port(f"{name}:{address}:{host_port}" if address else f"{name}:{host_port}")
    place = Cursor(f"--port {text}", "", int(port[:6]))
    return replace(found, pod_port=Port(found.name, protocol, read.port_number(place)))


def published_port(text: str) -> PublishedPort:
    """``NAME:[HOSTIP:]PORT``."""
    name, _, rest = text.partition(":")
    address, _, port = rest.rpartition(":")
    if not name or not port.isascii() or not port.isdigit():
        raise UsageError(f'--port: "{text}" is not of the form NAME:[HOSTIP:]PORT')
    place = Cursor(f"--port {text}", "", address.strip("[]") or None)
    return PublishedPort(
        name=names.check_ac_name(name, place.where),
        host_port=read.port_number(place._replace(value=int(port[:6]))),
        host_ip=read.address(place) if place.given else None,
    )


def pairs(texts: Iterable[str], flag: str) -> dict[str, str]:
    """``NAME=VALUE`` each, no name twice. Raises UsageError."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f'--{flag}: "{text}" is not of the form NAME=VALUE')
        if name in found:
            raise UsageError(f'--{flag}: "{name}" is already set')
        found[name] = value
    return found


def name_values(values: Values, flag: str) -> tuple[NameValue, ...]:
    """The annotations of a flag. Raises UsageError, BadInput."""
    found = pairs(values.get(flag, []), flag)
    for name, value in found.items():
        names.check_ac_identifier(name, f"--{flag}")
        read.check_annotation(name, Cursor(f"--{flag}", "", value))
    return tuple(NameValue(name, value) for name, value in found.items())


def environment(values: Values, flag: str) -> dict[str, str]:
    """Variables of a flag. Raises UsageError, BadInput."""
    found = pairs(values.get(flag, []), flag)
    for name in found:
        names.check_environment_name(name, f"--{flag}")
    return found


def environment_file(path: str) -> dict[str, str]:
    """``NAME=VALUE`` lines; empty ones and those that begin with # or ; are passed over (rkt)."""
    found: dict[str, str] = {}
    try:
        text = read_limited(path, _MAX_FILE, pipes=True).decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8") from error
    for count, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        name, equals, value = stripped.partition("=")
        if not equals:
            raise BadInput(f'{path}: line {count}: "{stripped}" is not of the form NAME=VALUE')
        names.check_environment_name(name, f"{path}: line {count}")
        if name in found:
            raise BadInput(f'{path}: line {count}: "{name}" is already set')
        found[name] = value
    return found


def app_isolators(values: Values) -> tuple[Isolator, ...]:
    """What the flags of an app say of its isolators. Raises UsageError, BadInput."""
    found = []
    memory, cpu = values.last("memory"), values.last("cpu")
    if memory is not None:
        found.append(isolators.memory_at(Cursor("--memory", "", memory)))
    if cpu is not None:
        found.append(isolators.cpu_at(Cursor("--cpu", "", cpu)))
    for flag, name in (
        ("cpu-shares", isolators.CPU_SHARES),
        ("oom-score-adj", isolators.OOM_SCORE_ADJ),
    ):
        given = values.last(flag)
        if given is not None:
            found.append(isolators.isolator(name, number(given, flag), f"--{flag}"))
    given_sets = [
        (flag, retain)
        for flag, retain in (
            ("caps-retain", True), ("cap-retain", True),
            ("caps-remove", False), ("cap-remove", False),
        )
        if flag in values
    ]  # fmt: skip
    if len(given_sets) > 1:
        raise UsageError(f"--{given_sets[0][0]} and --{given_sets[1][0]} cannot be combined")
    for flag, retain in given_sets:
        words = [Cursor(f"--{flag}", "", word) for word in values.words(flag) if word]
        if not words:
            raise UsageError(f"--{flag}: empty")
        found.append(isolators.capabilities_at(words, retain=retain))
    return (*found, *_limits(values), *_confinement(values))


def _limits(values: Values) -> list[Isolator]:
    found = []
    for flag, name in (
        ("pids", isolators.PIDS),
        ("block-bandwidth", isolators.BLOCK_BANDWIDTH),
        ("block-iops", isolators.BLOCK_IOPS),
    ):
        given = values.last(flag)
        if given is not None:
            found.append(isolators.limit_at(Cursor(f"--{flag}", "", given), name))
    if "rlimit" in values:
        limits = pairs(values.get("rlimit", []), "rlimit")
        found.append(isolators.isolator(isolators.RLIMITS, limits, "--rlimit"))
    return found


def _confinement(values: Values) -> list[Isolator]:
    found = []
    filter, context = values.last("seccomp"), values.last("selinux-context")
    profile = values.last("apparmor-profile")
    if filter is not None:
        found.append(_seccomp(filter))
    if context is not None:
        found.append(isolators.selinux_at(Cursor("--selinux-context", "", context)))
    if profile is not None:
        value = {"profile": Cursor("--apparmor-profile", "", profile).line()}
        found.append(Isolator(isolators.APPARMOR, value))
    return found


def _seccomp(text: str) -> Isolator:
    """``mode=retain|remove[,errno=E],CALL,…`` (rkt)."""
    mode, errno, words = None, None, []
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            words.append(Cursor("--seccomp", "", part))
        elif key == "mode" and mode is None:
            mode = value
        elif key == "errno" and errno is None:
            errno = value
        else:
            raise UsageError(f'--seccomp: unexpected "{part}"')
    if mode not in ("retain", "remove"):
        raise UsageError("--seccomp: give mode=retain or mode=remove")
    if not words:
        raise UsageError("--seccomp: no system call is given")
    return isolators.seccomp_at(words, Cursor("--seccomp", "", errno), retain=mode == "retain")


def pod_isolators(values: Values) -> tuple[Isolator, ...]:
    """What the flags say of the pod's isolators. Raises UsageError, BadInput."""
    found = []
    bandwidth = values.last("network-bandwidth")
    if bandwidth is not None:
        place = Cursor("--network-bandwidth", "", bandwidth)
        found.append(isolators.limit_at(place, isolators.NETWORK_BANDWIDTH))
    if "sysctl" in values:
        settings = pairs(values.get("sysctl", []), "sysctl")
        found.append(isolators.isolator(isolators.SYSCTL, settings, "--sysctl"))
    return tuple(found)


def insecure(values: Values) -> tuple[str, ...]:
    """What one app is to do without, of what --insecure-options has. Raises UsageError."""
    words = list(dict.fromkeys(values.words("insecure")))
    for word in words:
        if word not in RUN_INSECURE:
            raise UsageError(f'--insecure: "{word}" is not one of {", ".join(RUN_INSECURE)}')
    return tuple(words)
