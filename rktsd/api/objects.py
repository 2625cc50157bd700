"""Pods and images as properties of their objects."""

from __future__ import annotations

import json
import os

from rktsd.api.interfaces import image_path
from rktsd.api.values import Typed, microseconds, texts
from rktsd.pods import directories
from rktsd.pods.asjson import pod_json
from rktsd.systemd.names import pod_slice, pod_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rktsd.pods.query import AppStatus, PodStatus
    from rktsd.store.records import ImageRecord

POD_IN_BRIEF = ("Uuid", "Name", "State", "Created", "Started", "AppNames", "ImageIds")
IMAGE_IN_BRIEF = ("Id", "Name", "Version", "Labels", "Kind", "Imported", "LastUsed", "Size")


def pod(status: PodStatus) -> dict[str, Typed]:
    """The properties of a pod that its directory and the states of its units tell."""
    place, manifest = status.place, status.manifest
    return {
        "Uuid": Typed("s", place.uuid),
        "Name": Typed("s", place.name or ""),
        "State": Typed("s", status.state),
        "Created": microseconds(status.created),
        "Started": microseconds(status.started),
        "GarbageMarked": microseconds(_marked(status)),
        "Unit": Typed("s", pod_unit(place.pod)),
        "Slice": Typed("s", pod_slice(place.pod)),
        "AppNames": Typed("as", [app.name for app in status.apps]),
        "Apps": Typed("aa{sv}", [_app(app) for app in status.apps]),
        "ExitCodes": Typed(
            "a{si}",
            {app.name: app.exit_code for app in status.apps if app.exit_code is not None},
        ),
        "ImageIds": Typed("as", [app.image_id for app in status.apps]),
        "Networks": Typed("a(sss)", [_network(each) for each in status.networks]),
        "Annotations": Typed("a{ss}", texts(manifest.get("annotations"))),
        "UserAnnotations": Typed("a{ss}", texts(manifest.get("userAnnotations"))),
        "UserLabels": Typed("a{ss}", texts(manifest.get("userLabels"))),
        "Unapplied": Typed("as", list(status.unapplied)),
        "Manifest": Typed("s", json.dumps(manifest)),
        "Json": Typed("s", json.dumps(pod_json(status))),
    }


def _marked(status: PodStatus) -> int:
    """When gc has marked the pod, in ns: a rename is a change of the inode (``pods.remove``)."""
    if status.place.stage != directories.EXITED_GARBAGE:
        return 0
    try:
        return os.stat(status.place.directory).st_ctime_ns
    except OSError:
        return 0


def _app(app: AppStatus) -> dict[str, Typed]:
    found = {
        "Name": Typed("s", app.name),
        "State": Typed("s", app.state),
        "ImageId": Typed("s", app.image_id),
        "ImageName": Typed("s", app.image_name or ""),
        "Image": Typed("o", image_path(app.image_id)),
        "Created": microseconds(app.created),
        "Started": microseconds(app.started),
        "Finished": microseconds(app.finished),
    }
    if app.exit_code is not None:
        found["ExitCode"] = Typed("i", app.exit_code)
    if app.result:
        found["Result"] = Typed("s", app.result)
    if app.health:
        found["Health"] = Typed("s", app.health)
    return found


def _network(network: Mapping[str, Any]) -> tuple[str, str, str]:
    return tuple(str(network.get(key) or "") for key in ("netName", "ip", "ip6"))  # type: ignore[return-value]  # three


def image(record: ImageRecord, *, size: int, manifest: str) -> dict[str, Typed]:
    """The properties of an image; ``size`` is what it has in the store, in bytes."""
    return {
        **image_in_brief(record, size=size),
        "Source": Typed("s", record.source),
        "VerifiedBy": Typed("s", record.verified_by),
        "Layers": Typed("as", list(record.layers)),
        "Annotations": Typed("a{ss}", texts(annotations_of(manifest))),
        "Manifest": Typed("s", manifest),
    }


def image_in_brief(record: ImageRecord, *, size: int) -> dict[str, Typed]:
    """Those of ``IMAGE_IN_BRIEF``, for which no file is read."""
    return {
        "Id": Typed("s", record.id),
        "Name": Typed("s", record.name),
        "Version": Typed("s", record.label("version") or ""),
        "Labels": Typed("a{ss}", {label.name: label.value for label in record.labels}),
        "Kind": Typed("s", record.kind),
        "Imported": microseconds(record.import_time),
        "LastUsed": microseconds(record.last_used),
        "Size": Typed("t", size),
    }


def annotations_of(manifest: str) -> object:
    """The annotations in the text of a manifest, as they stand there."""
    try:
        return json.loads(manifest).get("annotations")
    except (ValueError, AttributeError, RecursionError):
        return None
