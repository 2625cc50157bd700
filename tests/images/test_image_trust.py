"""OCI images by trust.toml: signed, pinned, or taken as they are.

"Simple signing" signatures are made by skopeo, and by gpg where they are to be bad. Those of cosign
are made by openssl and by hand: cosign is not in Debian, and Debian's skopeo is built without.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rktsd.errors import BadInput, FetchError, RktError, TrustError
from rktsd.images.keystore import dearmor
from rktsd.store.records import ImageRecord
from tests.images.world import World
from tests.material.images import oci_layout
from tests.material.keys import SigningKey
from tests.material.registry import RegistryServer
from tests.material.servers import Answer, Content, HttpsSite, Request
from tests.material.sigstore import (
    ARTIFACT,
    BUNDLE,
    EMPTY,
    INDEX,
    SigstoreKey,
    Uploads,
    bundle,
    claim,
)

HOST = "registry.example:5000"
NAME = f"{HOST}/team/web"
IMAGE = f"docker://{NAME}:v1"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A layout with the images ``v1`` and ``v2``."""
    directory = tmp_path_factory.mktemp("layout")
    for tag in ("v1", "v2"):
        root = directory / tag
        (root / "etc").mkdir(parents=True)
        (root / "etc" / "motd").write_text(tag)
        oci_layout([str(root)], directory / "web.oci", tag, config={"cmd": "/bin/web"})
    return f"{directory}/web.oci"


class Trial:
    """A registry, a lookaside directory, and a policy."""

    def __init__(self, world: World, registry: RegistryServer, layout: str) -> None:
        self.world, self.registry, self.layout = world, registry, layout
        self.lookaside = world.directory / "lookaside"
        self.lookaside.mkdir()

    def policy(self, require: str, *, scope: str = f"{HOST}/team", **settings: Any) -> None:
        """Write trust.toml with one table."""
        if require == "gpg":
            settings = {"lookaside": f"file://{self.lookaside}", **settings}
        lines = [f"{key.replace('_', '-')} = {json.dumps(x)}" for key, x in settings.items()]
        text = "\n".join([f'[docker."{scope}"]', f'require = "{require}"', *lines, ""])
        Path(self.world.paths.local_config, "trust.toml").write_text(text)

    def key_file(self, content: str | bytes, name: str = "key.asc") -> str:
        """A file that trust.toml can name."""
        path = self.world.directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def push(self, tag: str = "v1", *flags: str, name: str = "team/web") -> str:
        """Push the image with this tag with skopeo's ``flags``; its digest."""
        return self.registry.push(f"oci:{self.layout}:{tag}", f"{name}:{tag}", flags=flags)

    def signing(self, key: SigningKey, reference: str = f"{NAME}:v1") -> list[str]:
        """What makes skopeo sign what it pushes, for the lookaside."""
        text = f"default-docker:\n  lookaside: file://{self.lookaside}\n"
        os.environ["GNUPGHOME"] = key.home
        flags = ["--registries.d", self.registries(text), "--sign-by", key.fingerprint]
        return [*flags, "--sign-identity", reference]

    def registries(self, text: str) -> str:
        directory = self.world.directory / "registries.d"
        directory.mkdir(exist_ok=True)
        (directory / "default.yaml").write_text(text)
        return str(directory)

    def put(self, digest: str, data: bytes, *, number: int = 1, name: str = "team/web") -> Path:
        """Lay a signature down by hand."""
        place = self.lookaside / f"{name}@{digest.replace(':', '=')}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"signature-{number}").write_bytes(data)
        return place

    def refused(
        self, message: str, image: str = IMAGE, *, error: type[RktError] = TrustError
    ) -> None:
        """The image is refused with a line that holds ``message``, and nothing is stored."""
        with self.world.store_unchanged(), pytest.raises(error) as caught:
            self.world.fetch(image, pull_policy="update")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    def fetch(self, image: str = IMAGE, **options: Any) -> ImageRecord:
        return self.world.fetch(image, pull_policy="update", **options)


@pytest.fixture
def trial(world: World, layout: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    monkeypatch.setenv("GNUPGHOME", "/nonexistent")
    world.trust_ca(HOST)
    with RegistryServer(world.directory / "registry", world.certificate, port=5000) as server:
        yield Trial(world, server, layout)


def simple(digest: str, reference: str = f"{NAME}:v1", **changes: Any) -> bytes:
    """The claim that containers-signature(5) describes."""
    document = json.loads(claim(digest, reference))
    document["critical"]["type"] = "atomic container signature"
    document["optional"] = {"creator": "tests 1.0", "timestamp": 1700000000}
    document["critical"].update(changes)
    return json.dumps(document).encode()


def test_signed_by_skopeo(trial: Trial) -> None:
    key = trial.world.key()
    digest = trial.push("v1", *trial.signing(key))
    assert os.listdir(trial.lookaside / "team") == [f"web@{digest.replace(':', '=')}"]
    trial.policy("gpg", keys=[trial.key_file(key.public)])
    record = trial.fetch()
    assert record.verified_by == key.fingerprint.lower()
    assert any("signature verified:\n  Builder <" in line for line in trial.world.said)
    # Who is named by the policy has to have signed what is pinned, too.
    assert trial.fetch(f"docker://{NAME}@{digest}").verified_by == key.fingerprint.lower()
    shutil.rmtree(trial.lookaside / "team")
    for image in (IMAGE, f"docker://{NAME}@{digest}"):
        trial.refused(f"no signature of {digest} in file://{trial.lookaside}", image)
    assert trial.fetch(insecure=["image"]).verified_by == "insecure"


def test_keys_of_rkt_trust_and_a_lookaside_on_the_web(trial: Trial) -> None:
    key = trial.world.key(signing_subkey=True)
    trial.push("v1", *trial.signing(key))
    trial.policy("gpg", lookaside="https://example.com/signatures/")
    trial.refused("no trusted keys for image 'registry.example_5000/team/web' (rkt trust --prefix=")
    trial.world.trust(key, prefix="registry.example_5000/team")
    (trial.lookaside / "signatures").mkdir()
    (trial.lookaside / "team").rename(trial.lookaside / "signatures" / "team")
    with HttpsSite(trial.lookaside, trial.world.certificate, port=443):
        assert trial.fetch().verified_by == key.fingerprint.lower()
    other = trial.world.key("Other")
    trial.world.trust(other, prefix="example.com")
    trial.policy("gpg", keys=[trial.key_file(other.public)])
    (trial.lookaside / "signatures" / "team").rename(trial.lookaside / "team")
    trial.refused("signature made by unknown entity: key ")


def test_several_signatures_and_several_keys_in_a_file(trial: Trial) -> None:
    digest = trial.push()
    one, two, stranger = (trial.world.key(name) for name in ("One", "Two", "Stranger"))
    for number, key in enumerate((stranger, two), 1):
        trial.put(digest, key.message(simple(digest)), number=number)
    both = b"".join(dearmor(key.public.encode(), "key") for key in (one, two))
    trial.policy("gpg", keys=[trial.key_file(both)])
    assert trial.fetch().verified_by == two.fingerprint.lower()
    trial.policy("gpg", keys=[trial.key_file(one.public, "one"), trial.key_file(two.public, "two")])
    assert trial.fetch().verified_by == two.fingerprint.lower()
    trial.policy("gpg", keys=[trial.key_file(one.public, "one")])
    trial.refused("/signature-1: openpgp: signature made by unknown entity")
    trial.refused("/signature-2: openpgp: signature made by unknown entity")


def test_claims_of_something_else(trial: Trial) -> None:
    key = trial.world.key()
    first, second = trial.push("v1"), trial.push("v2")
    trial.policy("gpg", keys=[trial.key_file(key.public)])
    good = json.loads(simple(first))
    unknown = {**good, "critical": {**good["critical"], "more": 1}}
    for content, message in (
        (simple(second), f"signed is another image, {second}, and not {first}"),
        (simple(first, f"{NAME}:v2"), f'signed as "{NAME}:v2", and not as "{NAME}:v1"'),
        (simple(first, f"{HOST}/team/other:v1"), f'signed as "{HOST}/team/other:v1", and not as'),
        (simple(first, NAME), f'signed as "{NAME}", and not as "{NAME}:v1"'),
        (simple(first, f"{NAME}@{first}"), f'signed as "{NAME}@{first}", and not as'),
        (simple(first, type="another"), 'critical.type: "another" is not atomic container'),
        (simple(first, type="cosign container image signature"), "is not atomic container sign"),
        (json.dumps(unknown).encode(), "critical.more: unknown in a signature"),
        (json.dumps({**good, "more": {}}).encode(), "more: unknown in a signature"),
        (simple("md5:1"), '"md5:1" is not a digest'),
        (simple(first, "Not A Name"), "is not the name of a repository"),
        (b"{}", "critical: missing"),
        (b"[]", "is not an object"),
        (b"\xff", "not UTF-8"),
        (b'{"critical": 1, "critical": 2}', "given twice"),
    ):
        place = trial.put(first, key.message(content))
        trial.refused(f"{place}/signature-1: ")
        trial.refused(message)


def expired_key(world: World, content: bytes) -> tuple[str, bytes]:
    key = world.key("Old", expires="1y", when="20200101T000000")
    return key.public, key.message(content, when="20200201T000000")


def revoked_key(world: World, content: bytes) -> tuple[str, bytes]:
    key = world.key("Lost")
    signed = key.message(content)
    return key.revoked(), signed


def expired_signature(world: World, content: bytes) -> tuple[str, bytes]:
    key = world.key("Brief", when="20200101T000000")
    return key.public, key.message(content, "--default-sig-expire", "1d", when="20200201T000000")


def weak(algorithm: str) -> Callable[[World, bytes], tuple[str, bytes]]:
    def sign(world: World, content: bytes) -> tuple[str, bytes]:
        key = world.key()
        flags = ("--allow-weak-digest-algos", "--digest-algo", algorithm)
        return key.public, key.message(content, *flags)

    return sign


def kind(mode: str) -> Callable[[World, bytes], tuple[str, bytes]]:
    def sign(world: World, content: bytes) -> tuple[str, bytes]:
        key = world.key()
        return key.public, key.message(content, mode=mode)

    return sign


def altered(world: World, content: bytes) -> tuple[str, bytes]:
    key = world.key()
    signed = key.message(content, "--compress-algo", "none")
    return key.public, signed.replace(b"container signature", b"container signatuer")


def huge(world: World, content: bytes) -> tuple[str, bytes]:
    key = world.key()
    return key.public, key.message(content + b" " * (100 << 20))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (expired_key, "openpgp: the key that made the signature has expired"),
        (revoked_key, "openpgp: the key that made the signature is revoked"),
        (expired_signature, "openpgp: the signature has expired"),
        (weak("MD5"), "openpgp: the signature uses a broken digest algorithm"),
        (weak("SHA1"), "openpgp: the signature uses a broken digest algorithm"),
        (altered, "openpgp: invalid signature"),
        (kind("--store"), "openpgp: the signature file holds no OpenPGP signature"),
        (kind("--detach-sign"), "openpgp: not a signed message"),
        (kind("--clear-sign"), "openpgp: not a signature of a binary document"),
        (huge, "openpgp: what is signed is larger than 1048576 bytes"),
        (lambda world, content: (world.key().public, b"<html>"), "holds no OpenPGP signature"),
        (lambda world, content: (world.key().public, b""), "holds no OpenPGP signature"),
        (lambda world, content: ("no key", content), "key.asc: not an OpenPGP public key"),
    ],
)
def test_signatures_that_do_not_hold(trial: Trial, prepare: Any, message: str) -> None:
    digest = trial.push()
    public, signed = prepare(trial.world, simple(digest))
    trial.put(digest, signed)
    trial.policy("gpg", keys=[trial.key_file(public)])
    trial.refused(message)


def test_a_lookaside_that_cannot_be_asked_is_not_an_empty_one(trial: Trial) -> None:
    key = trial.world.key()
    digest = trial.push()
    keys = [trial.key_file(key.public)]
    trial.policy("gpg", keys=keys, lookaside="file:///nowhere/at/all")
    trial.refused("signatures in /nowhere/at/all: no such directory", error=FetchError)
    web = "https://example.com"
    trial.policy("gpg", keys=keys, lookaside=web)
    path = f"/team/web@{digest.replace(':', '=')}/signature-1"
    trial.refused(f"{web}{path}: Connection refused", error=FetchError)
    content: dict[str, Content] = {}
    with trial.world.site(content):
        trial.refused(f"no signature of {digest} in {web} (--insecure-options=image takes")
        content[path] = Answer(status=403)
        trial.refused("the server answered 403", error=FetchError)
        content[path] = Answer(b"x" * 2_000_000)
        trial.refused("more than the limit of 1048576", error=FetchError)
    trial.policy("gpg", keys=keys, lookaside="http://example.com")
    trial.refused("http is refused", error=FetchError)


def test_the_signature_may_be_of_the_index_or_of_the_image_in_it(
    trial: Trial, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trial.layout, copy)
    entries = json.loads((copy / "index.json").read_text())["manifests"]
    entry = next(x for x in entries if "v1" in x["annotations"].values())
    machine = os.uname().machine
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    entry = {**entry, "platform": {"os": "linux", "architecture": arch}}
    del entry["annotations"]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    data = json.dumps(index).encode()
    top = hashlib.sha256(data).hexdigest()
    (copy / "blobs" / "sha256" / top).write_bytes(data)
    outer = {"mediaType": INDEX, "digest": f"sha256:{top}", "size": len(data)}
    outer["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (copy / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [outer]}))
    trial.layout = str(copy)
    assert trial.push() == f"sha256:{top}"
    key = trial.world.key()
    trial.policy("gpg", keys=[trial.key_file(key.public)])
    trial.refused(f"no signature of {entry['digest']}")
    for digest in (f"sha256:{top}", entry["digest"]):
        place = trial.put(digest, key.message(simple(digest)))
        assert trial.fetch().verified_by == key.fingerprint.lower()
        shutil.rmtree(place)


def test_an_image_may_be_signed_by_another_name(trial: Trial) -> None:
    key = trial.world.key()
    digest = trial.push("v1", *trial.signing(key, "vendor.example/apps/web:v1"))
    keys = [trial.key_file(key.public)]
    trial.policy("gpg", keys=keys)
    trial.refused('signed as "vendor.example/apps/web:v1", and not as "registry.example:5000/team/')
    trial.policy("gpg", keys=keys, signed_as="vendor.example/apps")
    assert trial.fetch().verified_by == key.fingerprint.lower()
    trial.policy("gpg", keys=keys, scope=NAME, signed_as="vendor.example/apps/web")
    assert trial.fetch().verified_by == key.fingerprint.lower()
    trial.put(digest, key.message(simple(digest, f"{NAME}:release")))
    trial.policy("gpg", keys=keys)
    trial.refused("and not as")
    trial.policy("gpg", keys=keys, any_tag=True)
    assert trial.fetch().verified_by == key.fingerprint.lower()


def attach(trial: Trial, digest: str, *pairs: tuple[bytes, bytes], **how: Any) -> None:
    uploads = Uploads(f"https://{HOST}/v2/team/web", trial.world.ca)
    uploads.manifest(uploads.signatures(*pairs, **how), f"{digest.replace(':', '-')}.sig")


@pytest.fixture
def cosign(trial: Trial) -> SigstoreKey:
    """A key, named by the policy."""
    key = SigstoreKey.create(trial.world.directory / "cosign")
    trial.policy("sigstore", keys=[key.public])
    return key


def test_a_sigstore_signature(trial: Trial, cosign: SigstoreKey) -> None:
    """As cosign makes it, which is not in Debian: a claim that openssl signed, and its manifest."""
    digest = trial.push()
    good = claim(digest, NAME)
    attach(trial, digest, (good, cosign.sign(good)))
    record = trial.fetch()
    assert record.verified_by == f"sigstore:{cosign.digest()}"
    assert f"signature verified:\n  key {cosign.public}" in trial.world.said
    assert trial.fetch(f"docker://{NAME}@{digest}").verified_by == record.verified_by
    other = SigstoreKey.create(trial.world.directory / "other")
    trial.policy("sigstore", keys=[other.public])
    tag = f"{digest.replace(':', '-')}.sig"
    trial.refused(f"{tag}: signature 1: not signed by the key {other.public}")
    trial.policy("sigstore", keys=[other.public, cosign.public])
    assert trial.fetch().verified_by == record.verified_by


def test_a_mirror_need_not_have_the_signatures(trial: Trial, cosign: SigstoreKey) -> None:
    """It goes on to be asked for the image, whose name counts and not that of the mirror."""
    mirror = "other.example:5001"
    trial.world.trust_ca(mirror)
    registries = Path(trial.world.paths.local_config, "registries.toml")
    location = f'[[registry.mirror]]\nlocation = "{mirror}"\n'
    registries.write_text(f'[[registry]]\nprefix = "{HOST}"\n{location}')
    directory = trial.world.directory / "mirror"
    with RegistryServer(directory, trial.world.certificate, port=5001) as server:
        server.push(f"oci:{trial.layout}:v1", "team/web:v1")
        digest = trial.push()
        good = claim(digest, NAME)
        trial.refused(f"no signature of {digest} in the registry")
        attach(trial, digest, (good, cosign.sign(good)))
        trial.world.said.clear()
        assert trial.fetch().verified_by == f"sigstore:{cosign.digest()}"
        assert not [line for line in trial.world.said if "elsewhere" in line]
        trial.registry.stop()
        trial.refused(f"cannot look for signatures: https://{HOST}/", error=FetchError)


def test_sigstore_signatures_that_do_not_hold(trial: Trial, cosign: SigstoreKey) -> None:
    first, second = trial.push("v1"), trial.push("v2")
    trial.refused(f"no signature of {first} in the registry")
    good = claim(first, NAME)
    stranger = SigstoreKey.create(trial.world.directory / "stranger")
    for pair, message in (
        ((good, stranger.sign(good)), f"not signed by the key {cosign.public}"),
        ((good + b" ", cosign.sign(good)), "not signed by the key"),
        ((good, b"nonsense"), "not signed by the key"),
        ((good, b""), "not signed by the key"),
        (claim(second, NAME), f"signed is another image, {second}, and not {first}"),
        (claim(first, f"{HOST}/team/other"), f'signed as "{HOST}/team/other", and not as'),
        (claim(first, f"{NAME}:v2"), f'signed as "{NAME}:v2", and not as "{NAME}:v1"'),
        (claim(first, NAME, more=1), "critical.more: unknown in a signature"),
        (b"x" * 70_000, "larger than 65536 bytes"),
    ):
        attach(trial, first, pair if isinstance(pair, tuple) else (pair, cosign.sign(pair)))
        trial.refused(message)
    attach(trial, first, (good, cosign.sign(good)), media_type="application/vnd.other")
    trial.refused("no signature of")
    attach(trial, first, (good, stranger.sign(good)), (good, cosign.sign(good)))
    assert trial.fetch().verified_by == f"sigstore:{cosign.digest()}"
    tagged = claim(first, f"{NAME}:v1")
    attach(trial, first, (tagged, cosign.sign(tagged)))
    assert trial.fetch().label("version") == "v1"


def test_a_signature_manifest_that_is_none(trial: Trial, cosign: SigstoreKey) -> None:
    digest = trial.push()
    uploads = Uploads(f"https://{HOST}/v2/team/web", trial.world.ca)
    good = claim(digest, NAME)
    document = uploads.signatures((good, cosign.sign(good)))
    tag = f"{digest.replace(':', '-')}.sig"
    for annotations, message in (
        ({}, "annotations.dev.cosignproject.cosign/signature"),
        ({"dev.cosignproject.cosign/signature": "?"}, "not base64"),
        ({"dev.cosignproject.cosign/signature": "\u00e9"}, "not base64"),
    ):
        document["layers"][0]["annotations"] = annotations
        uploads.manifest(document, tag)
        trial.refused(message.split(".")[0])


def test_signatures_that_refer_to_the_image(trial: Trial, cosign: SigstoreKey) -> None:
    digest = trial.push()
    uploads = Uploads(f"https://{HOST}/v2/team/web", trial.world.ca)
    good = claim(digest, NAME)
    entry = uploads.manifest(uploads.signatures((good, cosign.sign(good))))
    uploads.refer(digest, entry)
    trial.refused("no signature of")
    uploads.refer(digest, {**entry, "artifactType": ARTIFACT})
    assert trial.fetch().verified_by == f"sigstore:{cosign.digest()}"


def test_bundles_name_no_image_and_have_to_be_allowed(trial: Trial, cosign: SigstoreKey) -> None:
    digest, other = trial.push("v1"), trial.push("v2")
    uploads = Uploads(f"https://{HOST}/v2/team/web", trial.world.ca)
    stranger = SigstoreKey.create(trial.world.directory / "stranger")
    uploads.refer(digest, uploads.bundle(bundle(cosign, digest)))
    trial.refused("signed without a name (nameless = true in trust.toml takes that)")
    trial.policy("sigstore", keys=[cosign.public], nameless=True)
    for kind in (BUNDLE, EMPTY):
        uploads.refer(digest, uploads.bundle(bundle(cosign, other, digest), kind))
        assert trial.fetch().verified_by == f"sigstore:{cosign.digest()}"
    good = json.loads(bundle(cosign, digest))
    envelope = good["dsseEnvelope"]
    for content, message in (
        (bundle(cosign, other), f"signed is {other}, and not {digest}"),
        (bundle(cosign), f"signed is nothing, and not {digest}"),
        (bundle(stranger, digest), f"not signed by the key {cosign.public}"),
        (bundle(cosign, digest, predicateType="https://slsa.dev/provenance/v1"), "predicateType: "),
        (bundle(cosign, digest, _type="x"), '_type: "x" is not https://in-toto.io/Statement/v1'),
        (bundle(cosign, digest, subject=[{}]), "subject[0].digest"),
        (b'{"messageSignature": {}}', "dsseEnvelope: missing: this bundle is not of a signed"),
        ({**good, "dsseEnvelope": {**envelope, "payloadType": "x"}}, '"x" is not application/vnd'),
        ({**good, "dsseEnvelope": {**envelope, "payload": "?"}}, "payload: not base64"),
        ({**good, "dsseEnvelope": {**envelope, "signatures": []}}, "0 signatures where one is"),
        (b"nonsense", "not JSON"),
    ):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        uploads.refer(digest, uploads.bundle(data))
        trial.refused(message)
    # One that is bad does not hide one that is good.
    uploads.refer(
        digest,
        uploads.bundle(b"nonsense"),
        {**uploads.bundle(b"{}"), "artifactType": "application/spdx+json"},
        uploads.bundle(bundle(cosign, digest)),
    )
    assert trial.fetch().verified_by == f"sigstore:{cosign.digest()}"


def test_a_registry_that_knows_referrers(trial: Trial, cosign: SigstoreKey) -> None:
    """Debian's registry does not, so this one hands all else on to it."""
    digest = trial.push()
    uploads = Uploads(f"https://{HOST}/v2/team/web", trial.world.ca)
    good = claim(digest, NAME)
    entry = uploads.manifest(uploads.signatures((good, cosign.sign(good))))
    index = {"schemaVersion": 2, "mediaType": INDEX}
    index["manifests"] = [{**entry, "artifactType": ARTIFACT}]

    listed = Answer(json.dumps(index).encode(), headers={"Content-Type": INDEX})
    answers = [listed]

    class Front(dict[str, Content]):
        def get(self, path: str, default: Any = None) -> Any:
            return answers[-1] if "/referrers/" in path else forward

    def forward(request: Request) -> Answer:
        import ssl
        import urllib.error
        import urllib.request

        context = ssl.create_default_context(cafile=trial.world.ca.certificate)
        headers = {name: request.headers[name] for name in ("accept",)}
        asked = urllib.request.Request(f"https://{HOST}{request.path}", headers=headers)
        try:
            with urllib.request.urlopen(asked, context=context) as answer:
                kind = {"Content-Type": answer.headers["Content-Type"]}
                return Answer(answer.read(), headers=kind)
        except urllib.error.HTTPError as error:
            return Answer(error.read(), status=error.code)

    trial.world.trust_ca("registry.example:5001")
    trial.policy("sigstore", keys=[cosign.public], scope="registry.example:5001", signed_as=HOST)
    image = "docker://registry.example:5001/team/web:v1"
    with trial.world.site(Front(), port=5001):
        assert trial.fetch(image).verified_by == f"sigstore:{cosign.digest()}"
        for status in (400, 404, 405, 406, 501):
            answers.append(Answer(status=status))
            trial.refused(f"no signature of {digest}", image)
        answers.append(Answer(status=500))
        trial.refused("cannot look for signatures: https://", image, error=FetchError)
        bad = claim(digest, f"{NAME}:v2")
        attach(trial, digest, (bad, cosign.sign(bad)))
        trial.refused(f'signed as "{NAME}:v2"', image)


def test_signatures_in_a_registry_that_does_not_answer(trial: Trial, cosign: SigstoreKey) -> None:
    digest = trial.push()
    place = f"{trial.registry.directory}/data/docker/registry/v2"
    link = f"{place}/repositories/team/web/_manifests/tags/{digest.replace(':', '-')}.sig/current"
    os.makedirs(link)
    os.mkdir(f"{link}/link")
    trial.refused("cannot look for signatures: https://", error=FetchError)


@pytest.mark.parametrize(
    "options", [("EC", "ec_paramgen_curve:P-384"), ("RSA",), ("ED25519",), ("private",), ("none",)]
)
def test_keys_that_sigstore_does_not_use(trial: Trial, options: tuple[str, ...]) -> None:
    trial.push()
    algorithm, *flags = options
    base = trial.world.directory / "key"
    if algorithm == "none":
        base.with_suffix(".pub").write_text("nonsense")
    elif algorithm == "private":
        os.rename(SigstoreKey.create(base).private, f"{base}.pub")
    else:
        SigstoreKey.create(base, *flags, algorithm=algorithm)
    trial.policy("sigstore", keys=[f"{base}.pub"])
    trial.refused(f"{base}.pub: not a public key of sigstore: ECDSA on P-256", error=BadInput)


def test_policies_without_signatures(trial: Trial) -> None:
    digest = trial.push()
    trial.policy("reject")
    for image in (IMAGE, f"docker://{NAME}@{digest}"):
        trial.refused(f'trust.toml: docker["{HOST}/team"] rejects it', image)
    with pytest.raises(TrustError, match="rejects it"):
        trial.fetch(insecure=["image"])
    trial.policy("digest")
    trial.refused("nothing vouches for this image (name it by its digest, docker://")
    assert trial.fetch(f"docker://{NAME}@{digest}").verified_by == "digest"
    trial.policy("insecure-accept")
    assert trial.fetch().verified_by == "policy"
    assert any("trust.toml" in line and "as it is" in line for line in trial.world.said)
    assert trial.fetch(f"docker://{NAME}@{digest}").verified_by == "digest"


def test_layouts_and_archives_are_believed_by_their_place(world: World, layout: str) -> None:
    link = world.directory / "link"
    link.symlink_to(layout)
    elsewhere = world.directory / "elsewhere"
    elsewhere.mkdir()
    path = Path(world.paths.local_config, "trust.toml")
    path.write_text(f'[oci."{os.path.dirname(layout)}"]\nrequire = "insecure-accept"\n')
    assert world.fetch(f"oci:{layout}:v1").verified_by == "policy"
    assert world.fetch(f"oci:{link}:v1").verified_by == "policy"
    path.write_text(f'[oci."{elsewhere}"]\nrequire = "insecure-accept"\n')
    (elsewhere / "link").symlink_to(layout)
    with world.store_unchanged(), pytest.raises(TrustError, match="nothing vouches"):
        world.fetch(f"oci:{elsewhere}/link:v1", pull_policy="update")
    path.write_text('[default]\nrequire = "gpg"\nlookaside = "https://example.com"\n')
    refused = pytest.raises(
        TrustError, match=r"default wants a signature, and layouts and archives"
    )
    with refused, world.store_unchanged():
        world.fetch(f"oci:{layout}:v1", pull_policy="update")
    assert world.fetch(f"oci:{layout}:v1", insecure=["image"]).verified_by == "insecure"
