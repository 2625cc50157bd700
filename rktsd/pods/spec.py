"""A pod with every image resolved: what is kept of it on disk, and what a plan is made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rktsd.appc import read, write
from rktsd.appc.cursor import Cursor, decode_json
from rktsd.appc.types import ImageManifest, PodManifest, value_of
from rktsd.host.files import read_limited
from rktsd.pods.options import PodOptions
from rktsd.store.records import ImageRecord

_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class AppImage:
    """What a pod keeps of the image of an app, so that it runs also when the image is removed."""

    id: str
    kind: str
    layers: tuple[str, ...]
    verified_by: str
    manifest: ImageManifest

    @property
    def shown(self) -> str:
        """``name:version``, as lists show it."""
        return shown_name(self.manifest)


def shown_name(manifest: ImageManifest) -> str:
    """``name:version``, or the name alone for an image without that label."""
    version = value_of("version", manifest.labels)
    return f"{manifest.name}:{version}" if version else manifest.name


@dataclass(frozen=True, slots=True)
class PodSpec:
    """``manifest`` is reified: every app has its image's ID and an app section of its own.

    ``privileged``: an image got more than usual because this machine's settings let it.
    """

    manifest: PodManifest
    options: PodOptions
    images: Mapping[str, AppImage]
    privileged: bool = False

    def files(self) -> dict[str, str]:
        """The spec as files of a pod's directory."""
        images = {name: _image_json(image) for name, image in self.images.items()}
        return {
            "pod": write.dumps(write.pod_manifest_json(self.manifest)),
            "options": write.dumps(self.options.to_json()),
            "images": json.dumps(images),
        }

    def layers(self) -> set[str]:
        """Every layer that the pod stands on."""
        return {layer for image in self.images.values() for layer in image.layers}


def app_image(record: ImageRecord, manifest: bytes) -> AppImage:
    """What a pod keeps of a stored image."""
    return AppImage(
        id=record.id,
        kind=record.kind,
        layers=record.layers,
        verified_by=record.verified_by,
        manifest=read.image_manifest(manifest, f"image {record.id}"),
    )


def load(directory: str) -> PodSpec:
    """The spec in a pod's directory. Raises NotFound, StoreError or BadInput naming the file."""
    manifest = read_limited(f"{directory}/pod", _LIMIT)
    options = decode_json(read_limited(f"{directory}/options", _LIMIT), f"{directory}/options")
    images = decode_json(read_limited(f"{directory}/images", _LIMIT), f"{directory}/images")
    return PodSpec(
        manifest=read.pod_manifest(manifest, f"{directory}/pod"),
        options=PodOptions.from_json(options.value, f"{directory}/options"),
        images={name: _image(place) for name, place in images.members()},
    )


def _image_json(image: AppImage) -> dict[str, Any]:
    return {
        "id": image.id,
        "kind": image.kind,
        "layers": list(image.layers),
        "verified_by": image.verified_by,
        "manifest": write.image_manifest_json(image.manifest),
    }


def _image(place: Cursor) -> AppImage:
    return AppImage(
        id=place.get("id").text(),
        kind=place.get("kind").text(),
        layers=tuple(layer.text() for layer in place.get("layers").elements()),
        verified_by=place.get("verified_by").text(),
        manifest=read.image_manifest_at(place.get("manifest")),
    )
