"""``fetch``: from what somebody wrote to an image that is verified and stored.

The pull policies are rkt's. This module stays light, because a pod whose images are stored starts
through it: what speaks to the network is imported when there is something to get.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rktsd.errors import FetchError, NotFound, RktError, UsageError
from rktsd.images.platforms import parse_platform
from rktsd.images.references import (
    Kind,
    Reference,
    check_signature,
    for_platform,
    is_digest,
    parse_reference,
    platform_suffix,
)
from rktsd.paths import Paths
from rktsd.store.records import ImageRecord, Limits
from rktsd.store.store import Store

if TYPE_CHECKING:
    from rktsd.config.settings import Settings
    from rktsd.images.http import Client
    from rktsd.images.progress import Watch
    from rktsd.images.trust import Key

POLICIES = ("new", "update", "never")
LIMIT_HINT = "maximum-archive in rktsd.toml"


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to fetch; ``insecure`` are words of --insecure-options (image, tls, http, pubkey).

    ``platform`` is OS/ARCH[/VARIANT] of another machine to fetch for.
    ``signature`` is a file beside a local ACI. ``confirm`` is asked about keys that discovery
    offers, None when there is nobody to ask. ``limit`` is the most bytes an archive may have, what
    rktsd.toml says when it is 0. ``watch`` is told how far downloads are.
    ``personal`` is whether whoever we run as lends his credentials for podman and Docker.
    """

    pull_policy: str = "new"
    insecure: frozenset[str] = frozenset()
    signature: str | None = None
    trust_keys_from_https: bool = False
    confirm: "Callable[[Key], bool] | None" = None
    limit: int = 0
    platform: str | None = None
    watch: "Watch | None" = None
    personal: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """What a fetch works with; ``trail`` are the images whose dependency is being fetched.

    ``dependencies`` are those that were fetched, by name: each is asked for once, however many ways
    lead to it.
    """

    store: Store
    paths: Paths
    options: FetchOptions
    report: Callable[[str], None]
    trail: tuple[str, ...] = ()
    dependencies: dict[str, ImageRecord] = field(default_factory=dict)

    def settings(self) -> "Settings":
        """What rktsd.toml says. Raises BadInput."""
        from rktsd.config.settings import read_settings

        return read_settings(self.paths.config_dirs())

    def limits(self) -> Limits:
        """As ``limits_of``."""
        return limits_of(self.paths)

    def client(self) -> "AbstractContextManager[Client]":
        """Connections for this fetch."""
        from rktsd.images.http import Client

        return Client(self.paths, insecure=self.options.insecure, report=self.report)


def limits_of(paths: Paths) -> Limits:
    """What rktsd.toml lets an archive unpack to. Raises BadInput."""
    from rktsd.config.settings import read_settings

    found = read_settings(paths.config_dirs())
    return Limits(
        size=found.maximum_unpacked,
        entries=found.maximum_entries,
        expansion=found.maximum_expansion,
    )


def fetch(
    reference: str,
    store: Store,
    *,
    paths: Paths,
    options: FetchOptions,
    report: Callable[[str], None],
) -> ImageRecord:
    """The image that ``reference`` means, verified and in the store.

    Policy ``new`` takes a stored image when there is one, ``update`` asks the remote side,
    ``never`` takes stored images only; local files and layouts are always imported. ``report`` gets
    a line for everything worth telling. Raises NotFound, FetchError, TrustError, BadInput,
    StoreError, Unsupported; the store then holds at most dependencies, complete and verified, and
    after a FetchError such layers as well, which the next fetch uses and a collection removes.
    """
    if options.pull_policy not in POLICIES:
        words = ", ".join(POLICIES)
        raise UsageError(f"pull policy {options.pull_policy!r}: not one of {words}")
    wanted = parse_reference(reference, is_file=os.path.isfile)
    if options.platform:
        wanted = for_platform(wanted, parse_platform(options.platform))
    check_signature(wanted, options.signature)
    with taking_back(store):
        return fetch_as(wanted, Job(store, paths, options, report))


@contextlib.contextmanager
def taking_back(store: Store) -> Iterator[None]:
    """What a failed fetch brought goes again, but for layers that wait for the network."""
    try:
        yield
    except FetchError:
        # Layers that are complete need not be fetched again when the network is back.
        raise
    except RktError:
        with contextlib.suppress(RktError):
            store.abandon()
        raise


def with_limit(job: Job) -> Job:
    """``job`` with the limit on archives that rktsd.toml sets, where it has none."""
    if job.options.limit:
        return job
    limit = job.settings().maximum_archive
    return replace(job, options=replace(job.options, limit=limit))


def stored(reference: str, store: Store) -> ImageRecord:
    """The image in the store that ``reference`` gave or would be taken for. Raises NotFound.

    For a path, a layout or an archive it is what was imported from there last.
    """
    wanted = parse_reference(reference, is_file=os.path.isfile)
    if wanted.kind is Kind.ID:
        return store.find(wanted.target)
    found = _stored(wanted, store)
    if found is None:
        raise NotFound(f"image {reference!r} is not in the store", hint="rkt fetch it first")
    return found


def called(reference: str, store: Store) -> ImageRecord:
    """The stored image with this ID or name, or the last one that ``reference`` was fetched by.

    Raises NotFound, BadInput.
    """
    try:
        return store.find(reference)
    except RktError as error:
        problem = error
    try:
        wanted = parse_reference(reference, is_file=lambda path: False)
    except RktError:
        raise problem from None
    if wanted.kind in (Kind.ID, Kind.NAME):
        raise problem
    found = _stored(wanted, store)
    if found is None:
        raise NotFound(f'image "{reference}" is not in the store')
    return found


def fetch_as(reference: Reference, job: Job) -> ImageRecord:
    """``fetch`` for a reference that is parsed; dependencies come back here."""
    kind, policy = reference.kind, job.options.pull_policy
    if kind is Kind.ID:
        return job.store.find(reference.target)
    if kind in (Kind.NAME, Kind.URL, Kind.DOCKER) and policy != "update":
        stored = _stored(reference, job.store)
        if stored is not None:
            what = {Kind.NAME: "image name", Kind.URL: "url"}.get(kind, "docker image")
            job.report(f"using image from local store for {what} {reference.text}")
            return stored
        if policy == "never":
            raise NotFound(
                f"image {reference.text!r} is not in the store, and the pull policy is never"
            )
    job = with_limit(job)
    if kind is Kind.FILE:
        from rktsd.images.aci import fetch_file

        return fetch_file(reference, job)
    if kind in (Kind.LAYOUT, Kind.OCI_ARCHIVE, Kind.DOCKER_ARCHIVE):
        from rktsd.images.containers import fetch_layout

        return fetch_layout(reference, job)
    if kind is Kind.DOCKER:
        from rktsd.images.containers import fetch_docker

        return fetch_docker(reference, job)
    from rktsd.images.aci import fetch_name, fetch_url

    return fetch_name(reference, job) if kind is Kind.NAME else fetch_url(reference, job)


def _stored(reference: Reference, store: Store) -> ImageRecord | None:
    if reference.kind is Kind.NAME:
        try:
            return store.find(reference.target)
        except NotFound:
            return None
    return store.find_source(f"{_source(reference)}{platform_suffix(reference.platform)}")


def _source(reference: Reference) -> str:
    """What the store calls the place that an image came from."""
    if reference.kind is Kind.DOCKER:
        return f"docker://{reference.target}"
    if reference.kind is Kind.FILE:
        from urllib.parse import quote

        return f"file://{quote(os.path.abspath(reference.target))}"
    if reference.kind in (Kind.URL, Kind.NAME):
        return reference.target
    selector = reference.selector or ""
    mark = "@" if is_digest(selector) else ":" if selector else ""
    return f"{reference.kind}:{os.path.abspath(reference.target)}{mark}{selector}"
