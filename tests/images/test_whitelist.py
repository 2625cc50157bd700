"""pathWhitelist: what survives of an image and of the images below it (appc spec, aci.md)."""

import os
from pathlib import Path
from typing import Any

import pytest

from rktsd.errors import BadInput
from rktsd.store.records import ImageRecord
from rktsd.store.verify import Verdict, verify
from tests.images.world import World, discovery_site
from tests.material.images import architecture
from tests.unit.store.archives import names


def image(world: World, name: str, files: str, *below: str, **fields: Any) -> str:
    """The path of the ACI example.com/NAME with ``files``, each of which says whose it is."""
    wanted = [{"imageName": f"example.com/{each}"} for each in below]
    return world.aci(
        f"example.com/{name}", files=dict.fromkeys(files.split(), name),
        dependencies=wanted, **fields,
    )  # fmt: skip


def fetch(world: World, name: str, *paths: str) -> ImageRecord:
    arch = architecture()
    site = {f"{Path(p).stem.replace('_', '/')}-latest-linux-{arch}.aci": p for p in paths}
    with world.site(discovery_site(site)):
        return world.fetch(f"example.com/{name}", insecure=["image"], pull_policy="update")


def files_of(world: World, record: ImageRecord) -> dict[str, str]:
    """Path → whose it is, of an image whose root is one layer."""
    (layer,) = record.layers
    root = world.store.layer_path(layer)
    return {
        path: Path(root, path).read_text()
        for path in sorted(names(root))
        if os.path.isfile(f"{root}/{path}")
    }


def test_files_that_are_not_listed_go_and_directories_stay(world: World) -> None:
    path = image(world, "one", "a etc/b etc/c empty/d", pathWhitelist=["/etc/b", "//a", "/none"])
    record = world.fetch(path, insecure=["image"])
    root = world.store.layer_path(record.layers[0])
    assert names(root) == {".", "a", "etc", "etc/b", "empty"}
    assert record.layers != (record.id,)
    assert os.stat(f"{root}/etc").st_mode & 0o7777 == 0o755


def test_the_list_is_for_dependencies_as_well_and_there_for_directories(world: World) -> None:
    record = fetch(
        world, "top",
        image(world, "base", "etc/b etc/c etc/motd lib/deep/x empty/d a"),
        image(world, "top", "etc/b t", "base", pathWhitelist=["/etc/b", "/lib/deep/x", "/a"]),
    )  # fmt: skip
    assert files_of(world, record) == {"a": "base", "etc/b": "top", "lib/deep/x": "base"}
    root = world.store.layer_path(record.layers[0])
    assert not os.path.exists(f"{root}/empty")
    for parent in ("lib", "lib/deep"):
        status = os.stat(f"{root}/{parent}")
        assert (status.st_mode & 0o7777, status.st_uid) == (0o755, 0)


def test_the_topmost_list_overrides_those_in_between(world: World) -> None:
    """But what an image lists for itself holds for its own files, too."""
    record = fetch(
        world, "top",
        image(world, "base", "x y z"),
        image(world, "middle", "m n", "base", pathWhitelist=["/m", "/y"]),
        image(world, "top", "t", "middle", pathWhitelist=["/t", "/m", "/n", "/x", "/y"]),
    )  # fmt: skip
    assert files_of(world, record) == {"m": "middle", "t": "top", "x": "base", "y": "base"}


def test_a_list_in_the_middle_is_for_its_own_branch(world: World) -> None:
    record = fetch(
        world, "top",
        image(world, "base", "x y"),
        image(world, "left", "l m", "base", pathWhitelist=["/l", "/x"]),
        image(world, "right", "r x"),
        image(world, "top", "t", "left", "right"),
    )  # fmt: skip
    top, right, left = record.layers
    assert (top, right) == (record.id, world.store.find("example.com/right").id)
    assert world.store.find("example.com/left").layers == (left,)
    listed = names(world.store.layer_path(left))
    assert {path for path in listed if path in "lmxy"} == {"l", "x"}


def test_a_diamond_below_a_list(world: World) -> None:
    """Depth first: what right brings, its base included, lies over what left brings."""
    every = ["/base", "/f", "/g", "/left", "/right", "/top"]
    record = fetch(
        world, "top",
        image(world, "base", "base f g"),
        image(world, "left", "left f g", "base"),
        image(world, "right", "right g", "base"),
        image(world, "top", "top", "left", "right", pathWhitelist=every),
    )  # fmt: skip
    assert files_of(world, record) == {
        "base": "base", "f": "base", "g": "right", "left": "left", "right": "right", "top": "top",
    }  # fmt: skip


def test_what_an_upper_image_has_decides_what_a_name_is(world: World) -> None:
    """A file hides a directory with all in it, and what is on the way stays a directory."""
    record = fetch(
        world, "top",
        image(world, "base", "a/x b"),
        image(world, "top", "a b/y", "base", pathWhitelist=["/a", "/a/x", "/b", "/b/y"]),
    )  # fmt: skip
    assert files_of(world, record) == {"a": "top", "b/y": "top"}


def test_an_unchanged_image_is_not_made_again(world: World) -> None:
    paths = [
        image(world, "base", "x y"),
        image(world, "top", "t", "base", pathWhitelist=["/t", "/x"]),
    ]
    first = fetch(world, "top", *paths)
    before = os.stat(world.store.layer_path(first.layers[0])).st_ino
    assert fetch(world, "top", *paths).layers == first.layers
    assert os.stat(world.store.layer_path(first.layers[0])).st_ino == before
    paths[0] = image(world, "base", "x y z")
    (world.directory / "images" / "example.com_base.aci").stat()
    again = fetch(world, "top", *paths)
    assert again.id == first.id
    assert again.layers != first.layers
    world.store.close()
    world.store.collect()
    assert not world.store.has_layer(first.layers[0])
    assert world.store.has_layer(again.layers[0])


def test_nothing_stays_of_what_does_not_end(world: World) -> None:
    paths = [
        image(world, "base", "x", "top"),
        image(world, "top", "t", "base", pathWhitelist=["/t"]),
    ]
    with world.store_unchanged(), pytest.raises(BadInput, match="do not end"):
        fetch(world, "top", *paths)


def test_it_is_verified_like_everything(world: World) -> None:
    record = fetch(
        world, "top",
        image(world, "base", "x y"),
        image(world, "top", "t", "base", pathWhitelist=["/t", "/x"]),
    )  # fmt: skip
    (layer,) = record.layers
    world.store.close()
    world.store.collect()
    assert [found.differences for found in verify(world.store, record)] == [()]
    Path(world.store.layer_path(layer), "x").write_text("evil")
    (found,) = verify(world.store, record)
    assert "/x: the content differs" in found.differences
    assert files_of(world, record) == {"t": "top", "x": "base"}
    base = world.store.find("example.com/base")
    os.unlink(world.store.blob_path(base.blobs[0]))
    assert list(verify(world.store, record)) == [Verdict(layer, None, ())]
