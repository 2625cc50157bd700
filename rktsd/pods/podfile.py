"""Pod files: /etc/rkt/pods/POD.toml, in the words of people, or POD.json, an appc Pod Manifest.

TOML is ours, so unknown fields are refused; JSON is appc's, so they are ignored.
"""

import os
import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from rktsd.appc import isolators, names, read
from rktsd.appc.cursor import Cursor, decode_json, decode_toml, shown
from rktsd.appc.types import (
    Isolator,
    Mount,
    NameValue,
    PodManifest,
    PublishedPort,
    RuntimeApp,
    RuntimeImage,
    Volume,
)
from rktsd.errors import BadInput, RktError
from rktsd.host import files
from rktsd.images.references import Kind, parse_reference
from rktsd.paths import Paths
from rktsd.pods import health, shortforms, streams
from rktsd.pods.locate import MAX_POD_FILE, find_pod_file
from rktsd.pods.options import (
    AppOptions,
    PodOptions,
    app_options_at,
    check_ports_reachable,
    pod_options_at,
)
from rktsd.pods.overrides import overrides_at
from rktsd.pods.translate import check_contradictions, translated
from rktsd.pods.volumekinds import VolumeKind, volume_at

COPY = "pod-file"
"""The file in the directory of a run that has the pod file as it was then."""

POD_KEYS = (
    "description", "documentation", "network", "hostname", "dns", "dns-search", "dns-options",
    "dns-domain", "hosts", "on-app-failure", "pull-policy", "insecure", "strict", "memory", "cpu",
    "cpu-shares", "pids", "block-bandwidth", "block-iops", "network-bandwidth", "sysctl",
    "selinux-context", "apparmor-profile", "systemd", "volume", "port", "app", "follow-links",
    "ipc", "register", "shm-size", "stage1", "private-users", "pid", "metadata",
)  # fmt: skip
VOLUME_KEYS = ("name", "kind", "source", "read-only", "recursive", "mode", "uid", "gid", "size")
PUBLISHED_KEYS = ("name", "host-port", "host-ip")
APP_KEYS = (
    "name", "image", "insecure", "pull-policy", "exec", "args", "user", "group",
    "supplementary-gids", "working-directory", "environment", "memory", "cpu", "cpu-shares",
    "capabilities-retain", "capabilities-remove", "no-new-privileges", "oom-score-adj",
    "seccomp-retain", "seccomp-remove", "seccomp-errno", "rlimits", "pids", "block-bandwidth",
    "block-iops", "network-bandwidth", "sysctl", "selinux-context", "apparmor-profile",
    "read-only-root", "stop-timeout", "stop-signal", "output", "stdin", "stdout", "stderr", "after",
    "requires", "health", "mounts", "ports", "annotations", "systemd",
)  # fmt: skip
# Fields whose value is the limit of an isolator, and those whose value is an isolator's.
LIMITED = (
    ("pids", isolators.PIDS),
    ("block-bandwidth", isolators.BLOCK_BANDWIDTH),
    ("block-iops", isolators.BLOCK_IOPS),
    ("network-bandwidth", isolators.NETWORK_BANDWIDTH),
)
AS_IN_APPC = (("cpu-shares", isolators.CPU_SHARES),)
MOUNT_KEYS = ("volume", "path")
PORT_KEYS = ("name", "port", "protocol", "count", "socket-activated")

# Images that are found by something else than a path.
_ELSEWHERE = (Kind.ID, Kind.NAME, Kind.URL, Kind.DOCKER)

_SPECIFIER = re.compile(r"%(.?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PodFile:
    """A pod file as read: ``text`` is the file's content, to see later whether it changed."""

    name: str
    path: str
    text: bytes
    manifest: PodManifest
    options: PodOptions


def find(paths: Paths, pod: str) -> str:
    """The file of ``pod``, as ``locate.find_pod_file``, with the name checked wholly.

    Raises NotFound naming the candidates, BadInput for a bad name or when both forms exist.
    """
    names.check_pod_name(pod, "pod")
    return find_pod_file(paths, pod)


def load(paths: Paths, pod: str) -> PodFile:
    """Find, read and check the file of ``pod``. Raises NotFound, BadInput, StoreError."""
    path = find(paths, pod)
    return parse(files.read_limited(path, MAX_POD_FILE), path, pod=pod)


def parse(text: bytes, path: str, *, pod: str) -> PodFile:
    """The pod file with the content ``text``; the name of ``path`` tells its form.

    In a template (``web@.toml``) every string has ``%i`` replaced by the instance and ``%%`` by
    ``%``. Raises BadInput.
    """
    stem, _, form = os.path.basename(path).rpartition(".")
    document = decode_json(text, path) if form == "json" else decode_toml(text, path)
    if stem.endswith("@"):
        document = document._replace(value=_instance(document, pod.partition("@")[2]))
    manifest, options = read_appc(document) if form == "json" else _from_toml(document)
    if not manifest.apps:
        raise BadInput(f"{path}: pod must contain at least one application")
    return PodFile(pod, path, text, manifest, options)


def _instance(place: Cursor, instance: str) -> object:
    """The value at ``place`` with specifiers in its strings replaced."""

    def specifier(found: re.Match[str]) -> str:
        if found[1] not in ("i", "%"):
            raise place.problem(f"unknown specifier {found[0]}", hint="%i, or %% for a percent")
        return instance if found[1] == "i" else "%"

    if isinstance(place.value, dict):
        return {name: _instance(member, instance) for name, member in place.members()}
    if isinstance(place.value, list):
        return [_instance(element, instance) for element in place.elements()]
    return _SPECIFIER.sub(specifier, place.value) if isinstance(place.value, str) else place.value


def read_appc(document: Cursor) -> tuple[PodManifest, PodOptions]:
    """A pod file that is an appc Pod Manifest. Raises BadInput."""
    manifest = read.pod_manifest_at(document, need_ids=False)
    apps = {}
    for app in manifest.apps:
        name = None if app.image.id or app.image.name is None else app.image.name
        reference = str(names.ImageName(name, app.image.labels)) if name else None
        apps[app.name] = AppOptions(image=reference)
    options = PodOptions(apps=apps)
    return manifest, options


def _from_toml(document: Cursor) -> tuple[PodManifest, PodOptions]:
    _only(document, POD_KEYS)
    found = [_volume(each) for each in document.get("volume").elements()]
    volumes = tuple(volume for volume, _ in found)
    read.unique_names(document.get("volume"), (each.name for each in volumes))
    known = {each.name: each for each in volumes}
    apps = [_app(each, volumes=known) for each in document.get("app").elements()]
    read.unique_names(document.get("app"), (each.app.name for each in apps))
    ports = tuple(_published(each) for each in document.get("port").elements())
    ports += tuple(port for each in apps for port in each.published)
    check_contradictions(document)
    options = pod_options_at(
        document,
        apps={each.app.name: each.options for each in apps},
        volumes={volume.name: kind for volume, kind in found if kind is not None},
    )
    activated = {
        port.name for each in apps for port in each.options.overrides.ports if port.socket_activated
    }
    mapped = [each for each in ports if each.pod_port or each.name not in activated]
    check_ports_reachable(document.get("port"), options.networks, len(mapped))
    return (
        PodManifest(
            ac_version=names.SPEC_VERSION,
            apps=tuple(each.app for each in apps),
            volumes=volumes,
            isolators=_resources(document),
            ports=ports,
        ),
        options,
    )


def _only(place: Cursor, keys: tuple[str, ...]) -> None:
    """Refuse what is not a table, and fields that nobody would read."""
    if not isinstance(place.value, dict):
        raise place.wrong("a table")
    for name, member in place.members():
        if name not in keys:
            from difflib import get_close_matches

            close = get_close_matches(name.replace("_", "-").lower(), keys, n=1)
            hint = f"did you mean {close[0]}?" if close else None
            raise member.problem("unknown field", hint=hint)


def _volume(place: Cursor) -> tuple[Volume, VolumeKind | None]:
    _only(place, VOLUME_KEYS)
    if isinstance(place.value, dict) and "kind" not in place.value:
        source = place.value.get("source", "")
        of_host = not isinstance(source, str) or source.startswith("/")
        kind = "empty" if "source" not in place.value else "host" if of_host else "named"
        place = place._replace(value={**place.value, "kind": kind})
    if type(place.get("mode").value) is int:
        raise place.get("mode").problem("a number, whose base is unclear", hint='write "0755"')
    return volume_at(place, read_only_key="read-only")


def _published(place: Cursor) -> PublishedPort:
    _only(place, PUBLISHED_KEYS)
    address = place.get("host-ip")
    return PublishedPort(
        name=place.get("name").checked(names.check_ac_name),
        host_port=read.port_number(place.get("host-port")),
        host_ip=read.address(address) if address.given else None,
    )


def _resources(place: Cursor) -> tuple[Isolator, ...]:
    """The isolators that apps have as well as pods."""
    memory, cpu = place.get("memory"), place.get("cpu")
    found = []
    if memory.given:
        found.append(isolators.memory_at(memory))
    if cpu.given:
        # 0.5 is how people write half a processor; TOML makes it a float.
        value = repr(cpu.value) if isinstance(cpu.value, float) else cpu.value
        found.append(isolators.cpu_at(cpu._replace(value=value)))
    for key, name in LIMITED:
        limit = place.get(key)
        if limit.given:
            found.append(isolators.limit_at(limit, name))
    for key, name in AS_IN_APPC:
        if place.get(key).given:
            found.append(isolators.checked(name, place.get(key)))
    sysctl, context = place.get("sysctl"), place.get("selinux-context")
    if sysctl.given:
        numbers = {
            n: str(m.value) if type(m.value) is int else m.value for n, m in sysctl.members()
        }
        found.append(isolators.checked(isolators.SYSCTL, sysctl._replace(value=numbers)))
    if context.given:
        found.append(isolators.selinux_at(context))
    if place.get("apparmor-profile").given:
        profile = {"profile": place.get("apparmor-profile").line()}
        found.append(Isolator(isolators.APPARMOR, profile))
    return tuple(found)


def _app_isolators(place: Cursor) -> tuple[Isolator, ...]:
    found = list(_resources(place))
    for key, retain in (("capabilities-retain", True), ("capabilities-remove", False)):
        words = place.get(key)
        if words.given:
            if not words.elements():
                raise words.problem("empty")
            found.append(isolators.capabilities_at(words.elements(), retain=retain))
    for key, retain in (("seccomp-retain", True), ("seccomp-remove", False)):
        words = place.get(key)
        if words.given:
            if not words.elements():
                raise words.problem("empty")
            errno = place.get("seccomp-errno")
            found.append(isolators.seccomp_at(words.elements(), errno, retain=retain))
    if place.get("seccomp-errno").given and not any(
        isolator.name in (isolators.SECCOMP_RETAIN, isolators.SECCOMP_REMOVE) for isolator in found
    ):
        raise place.get("seccomp-errno").problem("without seccomp-retain or seccomp-remove")
    found += [
        isolators.checked(name, place.get(key))
        for key, name in (
            ("rlimits", isolators.RLIMITS),
            ("no-new-privileges", isolators.NO_NEW_PRIVILEGES),
            ("oom-score-adj", isolators.OOM_SCORE_ADJ),
        )
        if place.get(key).given
    ]
    isolators.check_alternatives(found, place.where)
    return tuple(found)


class _App(NamedTuple):
    app: RuntimeApp
    options: AppOptions
    published: list[PublishedPort]


def _app(place: Cursor, *, volumes: dict[str, Volume]) -> _App:
    _only(place, APP_KEYS)
    for key, keys in (("mounts", MOUNT_KEYS), ("ports", PORT_KEYS)):
        for each in place.get(key).elements():
            if not isinstance(each.value, str):
                _only(each, keys)
    if place.get("health").given and place.get("health").value is not False:
        _only(place.get("health"), health.KEYS)
    _image(place.get("image"))
    name = place.get("name").checked(names.check_ac_name)
    place = translated(place)
    place, published = _with_whole_ports(place)
    mounts = _mounts(place.get("mounts"), name, volumes)
    overrides = replace(overrides_at(place), isolators=_app_isolators(place))
    app = RuntimeApp(
        name=name,
        image=RuntimeImage(id=""),
        read_only_root_fs=place.get("read-only-root").boolean(),
        mounts=mounts,
        annotations=(*_annotations(place.get("annotations")), *_streams(place)),
    )
    _check_streams(app, place)
    return _App(app, app_options_at(place, overrides=overrides), published)


def _mounts(place: Cursor, app: str, volumes: dict[str, Volume]) -> tuple[Mount, ...]:
    found = [
        shortforms.mount(each, app=app, number=number, volumes=volumes)
        if isinstance(each.value, str)
        else read.mount(each)
        for number, each in enumerate(place.elements())
    ]
    read.check_mounts(place, found, volumes)
    return tuple(found)


def _with_whole_ports(place: Cursor) -> tuple[Cursor, list[PublishedPort]]:
    """The app's table with ports in one string written out, and those of them to be published."""
    published, ports = [], []
    for each in place.get("ports").elements():
        if isinstance(each.value, dict):
            # As appc spells it.
            whole_port = {**each.value, "socketActivated": each.value.get("socket-activated")}
            ports.append(whole_port)
            continue
        port, outside = shortforms.port(each)
        ports.append({"name": port.name, "port": port.port, "protocol": port.protocol})
        published += [outside] if outside else []
    if not ports:
        return place, published
    whole = {name: member.value for name, member in place.members()} | {"ports": ports}
    return place._replace(value=whole), published


def _image(place: Cursor) -> None:
    """Refuse a reference to a file below the working directory: that of a unit is ``/``."""
    text = place.line()
    try:
        found = parse_reference(text, is_file=lambda _: False)
        if found.kind is Kind.NAME:
            names.parse_image_name(found.target)
    except RktError as error:
        raise place.problem(str(error)) from error
    if found.kind not in _ELSEWHERE and not found.target.startswith("/"):
        raise place.problem(f"{shown(text)} is a relative path", hint="write the whole path")


def _streams(place: Cursor) -> tuple[NameValue, ...]:
    given = {name: place.get(name) for name in streams.KINDS}
    return streams.as_annotations(
        {name: each.one_of(*streams.KINDS[name]) for name, each in given.items() if each.given}
    )


def _check_streams(app: RuntimeApp, place: Cursor) -> None:
    try:
        found = streams.streams_of(app)
    except BadInput as error:
        raise BadInput(f"{place.source}: {error}") from error
    if found is not None and place.get("output").given:
        raise place.get("output").problem("stdin, stdout or stderr say it as well")


def _annotations(place: Cursor) -> tuple[NameValue, ...]:
    for name, member in place.members():
        names.check_ac_identifier(name, place.where)
        read.check_annotation(name, member)
    return tuple(NameValue(name, member.text()) for name, member in place.members())
