"""Mirrors and insecure registries, as the administrator's registries.toml has them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktsd.errors import FetchError
from tests.images.world import World
from tests.material.certificates import issue, make_ca
from tests.material.layered import LayeredImage
from tests.material.registry import RegistryServer
from tests.material.servers import Answer, Content

HOST, MIRROR = "registry.example:5000", "other.example:5001"
NAME = f"docker://{HOST}/team/web:v1"
PLAIN = "registry.example:5002"


def registries(world: World, text: str) -> None:
    Path(world.paths.local_config, "registries.toml").write_text(text)


def mirrored(world: World, *locations: str, more: str = "") -> None:
    tables = "".join(f'[[registry.mirror]]\nlocation = "{each}"\n{more}' for each in locations)
    registries(world, f'[[registry]]\nprefix = "{HOST}"\n{tables}')


@pytest.fixture
def image() -> LayeredImage:
    return LayeredImage([{f"etc/{number}": os.urandom(1000)} for number in range(3)])


@pytest.fixture
def mirror(world: World, image: LayeredImage) -> Iterator[RegistryServer]:
    """Has the image as copies/team/web."""
    world.trust_ca(MIRROR)
    with RegistryServer(world.directory / "mirror", world.certificate, port=5001) as server:
        server.push(image.layout(world.directory / "layout", "v1"), "copies/team/web:v1")
        yield server


def content(image: LayeredImage) -> dict[str, Content]:
    return image.paths("team/web", "v1")


@pytest.mark.parametrize("version", ["v1", "digest"])
def test_a_mirror_is_asked_and_the_registry_is_not(
    world: World, image: LayeredImage, mirror: RegistryServer, version: str
) -> None:
    mirrored(world, f"{MIRROR}/copies")
    pinned = f"docker://{HOST}/team/web@{image.digest}"
    record = world.fetch(NAME if version == "v1" else pinned, insecure=["image"])
    assert record.name == "registry.example_5000/team/web"
    assert record.source == (NAME if version == "v1" else pinned)
    assert len(record.layers) == 3


def test_mirrors_in_their_order_and_the_registry_at_last(
    world: World, image: LayeredImage, mirror: RegistryServer
) -> None:
    world.trust_ca(HOST)
    gone, empty = "other.example:5009", f"{MIRROR}/nothing"
    mirrored(world, gone, empty)
    with world.site(content(image), port=5000) as site:
        world.fetch(NAME, insecure=["image"])
        asked = [request.path for request in site.requests]
    assert asked[0] == "/v2/team/web/manifests/v1"
    passed = [line for line in world.said if line.endswith(", trying elsewhere")]
    # Each once: what does not have the manifest is not asked for the rest.
    assert len(passed) == 2
    assert "Connection refused" in passed[0]
    assert f"https://{MIRROR}/v2/nothing/team/web/manifests/v1" in passed[1]
    assert "404" in passed[1]


def test_a_mirror_that_lacks_a_layer_or_has_it_wrong(world: World, image: LayeredImage) -> None:
    world.trust_ca(HOST)
    world.trust_ca(MIRROR)
    mirrored(world, MIRROR)
    bad = content(image)
    del bad[f"/v2/team/web/blobs/{image.archives[0]}"]
    good = image.blobs[image.archives[1]]
    bad[f"/v2/team/web/blobs/{image.archives[1]}"] = good[:-1] + bytes([good[-1] ^ 1])
    with world.site(bad, port=5001), world.site(content(image), port=5000) as site:
        record = world.fetch(NAME, insecure=["image"])
        asked = {request.path.rpartition("/")[2] for request in site.requests}
    assert len(record.layers) == 3
    assert set(image.archives[:2]) <= asked
    assert "v1" not in asked
    said = "\n".join(world.said)
    assert f"https://{MIRROR}/v2/team/web/blobs/{image.archives[0]}" in said


NO_MANIFESTS: dict[str, Content] = {
    "page": Answer(b"<html>Please log in</html>", headers={"Content-Type": "text/html"}),
    "other document": b'{"errors": []}',
    "schema 1": b'{"schemaVersion": 1, "name": "team/web", "tag": "v1", "fsLayers": []}',
    "endless": Answer(b" " * 4096, endless=True),
}


@pytest.mark.parametrize("case", NO_MANIFESTS)
def test_a_mirror_that_answers_with_something_else(
    world: World, image: LayeredImage, case: str
) -> None:
    world.trust_ca(HOST)
    world.trust_ca(MIRROR)
    mirrored(world, MIRROR)
    wrong: dict[str, Content] = {"/v2/team/web/manifests/v1": NO_MANIFESTS[case]}
    with world.site(wrong, port=5001), world.site(content(image), port=5000):
        record = world.fetch(NAME, insecure=["image"])
    assert len(record.layers) == 3
    assert any(line.endswith(", trying elsewhere") for line in world.said)


def test_when_nobody_has_it_the_registry_says_why(
    world: World, image: LayeredImage, mirror: RegistryServer
) -> None:
    world.trust_ca(HOST)
    mirrored(world, f"{MIRROR}/copies")
    with world.site({}, port=5000), world.store_unchanged(), pytest.raises(FetchError) as caught:
        world.fetch(f"docker://{HOST}/team/other:v1", insecure=["image"])
    assert f"https://{HOST}/v2/team/other/manifests/v1" in str(caught.value)


@pytest.mark.parametrize(("pull", "version"), [("digest-only", "tag"), ("tag-only", "digest")])
def test_a_mirror_is_asked_for_what_it_is_for(
    world: World, image: LayeredImage, mirror: RegistryServer, pull: str, version: str
) -> None:
    mirrored(world, f"{MIRROR}/copies", more=f'pull-from-mirror = "{pull}"\n')
    pinned = f"docker://{HOST}/team/web@{image.digest}"
    refused, taken = (NAME, pinned) if version == "tag" else (pinned, NAME)
    with world.store_unchanged(), pytest.raises(FetchError, match="Connection refused"):
        world.fetch(refused, insecure=["image"])
    world.fetch(taken, insecure=["image"])


def test_a_location_stands_for_the_prefix(
    world: World, image: LayeredImage, mirror: RegistryServer
) -> None:
    text = f'[[registry]]\nprefix = "{HOST}/team"\nlocation = "{MIRROR}/copies/team"\n'
    registries(world, text)
    assert world.fetch(NAME, insecure=["image"]).source == NAME
    with pytest.raises(FetchError, match=f"https://{HOST}/v2/teams/web.*Connection refused"):
        world.fetch(f"docker://{HOST}/teams/web:v1", insecure=["image"])


def test_a_blocked_registry_gives_nothing_but_what_is_stored(
    world: World, image: LayeredImage, mirror: RegistryServer
) -> None:
    mirrored(world, f"{MIRROR}/copies")
    stored = world.fetch(NAME, insecure=["image"])
    registries(world, '[[registry]]\nprefix = "registry.example:5000"\nblocked = true\n')
    with world.store_unchanged(), pytest.raises(FetchError, match=r"registries\.toml blocks"):
        world.fetch(f"docker://{HOST}/team/web@{image.digest}")
    assert world.fetch(NAME, insecure=["image"]).id == stored.id


def test_an_insecure_registry_over_http(world: World, image: LayeredImage) -> None:
    with RegistryServer(world.directory / "plain", port=5002) as server:
        server.push(image.layout(world.directory / "layout", "v1"), "web:v1")
        name = f"docker://{PLAIN}/web:v1"
        with world.store_unchanged(), pytest.raises(FetchError):
            world.fetch(name, insecure=["image"])
        registries(world, f'[[registry]]\nlocation = "{PLAIN}"\ninsecure = true\n')
        assert len(world.fetch(name, insecure=["image"]).layers) == 3


def test_an_insecure_registry_with_anybodys_certificate(world: World, image: LayeredImage) -> None:
    unknown = issue(make_ca(world.directory / "unknown"), ["registry.example"])
    with RegistryServer(world.directory / "own", unknown, port=5002) as server:
        layout = image.layout(world.directory / "layout", "v1")
        server.push(layout, "web:v1", flags=["--dest-tls-verify=false"])
        name = f"docker://{PLAIN}/web:v1"
        with world.store_unchanged(), pytest.raises(FetchError, match="certificate not accepted"):
            world.fetch(name, insecure=["image"])
        registries(world, f'[[registry]]\nlocation = "{PLAIN}"\ninsecure = true\n')
        assert len(world.fetch(name, insecure=["image"]).layers) == 3


def test_only_the_insecure_mirror_is(world: World, image: LayeredImage) -> None:
    """What is allowed for one mirror is not for the next, nor for the registry."""
    mirrored(world, MIRROR, more="insecure = true\n")
    with world.site({}, port=5001, tls=False), world.site(content(image), port=5000, tls=False):
        with world.store_unchanged(), pytest.raises(FetchError) as caught:
            world.fetch(NAME, insecure=["image"])
        assert f"https://{HOST}" in str(caught.value)
    with world.site(content(image), port=5001, tls=False):
        assert len(world.fetch(NAME, insecure=["image"]).layers) == 3


def test_credentials_of_the_registry_do_not_go_to_a_mirror(
    world: World, image: LayeredImage
) -> None:
    world.trust_ca(HOST)
    world.trust_ca(MIRROR)
    mirrored(world, MIRROR)
    path = Path(world.paths.local_config, "auth.json")
    path.write_text(f'{{"auths": {{"{HOST}": {{"auth": "bWU6c2VjcmV0"}}}}}}')
    path.chmod(0o600)
    wants = Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="mirror"'})
    bad = dict.fromkeys(content(image), wants)
    with world.site(dict(bad), port=5001) as other, world.site(content(image), port=5000):
        world.fetch(NAME, insecure=["image"])
        assert other.requests
        assert not [each for each in other.requests if "authorization" in each.headers]
