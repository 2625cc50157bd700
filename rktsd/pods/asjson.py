"""Pods as rkt's JSON has them."""

from __future__ import annotations

from rktsd.paths import USER_RANGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktsd.pods.query import AppStatus, PodStatus


def pod_json(status: PodStatus) -> dict[str, Any]:
    """A pod as rkt's JSON has it; ``pod_name`` is ours, and absent for a pod without a name."""
    members: dict[str, Any] = {"name": status.place.uuid}
    if status.place.name is not None:
        members["pod_name"] = status.place.name
    members["state"] = status.state
    if status.networks:
        members["networks"] = status.networks
    members["app_names"] = [app.name for app in status.apps]
    members["apps"] = [app_json(app, status) for app in status.apps]
    members["created_at"] = status.created // 10**9
    if status.started:
        members["started_at"] = status.started // 10**9
    if status.users is not None:
        members["private_users"] = {"first": status.users, "count": USER_RANGE}
    if status.metadata:
        members["metadata_service"] = status.metadata
    if status.unapplied:
        members["unapplied"] = list(status.unapplied)
    for key, source in (("user_annotations", "userAnnotations"), ("user_labels", "userLabels")):
        if status.manifest.get(source):
            members[key] = status.manifest[source]
    return members


def app_json(app: AppStatus, status: PodStatus) -> dict[str, Any]:
    """An app of a pod as rkt's JSON has it, and what is ours."""
    members: dict[str, Any] = {"name": app.name, "state": app.state, "created_at": app.created}
    optional = {
        "started_at": app.started,
        "finished_at": app.finished,
        "exit_code": app.exit_code,
        "result": app.result,
        "health": app.health,
    }
    members |= {key: value for key, value in optional.items() if value is not None}
    members["image_id"] = app.image_id
    mounted = mounts(app, status)
    if mounted:
        members["mounts"] = mounted
    section = app.manifest.get("app") or {}
    for key, source in (("user_annotations", "userAnnotations"), ("user_labels", "userLabels")):
        if section.get(source):
            members[key] = section[source]
    return members


def mounts(app: AppStatus, status: PodStatus) -> list[dict[str, Any]]:
    """The volumes of an app, as the JSON of ``status`` has them."""
    volumes = {volume["name"]: volume for volume in status.manifest.get("volumes") or ()}
    found = []
    for mount in app.manifest.get("mounts") or ():
        volume = mount.get("appVolume") or volumes.get(mount["volume"]) or {}
        found.append(
            {
                "name": mount["volume"],
                "container_path": mount["path"],
                "host_path": volume.get("source")
                or status.volumes.get(mount["volume"])
                or f"{status.place.directory}/volumes/{mount['volume']}",
                "read_only": bool(volume.get("readOnly")),
            }
        )
    return found
