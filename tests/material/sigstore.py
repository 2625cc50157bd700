"""Keys and signatures as cosign makes them, by openssl and by hand: Debian has no cosign."""

import base64
import hashlib
import json
import os
import ssl
import subprocess
import urllib.request
from dataclasses import dataclass
from typing import Any

from tests.material.certificates import Certificate

CLAIM = "application/vnd.dev.cosign.simplesigning.v1+json"
ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
EMPTY = "application/vnd.oci.empty.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"


@dataclass(frozen=True, slots=True)
class SigstoreKey:
    """A pair of PEM files; ``private`` is PKCS #8 without a password."""

    private: str
    public: str

    @classmethod
    def create(
        cls, base: str | os.PathLike[str], *options: str, algorithm: str = "EC"
    ) -> "SigstoreKey":
        """A new key in the files BASE.key and BASE.pub: ECDSA on P-256 unless told otherwise."""
        made = cls(f"{os.fspath(base)}.key", f"{os.fspath(base)}.pub")
        chosen = options or (("ec_paramgen_curve:P-256",) if algorithm == "EC" else ())
        flags = [word for option in chosen for word in ("-pkeyopt", option)]
        _openssl("genpkey", "-algorithm", algorithm, *flags, "-out", made.private)
        _openssl("pkey", "-in", made.private, "-pubout", "-out", made.public)
        return made

    def sign(self, data: bytes) -> bytes:
        """What cosign writes into its annotation, before base64."""
        return _openssl("dgst", "-sha256", "-sign", self.private, data=data)

    def digest(self) -> str:
        """The sha256 of the public key in DER form, in hex."""
        der = _openssl("pkey", "-pubin", "-in", self.public, "-outform", "DER")
        return hashlib.sha256(der).hexdigest()


def claim(digest: str, reference: str, **critical: Any) -> bytes:
    """What cosign signs; ``critical`` changes members of that object."""
    document = {
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
            **critical,
        },
        "optional": None,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def bundle(key: SigstoreKey, *digests: str, **changes: Any) -> bytes:
    """What cosign 3 makes; ``changes`` are of the statement."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"digest": {"sha256": digest.removeprefix("sha256:")}, "annotations": {}}
            for digest in digests
        ],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
        **changes,
    }
    payload, kind = json.dumps(statement).encode(), b"application/vnd.in-toto+json"
    signed = b" ".join(
        (b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload)
    )
    document = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "key"}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind.decode(),
            "signatures": [{"sig": base64.b64encode(key.sign(signed)).decode()}],
        },
    }
    return json.dumps(document).encode()


@dataclass(frozen=True, slots=True)
class Uploads:
    """Puts content into the repository at ``url`` (https://HOST/v2/REPOSITORY)."""

    url: str
    ca: Certificate

    def blob(self, data: bytes) -> dict[str, Any]:
        """Store ``data``; its descriptor without a media type."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        place = self._ask("POST", f"{self.url}/blobs/uploads/").headers["Location"]
        separator = "&" if "?" in place else "?"
        kind = "application/octet-stream"
        self._ask("PUT", f"{place}{separator}digest={digest}", data, kind)
        return {"digest": digest, "size": len(data)}

    def manifest(self, document: dict[str, Any], tag: str | None = None) -> dict[str, Any]:
        """Store a manifest under ``tag``, without one under its digest; its descriptor."""
        data = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._ask("PUT", f"{self.url}/manifests/{tag or digest}", data, document["mediaType"])
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(data)}

    def signatures(self, *pairs: tuple[bytes, bytes], media_type: str = CLAIM) -> dict[str, Any]:
        """A manifest of claims and signatures as cosign makes it, its blobs stored."""
        layers = [
            {
                "mediaType": media_type,
                **self.blob(data),
                "annotations": {SIGNATURE: base64.b64encode(signature).decode()},
            }
            for data, signature in pairs
        ]
        config = b'{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}'
        kind = "application/vnd.oci.image.config.v1+json"
        return {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": kind, **self.blob(config)},
            "layers": layers,
        }

    def bundle(self, data: bytes, kind: str = BUNDLE) -> dict[str, Any]:
        """Store a bundle and its manifest; its descriptor in a list of what refers to an image."""
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": BUNDLE,
            "config": {"mediaType": EMPTY, **self.blob(b"{}")},
            "layers": [{"mediaType": BUNDLE, **self.blob(data)}],
        }
        return {**self.manifest(document), "artifactType": kind}

    def refer(self, digest: str, *entries: dict[str, Any]) -> None:
        """Say that these manifests refer to one, as where a registry does not know by itself."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}
        self.manifest(index, digest.replace(":", "-"))

    def _ask(self, method: str, url: str, data: bytes = b"", kind: str = "") -> Any:
        headers = {"Content-Type": kind} if kind else {}
        request = urllib.request.Request(url, data, headers, method=method)
        context = ssl.create_default_context(cafile=self.ca.certificate)
        return urllib.request.urlopen(request, context=context)


def _openssl(*arguments: str, data: bytes | None = None) -> bytes:
    done = subprocess.run(
        ["openssl", *arguments],
        input=data,
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.decode()}")
    return done.stdout
