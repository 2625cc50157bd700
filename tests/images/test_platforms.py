"""One name, images for many machines: indexes, lists and how to choose."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rktsd.errors import BadInput, FetchError, NotFound, RktError
from rktsd.images.platforms import host_platform
from tests.images.world import World
from tests.material.images import oci_layout
from tests.material.registry import RegistryServer

HOST = "registry.example:5000"
OCI = "application/vnd.oci.image"
PLATFORMS = (
    str(host_platform()), "linux/riscv64", "linux/arm/v6", "linux/arm/v7", "linux/s390x",
)  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout whose images are tagged with their platforms, slashes as dashes."""
    directory = tmp_path_factory.mktemp("images")
    for text in PLATFORMS:
        system, arch, *variant = text.split("/")
        tag = text.replace("/", "-")
        (directory / tag / "etc").mkdir(parents=True)
        (directory / tag / "etc/platform").write_text(text)
        config = {"os": system, "arch": arch, "cmd": "/bin/app"}
        if variant:
            config["variant"] = variant[0]
        oci_layout([str(directory / tag)], directory / "all.oci", tag, config=config)
    return directory / "all.oci"


class Indexed:
    """A copy of the layout ``images`` to which indexes are added."""

    def __init__(self, images: Path, directory: Path) -> None:
        self.path = directory / "copy.oci"
        shutil.copytree(images, self.path)
        entries = json.loads((images / "index.json").read_bytes())["manifests"]
        self.entries = {e["annotations"]["org.opencontainers.image.ref.name"]: e for e in entries}

    def image(self, text: str, **platform: str) -> dict[str, Any]:
        """The entry of an index for the image of the platform ``text``."""
        entry = self.entries[text.replace("/", "-")]
        found = {key: entry[key] for key in ("mediaType", "digest", "size")}
        system, arch, *variant = text.split("/")
        own = {"os": system, "architecture": arch, **({"variant": variant[0]} if variant else {})}
        return {**found, "platform": {**own, **platform}}

    def index(self, *entries: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Add an index of ``entries``; its descriptor."""
        document = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": entries}
        data = json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(data)
        kind = f"{OCI}.index.v1+json"
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data), **more}

    def top(self, entry: dict[str, Any]) -> str:
        """Make ``entry`` the only one of the layout, called v1; its reference."""
        entry = {**entry, "annotations": {"org.opencontainers.image.ref.name": "v1"}}
        document = {"schemaVersion": 2, "manifests": [entry]}
        (self.path / "index.json").write_text(json.dumps(document))
        return f"oci:{self.path}:v1"


@pytest.fixture
def indexed(images: Path, tmp_path: Path) -> Indexed:
    return Indexed(images, tmp_path)


def platform_of(world: World, reference: str, **options: Any) -> str:
    record = world.fetch(reference, insecure=["image"], **options)
    return Path(world.store.layer_path(record.layers[0]), "etc/platform").read_text()


def test_the_one_for_this_machine_or_for_another(world: World, indexed: Indexed) -> None:
    everything = indexed.index(*map(indexed.image, PLATFORMS))
    reference = indexed.top(everything)
    assert platform_of(world, reference) == PLATFORMS[0]
    for wanted, found in (
        ("linux/riscv64", "linux/riscv64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/armv7l", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("Linux/S390X", "linux/s390x"),
        (PLATFORMS[0], PLATFORMS[0]),
    ):
        assert platform_of(world, reference, platform=wanted) == found
    for wanted in ("linux/arm/v5", "linux/ppc64le", "windows/amd64"):
        with pytest.raises(FetchError, match=f"no image for {wanted}, only {PLATFORMS[0]}, "):
            world.fetch(reference, insecure=["image"], platform=wanted)
    for wanted in ("linux", "linux/", "a/b/c/d", "linux/am d", ""):
        if wanted:
            with pytest.raises(BadInput, match="write OS/ARCH"):
                world.fetch(reference, insecure=["image"], platform=wanted)


def test_labels_of_the_image_say_what_it_is_for(world: World, indexed: Indexed) -> None:
    reference = indexed.top(indexed.index(indexed.image("linux/arm/v7")))
    record = world.fetch(reference, insecure=["image"], platform="linux/arm")
    assert (record.label("os"), record.label("arch")) == ("linux", "armv7l")


def test_an_older_variant_is_taken_and_a_newer_one_is_not(world: World, indexed: Indexed) -> None:
    reference = indexed.top(indexed.index(*(indexed.image(f"linux/arm/v{n}") for n in (6, 7))))
    assert platform_of(world, reference, platform="linux/arm/v8") == "linux/arm/v7"
    this = indexed.image(PLATFORMS[0], variant="v4")
    reference = indexed.top(indexed.index(this))
    with pytest.raises(FetchError, match="no image for"):
        world.fetch(reference, insecure=["image"])


def test_indexes_within_indexes(world: World, indexed: Indexed) -> None:
    arm = indexed.index(indexed.image("linux/arm/v6"), indexed.image("linux/arm/v7"))
    ours = indexed.index(indexed.image(PLATFORMS[0]))
    reference = indexed.top(indexed.index(arm, ours))
    assert platform_of(world, reference) == PLATFORMS[0]
    assert platform_of(world, reference, platform="linux/arm/v6") == "linux/arm/v6"
    with pytest.raises(FetchError, match="only linux/arm/v6, linux/arm, "):
        world.fetch(reference, insecure=["image"], platform="linux/riscv64")
    deep = ours
    for _ in range(3):
        deep = indexed.index(deep)
    with pytest.raises(BadInput, match="nested more than 3 deep"):
        world.fetch(indexed.top(deep), insecure=["image"])


def test_what_is_no_image_is_passed_over(world: World, indexed: Indexed) -> None:
    unknown = indexed.image("linux/riscv64", os="unknown", architecture="unknown")
    artifact = {**indexed.image(PLATFORMS[0]), "mediaType": "application/vnd.example+json"}
    reference = indexed.top(indexed.index(unknown, artifact, indexed.image(PLATFORMS[0])))
    assert platform_of(world, reference) == PLATFORMS[0]


def test_without_an_index_the_configuration_is_asked(world: World, indexed: Indexed) -> None:
    riscv = indexed.image("linux/riscv64")
    del riscv["platform"]
    for reference in (indexed.top(riscv), indexed.top(indexed.index(riscv))):
        assert platform_of(world, reference, platform="linux/riscv64") == "linux/riscv64"
        assert platform_of(world, reference) == "linux/riscv64"
        assert f"is for linux/riscv64, and this machine is {PLATFORMS[0]}" in world.said[-1]
        with pytest.raises(FetchError, match="no image for linux/s390x, only linux/riscv64"):
            world.fetch(reference, insecure=["image"], platform="linux/s390x")


@pytest.mark.parametrize("style", ["oci", "v2s2"])
def test_a_registry_and_the_store_keep_platforms_apart(
    world: World, registry: RegistryServer, indexed: Indexed, style: str
) -> None:
    registry.push(indexed.top(indexed.index(*map(indexed.image, PLATFORMS))), "app:v1", style=style)
    image = f"docker://{HOST}/app:v1"
    assert platform_of(world, f"{image},arch=riscv64") == "linux/riscv64"
    assert platform_of(world, image) == PLATFORMS[0]
    assert platform_of(world, f"{image},os=linux,arch=arm,variant=v6") == "linux/arm/v6"
    registry.stop()
    for policy in ("new", "never"):
        options = {"pull_policy": policy}
        assert platform_of(world, image, **options) == PLATFORMS[0]
        assert platform_of(world, image, platform="linux/riscv64", **options) == "linux/riscv64"
        assert platform_of(world, f"{image},arch=armv6l", **options) == "linux/arm/v6"
    with pytest.raises(NotFound):
        world.fetch(image, pull_policy="never", platform="linux/s390x")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("docker://example.com/a:v1,arch", "is not os=, arch= or variant="),
        ("docker://example.com/a:v1,arch=", "is not os=, arch= or variant="),
        ("docker://example.com/a:v1,version=1", "is not os=, arch= or variant="),
        ("docker://example.com/a:v1,arch=arm,arch=arm", "is not os=, arch= or variant="),
        ("docker://example.com/a:v1,arch=riscv64", "is not for linux/s390x"),
        ("example.com/a:v1,arch=armv7l", "arch is not that of linux/s390x"),
        ("/srv/a.aci", "leads to one image"),
        ("https://example.com/a.aci", "leads to one image"),
        ("sha512-abcdef", "leads to one image"),
    ],
)
def test_platforms_that_make_no_sense(world: World, reference: str, message: str) -> None:
    with world.store_unchanged(), pytest.raises(RktError, match=message):
        world.fetch(reference, platform="linux/s390x")


def test_an_appc_image_is_asked_for_by_its_labels(world: World) -> None:
    with pytest.raises(NotFound):
        world.fetch("example.com/app", pull_policy="never", platform="linux/arm64")
    labels = [{"name": "os", "value": "linux"}, {"name": "arch", "value": "aarch64"}]
    path = world.aci(labels=labels)
    record = world.fetch(path, insecure=["image"])
    found = world.fetch("example.com/app", pull_policy="never", platform="linux/arm64")
    assert found.id == record.id
