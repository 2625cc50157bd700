"""Manifests as JSON values and text, which ``rktsd.appc.read`` reads as the same manifests.

Members stand in the order of the reference implementation; what is absent there, is absent here.
The pod manifest's lists are written even when empty, as it does (with ``[]``, not ``null``).
"""

from collections.abc import Iterable

from rktsd.appc.types import (
    App,
    Dependency,
    EventHandler,
    ImageManifest,
    Isolator,
    Mount,
    MountPoint,
    NameValue,
    PodManifest,
    Port,
    PublishedPort,
    RuntimeApp,
    Volume,
)

Json = dict[str, object]


def dumps(value: object, *, pretty: bool = False) -> str:
    """``value`` as JSON text, in one line or (``pretty``) indented by tabs, as rkt prints it."""
    import json

    if pretty:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent="\t")
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _present(members: Json) -> Json:
    """Without absent values and empty lists and objects; false, 0 and ``""`` stay."""
    return {
        name: value
        for name, value in members.items()
        if value is not None and value != [] and value != {}
    }


def image_manifest_json(manifest: ImageManifest) -> Json:
    """An image manifest as a JSON object."""
    return _present(
        {
            "acKind": "ImageManifest",
            "acVersion": manifest.ac_version,
            "name": manifest.name,
            "labels": name_values_json(manifest.labels),
            "app": app_json(manifest.app) if manifest.app else None,
            "annotations": name_values_json(manifest.annotations),
            "dependencies": [_dependency_json(each) for each in manifest.dependencies],
            "pathWhitelist": list(manifest.path_whitelist),
        }
    )


def pod_manifest_json(manifest: PodManifest) -> Json:
    """A pod manifest as a JSON object."""
    return {
        "acVersion": manifest.ac_version,
        "acKind": "PodManifest",
        "apps": [_runtime_app_json(each) for each in manifest.apps],
        "volumes": [volume_json(each) for each in manifest.volumes],
        "isolators": [isolator_json(each) for each in manifest.isolators],
        "annotations": name_values_json(manifest.annotations),
        "ports": [_published_port_json(each) for each in manifest.ports],
        **_present(
            {
                "userAnnotations": dict(manifest.user_annotations),
                "userLabels": dict(manifest.user_labels),
            }
        ),
    }


def name_values_json(pairs: Iterable[NameValue]) -> list[Json]:
    """Labels, annotations or environment variables."""
    return [{"name": pair.name, "value": pair.value} for pair in pairs]


def isolator_json(isolator: Isolator) -> Json:
    """An isolator."""
    return {"name": isolator.name, "value": isolator.value}


def app_json(app: App) -> Json:
    """The object ``app`` of an image or of an app in a pod."""
    return {
        "exec": list(app.exec),
        **_present(
            {
                "eventHandlers": [_event_handler_json(each) for each in app.event_handlers],
                "user": app.user,
                "group": app.group,
                "supplementaryGIDs": list(app.supplementary_gids),
                "workingDirectory": app.working_directory,
                "environment": name_values_json(app.environment),
                "mountPoints": [mount_point_json(each) for each in app.mount_points],
                "ports": [port_json(each) for each in app.ports],
                "isolators": [isolator_json(each) for each in app.isolators],
                "userAnnotations": dict(app.user_annotations),
                "userLabels": dict(app.user_labels),
            }
        ),
    }


def _event_handler_json(handler: EventHandler) -> Json:
    return {"name": handler.name, "exec": list(handler.exec)}


def mount_point_json(point: MountPoint) -> Json:
    """A mount point of an app."""
    return _present({"name": point.name, "path": point.path, "readOnly": point.read_only or None})


def port_json(port: Port) -> Json:
    """A port of an app."""
    return {
        "name": port.name,
        "protocol": port.protocol,
        "port": port.port,
        "count": port.count,
        "socketActivated": port.socket_activated,
    }


def _dependency_json(dependency: Dependency) -> Json:
    return _present(
        {
            "imageName": dependency.image_name,
            "imageID": dependency.image_id,
            "labels": name_values_json(dependency.labels),
            "size": dependency.size,
        }
    )


def volume_json(volume: Volume) -> Json:
    """A volume of a pod."""
    return _present(
        {
            "name": volume.name,
            "kind": volume.kind,
            "source": volume.source,
            "readOnly": volume.read_only,
            "recursive": volume.recursive,
            "mode": None if volume.mode is None else f"{volume.mode:04o}",
            "uid": volume.uid,
            "gid": volume.gid,
        }
    )


def _mount_json(mount: Mount) -> Json:
    return _present(
        {
            "volume": mount.volume,
            "path": mount.path,
            "appVolume": volume_json(mount.app_volume) if mount.app_volume else None,
        }
    )


def _runtime_app_json(app: RuntimeApp) -> Json:
    image: Json = {
        "name": app.image.name,
        "id": app.image.id,
        "labels": name_values_json(app.image.labels),
    }
    return _present(
        {
            "name": app.name,
            "image": _present(image),
            "app": app_json(app.app) if app.app else None,
            "readOnlyRootFS": app.read_only_root_fs or None,
            "mounts": [_mount_json(each) for each in app.mounts],
            "annotations": name_values_json(app.annotations),
        }
    )


def _published_port_json(port: PublishedPort) -> Json:
    return _present(
        {
            "name": port.name,
            "hostPort": port.host_port,
            "hostIP": port.host_ip,
            "podPort": port_json(port.pod_port) if port.pod_port else None,
        }
    )
