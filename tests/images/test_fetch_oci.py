"""OCI and Docker images from Debian's docker-registry and from layouts made by buildah."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rktsd.appc.read import image_manifest
from rktsd.errors import BadInput, FetchError, NotFound, RktError, TrustError, Unsupported
from tests.images.world import World
from tests.material.images import architecture, oci_layout
from tests.material.registry import RegistryServer
from tests.material.servers import Answer, Content, Request

HOST = "registry.example:5000"
GOARCH = {"amd64": "amd64", "aarch64": "arm64", "i386": "386"}.get(architecture(), "arm")
CONFIG = {
    "entrypoint": '["/bin/web"]',
    "cmd": "--port 80",
    "user": "www:www",
    "env": ["A=1", "B=x=y"],
    "workingdir": "/srv",
    "port": ["80/tcp", "53/udp"],
    "volume": "/data/Big Files",
    "stop-signal": "SIGQUIT",
    "label": "org.example.team=a",
}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A layout with the image ``v1`` of three layers, the last one a whiteout."""
    directory = tmp_path_factory.mktemp("layout")
    roots = []
    for name in ("base", "web"):
        root = directory / name
        (root / "etc").mkdir(parents=True)
        (root / "etc" / name).write_text(name)
        roots.append(str(root))
    (directory / "base" / "etc" / "gone").write_text("gone")
    oci_layout(roots, directory / "web.oci", "v1", config=CONFIG, removed=["etc/gone"])
    return f"{directory}/web.oci"


def blob(layout: str, digest: str) -> Path:
    return Path(layout, "blobs", *digest.split(":"))


def document(layout: str, digest: str) -> Any:
    return json.loads(blob(layout, digest).read_bytes())


def top_digest(layout: str) -> str:
    index = json.loads(Path(layout, "index.json").read_bytes())
    return str(index["manifests"][0]["digest"])


def check_web(world: World, record: Any) -> None:
    """The image of ``layout`` is in the store with all that it is."""
    manifest = image_manifest(world.store.manifest_bytes(record.id), "manifest")
    assert manifest.app is not None
    assert manifest.app.exec == ("/bin/web", "--port", "80")
    assert (manifest.app.user, manifest.app.group) == ("www", "www")
    environment = {each.name: each.value for each in manifest.app.environment}
    assert (environment["A"], environment["B"]) == ("1", "x=y")
    assert manifest.app.working_directory == "/srv"
    ports = [(port.name, port.protocol, port.port) for port in manifest.app.ports]
    assert ports == [("53-udp", "udp", 53), ("80-tcp", "tcp", 80)]
    points = [(point.name, point.path) for point in manifest.app.mount_points]
    assert points == [("volume-data-big-files", "/data/Big Files")]
    assert manifest.app.user_labels["org.example.team"] == "a"
    kept = {each.name: each.value for each in manifest.annotations}
    assert kept["appc.io/docker/stopsignal"] == "SIGQUIT"
    assert json.loads(kept["appc.io/docker/entrypoint"]) == ["/bin/web"]
    assert len(record.layers) == 3
    top, middle, bottom = map(world.store.layer_path, record.layers)
    assert Path(bottom, "etc/base").read_text() == "base"
    assert Path(middle, "etc/web").read_text() == "web"
    whiteout = os.stat(f"{top}/etc/gone")
    assert (whiteout.st_rdev, whiteout.st_mode & 0o170000) == (0, 0o020000)


def test_from_a_layout(world: World, layout: str) -> None:
    record = world.fetch(f"oci:{layout}:v1", insecure=["image"])
    check_web(world, record)
    assert (record.kind, record.name, record.label("version")) == ("oci", "web.oci", "v1")
    assert record.verified_by == "insecure"
    data = blob(layout, top_digest(layout)).read_bytes()
    assert record.id == f"sha512-{hashlib.sha512(data).hexdigest()[:64]}"
    assert world.store.manifest_bytes(record.id, extra="oci-manifest") == data
    assert world.fetch(f"oci:{layout}", insecure=["image"]).id == record.id


def test_a_digest_vouches_for_itself(world: World, layout: str) -> None:
    with world.store_unchanged(), pytest.raises(TrustError) as caught:
        world.fetch(f"oci:{layout}:v1")
    assert "@sha256:" in str(caught.value)
    assert "--insecure-options=image" in str(caught.value)
    record = world.fetch(f"oci:{layout}@{top_digest(layout)}")
    assert record.verified_by == "digest"


def test_what_a_layout_does_not_have(world: World, layout: str, tmp_path: Path) -> None:
    for reference, error, message in (
        (f"oci:{layout}:v2", NotFound, "no image 'v2' \\(there are: v1\\)"),
        (f"oci:{tmp_path}/nowhere", NotFound, "oci-layout"),
        (f"oci:{layout}@sha256:{'0' * 64}", NotFound, "no image"),
    ):
        with world.store_unchanged(), pytest.raises(error, match=message):
            world.fetch(reference, insecure=["image"])
    two = tmp_path / "two"
    shutil.copytree(layout, two)
    index = json.loads((two / "index.json").read_bytes())
    manifest = blob(str(two), top_digest(layout)).read_bytes() + b"\n"
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    blob(str(two), digest).write_bytes(manifest)
    index["manifests"].append({**index["manifests"][0], "digest": digest, "size": len(manifest)})
    (two / "index.json").write_text(json.dumps(index))
    with world.store_unchanged(), pytest.raises(BadInput, match="2 images, choose one"):
        world.fetch(f"oci:{two}", insecure=["image"])
    with world.store_unchanged(), pytest.raises(BadInput, match="is given to 2 images"):
        world.fetch(f"oci:{two}:v1", insecure=["image"])
    assert world.fetch(f"oci:{two}@{digest}").verified_by == "digest"


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "missing", "directory"])
def test_a_damaged_layout_is_refused(
    world: World, layout: str, tmp_path: Path, part: str, damage: str
) -> None:
    copy = str(tmp_path / "copy")
    shutil.copytree(layout, copy)
    top = top_digest(copy)
    manifest = document(copy, top)
    digest = {"manifest": top, "config": manifest["config"]["digest"]}.get(
        part, manifest["layers"][-1]["digest"]
    )
    path = blob(copy, digest)
    data = path.read_bytes()
    path.unlink()
    if damage == "directory":
        path.mkdir()
    elif damage != "missing":
        changed = {"flip": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-1], "grow": data + b" "}
        path.write_bytes(changed[damage])
    expected = {"missing": NotFound, "directory": BadInput}.get(damage, TrustError)
    with world.store_unchanged(), pytest.raises(expected) as caught:
        world.fetch(f"oci:{copy}:v1", insecure=["image"])
    assert digest.partition(":")[2] in str(caught.value)


@pytest.mark.row("fetch/Any")
@pytest.mark.parametrize("style", ["oci", "v2s2"])
def test_from_a_registry(world: World, registry: RegistryServer, layout: str, style: str) -> None:
    digest = registry.push(f"oci:{layout}:v1", "team/web:v1", style=style)
    with world.store_unchanged(), pytest.raises(TrustError) as caught:
        world.fetch(f"docker://{HOST}/team/web:v1")
    assert f"docker://{HOST}/team/web@sha256:" in str(caught.value)
    record = world.fetch(f"docker://{HOST}/team/web@{digest}")
    check_web(world, record)
    assert record.verified_by == "digest"
    assert record.name == "registry.example_5000/team/web"
    again = world.fetch(f"docker://{HOST}/team/web:v1", insecure=["image"])
    assert (again.id, again.label("version")) == (record.id, "v1")
    manifest = image_manifest(world.store.manifest_bytes(again.id), "manifest")
    kept = {each.name: each.value for each in manifest.annotations}
    assert kept["appc.io/docker/manifesthash"] == digest
    assert kept["appc.io/docker/originalname"] == f"docker://{HOST}/team/web:v1"
    registry.stop()
    for policy in ("new", "never"):
        found = world.fetch(f"docker://{HOST}/team/web:v1", pull_policy=policy)
        assert found.id == record.id
    with pytest.raises(FetchError, match=r"registry\.example:5000.*: Connection refused"):
        world.fetch(f"docker://{HOST}/team/web:v1", pull_policy="update", insecure=["image"])
    assert world.fetch(f"docker://{HOST}/team/web:v1").id == record.id


def test_a_stored_layer_does_not_move_again(
    world: World, registry: RegistryServer, layout: str
) -> None:
    registry.push(f"oci:{layout}:v1", "web:v1")
    world.fetch(f"docker://{HOST}/web:v1", insecure=["image"])
    assert sum("downloading layer" in line for line in world.said) == 3
    world.said.clear()
    shutil.rmtree(f"{registry.directory}/data/docker/registry/v2/repositories/web/_layers")
    config = world.fetch(f"oci:{layout}:v1", insecure=["image"])
    assert not any("downloading layer" in line for line in world.said)
    assert len(config.layers) == 3


def test_an_index_leads_to_the_image_for_this_machine(
    world: World, registry: RegistryServer, layout: str, tmp_path: Path
) -> None:
    top = top_digest(layout)
    size = blob(layout, top).stat().st_size
    base = {"mediaType": "application/vnd.oci.image.manifest.v1+json"}
    entries = [
        {**base, "digest": f"sha256:{'1' * 64}", "size": 5, "platform": {"os": "windows"}},
        {**base, "digest": top, "size": size, "platform": {"os": "linux", "architecture": GOARCH}},
    ]
    copy = tmp_path / "copy"
    shutil.copytree(layout, copy)

    def put(manifests: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "manifests": manifests}
        index["mediaType"] = "application/vnd.oci.image.index.v1+json"
        data = json.dumps(index).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blob(str(copy), digest).write_bytes(data)
        entry = {"mediaType": index["mediaType"], "digest": digest, "size": len(data)}
        outer = {"schemaVersion": 2, "manifests": [entry]}
        (copy / "index.json").write_text(json.dumps(outer))

    put(entries)
    check_web(world, world.fetch(f"oci:{copy}", insecure=["image"]))
    put(entries[:1])
    with pytest.raises(FetchError, match=f"no image for linux/{GOARCH}, only windows"):
        world.fetch(f"oci:{copy}", insecure=["image"])
    put(entries[1:])
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--insecure-policy", "--multi-arch=all",
         "--dest-tls-verify=false", f"oci:{copy}", f"docker://{HOST}/multi:v1"],
        check=True,
    )  # fmt: skip
    record = world.fetch(f"docker://{HOST}/multi:v1", insecure=["image"])
    check_web(world, record)


def test_what_a_registry_does_not_have(world: World, registry: RegistryServer) -> None:
    for reference in (
        f"docker://{HOST}/nothing:v1",
        f"docker://{HOST}/nothing@sha256:{'0' * 64}",
    ):
        with world.store_unchanged(), pytest.raises(FetchError) as caught:
            world.fetch(reference, insecure=["image"])
        assert f"https://{HOST}/v2/nothing/manifests/" in str(caught.value)
        assert "the server answered 404" in str(caught.value)


def test_a_registry_on_plain_http_has_to_be_allowed(world: World, layout: str) -> None:
    with RegistryServer(world.directory / "plain", port=5001) as server:
        server.push(f"oci:{layout}:v1", "web:v1")
        reference = "docker://registry.example:5001/web:v1"
        with world.store_unchanged(), pytest.raises(FetchError):
            world.fetch(reference, insecure=["image"])
        check_web(world, world.fetch(reference, insecure=["image", "http"]))


class FakeRegistry:
    """What a registry says over ``site``, to be bent by a test: ``paths`` maps to answers."""

    def __init__(self, layout: str, repository: str = "web") -> None:
        self.base = f"/v2/{repository}"
        self.paths: dict[str, Content] = {}
        top = top_digest(layout)
        self.manifest = document(layout, top)
        for each in (self.manifest["config"], *self.manifest["layers"]):
            self.paths[f"{self.base}/blobs/{each['digest']}"] = blob(
                layout, each["digest"]
            ).read_bytes()
        self.put()

    def put(self) -> str:
        """Serve ``manifest`` as v1 and by its digest, which is returned."""
        data = json.dumps(self.manifest).encode()
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        for name in ("v1", digest):
            self.paths[f"{self.base}/manifests/{name}"] = Answer(data, headers=kind)
        return digest

    def bend(self, part: dict[str, Any], content: Content) -> None:
        self.paths[f"{self.base}/blobs/{part['digest']}"] = content


def test_wrong_digests_from_a_registry(world: World, layout: str) -> None:
    world.trust_ca(HOST)
    fake = FakeRegistry(layout)
    layer, config = fake.manifest["layers"][0], fake.manifest["config"]
    good = dict(fake.paths)
    digest = fake.put()
    data = good[f"/v2/web/blobs/{layer['digest']}"]
    assert isinstance(data, bytes)
    with world.site(fake.paths, port=5000):
        for part, content, error, message in (
            (layer, data[:-1] + b"?", TrustError, "content has digest"),
            (layer, data[:-1], TrustError, "were promised"),
            (layer, data + b"?", TrustError, "were promised"),
            (layer, Answer(data, endless=True), FetchError, "more than the limit"),
            (layer, Answer(data[:-5], length=len(data)), FetchError, "ended after"),
            (config, b"{}", TrustError, "were promised"),
            (config, b"x" * config["size"], TrustError, "content has digest"),
        ):
            fake.bend(part, content)
            for version in (":v1", f"@{digest}"):
                with (
                    world.store_unchanged_but_layers(),
                    pytest.raises(error, match=message) as caught,
                ):
                    world.fetch(f"docker://{HOST}/web{version}", insecure=["image"])
                assert part["digest"] in str(caught.value)
            fake.paths.update(good)
        fake.paths[f"/v2/web/manifests/{digest}"] = b'{"schemaVersion": 2}'
        with (
            world.store_unchanged(),
            pytest.raises(TrustError, match="content has digest"),
        ):
            world.fetch(f"docker://{HOST}/web@{digest}", insecure=["image"])


def test_a_layer_that_is_not_what_its_config_says(world: World, layout: str) -> None:
    world.trust_ca(HOST)
    fake = FakeRegistry(layout)
    layers = fake.manifest["layers"]
    layers[0], layers[1] = layers[1], layers[0]
    fake.put()
    refused = pytest.raises(TrustError, match=r"uncompressed digest is sha256:.*, not sha256:")
    with world.site(fake.paths, port=5000), world.store_unchanged(), refused:
        world.fetch(f"docker://{HOST}/web:v1", insecure=["image"])


def test_manifests_that_are_none(world: World, layout: str) -> None:
    world.trust_ca(HOST)
    fake = FakeRegistry(layout)
    layer = fake.manifest["layers"][0]
    foreign = {**layer, "mediaType": "application/vnd.example.layer"}
    artifact = {**fake.manifest["config"], "mediaType": "application/vnd.example.config+json"}
    for change, error, message in (
        ({"schemaVersion": 1, "mediaType": None}, Unsupported, "schema 1"),
        ({"layers": "none"}, BadInput, 'layers: "none" is not a list'),
        ({"layers": [layer] * 501}, BadInput, "501 layers are more than 500"),
        ({"layers": [layer]}, BadInput, "3 diff_ids for 1 layers"),
        ({"layers": [foreign]}, Unsupported, "layers of type application/vnd.example.layer"),
        ({"layers": [{**layer, "size": -1}]}, BadInput, r"layers\[0\].size: -1"),
        ({"layers": [{**layer, "size": 1 << 60}]}, FetchError, "more than the limit"),
        ({"layers": [{**layer, "digest": "md5:0"}]}, BadInput, r"layers\[0\].digest"),
        ({"config": None}, BadInput, "config"),
        ({"config": artifact}, Unsupported, "is not the configuration of an image"),
        ({"manifests": []}, BadInput, "is not what its media type"),
    ):
        fake = FakeRegistry(layout)
        fake.manifest.update(change)
        fake.put()
        with world.site(fake.paths, port=5000), world.store_unchanged():
            with pytest.raises(error, match=message) as caught:
                world.fetch(f"docker://{HOST}/web:v1", insecure=["image"])
            assert "\n" not in str(caught.value)
    for page in (b"", b"<html>", b"[]", b"{}", b'{"schemaVersion": 2, "manifests": [1]}'):
        fake.paths["/v2/web/manifests/v1"] = page
        refused = pytest.raises(RktError)
        with world.site(fake.paths, port=5000), world.store_unchanged(), refused:
            world.fetch(f"docker://{HOST}/web:v1", insecure=["image"])


def test_an_anonymous_token_is_fetched_and_shown_to_this_registry_only(
    world: World, layout: str
) -> None:
    world.trust_ca(HOST)
    fake = FakeRegistry(layout)
    inner = dict(fake.paths)
    challenge = (
        'Bearer realm="https://example.com/token?a=b",service="reg, one",'
        'scope="repository:web:pull"'
    )

    def guarded(request: Request) -> Answer:
        if request.headers.get("authorization") != "Bearer t0ken":
            return Answer(b"{}", status=401, headers={"WWW-Authenticate": challenge})
        if "/blobs/" in request.path:
            target = f"https://other.example{request.path}"
            return Answer(status=307, headers={"Location": target})
        found = inner[request.path]
        assert isinstance(found, Answer)
        return found

    guarded_paths: dict[str, Content] = dict.fromkeys(inner, guarded)
    with (
        world.site(guarded_paths, port=5000),
        world.site({"/token": b'{"token": "t0ken"}', **inner}) as site,
    ):
        record = world.fetch(f"docker://{HOST}/web:v1", insecure=["image"])
    check_web(world, record)
    first, *others = site.requests
    assert first.query == "a=b&service=reg%2C+one&scope=repository%3Aweb%3Apull"
    assert others
    assert all("authorization" not in request.headers for request in site.requests)


@pytest.mark.parametrize(
    ("challenge", "message"),
    [
        ("", "refuses access to web"),
        ("Bearer nonsense", "refuses access to web"),
        ('Bearer realm="http://example.com/token"', "http is refused"),
        ('Bearer realm="https://example.com/none"', "404"),
        ('Bearer realm="https://example.com/empty"', "missing"),
        ('Bearer realm="https://example.com/token"', "refuses access to web"),
        ("Negotiate", "refuses access to web"),
    ],
)
def test_a_registry_that_refuses(world: World, challenge: str, message: str) -> None:
    world.trust_ca(HOST)
    closed = Answer(status=401, headers={"WWW-Authenticate": challenge})
    tokens: dict[str, Content] = {"/empty": b"{}", "/token": b'{"access_token": "x"}'}
    with (
        world.site({"/v2/web/manifests/v1": closed}, port=5000),
        world.site(tokens),
        world.store_unchanged(),
        pytest.raises(RktError, match=message),
    ):
        world.fetch(f"docker://{HOST}/web:v1", insecure=["image"])
