"""Get again what of a stored image was damaged or lost, from where the image came.

Every piece is known by its digest, so that nothing has to be trusted anew; a source that has
another image by now cannot help.
"""

import hashlib
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rktsd.config.registries import read_registries
from rktsd.errors import FetchError, NotFound, StoreError, TrustError, Unsupported
from rktsd.images import oci
from rktsd.images.archive import unpack_archive
from rktsd.images.checking import ARCHIVE, DOCUMENT, Finding
from rktsd.images.containers import find_manifest
from rktsd.images.digests import Descriptor
from rktsd.images.dockersave import DockerArchive
from rktsd.images.download import download
from rktsd.images.fetch import Job
from rktsd.images.layers import Source
from rktsd.images.layout import Layout
from rktsd.images.platforms import host_platform, parse_platform
from rktsd.images.progress import unwatched
from rktsd.images.references import Kind, parse_docker_name, parse_reference
from rktsd.images.registry import Registry, endpoints
from rktsd.store import publish
from rktsd.store.records import ImageRecord, blob_name
from rktsd.store.transfer import take

_DOCUMENTS = frozenset({"oci-manifest", "oci-config"})


def where_from(record: ImageRecord) -> str:
    """What to tell who has to get an image again."""
    if record.source.startswith("import:"):
        return f"it was imported from {record.source.removeprefix('import:')}: import it again"
    return f"it came from {record.source}: rkt image verify --fetch gets it again from there"


def refetch(record: ImageRecord, findings: Iterable[Finding], job: Job) -> None:
    """Replace the archives and documents of ``findings`` that are not right.

    Raises BadInput, FetchError, TrustError, NotFound, StoreError, Unsupported; what was replaced is
    right.
    """
    wanted = [each for each in findings if not each.good]
    archives = {each.name for each in wanted if each.kind == ARCHIVE}
    for name in sorted(archives):
        if name.endswith(".aci"):
            _get_aci(job.store.image(name.removesuffix(".aci")), job)
    documents = {each.name for each in wanted if each.kind == DOCUMENT} & _DOCUMENTS
    blobs = {name for name in archives if not name.endswith(".aci")}
    if record.kind == "oci" and (documents or blobs):
        with _opened(record, job) as (source, top, data):
            _get_oci(record, source, top, data, blobs=blobs, renew=bool(documents), job=job)


def _get_aci(record: ImageRecord, job: Job) -> None:
    source = record.source
    scheme = source.partition(":")[0]
    if scheme not in ("https", "http", "file"):
        raise Unsupported(f"image {record.id}: {where_from(record)}")
    with job.store.temporary("archive") as target:
        if scheme == "file":
            path = urllib.parse.unquote(source.removeprefix("file://"))
            try:
                take(job.store.root, path, target)
            except OSError as error:
                raise StoreError(f"cannot copy {path}: {error.strerror}") from error
        else:
            job.report(f"remote fetching from URL {source!r}")
            with job.client() as client:
                download(
                    source,
                    target,
                    ask=lambda headers, accept: client.get(
                        source, headers=headers, accept=accept, login=True
                    ),
                    root=job.store.root,
                    limit=job.options.limit,
                    settings=client.settings,
                    watch=job.options.watch or unwatched,
                    report=job.report,
                )
        try:
            publish.add_archive(job.store, target, record.id, limits=job.limits(), label=source)
        except TrustError as error:
            raise FetchError(f"{source}: has another image by now, not {record.id}") from error


def _manifest_digest(record: ImageRecord, job: Job) -> str | None:
    try:
        data = job.store.manifest_bytes(record.id, extra="oci-manifest")
    except NotFound:
        return None
    if oci.image_id(data) != record.id:
        return None
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextmanager
def _opened(record: ImageRecord, job: Job) -> Iterator[tuple[Source, Descriptor, bytes]]:
    """Where an OCI image came from, and what is at its top there."""
    text = record.source.partition(",platform=")[0]
    reference = parse_reference(text, is_file=lambda path: False)
    job.report(f"fetching again from {text}")
    if reference.kind is Kind.DOCKER:
        name = parse_docker_name(reference.target)
        # A tag may lead elsewhere by now, a digest does not.
        name = name._replace(digest=name.digest or _manifest_digest(record, job))
        known = read_registries(job.paths.config_dirs())
        with Registry(name, job, places=endpoints(name, known)) as registry:
            yield (registry, *registry.top())
    elif reference.kind is Kind.LAYOUT:
        layout = Layout(reference.target)
        top = layout.choose(reference.selector)
        yield layout, top, layout.read(top)
    elif reference.kind in (Kind.OCI_ARCHIVE, Kind.DOCKER_ARCHIVE):
        with job.store.temporary("archive") as scratch:
            archive = unpack_archive(reference.target, scratch, job)
            if reference.kind is Kind.OCI_ARCHIVE:
                layout = Layout(reference.target, archive=archive)
                top = layout.choose(reference.selector)
                yield layout, top, layout.read(top)
            else:
                saved = DockerArchive(archive, reference.selector)
                yield saved, saved.top(), saved.manifest
    else:
        raise Unsupported(f"image {record.id}: {where_from(record)}")


def _get_oci(
    record: ImageRecord,
    source: Source,
    top: Descriptor,
    data: bytes,
    *,
    blobs: set[str],
    renew: bool,
    job: Job,
) -> None:
    platform = record.source.partition(",platform=")[2]
    wanted = parse_platform(platform) if platform else host_platform()
    manifest, _, _ = find_manifest(source, top, data, wanted=wanted, where=record.source)
    if oci.image_id(manifest) != record.id:
        raise FetchError(f"{record.source}: has another image by now, not {record.id}")
    image = oci.read_manifest(manifest, record.source)
    for layer in image.layers:
        name = blob_name(layer.digest)
        if name in blobs:
            blobs.discard(name)
            job.report(f"downloading layer {layer.digest} ({layer.size} bytes)")
            with job.store.temporary("layer") as path:
                source.save(layer, path, watch=job.options.watch or unwatched)
                publish.add_blob(job.store, path, layer.digest)
    if renew:
        extra = {"oci-manifest": manifest, "oci-config": source.read(image.config)}
        publish.renew(job.store, record, extra)
