"""The commands for stored images, on a store of the test's own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rktsd.cli.main import main
from rktsd.store.store import Store
from tests.material import images

Rkt = Callable[..., tuple[int, str, str]]
NAME = "example.com/app"


@pytest.fixture
def rkt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Rkt:
    """``rkt ARGUMENT...`` with a data directory of its own: status, output, errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main([f"--dir={tmp_path}/data", *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"{tmp_path}/data/cas", create=True)


def put(
    store: Store, directory: Path, name: str = NAME, *, version: str = "1.0.0", text: str = "root"
) -> str:
    """Import an ACI whose root has a file ``etc/motd``; its ID."""
    root = directory / "root" / "etc"
    root.mkdir(parents=True, exist_ok=True)
    (root / "motd").write_text(text)
    manifest = images.image_manifest(name, ["/bin/app"], version=version)
    path = images.write_aci(directory / "root", manifest, directory / "made.aci")
    source = f"file://{path}/{name}/{version}"
    with store:
        return store.import_aci(path, source=source, verified_by="insecure").id


def test_export(tmp_path: Path, rkt: Rkt, store: Store) -> None:
    made = put(store, tmp_path)
    out = tmp_path / "out.aci"
    assert rkt("image", "export", NAME, str(out)) == (0, "", "")
    import hashlib

    assert made == f"sha512-{hashlib.sha512(out.read_bytes()).hexdigest()[:64]}"
    out.write_text("mine")
    said = "export: output ACI file exists (try --overwrite)\n"
    assert rkt("image", "export", NAME, str(out)) == (254, "", said)
    assert out.read_text() == "mine"
    assert rkt("image", "export", "--overwrite", made[:20], str(out)) == (0, "", "")
    assert made == f"sha512-{hashlib.sha512(out.read_bytes()).hexdigest()[:64]}"
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.aci"]


@pytest.mark.parametrize("command", ["extract", "render"])
def test_extract_and_render(tmp_path: Path, rkt: Rkt, store: Store, command: str) -> None:
    put(store, tmp_path)
    out = tmp_path / "out"
    assert rkt("image", command, NAME, str(out)) == (0, "", "")
    assert sorted(os.listdir(out)) == ["manifest", "rootfs"]
    assert json.loads((out / "manifest").read_text())["name"] == NAME
    assert (out / "rootfs/etc/motd").read_text() == "root"
    said = f"{command}: output directory exists (try --overwrite)\n"
    assert rkt("image", command, "--rootfs-only", NAME, str(out)) == (254, "", said)
    assert rkt("image", command, "--rootfs-only", "--overwrite", NAME, str(out))[0] == 0
    assert os.listdir(out) == ["etc"]
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out"]


@pytest.mark.parametrize("command", ["extract", "render"])
@pytest.mark.parametrize("place", ["/", "//", "/usr/..", "link"])
def test_the_root_of_the_machine_is_spared(
    tmp_path: Path, rkt: Rkt, store: Store, command: str, place: str
) -> None:
    put(store, tmp_path)
    if place == "link":
        place = f"{tmp_path}/link"
        os.symlink("/", place)
    before = os.listdir("/")
    assert rkt("image", command, "--rootfs-only", "--overwrite", NAME, place) == (
        254,
        "",
        f"{command}: this would delete your root filesystem. Refusing.\n",
    )
    assert os.listdir("/") == before


@pytest.mark.parametrize("command", ["export", "extract", "render"])
def test_out_of_what_and_where_to(tmp_path: Path, rkt: Rkt, store: Store, command: str) -> None:
    put(store, tmp_path)
    status, out, err = rkt("image", command, NAME)
    assert (status, out) == (254, "")
    assert err.startswith(f"{command}: must provide an image and an output ")
    said = f'{command}: image "example.com/none" is not in the store\n'
    assert rkt("image", command, "example.com/none", f"{tmp_path}/out") == (254, "", said)
    status, _, err = rkt("image", command, NAME, f"{tmp_path}/none/out")
    assert (status, err) == (
        254,
        f"{command}: cannot write {tmp_path}/none/out: No such file or directory\n",
    )
