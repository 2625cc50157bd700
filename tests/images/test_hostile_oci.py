"""OCI images by an attacker, and layers that have to be exact."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rktsd.errors import BadInput, FetchError, RktError
from rktsd.store.merge import walk
from tests.images.world import World
from tests.images.written import Written
from tests.material.servers import Answer, Content
from tests.unit.store.archives import archive, diff_id, directory, member, symlink

HOST = "registry.example:5000"


LOWER = archive(directory("d"), member("d/low"), member("low"))


def seen(world: World, layers: Sequence[str]) -> set[str]:
    return {entry.path for entry in walk([world.store.layer_path(layer) for layer in layers])}


@pytest.mark.parametrize("above", [[], [archive(member("top"))]], ids=["topmost", "between"])
def test_an_opaque_root_hides_everything_below(
    world: World, tmp_path: Path, above: list[bytes]
) -> None:
    """overlayfs does not take a layer's root for opaque: what lies below must not be mounted."""
    layers = [LOWER, archive(member(".wh..wh..opq"), member("new")), *above]
    record = world.fetch(Written(layers).layout(tmp_path / "o"))
    assert record.layers == tuple(
        diff_id(layer).replace(":", "-") for layer in reversed(layers[1:])
    )
    assert seen(world, record.layers) == {"", "new", *(["top"] if above else [])}


def test_opaque_and_deleted_things(world: World, tmp_path: Path) -> None:
    upper = archive(member("d/.wh..wh..opq"), member("d/new"), member(".wh.low"))
    record = world.fetch(Written([LOWER, upper]).layout(tmp_path / "o"))
    assert len(record.layers) == 2
    assert seen(world, record.layers) == {"", "d", "d/new"}


@pytest.mark.parametrize(
    ("setting", "layer", "message"),
    [
        ("maximum_unpacked", archive(member("a", bytes(60_000))), "larger than 50000 bytes"),
        ("maximum_entries", archive(*[member(str(n)) for n in range(3)]), "more than 2 entries"),
        ("maximum_archive", archive(member("a", bytes(60_000))), "more than the limit of 50000"),
    ],
    ids=["size", "entries", "archive"],
)
def test_limits_hold_for_layers(
    world: World, tmp_path: Path, setting: str, layer: bytes, message: str
) -> None:
    """The first layer is fine, and is not left behind."""
    reference = Written([archive(member("fine")), layer]).layout(tmp_path / "o")
    world.settings(**{setting: 2 if "entries" in setting else 50_000})
    name = setting.replace("_", "-")
    with world.store_unchanged(), pytest.raises(RktError, match=message) as caught:
        world.fetch(reference)
    assert f"({name} in rktsd.toml)" in str(caught.value)
    world.settings()
    assert len(world.fetch(reference).layers) == 2


BAD_LAYERS = {
    "up": archive(symlink("l", "/etc"), member("l/../../passwd")),
    "below a file": archive(member("a"), member("a/b")),
    "cut": archive(member("a", b"x" * 2000))[:-1700],
    "script": b"#!/bin/sh\n" * 100,
    "empty": b"",
}


@pytest.mark.parametrize("case", BAD_LAYERS)
def test_a_bad_layer_takes_the_good_ones_with_it(world: World, tmp_path: Path, case: str) -> None:
    layer = BAD_LAYERS[case]
    image = Written([LOWER, archive(member("fine")), layer])
    with world.store_unchanged(), pytest.raises(BadInput, match=f"layer {diff_id(layer)}: "):
        world.fetch(image.layout(tmp_path / "o"))


CONFIGS: list[Any] = [
    {"rootfs": []}, {"rootfs": {"type": "layers", "diff_ids": {}}}, {"config": 1},
    {"rootfs": {"type": "layers", "diff_ids": [None]}}, {"config": {"Env": "A=1"}},
    {"config": {"Cmd": {}}}, {"config": {"Entrypoint": [1]}}, {"config": {"Labels": []}},
    {"config": {"Volumes": ["/x"]}}, {"config": {"ExposedPorts": {"x": {}}}}, {"os": 5},
    {"architecture": []}, {"config": {"User": 0}}, {"config": {"WorkingDir": []}},
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS)
def test_configurations_of_wrong_types(world: World, tmp_path: Path, config: Any) -> None:
    image = Written([LOWER], **config)
    with world.store_unchanged(), pytest.raises(BadInput, match="config: ") as caught:
        world.fetch(image.layout(tmp_path / "o"))
    assert "\n" not in str(caught.value)


ENDLESS = Answer(b" " * 4096, endless=True)
HUGE = b"[" + b"0," * (50 << 20) + b"0]"
LOOP = Answer(status=307, headers={"Location": f"https://{HOST}/v2/loop"})
SERVED: dict[str, tuple[dict[str, Content], str]] = {
    "a manifest of 100 MB": ({"manifest": HUGE}, "more than the limit of 4194304"),
    "a manifest without end": ({"manifest": ENDLESS}, "more than the limit of 4194304"),
    "a manifest of brackets": ({"manifest": b"[" * (4 << 20)}, "nested more than 64 levels"),
    "redirects of the manifest": ({"manifest": LOOP}, "more than 10 redirects"),
    "a configuration without end": ({"config": ENDLESS}, "more than the limit of|were promised"),
    "redirects of a layer": ({"layers": LOOP}, "more than 10 redirects"),
    "a layer without end": ({"layers": ENDLESS}, "more than the limit of|were promised"),
    "a token without end": (
        {
            "manifest": Answer(
                status=401,
                headers={"WWW-Authenticate": f'Bearer realm="https://{HOST}/token"'},
            )
        },
        "more than the limit of 1048576",
    ),
    "a challenge without end": (
        {"manifest": Answer(status=401, headers={"WWW-Authenticate": 'Bearer a="' * 6000})},
        "refuses access|got more than",
    ),
}


@pytest.mark.parametrize("case", SERVED)
def test_registries_that_do_not_end(world: World, case: str) -> None:
    world.trust_ca(HOST)
    changes, message = SERVED[case]
    paths = Written([LOWER]).served(**changes)
    paths |= {"/v2/loop": LOOP, "/token": ENDLESS}
    # Layers that are complete may stay for the next try; here there is none before the end.
    with (
        world.site(paths, port=5000),
        world.store_unchanged(),
        pytest.raises((FetchError, BadInput, RktError), match=message) as caught,
    ):
        world.fetch(f"docker://{HOST}/web:v1", insecure=["image"])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
