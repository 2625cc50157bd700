"""Images of pod files that are written: what to call their apps, and what is known of them."""

from __future__ import annotations

import os

from rktsd.appc import names, read
from rktsd.appc.types import ImageManifest
from rktsd.errors import RktError
from rktsd.images.references import Kind, parse_docker_name, parse_reference
from rktsd.paths import Paths


def stored_manifest(paths: Paths, image: str) -> ImageManifest | None:
    """The manifest of the image that a reference means, if it is stored."""
    from rktsd.images.fetch import stored
    from rktsd.store.store import Store

    try:
        with Store.open(paths.store) as store:
            record = stored(image, store)
            return read.image_manifest(store.manifest_bytes(record.id), image)
    except RktError:
        return None


def lasting(image: str) -> str:
    """The reference with a whole path: a pod is started from another directory than ours.

    Raises BadInput, Unsupported.
    """
    reference = parse_reference(image, is_file=os.path.isfile)
    return os.path.abspath(reference.target) if reference.kind is Kind.FILE else image


def app_name(image: str) -> str:
    """What to call the app of an image: the last part of the image's name. Raises BadInput."""
    reference = parse_reference(image, is_file=os.path.isfile)
    target = reference.target
    if reference.kind is Kind.DOCKER:
        target = parse_docker_name(target).repository
    elif reference.kind is Kind.NAME:
        target = target.partition(":")[0].partition(",")[0]
    return names.sanitise_ac_name(os.path.basename(target.rstrip("/")).removesuffix(".aci"))
