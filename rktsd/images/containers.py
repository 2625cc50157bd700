"""OCI and Docker images: from a registry or a layout into the store, every digest verified."""

import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import NamedTuple

from rktsd.appc.write import dumps, image_manifest_json
from rktsd.config.registries import read_registries
from rktsd.errors import BadInput, FetchError
from rktsd.images import oci
from rktsd.images.archive import unpack_archive
from rktsd.images.digests import Descriptor
from rktsd.images.dockersave import DockerArchive
from rktsd.images.fetch import LIMIT_HINT, Job
from rktsd.images.layers import Layer, Source, fetch_layers
from rktsd.images.layout import Layout
from rktsd.images.platforms import Platform, host_platform, rank
from rktsd.images.references import (
    Kind,
    Reference,
    is_digest,
    parse_docker_name,
    platform_suffix,
)
from rktsd.images.registry import Registry, endpoints
from rktsd.images.unchanged import stamps, state
from rktsd.images.vouching import decide, refuse_unsigned, rule_of_file, rule_of_registry, vouch
from rktsd.store import publish, seen
from rktsd.store.records import ImageRecord

MAX_INDEX_DEPTH = 3
MAX_NESTED = 16


class Origin(NamedTuple):
    """``where`` begins messages; ``source`` is how the store finds the image again.

    ``vouched`` takes the digests of the manifests that lead to the image, the top one first, and
    says who vouches for it, or raises.
    """

    where: str
    source: str
    name: str
    version: str | None
    vouched: Callable[[tuple[str, ...]], str]
    annotations: Mapping[str, str]
    platform: Platform | None = None


def _check_platform(found: Platform, origin: Origin, job: Job) -> None:
    """An image for another machine than was asked for; for this one, it may be emulated."""
    wanted = origin.platform or host_platform()
    if rank(found, wanted) is not None:
        return
    if origin.platform:
        raise FetchError(f"{origin.where}: no image for {wanted}, only {found}")
    job.report(f"warning: {origin.where} is for {found}, and this machine is {wanted}")


class Manifest(NamedTuple):
    """``sure``: an index said what platform it is for."""

    data: bytes
    descriptor: Descriptor
    sure: bool


def fetch_docker(reference: Reference, job: Job) -> ImageRecord:
    """Pull an image from a registry, when trust.toml or a flag gives reason to believe it."""
    name, platform = parse_docker_name(reference.target), reference.platform
    suffix = platform_suffix(platform)
    where = f"docker://{name}"
    configured = state(job.paths)
    rule = rule_of_registry(job, name)
    configured += stamps(rule.keys)
    pinned = f"docker://{name.registry}/{name.repository}@sha256:…"
    known = decide(job, rule, where=where, pinned=pinned, digest=name.digest)
    places = endpoints(name, read_registries(job.paths.config_dirs()))
    registry = Registry(name, job, places=places)

    ends = [0]

    def vouched(digests: tuple[str, ...]) -> str:
        if known:
            return known
        found = vouch(job, rule, registry, name=name, digests=digests, where=where)
        ends.append(found.until)
        return found.by

    origin = Origin(
        where=where,
        source=f"docker://{name}{suffix}",
        name=f"{name.registry}/{name.repository}",
        version=name.tag,
        vouched=vouched,
        annotations={
            "appc.io/docker/originalname": reference.text,
            "appc.io/docker/registryurl": name.registry,
            "appc.io/docker/repository": name.repository,
            "appc.io/docker/tag": name.tag or "",
        },
        platform=platform,
    )
    job.report(f"remote fetching from registry {name.registry}: {name.repository}")
    with registry:
        top, data = registry.top()
        record = _still(job, reference, top, origin, verified_by=known)
        if record is None:
            record = _pull(job, registry, top, data, origin)
        if not job.options.platform:
            found = registry.seen(
                record, top, until=ends[-1], state=" ".join(configured), keys=rule.keys
            )
            seen.note(job.store.root, reference.text, found)
        return record


def _still(
    job: Job, reference: Reference, top: Descriptor, origin: Origin, *, verified_by: str | None
) -> ImageRecord | None:
    """The stored image, when it is whole and its registry has no other one."""
    known = seen.recall(job.store.root, reference.text)
    record = job.store.find_source(origin.source)
    if known is None or record is None or job.options.platform:
        return None
    if (known.digest, known.image) != (top.digest, record.id):
        return None
    there = [*map(job.store.claim, record.layers), *map(job.store.claim_blob, record.blobs)]
    if record.verified_by != verified_by or not all(there):
        return None
    job.store.touch(record.id)
    job.report(f"image from {origin.where} has not changed")
    return record


def fetch_layout(reference: Reference, job: Job) -> ImageRecord:
    """Import an image from a layout or archive, when there is reason to believe it."""
    path, selector, scheme = os.path.abspath(reference.target), reference.selector, reference.kind
    digest = selector if selector and is_digest(selector) else None
    tag = None if digest else selector
    where = f"{scheme}:{path}" + (f"@{digest}" if digest else f":{tag}" if tag else "")
    rule = rule_of_file(job, scheme, path)
    pinned = f"{scheme}:{path}@sha256:…"
    known = decide(job, rule, where=where, pinned=pinned, digest=digest)
    if known is None:
        raise refuse_unsigned(rule, where=where)
    origin = Origin(
        where=where,
        source=f"{where}{platform_suffix(reference.platform)}",
        name=os.path.basename(path),
        version=tag,
        vouched=lambda digests: known,
        annotations={
            "appc.io/docker/originalname": reference.text,
            "appc.io/docker/tag": tag or "",
        },
        platform=reference.platform,
    )
    if scheme is Kind.LAYOUT:
        job.report(f"using image from layout {path}")
        layout = Layout(path)
        top = layout.choose(selector)
        return _pull(job, layout, top, layout.read(top), origin)
    job.report(f"using image from archive {path}")
    with job.store.temporary("archive") as scratch:
        archive = unpack_archive(path, scratch, job)
        if scheme is Kind.OCI_ARCHIVE:
            layout = Layout(path, archive=archive)
            top = layout.choose(selector)
            return _pull(job, layout, top, layout.read(top), origin)
        saved = DockerArchive(archive, selector)
        if saved.name:
            name = parse_docker_name(saved.name)
            shown = f"{name.registry}/{name.repository}"
            origin = origin._replace(name=shown, version=name.tag)
        return _pull(job, saved, saved.top(), saved.manifest, origin)


def _pull(job: Job, source: Source, top: Descriptor, data: bytes, origin: Origin) -> ImageRecord:
    wanted = origin.platform or host_platform()
    manifest, descriptor, sure = find_manifest(source, top, data, wanted=wanted, where=origin.where)
    digests = tuple(dict.fromkeys(f"sha256:{sha256(x).hexdigest()}" for x in (data, manifest)))
    verified_by = origin.vouched(digests)
    image = oci.read_manifest(manifest, origin.where)
    total = sum(layer.size for layer in image.layers)
    if total > job.options.limit:
        raise FetchError(
            f"{origin.where}: {total} bytes are more than the limit of {job.options.limit}",
            hint=LIMIT_HINT,
        )
    config_bytes = source.read(image.config)
    config = oci.read_config(config_bytes, f"{origin.where}: config", layers=len(image.layers))
    if not sure:
        _check_platform(config.platform, origin, job)
    appc = oci.to_appc(
        config,
        name=origin.name,
        version=origin.version,
        annotations={
            **origin.annotations,
            "appc.io/docker/imageid": image.config.digest,
            "appc.io/docker/manifesthash": descriptor.digest,
        },
        manifest_annotations=image.annotations,
    )
    pairs = zip(image.layers, config.diff_ids, strict=True)
    archives = [Layer(layer, diff_id) for layer, diff_id in pairs]
    blobs = fetch_layers(job, source, archives, where=origin.where)
    layers = job.store.visible(tuple(reversed(config.diff_ids)))
    record = ImageRecord(
        id=oci.image_id(manifest),
        name=appc.name,
        labels=appc.labels,
        kind="oci",
        layers=layers,
        size=len(manifest) + len(config_bytes) + total,
        import_time=0,
        last_used=0,
        source=origin.source,
        verified_by=verified_by,
        blobs=blobs,
    )
    extra = {"oci-manifest": manifest, "oci-config": config_bytes}
    return publish.add_image(
        job.store, record, dumps(image_manifest_json(appc)).encode(), extra=extra
    )


def find_manifest(
    source: Source, top: Descriptor, data: bytes, *, wanted: Platform, where: str
) -> Manifest:
    """Follow indexes to the manifest of the image for ``wanted``. Raises FetchError."""
    offered: list[str] = []

    def find(at: Descriptor, data: bytes, depth: int, sure: bool) -> Manifest | None:
        if oci.media_type_of(data, where, said=at.media_type) not in oci.INDEXES:
            return Manifest(data, at, sure)
        if depth == MAX_INDEX_DEPTH:
            raise BadInput(f"{where}: indexes nested more than {MAX_INDEX_DEPTH} deep")
        choice = oci.choose_platform(data, where, wanted=wanted)
        offered.extend(choice.offered)
        for each in (*choice.fitting[:1], *choice.nested[:MAX_NESTED]):
            found = find(each, source.read(each), depth + 1, choice.sure)
            if found:
                return found
        return None

    found = find(top, data, 0, False)
    if found is None:
        known = ", ".join(dict.fromkeys(offered)) or "nothing"
        raise FetchError(f"{where}: no image for {wanted}, only {known}")
    return found
