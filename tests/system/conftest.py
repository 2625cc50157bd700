"""Images in the shared box, and pods made from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.box import Box
from tests.material import images
from tests.system.pods import Pod

MakePod = Callable[..., Pod]
MakeImage = Callable[..., str]


@pytest.fixture(scope="session")
def busybox_aci(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An unsigned ACI of busybox, called example.com/busybox."""
    directory = tmp_path_factory.mktemp("busybox")
    root = images.busybox_root(directory / "root")
    archive = str(directory / "busybox.aci")
    images.write_aci(root, images.busybox_manifest("example.com/busybox"), archive)
    return archive


def store_image(box: Box, archive: str) -> str:
    """Fetch an ACI into the box's store without a signature. Returns the image's ID."""
    target = f"/var/tmp/{os.path.basename(archive)}"
    box.push(archive, target)
    done = box.run(["rkt", "--insecure-options=image", "fetch", "--full", target], check=True)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def pod_box(box: Box, busybox_aci: str) -> Box:
    """The shared box with the busybox image in its store."""
    store_image(box, busybox_aci)
    return box


@pytest.fixture(scope="session")
def make_image(pod_box: Box, tmp_path_factory: pytest.TempPathFactory) -> MakeImage:
    """Stores images of busybox: ``make_image(name, exec, **fields of the app)`` is its name.

    Their root has the directory /opt/acvalidator besides.
    """
    directory = tmp_path_factory.mktemp("images")
    root = images.busybox_root(directory / "root")
    os.makedirs(f"{root}/opt/acvalidator")

    def make(name: str, exec: Sequence[str] = ("/bin/sh",), **fields: Any) -> str:
        full = f"example.com/{name}"
        manifest = images.busybox_manifest(full, exec, **fields)
        store_image(pod_box, images.write_aci(root, manifest, directory / f"{name}.aci"))
        return full

    return make


@pytest.fixture
def make_pod(pod_box: Box) -> Iterator[MakePod]:
    """Makes pods that are gone after the test: ``make_pod(name, text)``."""
    made: list[Pod] = []

    def make(name: str, text: str, *, form: str = "toml") -> Pod:
        made.append(Pod(pod_box, name, text, form=form))
        return made[-1]

    yield make
    for pod in made:
        pod.remove()


@pytest.fixture
def cli(pod_box: Box) -> Iterator[Box]:
    """The box, with no pods of others in the lists, and none left of the test."""
    _remove_pods(pod_box)
    yield pod_box
    _remove_pods(pod_box)


def _remove_pods(box: Box) -> None:
    box.shell(
        "for uuid in $(rkt list --full --no-legend | cut -f1); do"
        " rkt stop --force $uuid; rkt rm $uuid; done >/dev/null 2>&1 || :;"
        " rkt gc --grace-period=0s --expire-prepared=0s"
    )
