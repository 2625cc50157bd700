"""appc image manifests as OCI image configurations (OCI image specification 1.1). Pure.

The opposite of ``rktsd.images.oci``. What an OCI image has no field for is in the annotation
``appc.io/manifest`` of its manifest, the appc manifest as it was.
"""

import json
from collections.abc import Callable, Sequence

from rktsd.appc.types import App, ImageManifest
from rktsd.appc.write import dumps
from rktsd.images.digests import Descriptor
from rktsd.images.oci import OCI_MANIFEST
from rktsd.images.platforms import platform

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_APPC = "appc.io/manifest"
_KEPT = "appc.io/docker/"
_STANDARD = {
    "created": "created",
    "authors": "authors",
    "homepage": "url",
    "documentation": "documentation",
}

Json = dict[str, object]


def to_config(
    manifest: ImageManifest, diff_ids: Sequence[str], *, owner_of: Callable[[str, bool], int]
) -> bytes:
    """The configuration of an image with these layers, lowest first.

    ``owner_of`` says what uid, or with True gid, a file of the image has: appc names users so.
    """
    labels = {label.name: label.value for label in manifest.labels}
    said = {each.name: each.value for each in manifest.annotations}
    found = platform(labels.get("os", "linux"), labels.get("arch", ""))
    settings = _settings(manifest.app, said, owner_of) if manifest.app else {}
    members: Json = {
        "created": said.get("created"),
        "author": said.get("authors"),
        "architecture": found.arch,
        "variant": found.variant or None,
        "os": found.os,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }
    kept = {name: value for name, value in members.items() if value is not None}
    return dumps(kept).encode()


def _settings(app: App, said: dict[str, str], owner_of: Callable[[str, bool], int]) -> Json:
    entrypoint, command = (_kept(said, word) for word in ("entrypoint", "cmd"))
    words = [*_list(entrypoint), *_list(command)]
    if words != list(app.exec):
        entrypoint, command = list(app.exec), None
    ports = {
        f"{port.port}-{port.port + port.count - 1}/{port.protocol}"
        if port.count > 1
        else f"{port.port}/{port.protocol}"
        for port in app.ports
    }
    environment = [f"{each.name}={each.value}" for each in app.environment]
    members: Json = {
        "User": said.get(f"{_KEPT}user") or _user(app, owner_of),
        "ExposedPorts": {port: {} for port in sorted(ports)},
        "Env": [*environment, *map(str, _list(_kept(said, "env")))],
        "Entrypoint": entrypoint,
        "Cmd": command,
        "Volumes": {point.path: {} for point in app.mount_points},
        "WorkingDir": app.working_directory,
        "Labels": dict(app.user_labels),
        "StopSignal": said.get(f"{_KEPT}stopsignal"),
        "Healthcheck": _kept(said, "healthcheck"),
        "OnBuild": _kept(said, "onbuild"),
        "Shell": _kept(said, "shell"),
    }
    return {name: value for name, value in members.items() if value}


def _user(app: App, owner_of: Callable[[str, bool], int]) -> str:
    user = str(owner_of(app.user, False)) if app.user.startswith("/") else app.user
    group = str(owner_of(app.group, True)) if app.group.startswith("/") else app.group
    return f"{user}:{group}"


def _kept(said: dict[str, str], word: str) -> object:
    """What an image had when it was converted from an OCI one."""
    try:
        return json.loads(said.get(f"{_KEPT}{word}", "null"))
    except ValueError:
        return None


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def to_manifest(
    manifest: ImageManifest, appc: bytes, config: Descriptor, layers: Sequence[Descriptor]
) -> bytes:
    """The OCI manifest; ``appc`` is the appc manifest's text."""
    said = {each.name: each.value for each in manifest.annotations}
    labels = {label.name: label.value for label in manifest.labels}
    annotations = {
        f"org.opencontainers.image.{word}": said[name]
        for name, word in _STANDARD.items()
        if name in said
    }
    if "version" in labels:
        annotations["org.opencontainers.image.version"] = labels["version"]
    annotations["org.opencontainers.image.title"] = manifest.name
    annotations[_APPC] = appc.decode()
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor_json(config),
        "layers": [descriptor_json(layer) for layer in layers],
        "annotations": dict(sorted(annotations.items())),
    }
    return dumps(document).encode()


def descriptor_json(descriptor: Descriptor) -> Json:
    """A descriptor as OCI documents have it."""
    kind, digest, size = descriptor
    return {"mediaType": kind, "digest": digest, "size": size}
