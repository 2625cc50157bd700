"""``push``: a stored image goes to a registry, a layout, or an archive."""

import os

from rktsd.config.registries import read_registries
from rktsd.errors import UsageError
from rktsd.images.fetch import Job
from rktsd.images.outgoing import outgoing
from rktsd.images.outlayout import write_archive, write_layout
from rktsd.images.references import Kind, is_digest, parse_docker_name, parse_reference
from rktsd.images.registry import endpoints
from rktsd.images.upload import CHUNK, Upload
from rktsd.store.records import ImageRecord

_KINDS = (Kind.DOCKER, Kind.LAYOUT, Kind.OCI_ARCHIVE)


def push(
    record: ImageRecord, destination: str, job: Job, *, replace: bool = False, chunk: int = CHUNK
) -> str:
    """Send an image to ``destination``; the digest of the manifest that it has there.

    ``destination`` is ``docker://NAME[:TAG]``, ``oci:DIR[:TAG]`` or ``oci-archive:FILE[:TAG]``;
    ``replace`` lets a file be written over. Raises UsageError, BadInput, FetchError, TrustError,
    StoreError.
    """
    target = parse_reference(destination, is_file=lambda path: False)
    if target.kind not in _KINDS:
        raise UsageError(f"{destination}: images are pushed to docker://, oci: or oci-archive:")
    selector = target.selector
    if target.platform or (selector and is_digest(selector)):
        raise UsageError(f"{destination}: a tag can be chosen, a digest or platform cannot")
    name = parse_docker_name(target.target) if target.kind is Kind.DOCKER else None
    if name and name.digest:
        raise UsageError(f"{destination}: the digest follows from the image, give a tag")
    if record.kind == "aci":
        job.report(f"{record.name} is an appc image: what is pushed is an OCI image of it")
    with outgoing(job.store, record) as image:
        path = os.path.abspath(target.target)
        if name:
            endpoint = endpoints(name._replace(tag=None), read_registries(job.paths.config_dirs()))[
                -1
            ]
            with Upload(endpoint, job, chunk=chunk) as upload:
                near = _near(record, endpoint.registry, endpoint.repository)
                upload.push(image, name.version, near=near)
        elif target.kind is Kind.LAYOUT:
            write_layout(image, path, selector)
        else:
            write_archive(image, path, selector, replace=replace)
        return image.manifest.descriptor.digest


def _near(record: ImageRecord, registry: str, repository: str) -> str | None:
    """The repository at the same registry that the image came from."""
    source = record.source.partition(",platform=")[0]
    if not source.startswith("docker://"):
        return None
    name = parse_docker_name(source.removeprefix("docker://"))
    elsewhere = name.registry == registry and name.repository != repository
    return name.repository if elsewhere else None
