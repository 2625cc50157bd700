"""``rkt image push``: others' tools take what arrives, and it has the digests that were stored."""

import base64
import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rktsd.errors import FetchError, RktError
from rktsd.images.fetch import FetchOptions, Job
from rktsd.images.push import push
from rktsd.store.records import ImageRecord
from tests.images.rkt import rkt
from tests.images.world import World
from tests.material.images import oci_layout
from tests.material.registry import RegistryServer
from tests.material.servers import Answer, Request
from tests.material.tokens import TokenServer

HOST = "registry.example:5000"
PASSWORD = 'sécret: with"colon'
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
BIG = os.urandom(3 << 20)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A layout with an image of two layers, the second of which takes something away."""
    directory = tmp_path_factory.mktemp("layout")
    roots = []
    for name in ("base", "web"):
        (directory / name / "etc").mkdir(parents=True)
        (directory / name / "etc" / name).write_text(name * 1000)
        roots.append(str(directory / name))
    (directory / "base" / "big").write_bytes(BIG)
    oci_layout(roots, directory / "web.oci", "v1", config={"cmd": "/bin/web"}, removed=["etc/base"])
    return f"{directory}/web.oci"


@pytest.fixture
def home(home: Path, world: World) -> Path:
    world.trust_ca(HOST)
    return home


@pytest.fixture
def closed(world: World, home: Path) -> Iterator[RegistryServer]:
    """A registry that wants a password."""
    passwords = world.directory / "htpasswd"
    command = ["htpasswd", "-Bbic", str(passwords), "me"]
    subprocess.run(command, input=PASSWORD.encode(), check=True, capture_output=True)
    with RegistryServer(
        world.directory / "closed", world.certificate, port=5000, htpasswd=str(passwords)
    ) as server:
        yield server


@pytest.fixture
def guarded(world: World, home: Path) -> Iterator[RegistryServer]:
    """A registry that wants tokens."""
    realm = "https://example.com/token"
    tokens = TokenServer(world.directory / "tokens", realm, {"me": PASSWORD})
    with (
        world.site({"/token": tokens.answer}),
        RegistryServer(
            world.directory / "guarded", world.certificate, port=5000, tokens=tokens
        ) as server,
    ):
        yield server


@pytest.fixture
def open_registry(world: World, home: Path) -> Iterator[RegistryServer]:
    with RegistryServer(world.directory / "open", world.certificate, port=5000) as server:
        yield server


def login(world: World) -> None:
    said = rkt(
        world.paths, "login", "--username=me", "--password-stdin", HOST, stdin=PASSWORD.encode()
    )
    assert said.status == 0, said.err


def send(world: World, record: ImageRecord, destination: str, **how: Any) -> str:
    options = FetchOptions(insecure=frozenset(how.pop("insecure", ())))
    job = Job(world.store, world.paths, options, world.said.append)
    return push(record, destination, job, **how)


def inspected(world: World, image: str, *flags: str) -> Any:
    """What skopeo finds in a registry."""
    done = subprocess.run(
        ["skopeo", "inspect", "--cert-dir", f"{world.paths.local_config}/certs.d/{HOST}",
         *flags, image],
        capture_output=True,
        check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.fixture
def podman() -> Iterator[Callable[..., str]]:
    """podman with a storage of its own, its path short; a call gives what it printed."""
    with tempfile.TemporaryDirectory(prefix="podman-") as storage:

        def call(*arguments: str) -> str:
            places = ["--root", f"{storage}/root", "--runroot", f"{storage}/run"]
            done = subprocess.run(
                ["podman", *places, "--storage-driver=vfs", *arguments],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        yield call


def top_digest(layout: str) -> str:
    index = json.loads(Path(layout, "index.json").read_bytes())
    return str(index["manifests"][-1]["digest"])


def stored(world: World, layout: str) -> ImageRecord:
    return world.fetch(f"oci:{layout}:v1", insecure=["image"])


def test_oci_image_to_a_registry_with_password(
    world: World, closed: RegistryServer, layout: str, podman: Callable[..., str]
) -> None:
    """It has the digest that it had, and podman and skopeo take it."""
    record = stored(world, layout)
    with pytest.raises(FetchError, match="refuses access to team/web"):
        send(world, record, f"docker://{HOST}/team/web:v2")
    login(world)
    said = rkt(world.paths, "image", "push", record.id, f"docker://{HOST}/team/web:v2")
    assert said.status == 0, said.err
    assert said.out.strip() == top_digest(layout)
    creds = f"me:{PASSWORD}"
    found = inspected(world, f"docker://{HOST}/team/web:v2", "--creds", creds)
    assert found["Digest"] == top_digest(layout)
    certificates = f"{world.paths.local_config}/certs.d/{HOST}"
    pulled = podman(
        "pull", "-q", "--creds", creds, "--cert-dir", certificates, f"{HOST}/team/web:v2"
    )
    mounted = podman("image", "mount", pulled)
    assert Path(mounted, "etc/web").read_text() == "web" * 1000
    assert Path(mounted, "big").read_bytes() == BIG
    assert not Path(mounted, "etc/base").exists()


def test_token_auth_and_pieces(world: World, guarded: RegistryServer, layout: str) -> None:
    """Large layers go in pieces, and nothing goes twice."""
    record = stored(world, layout)
    login(world)
    assert send(world, record, f"docker://{HOST}/a/web", chunk=1 << 20) == top_digest(layout)
    creds = f"me:{PASSWORD}"
    copy = world.directory / "copy.oci"
    certificates = f"{world.paths.local_config}/certs.d/{HOST}"
    subprocess.run(
        ["skopeo", "copy", "-q", "--insecure-policy", "--src-creds", creds, "--src-cert-dir",
         certificates, f"docker://{HOST}/a/web", f"oci:{copy}:x"],
        check=True,
    )  # fmt: skip
    assert top_digest(str(copy)) == top_digest(layout)
    world.said.clear()
    send(world, record, f"docker://{HOST}/a/web:again")
    assert not any("uploading" in line for line in world.said)
    assert sum("there already" in line for line in world.said) == len(record.blobs) + 1


def test_blobs_are_taken_from_the_next_repository(
    world: World, guarded: RegistryServer, layout: str
) -> None:
    login(world)
    send(world, stored(world, layout), f"docker://{HOST}/a/web:v1")
    record = world.fetch(f"docker://{HOST}/a/web:v1", insecure=["image"])
    world.said.clear()
    assert send(world, record, f"docker://{HOST}/b/web:v1") == top_digest(layout)
    assert sum("taken from a/web" in line for line in world.said) == len(record.blobs) + 1
    assert not any("uploading" in line for line in world.said)


def test_appc_image_becomes_an_oci_image(
    world: World, open_registry: RegistryServer, podman: Callable[..., str]
) -> None:
    """podman runs what skopeo and we pull; the same image has the same digest each time."""
    base = world.fetch(
        world.aci("example.com/base", files={"etc/base": "base"}), insecure=["image"]
    )
    root = world.directory / "own"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "app").write_bytes(b"#!/bin/sh\n")
    os.chmod(root / "bin" / "app", 0o4755)
    os.chown(root / "bin" / "app", 33, 44)
    os.chmod(root / "bin" / "app", 0o4755)
    os.setxattr(root / "bin" / "app", "security.capability", CAPABILITY)
    os.link(root / "bin" / "app", root / "bin" / "link")
    with open(root / "sparse", "wb") as file:
        file.truncate(3 << 20)
    said = rkt(
        world.paths, "image", "import", str(root), "--name=example.com/top:1.2", "--full",
        f"--dependency={base.name}:1.0.0", "--exec=/bin/app", "--user=/bin/app", "--group=7",
        "--env=A=1", "--port=http:80", "--port=dns,port=53,protocol=udp,count=2",
        "--mount=data:/srv", "--working-directory=/srv", "--user-label=team=a",
        "--annotation=authors=me", "--", "--flag",
    )  # fmt: skip
    assert said.status == 0, said.err
    record = world.store.image(said.out.strip())
    digest = send(world, record, f"docker://{HOST}/top:1.2")
    assert send(world, record, f"oci:{world.directory}/top.oci:1.2") == digest
    config = inspected(world, f"docker://{HOST}/top:1.2", "--config")
    assert config["config"] == {
        "User": "33:7",
        "ExposedPorts": {"80/tcp": {}, "53-54/udp": {}},
        "Env": ["A=1"],
        "Entrypoint": ["/bin/app", "--flag"],
        "Volumes": {"/srv": {}},
        "WorkingDir": "/srv",
        "Labels": {"team": "a"},
    }
    assert config["author"] == "me"
    certificates = f"{world.paths.local_config}/certs.d/{HOST}"
    pulled = podman("pull", "-q", "--cert-dir", certificates, f"{HOST}/top:1.2")
    mounted = podman("image", "mount", pulled)
    assert Path(mounted, "etc/base").read_text() == "base"
    status = os.stat(f"{mounted}/bin/app")
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777, status.st_nlink) == (
        33,
        44,
        0o4755,
        2,
    )
    assert os.getxattr(f"{mounted}/bin/app", "security.capability") == CAPABILITY
    assert os.path.getsize(f"{mounted}/sparse") == 3 << 20
    back = world.fetch(f"docker://{HOST}/top@{digest}")
    manifest = json.loads(world.store.manifest_bytes(back.id))
    assert manifest["app"]["exec"] == ["/bin/app", "--flag"]
    assert [port["port"] for port in manifest["app"]["ports"]] == [53, 80]
    kept = next(
        each["value"]
        for each in manifest["annotations"]
        if each["name"] == "appc.io/docker/annotations"
    )
    ours = json.loads(world.store.manifest_bytes(record.id))
    assert json.loads(json.loads(kept)["appc.io/manifest"]) == ours


def test_layouts_keep_what_they_have(world: World, layout: str) -> None:
    record = stored(world, layout)
    target = f"{world.directory}/out.oci"
    assert send(world, record, f"oci:{target}:one") == top_digest(layout)
    send(world, record, f"oci:{target}:two")
    send(world, record, f"oci:{target}:one")
    index = json.loads(Path(target, "index.json").read_bytes())
    tags = [each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]]
    assert tags == ["two", "one"]
    for tag in ("one", "two"):
        copy = f"dir:{world.directory}/{tag}"
        command = ["skopeo", "copy", "-q", "--insecure-policy", f"oci:{target}:{tag}", copy]
        subprocess.run(command, check=True)
    blob = next(Path(target, "blobs", "sha256").iterdir())
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + b"?")
    send(world, record, f"oci:{target}:one")
    assert blob.read_bytes() == data


def test_archive_is_reproducible_and_taken_by_podman(
    world: World, layout: str, podman: Callable[..., str]
) -> None:
    record = stored(world, layout)
    made = []
    for name in ("a.tar", "b.tar"):
        assert send(world, record, f"oci-archive:{world.directory}/{name}:v1") == top_digest(layout)
        made.append((world.directory / name).read_bytes())
    assert made[0] == made[1]
    pulled = podman("pull", "-q", f"oci-archive:{world.directory}/a.tar")
    assert pulled
    said = rkt(world.paths, "image", "push", record.id, f"oci-archive:{world.directory}/a.tar")
    assert said.status == 254
    assert "--overwrite" in said.err
    again = world.fetch(f"oci-archive:{world.directory}/b.tar:v1", insecure=["image"])
    assert again.id == record.id
    with tarfile.open(world.directory / "a.tar") as members:
        assert members.getnames()[-2:] == ["index.json", "oci-layout"]


def damage_layer(world: World, record: ImageRecord) -> None:
    Path(world.store.blob_path(record.blobs[0])).write_bytes(b"other")


def lose_layer(world: World, record: ImageRecord) -> None:
    os.unlink(world.store.blob_path(record.blobs[0]))


def damage_manifest(world: World, record: ImageRecord) -> None:
    path = Path(world.paths.store, "images", record.id, "oci-manifest")
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("damage", [damage_layer, lose_layer, damage_manifest])
def test_what_is_damaged_is_not_pushed(
    world: World, layout: str, damage: Callable[[World, ImageRecord], None]
) -> None:
    record = stored(world, layout)
    damage(world, record)
    with pytest.raises(RktError, match="rkt image verify --fetch"):
        send(world, record, f"oci:{world.directory}/out.oci:v1")
    assert not (world.directory / "out.oci").exists()


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        ("docker://registry.example:5000/web@sha256:" + "0" * 64, "the digest follows"),
        ("docker-archive:/tmp/x.tar", "images are pushed to"),
        ("example.com/web", "images are pushed to"),
        ("oci:/etc:v1", "not an OCI image layout"),
        ("docker://registry.example:1/web", "registry.example:1"),
    ],
)
def test_refusals(world: World, home: Path, layout: str, destination: str, reason: str) -> None:
    record = stored(world, layout)
    world.settings(retry_delay=0.01, retries=0)
    said = rkt(world.paths, "image", "push", record.id, destination)
    assert said.status == 254
    assert reason in said.err
    assert "Traceback" not in said.err


def test_plain_http_has_to_be_allowed(world: World, home: Path, layout: str) -> None:
    record = stored(world, layout)
    with RegistryServer(world.directory / "plain", port=5001):
        destination = "docker://127.0.0.1:5001/web:v1"
        with pytest.raises(FetchError):
            send(world, record, destination)
        assert send(world, record, destination, insecure=["http"]) == top_digest(layout)


class Odd:
    """A registry that loses one piece, and wants uploads to go on at another host."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.upload = bytearray()
        self.failed = False

    def __call__(self, request: Request) -> Answer:
        place = request.path.removeprefix("/v2/web/")
        if request.method == "HEAD":
            return Answer(status=200 if place.removeprefix("blobs/") in self.blobs else 404)
        if request.method == "POST":
            self.upload.clear()
            return self._at(202)
        if place.startswith("manifests/"):
            return Answer(status=201)
        if request.method == "GET":
            return self._at(204)
        if request.method == "PATCH":
            if len(self.upload) >= 1 << 20 and not self.failed:
                self.failed = True
                self.upload += request.body[:1000]
                return Answer(b"{}", status=400)
            start = int(request.headers["content-range"].partition("-")[0])
            assert start == len(self.upload)
            self.upload += request.body
            return self._at(202)
        self.upload += request.body
        digest = urllib.parse.parse_qs(request.query)["digest"][0]
        assert f"sha256:{hashlib.sha256(self.upload).hexdigest()}" == digest
        self.blobs[digest] = bytes(self.upload)
        return Answer(status=201)

    def _at(self, status: int) -> Answer:
        location = "https://other.example/upload?state=1"
        headers = {"Location": location, "Range": f"0-{len(self.upload) - 1}"}
        return Answer(status=status, headers=headers)


def test_a_lost_piece_is_sent_again_and_credentials_stay_at_home(
    world: World, home: Path, layout: str
) -> None:
    record = stored(world, layout)
    auth = Path(world.paths.local_config, "auth.json")
    secret = base64.b64encode(b"me:secret").decode()
    auth.write_text(json.dumps({"auths": {"registry.example": {"auth": secret}}}))
    auth.chmod(0o600)
    odd = Odd()

    def guarded(request: Request) -> Answer:
        home = request.headers["host"] == "registry.example"
        if home and "authorization" not in request.headers:
            return Answer(b"{}", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return odd(request)

    with world.site({}) as site:
        site.answer = guarded  # type: ignore[method-assign]  # whatever the path
        digest = send(world, record, "docker://registry.example/web:v1", chunk=1 << 20)
        sent = {("authorization" in each.headers, each.headers["host"]) for each in site.requests}
    assert digest == top_digest(layout)
    assert set(odd.blobs) >= set(record.blobs)
    assert odd.failed
    assert (True, "registry.example") in sent
    assert (True, "other.example") not in sent


def test_a_registry_that_never_gets_anywhere_is_given_up(
    world: World, home: Path, layout: str
) -> None:
    record = stored(world, layout)
    world.settings(retry_delay=0.01, retries=2)

    def forgetful(request: Request) -> Answer:
        if request.method == "HEAD":
            return Answer(status=404)
        headers = {"Location": "/v2/web/blobs/uploads/1", "Range": "0-5"}
        return Answer(status=204 if request.method == "GET" else 202, headers=headers)

    with world.site({}) as site:
        site.answer = forgetful  # type: ignore[method-assign]  # whatever the path
        with pytest.raises(FetchError, match="has 6 bytes"):
            send(world, record, "docker://registry.example/web:v1", chunk=1 << 20)
        assert len(site.requests) < 20
