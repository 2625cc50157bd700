"""Why an OCI image may be believed: what trust.toml wants of it, and whether it is there."""

import os
import re
from collections.abc import Iterator
from typing import Protocol, TypeVar

from rktsd.appc.names import sanitise_ac_identifier
from rktsd.config.trust import DOCKER, Policy, Require, Rule, read_policy
from rktsd.errors import BadInput, FetchError, TrustError
from rktsd.images.claims import Vouched, Wanted, full_name, wanted
from rktsd.images.fetch import Job
from rktsd.images.lookaside import Lookaside
from rktsd.images.references import DockerName
from rktsd.images.registry import Registry
from rktsd.images.scratch import scratch
from rktsd.images.sigstore import Attached

UNSIGNED_HINT = "--insecure-options=image takes unsigned images"
Found = TypeVar("Found")


class Signatures(Protocol[Found]):
    """Where signatures are, and by whose keys they are judged."""

    @property
    def place(self) -> str:
        """Where signatures are looked for, for messages."""

    def find(self, digest: str) -> Iterator[tuple[str, Found]]:
        """Where each signature of a manifest is, and the signature.

        Raises FetchError when that cannot be told: that one is absent is no error. Raises BadInput
        and TrustError for what holds signatures and is not as it should be.
        """

    def judge(self, found: Found, source: str, *, wanted: Wanted, directory: str) -> Vouched:
        """Who signed. Raises TrustError beginning with ``source``."""


def rule_of_registry(job: Job, name: DockerName) -> Rule:
    """What is wanted of an image in a registry: the longest prefix of its name decides."""
    policy = read_policy(job.paths.config_dirs())
    for scope in _scopes(name):
        if (DOCKER, scope) in policy.rules:
            return policy.rules[DOCKER, scope]
    return policy.default


def rule_of_file(job: Job, transport: str, path: str) -> Rule:
    """What is wanted of a layout or archive: the longest prefix of its path decides."""
    policy = read_policy(job.paths.config_dirs())
    real = os.path.realpath(path)
    found = _longest(policy, transport, real)
    return found or policy.default


def _longest(policy: Policy, transport: str, path: str) -> Rule | None:
    """Links are followed on both sides: what is believed is where it is, not what it is called."""
    fitting = {
        place: rule
        for (kind, scope), rule in policy.rules.items()
        if kind == transport
        for place in [os.path.realpath(scope)]
        if place == "/" or path == place or path.startswith(f"{place}/")
    }
    return fitting[max(fitting, key=len)] if fitting else None


def _scopes(name: DockerName) -> Iterator[str]:
    """All scopes that an image is in, the narrowest first."""
    full = full_name(name)
    if name.digest:
        yield f"{full}@{name.digest}"
    if name.tag:
        yield f"{full}:{name.tag}"
    while full:
        yield full
        full, _, below = full.rpartition("/")
        registry = full or below
    host = re.sub(r":[0-9]+\Z", "", registry)
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"


def decide(job: Job, rule: Rule, *, where: str, pinned: str, digest: str | None) -> str | None:
    """Why an image may be believed, as ``ImageRecord.verified_by`` says it; None when its
    signatures have to be looked at.

    Raises TrustError for an image that is not pinned by its ``digest``, with all ways out
    (``pinned`` is how it is named then), and for one that ``rule`` rejects.
    """
    if rule.require is Require.REJECT:
        raise TrustError(f"{where}: {rule.where} rejects it")
    insecure = "image" in job.options.insecure
    if digest and (insecure or rule.require in (Require.DIGEST, Require.NOTHING)):
        return "digest"
    if insecure:
        job.report("warning: image signature verification has been disabled")
        return "insecure"
    if rule.require is Require.NOTHING:
        job.report(f"warning: {rule.where} takes {where} as it is")
        return "policy"
    if rule.require is Require.DIGEST:
        raise TrustError(
            f"{where}: nothing vouches for this image",
            hint=f"name it by its digest, {pinned}, let trust.toml say who signs it,"
            " or allow it with --insecure-options=image",
        )
    return None


def refuse_unsigned(rule: Rule, *, where: str) -> TrustError:
    """The error for layouts and archives where all images have to be signed."""
    return TrustError(
        f"{where}: {rule.where} wants a signature, and layouts and archives have none",
        hint=UNSIGNED_HINT,
    )


def vouch(
    job: Job,
    rule: Rule,
    registry: Registry,
    *,
    name: DockerName,
    digests: tuple[str, ...],
    where: str,
) -> Vouched:
    """Find a signature that ``rule`` takes for a manifest with one of ``digests``.

    Raises TrustError with the reason for each signature that is there, and FetchError when nobody
    can tell what there is.
    """
    is_sigstore = rule.require is Require.SIGSTORE
    claim = wanted(name, rule, digests=digests, untagged=is_sigstore)
    if is_sigstore:
        attached = Attached(registry, files=rule.keys, where=where)
        vouched = _first_good(job, attached, claim, where)
    else:
        lookaside = Lookaside(
            job,
            rule.lookaside or "",
            repository=name.repository,
            files=rule.keys,
            trusted_for=sanitise_ac_identifier(f"{name.registry}/{name.repository}"),
        )
        vouched = _first_good(job, lookaside, claim, where)
    job.report(f"signature verified:\n  {vouched.shown}")
    return vouched


def _first_good(job: Job, signatures: Signatures[Found], claim: Wanted, where: str) -> Vouched:
    reasons = []
    with scratch(job.store) as directory:
        for digest in claim.digests:
            try:
                for source, found in signatures.find(digest):
                    try:
                        return signatures.judge(found, source, wanted=claim, directory=directory)
                    except TrustError as error:
                        reasons.append(str(error))
            except FetchError as error:
                if not reasons:
                    raise
                reasons.append(str(error))
            except (BadInput, TrustError) as error:
                reasons.append(str(error))
    if reasons:
        raise TrustError(f"{where}: {'; '.join(reasons)}")
    missing = f"no signature of {claim.digests[-1]} in {signatures.place}"
    raise TrustError(f"{where}: {missing}", hint=UNSIGNED_HINT)
