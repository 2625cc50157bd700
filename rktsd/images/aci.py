"""App container images: signature first, then the archive, then what its manifest says.

Nothing of an archive is read before its signature holds for a key that is trusted for some image;
the image is stored once that key turns out to be trusted for this one's name.
"""

import os
import urllib.parse
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from rktsd.appc.names import host_labels, parse_image_name
from rktsd.appc.read import image_manifest
from rktsd.errors import Absent, FetchError, StoreError, TrustError
from rktsd.host.files import require_regular
from rktsd.images import signatures
from rktsd.images.acceptance import Wish, accept
from rktsd.images.answer import TooLarge
from rktsd.images.digests import Witness
from rktsd.images.discovery import Endpoint, discover_endpoints, simple_endpoint
from rktsd.images.download import download
from rktsd.images.fetch import LIMIT_HINT, Job
from rktsd.images.http import Answer, Client
from rktsd.images.keystore import TrustedKey, ring_of, trusted_keys, trusted_prefixes
from rktsd.images.pages import get_page
from rktsd.images.progress import unpacking, unwatched
from rktsd.images.references import Reference
from rktsd.images.revalidate import note, remember, revalidate
from rktsd.images.scratch import scratch
from rktsd.images.signatures import SIGNATURE_LIMIT, Hearing, Signer
from rktsd.images.unchanged import state
from rktsd.images.whitelist import is_unchanged
from rktsd.store import publish
from rktsd.store.records import Below, ImageRecord
from rktsd.store.transfer import take

NO_SIGNATURE_HINT = "--insecure-options=image takes unsigned images"
_NOT_READY = 202
Hear = Callable[[], Witness] | None
GetArchive = Callable[[str, Hear], None]


class MissingSignature(TrustError):
    """There is no signature where it ought to be; another endpoint may have one."""


class Imported(NamedTuple):
    """``until`` is as in ``signatures.Signer``, None where signatures were not looked at."""

    record: ImageRecord
    until: int | None


def fetch_file(reference: Reference, job: Job) -> ImageRecord:
    """Import a local ACI; its signature is beside it (``.asc``) or given by the options."""
    path = os.path.abspath(reference.target)
    signature = job.options.signature or f"{path}.asc"
    job.report(f"using image from file {path}")

    def get_archive(target: str, hear: Hear) -> None:
        require_regular(path)
        # A copy of our own: between check and import nobody else may change it.
        try:
            take(job.store.root, path, target)
        except OSError as error:
            raise StoreError(f"cannot copy {path}: {error.strerror}") from error

    def get_signature(target: str) -> bool:
        require_regular(path)
        if not os.path.exists(signature):
            raise Absent(f"{signature}: no such file")
        require_regular(signature)
        take(job.store.root, signature, target)
        return True

    source = f"file://{urllib.parse.quote(path)}"
    return import_verified(job, path, source, None, get_archive, get_signature).record


def fetch_url(reference: Reference, job: Job) -> ImageRecord:
    """Download an ACI and its signature, ``.asc`` behind the URL's path."""
    parts = urllib.parse.urlsplit(reference.target)
    signature = urllib.parse.urlunsplit(parts._replace(path=f"{parts.path}.asc"))
    configured = " ".join(state(job.paths))
    with job.client() as client:
        found = _download(job, client, Endpoint(reference.target, signature), None)
    note(job, reference, found.record, until=found.until, state=configured)
    return found.record


def fetch_name(reference: Reference, job: Job) -> ImageRecord:
    """Discover an appc image by its name, and download it from the first endpoint that has it."""
    name = parse_image_name(reference.target)
    wish = Wish(name.name, {**host_labels(), **{each.name: each.value for each in name.labels}})
    job.report(f"searching for app image {name.name}")
    with job.client() as client:
        failures: list[FetchError | MissingSignature] = []
        for endpoint in _endpoints(job, client, wish):
            try:
                record = _download(job, client, endpoint, wish).record
                if wish.labels.keys() <= {"os", "arch"}:
                    job.store.note_latest(record, wish.labels)
                return record
            except (FetchError, MissingSignature) as error:
                failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    kind = FetchError if isinstance(failures[0], FetchError) else TrustError
    raise kind("; ".join(map(str, failures)))


def _endpoints(job: Job, client: Client, wish: Wish) -> tuple[Endpoint, ...]:
    """Where the image may be: at the address made from its name, or where discovery says."""
    missing = ""
    if client.settings.simple_discovery:
        simple = simple_endpoint(wish.name, wish.labels)
        try:
            with client.get(simple.aci, login=True, method="HEAD"):
                return (simple,)
        except FetchError as error:
            missing = f"{error}; "
    try:
        return discover_endpoints(
            wish.name, wish.labels, get_page=lambda prefix: get_page(client, prefix)
        )
    except FetchError as error:
        raise FetchError(f"{missing}{error}") from error


def _download(job: Job, client: Client, endpoint: Endpoint, wish: Wish | None) -> Imported:
    known = revalidate(job, client, endpoint.aci)
    if known is not None:
        renewed = _renewed(job, known, endpoint.aci, wish)
        if renewed is not None:
            return Imported(renewed, None)
    answers: list[Mapping[str, str]] = []

    def ask(headers: Mapping[str, str], accept: frozenset[int]) -> AbstractContextManager[Answer]:
        return client.get(endpoint.aci, headers=headers, accept=accept, login=True)

    def get_archive(target: str, hear: Hear) -> None:
        job.report(f"remote fetching from URL {endpoint.aci!r}")
        try:
            headers = download(
                endpoint.aci,
                target,
                ask=ask,
                root=job.store.root,
                limit=job.options.limit,
                settings=client.settings,
                check=hear,
                watch=job.options.watch or unwatched,
                report=job.report,
            )
        except TooLarge as error:
            error.hint = LIMIT_HINT
            raise
        answers.append(headers)

    def get_signature(target: str) -> bool:
        accept = frozenset({200, _NOT_READY})
        with client.get(endpoint.signature, login=True, accept=accept) as answer:
            if answer.status == _NOT_READY:
                return False
            answer.save(target, limit=SIGNATURE_LIMIT)
            return True

    found = import_verified(job, endpoint.aci, endpoint.aci, wish, get_archive, get_signature)
    remember(job, found.record, endpoint.aci, answers[-1])
    return found


def _renewed(job: Job, record: ImageRecord, image: str, wish: Wish | None) -> ImageRecord | None:
    """The stored image instead of an unchanged one, its dependencies looked after.

    None when it would not be taken today: no longer trusted, or damaged.
    """
    manifest = image_manifest(job.store.manifest_bytes(record.id), image)
    if "image" not in job.options.insecure:
        vouching = {key.fingerprint for key in trusted_keys(job.paths, manifest.name)}
        if record.verified_by not in vouching:
            return None
    below = accept(job, image, manifest, wish, None)
    if isinstance(below, Below):
        return record if is_unchanged(job.store, record, manifest, below) else None
    if not job.store.claim(record.id) or not all(map(job.store.claim_blob, record.blobs)):
        return None
    layers = (record.id, *below)
    if layers != record.layers:
        record = replace(record, layers=layers)
        publish.add_image(job.store, record, job.store.manifest_bytes(record.id))
    return record


def import_verified(
    job: Job,
    image: str,
    source: str,
    wish: Wish | None,
    get_archive: GetArchive,
    get_signature: Callable[[str], bool],
) -> Imported:
    """Get signature and archive, check the one by the other, and let the store take it.

    ``get_archive`` may tell all that comes to what its second argument makes.
    """
    watch = job.options.watch or unwatched
    with scratch(job.store) as place:
        archive = f"{place}/archive"
        signer = None
        if "image" in job.options.insecure:
            job.report("warning: image signature verification has been disabled")
            get_archive(archive, None)
        else:
            signer = _verified(job, image, wish, place, get_archive, get_signature)
            job.report(f"signature verified:\n  {signer.user_id}")
        record = publish.import_aci(
            job.store,
            archive,
            source=source,
            verified_by=signer.fingerprint if signer else "insecure",
            limits=job.limits(),
            label=image,
            watch=lambda: watch(unpacking(image), os.stat(archive).st_size),
            accept=lambda image_id, manifest: accept(job, image, manifest, wish, signer),
        )
        return Imported(record, signer.until if signer else 0)


def _verified(
    job: Job,
    image: str,
    wish: Wish | None,
    place: str,
    get_archive: GetArchive,
    get_signature: Callable[[str], bool],
) -> Signer:
    """Signature, a look at who made it, archive, the verdict."""
    signature, archive = f"{place}/signature", f"{place}/archive"
    keys = trusted_keys(job.paths, wish.name if wish else None)
    if not keys and wish:
        keys = _keys_by_discovery(job, wish.name)
    ready = _signature(image, signature, get_signature)
    ring, elsewhere = ring_of(keys), partial(trusted_prefixes, job.paths)
    if ready:
        signatures.check_signer(
            signature, ring=ring, directory=place, image=image, elsewhere=elsewhere
        )
    else:
        job.report(f"the signature of {image} is not ready, asking again after the image")
    with Hearing(signature, ring=ring, directory=place) as hearing:
        get_archive(archive, hearing.begin if ready else None)
        signer = hearing.signer(image, elsewhere=elsewhere)
    if signer is not None:
        return signer
    if not ready and not _signature(image, signature, get_signature):
        raise MissingSignature(f"{image}: the server still has no signature to give")
    return signatures.verify(
        archive, signature, ring=ring, directory=place, image=image, elsewhere=elsewhere
    )


def _signature(image: str, target: str, get_signature: Callable[[str], bool]) -> bool:
    try:
        return get_signature(target)
    except FetchError as error:
        hint = NO_SIGNATURE_HINT if isinstance(error, Absent) else None
        raise MissingSignature(
            f"{image}: error opening signature file: {error}", hint=hint
        ) from error


def _keys_by_discovery(job: Job, name: str) -> tuple[TrustedKey, ...]:
    """Take up the keys that discovery offers for ``name``, when the user lets us or says yes."""
    from rktsd.images.trust import Key, trust

    confirm = job.options.confirm
    if confirm is None and not job.options.trust_keys_from_https:
        hint = f"rkt trust --prefix={name} takes the keys that its site offers"
        raise TrustError(f"no trusted keys for image {name!r}", hint=hint)

    def agreed(key: Key) -> bool:
        if job.options.trust_keys_from_https and key.source.startswith("https://"):
            return True
        return confirm is not None and confirm(key)

    trust(
        name,
        [],
        paths=job.paths,
        confirm=agreed,
        insecure=job.options.insecure,
        report=job.report,
        http_hint="--insecure-options=http,pubkey takes keys over http",
    )
    return trusted_keys(job.paths, name)
