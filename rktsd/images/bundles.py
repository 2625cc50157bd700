"""Sigstore bundles, as cosign 3 writes them (its BUNDLE_SPEC.md): signed statements of digests.

The statement is an in-toto one, in an envelope of DSSE. It does not say how the image is called.
"""

import base64
import binascii
from typing import NamedTuple

from rktsd.appc.cursor import Cursor, decode_json
from rktsd.errors import RktError, TrustError
from rktsd.images.claims import Wanted

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://sigstore.dev/cosign/sign/v1"
_STATEMENTS = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")


class Envelope(NamedTuple):
    """A statement, not verified, and its signature."""

    statement: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        """What the signature is of (pre-authentication encoding of DSSE v1)."""
        kind = PAYLOAD_TYPE.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.statement), self.statement)


def read_bundle(data: bytes, source: str) -> Envelope:
    """The envelope in a bundle. Raises BadInput when there is none, or none with one signature."""
    envelope = decode_json(data, source).get("dsseEnvelope")
    if not envelope.given:
        raise envelope.problem("missing: this bundle is not of a signed statement")
    envelope.get("payloadType").one_of(PAYLOAD_TYPE)
    signatures = envelope.get("signatures").elements()
    if len(signatures) != 1:
        raise envelope.problem(f"{len(signatures)} signatures where one is needed")
    return Envelope(from_base64(envelope.get("payload")), from_base64(signatures[0].get("sig")))


def check_statement(data: bytes, source: str, *, wanted: Wanted) -> None:
    """Raise TrustError beginning with ``source`` unless ``data``, verified, is what is wanted.

    Attestations are statements by the same key, and say nothing of whether an image may run.
    """
    try:
        document = decode_json(data, source)
        document.get("_type").one_of(*_STATEMENTS)
        document.get("predicateType").one_of(PREDICATE_TYPE)
        digests = [
            f"sha256:{subject.get('digest').get('sha256').text()}"
            for subject in document.get("subject").elements()
        ]
    except RktError as error:
        raise TrustError(str(error)) from error
    if not set(digests) & set(wanted.digests):
        others = " and ".join(digests) or "nothing"
        raise TrustError(f"{source}: signed is {others}, and not {wanted.digests[-1]}")
    if not wanted.nameless:
        raise TrustError(
            f"{source}: signed without a name", hint="nameless = true in trust.toml takes that"
        )


def from_base64(place: Cursor) -> bytes:
    """Bytes that are written as base64. Raises BadInput."""
    try:
        return base64.b64decode(place.text(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise place.problem("not base64") from error
