"""What compiling finds out about the roots of apps, before systemd-nspawn does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rktsd.appc import read
from rktsd.appc.types import Mount, PodManifest, RuntimeApp, RuntimeImage, Volume
from rktsd.errors import NotFound, RktError
from rktsd.paths import Paths
from rktsd.pods.compile import Compiled, compile_pod
from rktsd.pods.options import PodOptions
from rktsd.pods.prepared import prepare
from rktsd.pods.spec import AppImage, PodSpec
from tests.material.images import image_manifest

LAYER = "sha512-" + "1" * 128
UUID = "1a000000-0000-4000-8000-000000000000"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A store of one layer, and places for volumes beside it."""
    found = Paths(data=f"{tmp_path}/data", run=f"{tmp_path}/run")
    root = Path(found.store, "layers", LAYER)
    for directory in ("bin", "etc", "srv/here", "tmp"):
        (root / directory).mkdir(parents=True)
    (root / "srv").chmod(0o750)
    (root / "bin/app").write_text("nothing that has an interpreter")
    (root / "bin/app").chmod(0o755)
    (root / "etc/app.conf").touch()
    (root / "etc/mtab").symlink_to("/proc/mounts")
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    return found


def spec(
    directory: str = "/",
    *,
    kind: str = "aci",
    mounts: dict[str, str] | None = None,
    layer: str = LAYER,
) -> PodSpec:
    """A pod of one app; ``mounts`` are places in the app and what of the host appears there."""
    manifest = image_manifest("example.com/web", ["/bin/app"], workingDirectory=directory)
    image = read.image_manifest(json.dumps(manifest).encode(), "image")
    given = list((mounts or {}).items())
    app = RuntimeApp(
        name="web",
        image=RuntimeImage(LAYER, image.name, image.labels),
        app=image.app,
        mounts=tuple(Mount(f"v{number}", place) for number, (place, _) in enumerate(given)),
    )
    volumes = tuple(
        Volume(f"v{number}", "host", source=source) for number, (_, source) in enumerate(given)
    )
    return PodSpec(
        PodManifest(ac_version="0.8.11", apps=(app,), volumes=volumes),
        PodOptions(networks=("none",)),
        {"web": AppImage("sha512-ab", kind, (layer,), "insecure", image)},
    )


def compiled(paths: Paths, *arguments: Any, **changes: Any) -> Compiled:
    directory = f"{paths.pods}/run/{UUID}"
    made = spec(*arguments, **changes)
    return compile_pod(made, pod=UUID, uuid=UUID, directory=directory, paths=paths)


def made(found: Compiled) -> dict[str, int]:
    """Directories in the app's own layer, with their modes."""
    overlay = f"{found['plan']['directory']}/overlay/web"
    return {
        path.removeprefix(overlay): mode
        for path, mode, _, _ in found["plan"]["directories"]
        if path.startswith(f"{overlay}/")
    }


@pytest.mark.parametrize(
    ("directory", "message"),
    [
        ("/nowhere", "app web: working directory /nowhere: not in the image"),
        ("/srv/here/below", "app web: working directory /srv/here/below: not in the image"),
        (
            "/etc/app.conf",
            "app web: working directory /etc/app.conf: /etc/app.conf is not a directory",
        ),
    ],
)
def test_a_working_directory_that_is_missing(paths: Paths, directory: str, message: str) -> None:
    with pytest.raises(RktError) as caught:
        compiled(paths, directory)
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", ["aci", "oci"])
@pytest.mark.parametrize("directory", ["/", "/srv/here", "/srv/../etc/", "/run/x", "/data/below"])
def test_working_directories_that_need_nothing(paths: Paths, kind: str, directory: str) -> None:
    mounts = {"/data": f"{paths.data}/../directory"}
    assert made(compiled(paths, directory, kind=kind, mounts=mounts)) == {}


def test_working_directories_of_oci_images_are_made(paths: Paths) -> None:
    found = made(compiled(paths, "/srv/app/deep", kind="oci"))
    assert found == {"/srv": 0o750, "/srv/app": 0o755, "/srv/app/deep": 0o755}
    with pytest.raises(RktError, match=r"app web: working directory .*: /bin/app is not a dir"):
        compiled(paths, "/bin/app/x", kind="oci")


def test_a_root_without_tmp_gets_one(paths: Paths) -> None:
    Path(paths.store, "layers", LAYER, "tmp").rmdir()
    assert made(compiled(paths)) == {"/tmp": 0o1777}
    found = made(compiled(paths, "/tmp/deep", kind="oci"))
    assert found == {"/tmp": 0o1777, "/tmp/deep": 0o755}


def test_a_root_without_mtab_gets_one(paths: Paths, tmp_path: Path) -> None:
    assert compiled(paths)["plan"]["links"] == []
    Path(paths.store, "layers", LAYER, "etc/mtab").unlink()
    found = compiled(paths)
    (link,) = found["plan"]["links"]
    assert link[0].endswith("/overlay/web/etc/mtab")
    assert link[1] == "../proc/self/mounts"
    assert made(found) == {"/etc": 0o755}
    mounted = compiled(paths, mounts={"/etc/mtab": f"{tmp_path}/file"})
    assert mounted["plan"]["links"] == []


def test_files_are_mounted_on_files_alone(paths: Paths, tmp_path: Path) -> None:
    directory, file = f"{tmp_path}/directory", f"{tmp_path}/file"
    for place, source, words in (
        ("/srv", file, "it is a file, and in the image there is a directory"),
        ("/etc/app.conf", directory, "it is a directory, and in the image there is a file"),
    ):
        with pytest.raises(RktError) as caught:
            compiled(paths, mounts={place: source})
        message = f"app web: {source} cannot be mounted at {place}: {words}"
        assert str(caught.value) == message
    compiled(paths, mounts={"/etc/app.conf": file, "/srv": directory, "/new": file})
    # What is below another volume is not the image's.
    compiled(paths, mounts={"/srv": directory, "/srv/here": file})


def test_a_missing_layer_is_not_taken_for_a_missing_program(paths: Paths) -> None:
    os.makedirs(paths.pods)
    other = "sha512-" + "2" * 128
    with pytest.raises(NotFound, match=f"layer {other} is not in the store"):
        prepare(spec(layer=other), paths, uuid=UUID)
