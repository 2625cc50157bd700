"""What a signature of an OCI image says: which manifest, by what name (containers-signature(5)).

GPG "simple signing" and cosign have this document in common. It is read only once its signature
holds, and nothing in its critical part may be unknown.
"""

from typing import NamedTuple

from rktsd.appc.cursor import Cursor, decode_json
from rktsd.config.trust import Rule, canonical_registry
from rktsd.errors import RktError, TrustError
from rktsd.images.references import DockerName, is_digest, parse_docker_name

GPG_TYPE = "atomic container signature"
COSIGN_TYPE = "cosign container image signature"
CLAIM_LIMIT = 64 << 10
_UNKNOWN = "unknown in a signature"


class Wanted(NamedTuple):
    """What has to be claimed: one of ``digests`` (``sha256:HEX``), the top one first, and the name.

    ``tag`` None takes every tag; ``untagged`` takes names without one, ``nameless`` none at all.
    """

    digests: tuple[str, ...]
    repository: str
    tag: str | None
    untagged: bool
    nameless: bool = False

    @property
    def name(self) -> str:
        """The name, for messages."""
        return f"{self.repository}:{self.tag}" if self.tag else self.repository


class Vouched(NamedTuple):
    """``by`` whom, as ``ImageRecord.verified_by`` says it, and as it is ``shown`` to the user.

    ``until`` is as in ``signatures.Signer``.
    """

    by: str
    shown: str
    until: int = 0


def full_name(name: DockerName) -> str:
    """REGISTRY/REPOSITORY, one text for all ways to write it."""
    return f"{canonical_registry(name.registry)}/{name.repository}"


def wanted(name: DockerName, rule: Rule, *, digests: tuple[str, ...], untagged: bool) -> Wanted:
    """What ``rule`` wants claimed of the image ``name`` (matchRepoDigestOrExact in Podman).

    An image that is named by its digest may have been signed under any tag.
    """
    repository = full_name(name)
    if rule.signed_as is not None:
        repository = f"{rule.signed_as}{repository.removeprefix(rule.scope)}"
    tag = None if rule.any_tag or name.digest else name.version
    return Wanted(digests, repository, tag, untagged or tag is None, rule.nameless)


def check_claim(data: bytes, source: str, *, kinds: tuple[str, ...], wanted: Wanted) -> None:
    """Raise TrustError beginning with ``source`` unless ``data``, verified, is what is wanted."""
    try:
        digest, reference = _read(decode_json(data, source), kinds)
    except RktError as error:
        raise TrustError(str(error)) from error
    try:
        signed = parse_docker_name(reference)
    except RktError as error:
        raise TrustError(f"{source}: {error}") from error
    if digest not in wanted.digests:
        raise TrustError(
            f"{source}: signed is another image, {digest}, and not {wanted.digests[-1]}"
        )
    tagged = ":" in reference.partition("@")[0].rpartition("/")[2]
    same = full_name(signed) == wanted.repository
    if tagged:
        same = same and wanted.tag in (None, signed.tag)
    else:
        same = same and wanted.untagged and signed.digest in (None, digest)
    if not same:
        raise TrustError(f'{source}: signed as "{reference}", and not as "{wanted.name}"')


def _read(document: Cursor, kinds: tuple[str, ...]) -> tuple[str, str]:
    """Digest and reference. Raises BadInput."""
    document.only(("critical", "optional"), _UNKNOWN)
    critical = document.get("critical")
    critical.only(("type", "image", "identity"), _UNKNOWN)
    critical.get("image").only(("docker-manifest-digest",), _UNKNOWN)
    critical.get("identity").only(("docker-reference",), _UNKNOWN)
    critical.get("type").one_of(*kinds)
    document.get("optional").members()
    digest = critical.get("image").get("docker-manifest-digest")
    if not is_digest(digest.text()):
        raise digest.wrong("a digest")
    return digest.text(), critical.get("identity").get("docker-reference").line()
