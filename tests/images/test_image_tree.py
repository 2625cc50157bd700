"""``rkt image tree``: on what images lie, drawn as a tree and as a graph."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.images.rkt import rkt
from tests.images.world import World
from tests.unit.pods.disk import UUIDS, make_pod

HOST = "example.com"
# The size of an archive is not what is looked at.
SIZE = re.compile(r"[0-9.]+ (B|KiB)\b")


def put(world: World, name: str, *below: str, **fields: Any) -> str:
    """The ID of an image that lies on those called ``below``, taken from the store."""
    wanted = [{"imageName": f"{HOST}/{each}"} for each in below]
    path = world.aci(f"{HOST}/{name}", dependencies=wanted, **fields)
    return world.fetch(path, insecure=["image"]).id


def drawn(world: World, *arguments: str, locale: str = "C.UTF-8") -> str:
    """What is printed, with names for IDs and N for sizes."""
    said = rkt(world.paths, "image", "tree", *arguments, environment={"LC_ALL": locale})
    assert (said.status, said.err) == (0, "")
    text = said.out
    for record in world.store.images():
        name = record.name.removeprefix(f"{HOST}/")
        text = text.replace(record.id, name.upper()).replace(record.id[:19], name.upper())
    return SIZE.sub("N", text)


def diamond(world: World, **fields: Any) -> dict[str, str]:
    ids = {"base": put(world, "base")}
    for name, *below in (("left", "base"), ("right", "base"), ("top", "left", "right")):
        ids[name] = put(world, name, *below, **fields)
    return ids


DIAMOND = """\
example.com/top:1.0.0 (TOP, aci, N)
├─ layers
│  └─ TOP (N)
├─ depends on
│  ├─ example.com/right:1.0.0 (RIGHT, aci, N)
│  │  ├─ layers
│  │  │  └─ RIGHT (N)
│  │  └─ depends on
│  │     └─ example.com/base:1.0.0 (BASE, aci, N)
│  │        └─ layers
│  │           └─ BASE (N)
│  └─ example.com/left:1.0.0 (LEFT, aci, N)
│     ├─ layers
│     │  └─ LEFT (N)
│     └─ depends on
│        └─ example.com/base:1.0.0 (BASE, see above)
└─ used by
   └─ pod {uuid} (web)
"""


def test_a_diamond(world: World) -> None:
    ids = diamond(world)
    place = make_pod(world.paths, UUIDS[0], "prepared", name="web")
    Path(place.directory, "images").write_text(f'{{"one": {{"id": "{ids["top"]}", "layers": []}}}}')
    expected = DIAMOND.format(uuid=UUIDS[0])
    assert drawn(world) == drawn(world, "--full", f"{HOST}/top") == expected
    ascii = expected.replace("├─", "|-").replace("└─", "`-").replace("│", "|")
    assert drawn(world, locale="C") == ascii
    assert drawn(world, "--format=tree", ids["left"], f"{HOST}/left") == (
        "example.com/left:1.0.0 (LEFT, aci, N)\n"
        "├─ layers\n"
        "│  └─ LEFT (N)\n"
        "├─ depends on\n"
        "│  └─ example.com/base:1.0.0 (BASE, aci, N)\n"
        "│     └─ layers\n"
        "│        └─ BASE (N)\n"
        "└─ used by\n"
        "   └─ image example.com/top:1.0.0 (TOP)\n"
    )
    graph = drawn(world, "--format=dot").splitlines()
    assert graph[0] == 'digraph "images" {'
    assert graph[-1] == "}"
    assert '  "image BASE" [label="example.com/base:1.0.0 (BASE, aci, N)"];' in graph
    for edge in (
        '"image LEFT" -> "image BASE" [label="depends on"]',
        '"image RIGHT" -> "image BASE" [label="depends on"]',
        '"image BASE" -> "layer BASE" [label="layers"]',
        f'"image TOP" -> "pod {UUIDS[0]}" [label="used by"]',
    ):
        assert graph.count(f"  {edge};") == 1


def test_an_image_lies_on_what_it_was_made_with(world: World) -> None:
    """A younger one of the same name is another one, and one that was removed leaves a layer."""
    old = put(world, "base")
    top = put(world, "top", "base")
    younger = put(world, "base", annotations=[{"name": "a", "value": "b"}])
    text = drawn(world, "--full", top)
    assert old != younger
    assert younger not in text
    world.store.remove(old)
    assert drawn(world, top) == (
        "example.com/top:1.0.0 (TOP, aci, N)\n"
        "├─ layers\n"
        "│  ├─ TOP (N)\n"
        f"│  └─ {old[:19]} (N)\n"
        "└─ depends on\n"
        "   └─ example.com/base (not in the store)\n"
    )


def test_parts_of_images(world: World) -> None:
    """With a pathWhitelist an image has one layer, made of parts of those below."""
    ids = diamond(world, pathWhitelist=["/etc/motd"])
    text = drawn(world)
    composed = world.store.image(ids["top"]).layers[0]
    assert text.startswith(
        f"example.com/top:1.0.0 (TOP, aci, N)\n├─ layers\n│  └─ {composed[:19]} (N)\n"
    )
    assert text.count("BASE, aci") == text.count("BASE, see above") == 1
    assert "not in the store" not in text


def test_what_cannot_be_drawn(world: World) -> None:
    assert drawn(world) == ""
    for arguments, message in (
        (["--format=json"], '--format: unknown format "json", not one of tree, dot'),
        ([f"{HOST}/none"], f'image "{HOST}/none" is not in the store'),
    ):
        said = rkt(world.paths, "image", "tree", *arguments)
        assert (said.status, said.out, said.err) == (254, "", f"tree: {message}\n")
    ids = {"base": put(world, "base"), "top": put(world, "top", "base")}
    Path(world.store.root, "images", ids["top"], "manifest").write_text("{")
    said = rkt(world.paths, "image", "tree")
    assert said.status == 0
    assert said.err.startswith(f"tree: image {ids['top']}: manifest: ")
    assert said.err.endswith("; what it depends on cannot be told\n")
    assert said.err.count("\n") == 1
    assert said.out.startswith(f"{HOST}/base")
