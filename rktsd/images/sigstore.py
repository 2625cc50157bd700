"""Signatures that cosign keeps in the registry, by public keys that the administrator names.

Of the manifest ``sha256:HEX`` they are layers of the manifest tagged ``sha256-HEX.sig``, or of one
that refers to it (cosign's OCI 1.1 mode). Each layer is a claim, its signature an annotation; or it
is a bundle of both.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from rktsd.appc.cursor import Cursor, decode_json
from rktsd.errors import Absent, BadInput, FetchError, TrustError
from rktsd.host.files import read_limited
from rktsd.host.process import run
from rktsd.images import bundles
from rktsd.images.claims import CLAIM_LIMIT, COSIGN_TYPE, GPG_TYPE, Vouched, Wanted, check_claim
from rktsd.images.digests import read_descriptor
from rktsd.images.registry import Registry

MAX_SIGNATURES = 32
KEY_LIMIT = 64 << 10
CLAIM = "application/vnd.dev.cosign.simplesigning.v1+json"
ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
_PEM = re.compile(
    rb"-----BEGIN PUBLIC KEY-----\s+(?P<body>[A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*\Z"
)
# SubjectPublicKeyInfo of id-ecPublicKey on prime256v1, up to the point, uncompressed (RFC 5480).
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04"


class PublicKey(NamedTuple):
    """An ECDSA key on P-256; ``digest`` is the sha256 of its DER form, in hex."""

    path: str
    pem: bytes
    digest: str


class Found(NamedTuple):
    """A layer and what is in it: a claim, or a bundle."""

    place: Cursor
    content: bytes


class Signed(NamedTuple):
    """What was signed, not verified; ``check`` says whether it is what is wanted."""

    data: bytes
    signature: bytes
    check: Callable[[Wanted], None]


class Attached:
    """The signatures beside the image of ``registry``, judged by the keys in ``files``."""

    def __init__(self, registry: Registry, *, files: Iterable[str], where: str) -> None:
        self._registry = registry
        self._keys = [read_key(path) for path in files]
        self._where = where

    @property
    def place(self) -> str:
        """Where signatures are looked for, for messages."""
        return "the registry"

    def find(self, digest: str) -> Iterator[tuple[str, Found]]:
        """Where each signature of a manifest is, and the signature.

        Raises FetchError when that cannot be told: that one is absent is no error.
        """
        tag = f"{digest.replace(':', '-', 1)}.sig"
        try:
            try:
                manifest = self._registry.tagged(tag)
            except Absent:
                pass
            else:
                yield from self._layers(manifest, tag)
            yield from self._referring(digest)
        except FetchError as error:
            raise FetchError(f"cannot look for signatures: {error}") from error

    def judge(self, found: Found, source: str, *, wanted: Wanted, directory: str) -> Vouched:
        """The key that signed, when the claim is what is wanted.

        ``directory`` is to work in. Raises TrustError beginning with ``source``.
        """
        try:
            signed = _signed(found, source)
        except BadInput as error:
            raise TrustError(str(error)) from error
        for key in self._keys:
            if _signed_by(key, signed, directory):
                signed.check(wanted)
                return Vouched(f"sigstore:{key.digest}", f"key {key.path}")
        names = " or ".join(key.path for key in self._keys)
        raise TrustError(f"{source}: not signed by the key {names}")

    def _referring(self, digest: str) -> Iterator[tuple[str, Found]]:
        try:
            index = decode_json(self._registry.referrers(digest), f"{self._where}: referrers")
        except Absent:
            return
        places = [
            place
            for place in index.get("manifests").elements()
            if _is_artifact(place.get("artifactType").value)
        ]
        for place in places[:MAX_SIGNATURES]:
            descriptor = read_descriptor(place)
            manifest = self._registry.read(descriptor, beside=True)
            yield from self._layers(manifest, descriptor.digest)

    def _layers(self, manifest: bytes, name: str) -> Iterator[tuple[str, Found]]:
        document = decode_json(manifest, f"{self._where}: {name}")
        places = [
            place
            for place in document.get("layers").elements()
            if place.get("mediaType").value == CLAIM or _is_bundle(place.get("mediaType").value)
        ]
        for number, place in enumerate(places[:MAX_SIGNATURES], 1):
            descriptor = read_descriptor(place)
            if descriptor.size > CLAIM_LIMIT:
                raise place.problem(f"larger than {CLAIM_LIMIT} bytes")
            content = self._registry.read(descriptor, beside=True)
            yield f"{name}: signature {number}", Found(place, content)


def _is_artifact(kind: object) -> bool:
    """In some lists cosign's bundles are of the type of their configuration, which is empty."""
    return kind in (ARTIFACT, EMPTY) or _is_bundle(kind)


def _is_bundle(kind: object) -> bool:
    return isinstance(kind, str) and kind.startswith(bundles.MEDIA_TYPE)


def _signed(found: Found, source: str) -> Signed:
    """Raises BadInput."""
    if _is_bundle(found.place.get("mediaType").value):
        envelope = bundles.read_bundle(found.content, source)
        statement = envelope.statement
        return Signed(
            envelope.signed,
            envelope.signature,
            lambda wanted: bundles.check_statement(statement, source, wanted=wanted),
        )
    return Signed(
        found.content,
        bundles.from_base64(found.place.get("annotations").get(SIGNATURE)),
        lambda wanted: check_claim(
            found.content, source, kinds=(COSIGN_TYPE, GPG_TYPE), wanted=wanted
        ),
    )


def read_key(path: str) -> PublicKey:
    """The key in the PEM file ``path``. Raises BadInput unless it is an ECDSA key on P-256."""
    data = read_limited(path, KEY_LIMIT)
    match = _PEM.search(data)
    der = b""
    if match:
        try:
            der = base64.b64decode(b"".join(match["body"].split()), validate=True)
        except binascii.Error as error:
            raise BadInput(f"{path}: broken PEM: {error}") from error
    if not der.startswith(_P256) or len(der) != len(_P256) + 64:
        raise BadInput(f"{path}: not a public key of sigstore: ECDSA on P-256, as PEM")
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(der) + b"-----END PUBLIC KEY-----\n"
    return PublicKey(path, pem, hashlib.sha256(der).hexdigest())


def _signed_by(key: PublicKey, signed: Signed, directory: str) -> bool:
    """The verdict of openssl-dgst(1): its exit status 0, and its words."""
    paths = [f"{directory}/{name}" for name in ("key", "signature", "claim")]
    for path, data in zip(paths, (key.pem, signed.signature, signed.data), strict=True):
        with open(path, "wb") as file:
            file.write(data)
    command = ["openssl", "dgst", "-sha256", "-verify", paths[0], "-signature", *paths[1:]]
    done = run(command, check=False)
    return done.returncode == 0 and done.stdout.strip() == b"Verified OK"
