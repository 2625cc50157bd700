"""``rkt image verify``: whatever changed in the store is found, and put right where it can be."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rktsd.store.records import ImageRecord
from tests.images.rkt import PROGRAM, TOP, Said, rkt
from tests.images.world import World
from tests.material.images import oci_layout
from tests.material.registry import RegistryServer
from tests.material.servers import Content

HOST = "registry.example:5000"
NOISE = random.Random(1).randbytes(50_000).hex()
FILES = {"bin/app": "#!", "etc/passwd": "root:x:0:0::/:/bin/sh\n", "data": NOISE}


def verify(world: World, *arguments: str) -> Said:
    said = rkt(world.paths, "image", "verify", *arguments)
    assert "Traceback" not in said.err
    return said


def states(world: World, *arguments: str) -> tuple[int, dict[str, str]]:
    """Exit status, and the state of every part that is not right."""
    said = verify(world, "--format=json", *arguments)
    found = json.loads(said.out)
    return said.status, {
        f"{part['kind']} {part['name']}": part["state"]
        for image in found
        for part in image["parts"]
        if part["state"] != "right"
    }


def flip(path: str) -> None:
    """Change one byte in the middle, times as they were."""
    before = os.stat(path)
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(path).write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A layout with an image of two layers."""
    directory = tmp_path_factory.mktemp("layout")
    roots = []
    for name in ("base", "web"):
        (directory / name / "etc").mkdir(parents=True)
        (directory / name / "etc" / name).write_text(name * 10_000)
        roots.append(str(directory / name))
    oci_layout(roots, directory / "web.oci", "v1", config={"cmd": "/bin/web", "user": "33"})
    return f"{directory}/web.oci"


def aci(world: World) -> ImageRecord:
    return world.fetch(world.aci(files=FILES), insecure=["image"])


def test_all_images_are_checked(world: World, layout: str) -> None:
    record = aci(world)
    other = world.fetch(f"oci:{layout}:v1", insecure=["image"])
    said = verify(world)
    assert (said.status, said.err) == (0, "")
    assert record.id in said.out
    assert other.id in said.out


@pytest.mark.row("image_verify/ImageVerify")
def test_a_changed_byte_is_put_right(world: World) -> None:
    record = aci(world)
    flip(f"{world.store.layer_path(record.id)}/data")
    assert states(world) == (1, {f"layer {record.id}": "repaired"})
    assert states(world) == (0, {})
    assert Path(world.store.layer_path(record.id), "data").read_text() == FILES["data"]


@pytest.mark.row("image_verify/ImageVerify")
def test_a_lost_tree_is_made_again(world: World, layout: str) -> None:
    record = world.fetch(f"oci:{layout}:v1", insecure=["image"])
    shutil.rmtree(world.store.layer_path(record.layers[0]))
    assert states(world) == (1, {f"layer {record.layers[0]}": "repaired"})
    assert states(world) == (0, {})


def test_shared_layers_are_told_once(world: World, layout: str) -> None:
    first = world.fetch(f"oci:{layout}:v1", insecure=["image"])
    copy = f"{world.directory}/copy"
    subprocess.run(
        ["skopeo", "copy", "-q", "--insecure-policy", "--format=v2s2",
         f"oci:{layout}:v1", f"dir:{copy}"],
        check=True,
    )  # fmt: skip
    archive = f"{world.directory}/web.tar"
    subprocess.run(
        ["skopeo", "copy", "-q", "--insecure-policy", f"oci:{layout}:v1",
         f"docker-archive:{archive}:web:v1"],
        check=True,
    )  # fmt: skip
    second = world.fetch(f"docker-archive:{archive}", insecure=["image"])
    assert first.layers == second.layers
    flip(f"{world.store.layer_path(first.layers[0])}/etc/web")
    said = verify(world)
    assert (said.status, said.err.count("/etc/web: the content differs")) == (1, 1)


@pytest.mark.parametrize("damage", [flip, os.unlink], ids=["changed", "lost"])
def test_an_archive_is_fetched_again_from_its_site(
    world: World, damage: Callable[[str], None]
) -> None:
    path = world.aci(files=FILES)
    with world.site({"/app.aci": Path(path).read_bytes()}):
        record = world.fetch("https://example.com/app.aci", insecure=["image"])
        blob = world.store.blob_path(f"{record.id}.aci")
        damage(blob)
        flip(f"{world.store.layer_path(record.id)}/data")
        said = verify(world)
        assert said.status == 254
        assert "https://example.com/app.aci: rkt image verify --fetch" in said.err
        status, parts = states(world, "--fetch")
    assert status == 1
    assert parts == {f"archive {record.id}.aci": "repaired", f"layer {record.id}": "repaired"}
    assert states(world) == (0, {})
    assert world.store.image(record.id).source == "https://example.com/app.aci"


def test_a_site_with_another_image_cannot_help(world: World) -> None:
    old = world.aci(files=FILES)
    content: dict[str, Content] = {}
    with world.site(content):
        content["/app.aci"] = Path(old).read_bytes()
        record = world.fetch("https://example.com/app.aci", insecure=["image"])
        blob = world.store.blob_path(f"{record.id}.aci")
        os.unlink(blob)
        content["/app.aci"] = Path(world.aci(files={"etc/other": "x"})).read_bytes()
        said = verify(world, "--fetch")
    assert said.status == 254
    assert "another image by now" in said.err
    assert not os.path.exists(blob)
    assert len(world.store.images()) == 1


def test_what_is_fetched_again_may_not_be_larger_than_a_fetch_allows(world: World) -> None:
    path = Path(world.aci(files=FILES))
    record = world.fetch(str(path), insecure=["image"])
    blob = world.store.blob_path(f"{record.id}.aci")
    os.unlink(blob)
    path.write_bytes(gzip.compress(bytes(64 << 20)) * 17)
    world.settings(maximum_expansion=100)
    said = verify(world, "--fetch")
    assert said.status == 254
    assert f"{path}: more than 100 times its size when uncompressed (maximum-expansion" in said.err
    assert not os.path.exists(blob)


@pytest.mark.parametrize("damage", [flip, os.unlink], ids=["changed", "lost"])
def test_blobs_of_registries_are_fetched_by_digest(
    world: World, registry: RegistryServer, layout: str, damage: Callable[[str], None]
) -> None:
    """Also when the tag leads elsewhere by now."""
    registry.push(f"oci:{layout}:v1", "web:v1", ca=world.ca)
    record = world.fetch(f"docker://{HOST}/web:v1", insecure=["image"])
    other = world.directory / "other"
    (other / "etc").mkdir(parents=True)
    registry.push(oci_layout(str(other), world.directory / "o.oci", "v1"), "web:v1", ca=world.ca)
    blob = world.store.blob_path(record.blobs[0])
    damage(blob)
    assert verify(world).status == 254
    name = os.path.basename(blob)
    assert states(world, "--fetch")[1][f"archive {name}"] == "repaired"
    assert states(world) == (0, {})
    assert [each.source for each in world.store.images()] == [record.source]


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_layouts_and_archives_help(world: World, layout: str, kind: str) -> None:
    source = f"oci:{layout}:v1"
    if kind != "oci":
        made = f"{kind}:{world.directory}/image.tar"
        subprocess.run(
            ["skopeo", "copy", "-q", "--insecure-policy", source, f"{made}:web:v1"], check=True
        )
        source = f"{made}:web:v1"
    record = world.fetch(source, insecure=["image"])
    for blob in record.blobs:
        flip(world.store.blob_path(blob))
    assert verify(world, "--fetch").status == 1
    assert states(world) == (0, {})


def document(world: World, record: ImageRecord, name: str) -> str:
    return f"{world.paths.store}/images/{record.id}/{name}"


@pytest.mark.parametrize("change", ["exec", "nonsense", "lost", "directory"])
@pytest.mark.parametrize("kind", ["aci", "oci"])
def test_a_changed_manifest_is_made_again(
    world: World, layout: str, kind: str, change: str
) -> None:
    record = aci(world)
    if kind == "oci":
        record = world.fetch(f"oci:{layout}:v1", insecure=["image"])
    path = document(world, record, "manifest")
    right: Any = json.loads(Path(path).read_bytes())
    if change == "exec":
        Path(path).write_text(json.dumps({**right, "app": {**right["app"], "user": "0:0"}}))
    elif change == "nonsense":
        Path(path).write_text("{")
    elif change == "lost":
        os.unlink(path)
    elif kind == "aci":
        shutil.rmtree(os.path.dirname(path))
    else:
        for name in ("manifest", "oci-manifest", "oci-config"):
            os.unlink(document(world, record, name))
    assert verify(world, "--fetch").status == 1
    found = json.loads(Path(path).read_bytes())
    for each in (found, right):
        each.pop("annotations", None)
    assert found == right
    assert states(world) == (0, {})
    assert os.stat(path).st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["oci-manifest", "oci-config"])
def test_documents_of_oci_images_are_fetched_again(
    world: World, registry: RegistryServer, layout: str, name: str
) -> None:
    registry.push(f"oci:{layout}:v1", "web:v1", ca=world.ca)
    record = world.fetch(f"docker://{HOST}/web:v1", insecure=["image"])
    path = document(world, record, name)
    right = Path(path).read_bytes()
    flip(path)
    status, parts = states(world)
    assert (status, parts[f"document {name}"]) == (254, "damaged")
    assert verify(world, "--fetch").status == 1
    assert Path(path).read_bytes() == right
    assert states(world) == (0, {})


def test_imported_images_have_to_be_imported_again(world: World) -> None:
    root = world.directory / "mine"
    root.mkdir()
    (root / "file").write_text("mine")
    said = rkt(world.paths, "image", "import", str(root), "--name=example.com/a", "--full")
    os.unlink(world.store.blob_path(f"{said.out.strip()}.aci"))
    for flags in ((), ("--fetch",)):
        found = verify(world, *flags)
        assert found.status == 254
        assert f"imported from {root}: import it again" in found.err


def test_nothing_is_wrong_after_a_kill(world: World) -> None:
    """Whenever it is killed: trees are the old or the new ones, and the next run ends the work."""
    record = aci(world)
    place = world.store.layer_path(record.id)
    random.seed(7)
    repaired = 0
    places = [f"--dir={world.paths.data}", f"--local-config={world.paths.local_config}"]
    for _ in range(12):
        flip(f"{place}/data")
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *places, "image", "verify"],
            env={**os.environ, "PYTHONPATH": TOP},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(random.uniform(0.15, 0.6))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        content = Path(place, "data").read_text()
        assert len(content) == len(FILES["data"])
        repaired += content == FILES["data"]
        said = verify(world)
        assert said.status in (0, 1), said.err
        assert Path(place, "data").read_text() == FILES["data"]
    world.store.collect()
    assert os.listdir(f"{world.paths.store}/tmp") == []
