"""The fields of a pod file from what ``podfile.parse`` makes of them: its inverse (pure)."""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterable, Mapping

from rktsd.appc import isolators as kinds
from rktsd.appc.cursor import Cursor
from rktsd.appc.limits import selinux_label
from rktsd.appc.types import Isolator, Mount, PodManifest, Port, PublishedPort, RuntimeApp, Volume
from rktsd.pods.options import AppOptions, PodOptions
from rktsd.pods.podfile import AS_IN_APPC, LIMITED
from rktsd.pods.volumekinds import VolumeKind

Table = dict[str, object]

# Isolators whose value, and whose limit, is that of a field.
_VALUES = {name: key for key, name in AS_IN_APPC} | {
    kinds.RLIMITS: "rlimits",
    kinds.NO_NEW_PRIVILEGES: "no-new-privileges",
    kinds.OOM_SCORE_ADJ: "oom-score-adj",
    kinds.SYSCTL: "sysctl",
}
_LIMITS = {name: key for key, name in LIMITED} | {kinds.MEMORY: "memory", kinds.CPU: "cpu"}
_SETS = {
    kinds.CAPABILITIES_RETAIN: "capabilities-retain",
    kinds.CAPABILITIES_REMOVE: "capabilities-remove",
    kinds.SECCOMP_RETAIN: "seccomp-retain",
    kinds.SECCOMP_REMOVE: "seccomp-remove",
}


def document(manifest: PodManifest, options: PodOptions) -> Table:
    """The fields of a pod file for a pod that one can describe.

    Whose apps have no app sections of their own and no user annotations and labels, that is.
    """
    usual = PodOptions().to_json()
    fields = {
        name: value
        for name, value in options.to_json().items()
        if name not in ("apps", "volumes") and value != usual.get(name)
    }
    ports = {each.pod_port: each for each in manifest.ports if each.pod_port}
    volumes = [each.name for each in manifest.volumes]
    return {
        **fields,
        **_isolated(manifest.isolators),
        "volume": [_volume(each, options.volumes.get(each.name)) for each in manifest.volumes],
        "port": [_published(each) for each in manifest.ports if each.pod_port is None],
        "app": [
            _app(each, options.apps[each.name], ports=ports, volumes=volumes)
            for each in manifest.apps
        ],
    }


def _app(
    app: RuntimeApp,
    options: AppOptions,
    *,
    ports: Mapping[Port, PublishedPort],
    volumes: Collection[str],
) -> Table:
    fields = options.to_json()
    overrides = options.overrides
    changes = overrides.to_json()
    for other in ("isolators", "mount-points", "ports", "user-annotations", "user-labels"):
        changes.pop(other, None)
    fields.pop("overrides", None)
    if options.stop_signal is not None:
        fields["stop-signal"] = _signal(options.stop_signal)
    found: Table = {
        "name": app.name,
        **fields,
        **changes,
        **_isolated(overrides.isolators),
        "read-only-root": app.read_only_root_fs or None,
        "mounts": [_mount(each, volumes) for each in app.mounts],
        "ports": [_port(each, ports.get(each)) for each in overrides.ports],
        "annotations": {each.name: each.value for each in app.annotations},
    }
    return {name: value for name, value in found.items() if value not in (None, [], {})} | {
        name: changes[name] for name in ("args", "supplementary-gids") if name in changes
    }


def _signal(number: int) -> str | int:
    try:
        return signal.Signals(number).name
    except ValueError:
        return number


def _isolated(values: Iterable[Isolator]) -> Table:
    found: Table = {}
    for isolator in values:
        name, value = isolator.name, Cursor(isolator.name, "", isolator.value)
        if name in _LIMITS:
            found[_LIMITS[name]] = value.get("limit").value
        elif name in _VALUES:
            found[_VALUES[name]] = isolator.value
        elif name in _SETS:
            found[_SETS[name]] = value.get("set").value
            if value.get("errno").given:
                found["seccomp-errno"] = value.get("errno").value
        elif name == kinds.APPARMOR:
            found["apparmor-profile"] = value.get("profile").value
        else:
            found["selinux-context"] = selinux_label([isolator])
    return found


def _volume(volume: Volume, kind: VolumeKind | None) -> Table:
    found: Table = {
        "name": volume.name,
        "kind": volume.kind,
        "source": volume.source,
        "read-only": volume.read_only,
        "recursive": volume.recursive,
        "mode": None if volume.mode is None else f"{volume.mode:04o}",
        "uid": volume.uid,
        "gid": volume.gid,
        **(kind.to_json() if kind else {}),
    }
    return {name: value for name, value in found.items() if value is not None}


def _published(port: PublishedPort) -> Table:
    found: Table = {"name": port.name, "host-port": port.host_port}
    return found | ({"host-ip": port.host_ip} if port.host_ip is not None else {})


def _mount(mount: Mount, volumes: Collection[str]) -> object:
    """In one string where that says it, as ``shortforms.mount`` reads it."""
    own = mount.app_volume
    if ":" in mount.path:
        return {"volume": mount.volume, "path": mount.path}
    if own is None:
        return f"{mount.volume}:{mount.path}"
    source = mount.volume if mount.volume in volumes else own.source
    if source is None:
        return mount.path
    words = (
        ("ro", own.read_only is True),
        ("rw", own.read_only is False),
        ("rbind", own.recursive is True),
        ("norbind", own.recursive is False),
    )
    chosen = ",".join(word for word, given in words if given)
    return f"{source}:{mount.path}:{chosen}".removesuffix(":")


def _port(port: Port, published: PublishedPort | None) -> object:
    """In one string where that says it, as ``shortforms.port`` reads it."""
    plain = port.name == f"{port.port}-{port.protocol}" and port.count == 1
    if plain and not port.socket_activated:
        outside = "" if published is None else f"{_address(published)}{published.host_port}:"
        return f"{outside}{port.port}{'' if port.protocol == 'tcp' else f'/{port.protocol}'}"
    found: Table = {"name": port.name, "port": port.port}
    if port.protocol != "tcp":
        found["protocol"] = port.protocol
    if port.count != 1:
        found["count"] = port.count
    return found | ({"socket-activated": True} if port.socket_activated else {})


def _address(port: PublishedPort) -> str:
    if port.host_ip is None:
        return ""
    return f"[{port.host_ip}]:" if ":" in port.host_ip else f"{port.host_ip}:"
