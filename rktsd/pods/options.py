"""What a pod file or a command line says of a pod beyond its appc manifest.

Stored beside the manifest, in the spelling of pod files, so that one reader checks both.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from rktsd.appc import read
from rktsd.appc.cursor import Cursor, shown, unique
from rktsd.appc.names import check_ac_name
from rktsd.appc.quantities import parse_bytes, quantity_at
from rktsd.config.flavors import FLAVORS
from rktsd.errors import BadInput
from rktsd.pods.health import health_at, health_json
from rktsd.pods.overrides import AppOverrides, overrides_at
from rktsd.pods.volumekinds import VolumeKind, kind_at
from rktsd.stage1.types import Health

PULL_POLICIES = ("new", "update", "never")
OUTPUTS = ("log", "tty")
ON_APP_FAILURE = ("stop", "continue")
IPC = ("auto", "private", "parent")
PID = ("private", "shared")
INSECURE = (
    "image", "tls", "http", "pubkey", "ondisk", "capabilities", "paths", "seccomp",
    "all-fetch", "all-run", "all",
)  # fmt: skip

_ALL_FETCH = frozenset({"image", "tls", "http", "pubkey"})
_ALL_RUN = frozenset({"capabilities", "paths", "seccomp"})
_GROUPS = {"all-fetch": _ALL_FETCH, "all-run": _ALL_RUN, "all": _ALL_FETCH | _ALL_RUN}

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_DOMAIN = re.compile(r"\.|[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?")
_HOST_ENTRY = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(:\S+)?")
_OPTION = re.compile(r"\S+")
_PROPERTY = re.compile(r"[A-Z][A-Za-z0-9]*")
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|min|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1, "min": 60, "m": 60, "h": 3600, "": 1}
_MAX_HOST_NAME = 64
_MAX_STOP = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class AppOptions:
    """Of one app. ``image`` is the reference as written, None when the manifest has the ID.

    ``after`` and ``requires`` are other apps, for which this one waits.
    ``insecure`` are words of INSECURE, ``systemd`` properties of the app's unit, ``stop_timeout``
    seconds; None leaves it to the pod or the default. ``unchecked``: no health checks, whatever the
    image says.
    """

    image: str | None = None
    insecure: tuple[str, ...] = ()
    pull_policy: str | None = None
    systemd: Mapping[str, object] = field(default_factory=dict)
    stop_timeout: float | None = None
    stop_signal: int | None = None
    output: str | None = None
    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    health: Health | None = None
    unchecked: bool = False
    overrides: AppOverrides = field(default_factory=AppOverrides)

    def to_json(self) -> dict[str, object]:
        """A JSON object of what is set, for ``from_json``."""
        return _set(
            {
                "image": self.image,
                "insecure": list(self.insecure),
                "pull-policy": self.pull_policy,
                "systemd": dict(self.systemd),
                "stop-timeout": self.stop_timeout,
                "stop-signal": self.stop_signal,
                "output": self.output,
                "after": list(self.after),
                "requires": list(self.requires),
                "health": False if self.unchecked else health_json(self.health),
                "overrides": self.overrides.to_json(),
            }
        )

    @classmethod
    def from_json(cls, value: object, source: str) -> "AppOptions":
        """What ``to_json`` gave. Raises BadInput."""
        place = Cursor(source, "", value)
        return app_options_at(place, overrides=_overrides(place.get("overrides")))


@dataclass(frozen=True, slots=True)
class PodOptions:
    """Of the pod. ``networks`` as ``--net`` takes them; ``dns`` addresses, or host or none alone;
    ``hosts_entries`` are ``IP=NAME``, or ``host`` alone; ``systemd`` properties of the slice;
    ``volumes`` those of the manifest that are more than it can say; ``follow_links`` lets sources
    of volumes have symbolic links in them; ``strict`` refuses what this machine cannot do instead
    of leaving it out; ``stage1`` is one of FLAVORS. None of ``networks`` and ``stage1`` leaves it
    to the flavor, and that to the machine. ``metadata`` registers it with the metadata service.
    ``mutable``: apps can be added to the pod and removed from it while it lives."""

    networks: tuple[str, ...] | None = None
    hostname: str | None = None
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_domain: str | None = None
    hosts_entries: tuple[str, ...] = ()
    on_app_failure: str = "stop"
    pull_policy: str = "new"
    insecure: tuple[str, ...] = ()
    strict: bool = False
    shm_size: int | None = None
    description: str | None = None
    documentation: tuple[str, ...] = ()
    systemd: Mapping[str, object] = field(default_factory=dict)
    apps: Mapping[str, AppOptions] = field(default_factory=dict)
    volumes: Mapping[str, VolumeKind] = field(default_factory=dict)
    follow_links: bool = False
    ipc: str = "auto"
    register: bool = False
    stage1: str | None = None
    private_users: bool = False
    metadata: bool = False
    pid: str = "private"
    mutable: bool = False

    def to_json(self) -> dict[str, object]:
        """A JSON object of what is set, for ``from_json``."""
        networks = {} if self.networks is None else {"network": list(self.networks)}
        return networks | _set(
            {
                "hostname": self.hostname,
                "dns": list(self.dns),
                "dns-search": list(self.dns_search),
                "dns-options": list(self.dns_options),
                "dns-domain": self.dns_domain,
                "hosts": list(self.hosts_entries),
                "on-app-failure": self.on_app_failure,
                "pull-policy": self.pull_policy,
                "insecure": list(self.insecure),
                "strict": self.strict or None,
                "shm-size": self.shm_size,
                "description": self.description,
                "documentation": list(self.documentation),
                "systemd": dict(self.systemd),
                "apps": {name: app.to_json() for name, app in self.apps.items()},
                "volumes": {name: volume.to_json() for name, volume in self.volumes.items()},
                "follow-links": self.follow_links or None,
                "ipc": None if self.ipc == "auto" else self.ipc,
                "pid": None if self.pid == "private" else self.pid,
                "register": self.register or None,
                "stage1": self.stage1,
                "private-users": self.private_users or None,
                "metadata": self.metadata or None,
                "mutable": self.mutable or None,
            }
        )

    @classmethod
    def from_json(cls, value: object, source: str = "pod options") -> "PodOptions":
        """What ``to_json`` gave. Raises BadInput."""
        place = Cursor(source, "", value)
        apps = {
            name: app_options_at(each, overrides=_overrides(each.get("overrides")))
            for name, each in place.get("apps").members()
        }
        volumes = {name: kind_at(each) for name, each in place.get("volumes").members()}
        return pod_options_at(place, apps=apps, volumes=volumes)

    def checked(self, where: str) -> "PodOptions":
        """These options, when every one of them could stand in a pod file. Raises BadInput."""
        return self.from_json(self.to_json(), where)


def _set(members: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value not in (None, [], {})}


def _overrides(place: Cursor) -> AppOverrides:
    return overrides_at(place) if place.given else AppOverrides()


def app_options_at(place: Cursor, *, overrides: AppOverrides) -> AppOptions:
    """The options in an app's table. Raises BadInput."""
    policy, timeout, output = (
        place.get(name) for name in ("pull-policy", "stop-timeout", "output")
    )
    return AppOptions(
        image=_optional(place.get("image"), Cursor.line),
        insecure=_insecure(place.get("insecure")),
        pull_policy=policy.one_of(*PULL_POLICIES) if policy.given else None,
        systemd=_systemd(place.get("systemd")),
        stop_timeout=_span(timeout) if timeout.given else None,
        stop_signal=_signal(place.get("stop-signal")),
        output=output.one_of(*OUTPUTS) if output.given else None,
        after=_app_names(place.get("after")),
        requires=_app_names(place.get("requires")),
        health=health_at(place.get("health"), _span),
        unchecked=place.get("health").value is False,
        overrides=overrides,
    )


def pod_options_at(
    place: Cursor, *, apps: Mapping[str, AppOptions], volumes: Mapping[str, VolumeKind]
) -> PodOptions:
    """The options at the top of a pod file. Raises BadInput."""
    failure, policy = place.get("on-app-failure"), place.get("pull-policy")
    ipc = place.get("ipc")
    size = place.get("shm-size")
    return PodOptions(
        networks=_networks(place.get("network")),
        hostname=_optional(place.get("hostname"), _hostname),
        dns=_dns(place.get("dns")),
        dns_search=_matching(place.get("dns-search"), _DOMAIN, "a domain"),
        dns_options=_matching(place.get("dns-options"), _OPTION, "a resolver option"),
        dns_domain=_optional(place.get("dns-domain"), _domain),
        hosts_entries=_hosts(place.get("hosts")),
        on_app_failure=failure.one_of(*ON_APP_FAILURE) if failure.given else "stop",
        pull_policy=policy.one_of(*PULL_POLICIES) if policy.given else "new",
        insecure=_insecure(place.get("insecure")),
        strict=place.get("strict").boolean(),
        shm_size=parse_bytes(quantity_at(size), size.where) if size.given else None,
        description=_optional(place.get("description"), Cursor.line),
        documentation=tuple(each.line() for each in _one_or_more(place.get("documentation"))),
        systemd=_systemd(place.get("systemd")),
        apps=apps,
        volumes=volumes,
        follow_links=place.get("follow-links").boolean(),
        ipc=ipc.one_of(*IPC) if ipc.given else "auto",
        pid=place.get("pid").one_of(*PID) if place.get("pid").given else "private",
        register=place.get("register").boolean(),
        stage1=_optional(place.get("stage1"), lambda each: each.one_of(*FLAVORS)),
        private_users=place.get("private-users").boolean(),
        metadata=place.get("metadata").boolean(),
        mutable=place.get("mutable").boolean(),
    )


def _app_names(place: Cursor) -> tuple[str, ...]:
    return tuple(each.checked(check_ac_name) for each in _one_or_more(place))


def _optional(place: Cursor, read_one: Callable[[Cursor], str]) -> str | None:
    return read_one(place) if place.given else None


def _one_or_more(place: Cursor) -> list[Cursor]:
    """The elements of a list; a string stands for a list of itself."""
    return [place] if isinstance(place.value, str) else place.elements()


def _matching(place: Cursor, pattern: re.Pattern[str], what: str) -> tuple[str, ...]:
    return tuple(_match(each, pattern, what) for each in _one_or_more(place))


def _match(place: Cursor, pattern: re.Pattern[str], what: str) -> str:
    if not pattern.fullmatch(place.line()):
        raise place.wrong(what)
    return place.line()


def _domain(place: Cursor) -> str:
    return _match(place, _DOMAIN, "a domain")


def _hostname(place: Cursor) -> str:
    name = _match(place, _HOST_NAME, "a host name")
    if len(name) > _MAX_HOST_NAME:
        raise place.problem(f"{shown(name)} is longer than {_MAX_HOST_NAME} characters")
    return name


def _alone(place: Cursor, words: tuple[str, ...], exclusive: tuple[str, ...]) -> tuple[str, ...]:
    for word in exclusive:
        if word in words and len(words) > 1:
            raise place.problem(f"{word} cannot be combined with others")
    return words


def _networks(place: Cursor) -> tuple[str, ...] | None:
    if not place.given:
        return None
    found = _alone(place, _matching(place, _NETWORK, "a network"), ("none", "host"))
    if not found:
        raise place.problem("empty", hint='for no network write "none"')
    unique([(place, each.partition(":")[0]) for each in found])
    return found


def _dns(place: Cursor) -> tuple[str, ...]:
    found = tuple(
        each.line() if each.value in ("host", "none") else read.address(each)
        for each in _one_or_more(place)
    )
    return _alone(place, found, ("host", "none"))


def _hosts(place: Cursor) -> tuple[str, ...]:
    if isinstance(place.value, dict):
        for name, each in place.members():
            _match(each._replace(value=name), _HOST_ENTRY, "a host name")
        return tuple(f"{read.address(each)}={name}" for name, each in place.members())
    for each in _one_or_more(place):
        if each.value == "host":
            continue
        address, equals, name = each.line().partition("=")
        if not equals:
            raise each.wrong("an entry of the form IP=NAME")
        read.address(each._replace(value=address))
        _match(each._replace(value=name), _HOST_ENTRY, "a host name")
    return _alone(place, tuple(each.text() for each in _one_or_more(place)), ("host",))


def _insecure(place: Cursor) -> tuple[str, ...]:
    found = []
    for each in _one_or_more(place):
        if each.text() not in INSECURE:
            raise each.wrong(f"one of {', '.join(INSECURE)}")
        found.append(each.text())
    unique([(place, word) for word in found])
    return tuple(found)


def _systemd(place: Cursor) -> dict[str, object]:
    """Names and types only: what a property may be, systemd itself judges."""
    for name, each in place.members():
        if not _PROPERTY.fullmatch(name):
            raise each.problem("not the name of a systemd property (like MemoryMax)")
        for value in each.elements() if isinstance(each.value, list) else [each]:
            if isinstance(value.value, str):
                if value.value:
                    value.line()
            elif type(value.value) is int:
                value.integer(-(1 << 63), (1 << 64) - 1)
            elif not isinstance(value.value, (bool, float)):
                raise value.wrong("a string, a number, true or false, or a list of these")
    return {name: each.value for name, each in place.members()}


def _span(place: Cursor) -> float:
    """Seconds, or a string with a unit. systemd takes 0 for "for ever", which nobody means."""
    seconds = place.value
    if isinstance(seconds, str):
        found = _SPAN.fullmatch(seconds)
        seconds = float(found[1]) * _SECONDS[found[2] or ""] if found else None
    if type(seconds) not in (int, float) or not 0 < float(str(seconds)) <= _MAX_STOP:
        raise place.wrong('a time of up to a week (seconds, or like "90s", "2min")')
    return float(str(seconds))


def _signal(place: Cursor) -> int | None:
    from rktsd.pods.process import signal_number

    if not place.given:
        return None
    text = str(place.value) if type(place.value) is int else place.text()
    number = signal_number(text)
    if number is None:
        raise place.wrong("a signal (like SIGINT)")
    return number


def expand_insecure(words: Iterable[str]) -> frozenset[str]:
    """What words of INSECURE switch off, without the groups (rkt's ``--insecure-options``)."""
    return frozenset().union(*(_GROUPS.get(word, {word}) for word in words)) - {"ondisk"}


def check_ports_reachable(place: Cursor, networks: tuple[str, ...] | None, count: int) -> None:
    """Refuse published ports where there is no network of the pod's own to lead to."""
    if count and networks is not None and networks[0] in ("none", "host"):
        raise BadInput(f"{place.where}: the network {networks[0]} has no ports to publish")
