"""Images in the shared box, and pods made from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.box import Box
from tests.material import images
from tests.system.pods import Pod

MakePod = Callable[..., Pod]


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
