"""What an app container image may be taken for: by its name, its labels and its signer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from rktsd.appc.names import ImageName
from rktsd.appc.types import Dependency, ImageManifest
from rktsd.errors import BadInput, TrustError
from rktsd.images import signatures
from rktsd.images.fetch import Job, fetch_as
from rktsd.images.keystore import trusted_keys, trusted_prefixes
from rktsd.images.references import Kind, Reference
from rktsd.images.signatures import Signer
from rktsd.images.whitelist import parts_below
from rktsd.store.records import Below, ImageRecord

MAX_DEPENDENCY_DEPTH = 32
MAX_DEPENDENCIES = 500


@dataclass(frozen=True, slots=True)
class Wish:
    """The name and labels that an image was asked for by; those of this machine are included."""

    name: str
    labels: Mapping[str, str]


def accept(
    job: Job, image: str, manifest: ImageManifest, wish: Wish | None, signer: Signer | None
) -> tuple[str, ...] | Below:
    """Refuse what is not what was asked for; what of the dependencies lies below, topmost first."""
    if signer is not None:
        keys = trusted_keys(job.paths, manifest.name)
        if signer.fingerprint not in {key.fingerprint for key in keys}:
            raise signatures.unknown(
                image, signer.fingerprint, partial(trusted_prefixes, job.paths)
            )
    if wish is not None:
        check_wish(manifest, wish, image=image)
    below = {_name_of(each) for each in manifest.dependencies} | job.dependencies.keys()
    if len(below) > MAX_DEPENDENCIES:
        raise BadInput(f"{image}: more than {MAX_DEPENDENCIES} images lie below it, or beside it")
    if manifest.path_whitelist:
        return parts_below(
            job.store, manifest, lambda way, dependency: _below(job, way, dependency)
        )
    return _dependency_layers(job, manifest)


def check_wish(manifest: ImageManifest, wish: Wish, *, image: str) -> None:
    """Raise BadInput, in rkt's words, unless name and labels are those that were asked for."""
    if manifest.name != wish.name:
        raise BadInput(f'{image}: image name "{wish.name}" expected but "{manifest.name}" found')
    found = {label.name: label.value for label in manifest.labels}
    for name, value in wish.labels.items():
        if name not in found:
            raise BadInput(f'{image}: requested label "{name}" not provided by the image manifest')
        if found[name] != value:
            raise BadInput(
                f'{image}: requested value for label "{name}": "{value}" '
                f'differs from fetched aci label value: "{found[name]}"'
            )


def _dependency_layers(job: Job, manifest: ImageManifest) -> tuple[str, ...]:
    """Layers of all dependencies, topmost first: a later one lies over an earlier one.

    A layer that several dependencies bring counts once, at its topmost place; below that it could
    change nothing.
    """
    inner = _inner(job, (manifest.name,)) if manifest.dependencies else job
    layers: dict[str, None] = {}
    for dependency in reversed(manifest.dependencies):
        for layer in _dependency(inner, dependency).layers:
            job.store.claim(layer)
            layers.setdefault(layer)
    return tuple(layers)


def _inner(job: Job, way: tuple[str, ...]) -> Job:
    """The job of fetching what the last image of ``way`` needs. Raises BadInput for circles."""
    trail = (*job.trail, *way)
    if len(set(trail)) < len(trail) or len(trail) > MAX_DEPENDENCY_DEPTH:
        shown = " -> ".join(trail)
        raise BadInput(f"image {trail[-1]}: its dependencies do not end: {shown}")
    return replace(job, trail=trail, options=replace(job.options, signature=None))


def _below(job: Job, way: tuple[str, ...], dependency: Dependency) -> ImageRecord:
    """A dependency at the end of ``way``; those deeper down have just been fetched with it."""
    inner = _inner(job, way)
    if len(way) > 1 and inner.options.pull_policy == "update":
        inner = replace(inner, options=replace(inner.options, pull_policy="new"))
    return _dependency(inner, dependency)


def _name_of(dependency: Dependency) -> str:
    return str(ImageName(dependency.image_name, dependency.labels))


def _dependency(job: Job, dependency: Dependency) -> ImageRecord:
    text = _name_of(dependency)
    record = job.dependencies.get(text)
    if record is None:
        record = job.dependencies[text] = fetch_as(Reference(Kind.NAME, text, text), job)
    wanted = dependency.image_id
    if wanted and not (record.id.startswith(wanted) or wanted.startswith(record.id)):
        raise TrustError(
            f"dependency {text} of {job.trail[-1]}: image ID is {record.id}, not {wanted}"
        )
    return record
