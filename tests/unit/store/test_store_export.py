"""Images out of the store again: nothing of them is lost, and nothing half-written stays."""

import gzip
import json
import os
import random
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from rktsd.errors import BadInput, RktError, StoreError, TrustError
from rktsd.store import publish
from rktsd.store.copytree import copy_tree
from rktsd.store.export import archive, extract
from rktsd.store.merge import walk
from rktsd.store.records import ImageRecord
from rktsd.store.store import Store
from rktsd.store.tarwriter import END, tar_tree
from rktsd.store.unpack import unpack
from tests.unit.store.archives import MANIFEST, aci, diff_id, image_id, member, names, snapshot
from tests.unit.store.archives import archive as tar
from tests.unit.store.stacks import random_layers


def from_archive(data: bytes, root: Path) -> Path:
    """``root``, unpacked from a tar."""
    packed = root.parent / f"{root.name}.tar"
    packed.write_bytes(data)
    root.mkdir()
    unpack(str(packed), str(root), kind="oci", digest="sha256")
    return root


def oci_image(store: Store, path: Path, *layers: bytes) -> ImageRecord:
    """An OCI image of these tars, lowest first."""
    for data in layers:
        path.write_bytes(data)
        publish.import_layer(store, str(path), diff_id=diff_id(data))
    record = ImageRecord(
        id="sha512-" + "a" * 64, name="example.com/oci", labels=(), kind="oci",
        layers=tuple(diff_id(data).replace(":", "-") for data in reversed(layers)), size=1,
        import_time=0, last_used=0, source="docker://a", verified_by="digest",
    )  # fmt: skip
    return publish.add_image(store, record, json.dumps(MANIFEST).encode())


def test_a_tree_survives_copy_and_tar(tmp_path: Path, tree: Path) -> None:
    wanted = snapshot(tree)
    (tmp_path / "copy").mkdir()
    copy_tree(walk([str(tree)]), str(tmp_path / "copy"))
    assert snapshot(tmp_path / "copy") == wanted
    packed = b"".join(tar_tree(walk([str(tree)]), "")) + END
    below = snapshot(from_archive(packed, tmp_path / "unpacked"))
    assert {**below, ".": wanted["."]} == wanted
    prefixed = b"".join(tar_tree(walk([str(tree)]), "rootfs")) + END
    assert snapshot(from_archive(prefixed, tmp_path / "p") / "rootfs") == wanted


def test_what_is_written_is_read_by_others(tmp_path: Path, tree: Path) -> None:
    """GNU tar and Python's own reader see the same files."""
    packed = tmp_path / "a.tar"
    packed.write_bytes(b"".join(tar_tree(walk([str(tree)]), "rootfs")) + END)
    subprocess.run(
        ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", packed],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    assert snapshot(tmp_path / "rootfs") == snapshot(tree)
    with tarfile.open(packed) as opened:
        assert len(opened.getnames()) == len(names(tree))


def test_the_same_tree_makes_the_same_bytes(tmp_path: Path, tree: Path) -> None:
    first = b"".join(tar_tree(walk([str(tree)]), "rootfs"))
    subprocess.run(["cp", "-a", tree, tmp_path / "other"], check=True)
    assert b"".join(tar_tree(walk([str(tmp_path / "other")]), "rootfs")) == first


def test_holes_stay_holes(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name, parts in {
        "middle": [5 << 20],
        "end": [0],
        "none": [],
        "start": [(64 << 20) - 1],
    }.items():
        with open(root / name, "wb") as file:
            for offset in parts:
                file.seek(offset)
                file.write(b"x")
            file.truncate(64 << 20)
    (tmp_path / "copy").mkdir()
    copy_tree(walk([str(root)]), str(tmp_path / "copy"))
    packed = b"".join(tar_tree(walk([str(root)]), "")) + END
    assert len(packed) < 1 << 20
    for made in (tmp_path / "copy", from_archive(packed, tmp_path / "unpacked")):
        for name in ("middle", "end", "none", "start"):
            status = os.stat(made / name)
            assert (status.st_size, status.st_blocks < 64) == (64 << 20, True)
            assert (made / name).read_bytes() == (root / name).read_bytes()
    (tmp_path / "s.tar").write_bytes(packed)
    subprocess.run(["tar", "--compare", "-f", tmp_path / "s.tar"], cwd=root, check=True)


@pytest.mark.parametrize("how", ["--format=gnu", "--sparse-version=0.1", "--sparse-version=1.0"])
def test_holes_as_gnu_tar_writes_them(tmp_path: Path, store: Store, how: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with open(root / "disk", "wb") as file:
        for number in range(40):  # more parts than fit into a header
            file.seek(number << 20)
            file.write(b"%d" % number)
        file.truncate(50 << 20)
    (root / "plain").write_text("beside it")
    packed = tmp_path / "a.tar"
    subprocess.run(["tar", "--sparse", how, "-C", root, "-cf", packed, "."], check=True)
    assert packed.stat().st_size < 1 << 20
    made = diff_id(packed.read_bytes())
    publish.import_layer(store, str(packed), diff_id=made)
    layer = Path(store.layer_path(made))
    assert (layer / "disk").read_bytes() == (root / "disk").read_bytes()
    assert (layer / "disk").stat().st_blocks == (root / "disk").stat().st_blocks
    assert (layer / "plain").read_text() == "beside it"


def test_merged_layers_are_what_the_kernel_shows(tmp_path: Path) -> None:
    random.seed(11)
    for trial in range(12):
        place = tmp_path / str(trial)
        layers = random_layers(place)
        for name in ("mounted", "kernel", "ours"):
            (place / name).mkdir()
        script = 'mount -t overlay overlay -o "ro,lowerdir=$1" "$2" && cp -a "$2/." "$3" 2>&1'
        # Where nothing merges the kernel lists whiteouts, and then does not find them.
        subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", ":".join(layers), place / "mounted",
             place / "kernel"], check=False, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        assert os.listdir(place / "kernel") or not os.listdir(place / "ours")
        copy_tree(walk(layers), str(place / "ours"))
        assert snapshot(place / "ours") == snapshot(place / "kernel")


def put(store: Store, path: Path, data: bytes) -> ImageRecord:
    path.write_bytes(gzip.compress(data))
    return publish.import_aci(store, str(path), source="file:a", verified_by="insecure")


def test_an_exported_aci_has_the_hash_that_is_its_id(tmp_path: Path, store: Store) -> None:
    data = aci(member("rootfs/f", os.urandom(3 << 20)))
    record = put(store, tmp_path / "a.aci", data)
    assert b"".join(archive(store, record)) == data


def test_a_damaged_archive_is_noticed_before_its_end(tmp_path: Path, store: Store) -> None:
    record = put(store, tmp_path / "a.aci", aci(member("rootfs/f", b"right")))
    blob = store.blob_path(record.blobs[0])
    Path(blob).write_bytes(gzip.compress(aci(member("rootfs/f", b"wrong"))))
    with pytest.raises(TrustError, match=f"{blob}: damaged"):
        list(archive(store, record))
    with pytest.raises(TrustError, match=f"{blob}: damaged"):
        extract(store, record, str(tmp_path / "out"), alone=True, bare=False)
    Path(blob).write_bytes(b"\x1f\x8b nonsense")
    with pytest.raises(BadInput, match=blob):
        list(archive(store, record))
    os.unlink(blob)
    with pytest.raises(StoreError, match=f"cannot read {blob}: No such file"):
        list(archive(store, record))
    assert sorted(os.listdir(tmp_path)) == ["a.aci", "cas"]


def test_an_exported_oci_image_is_an_aci_of_its_flattened_root(
    tmp_path: Path, store: Store
) -> None:
    low = tar(member("a", b"low"), member("gone", b""), member("d/old", b""), member("keep", b"k"))
    top = tar(member("a", b"top"), member(".wh.gone"), member("d/.wh..wh..opq"), member("d/new"))
    record = oci_image(store, tmp_path / "layer", low, top)
    data = b"".join(archive(store, record))
    (tmp_path / "made.aci").write_bytes(data)
    found = publish.import_aci(
        store, str(tmp_path / "made.aci"), source="b", verified_by="insecure"
    )
    assert (found.id, found.name) == (image_id(data), "example.com/app")
    assert names(store.layer_path(found.id)) == {".", "a", "d", "d/new", "keep"}
    assert Path(store.layer_path(found.id), "a").read_bytes() == b"top"
    extract(store, record, str(tmp_path / "out"), alone=True, bare=True)
    assert names(tmp_path / "out") == {".", "a", "d", "d/new", "keep"}


def test_extract_is_alone_and_render_is_not(tmp_path: Path, store: Store) -> None:
    below = put(store, tmp_path / "b.aci", aci(member("rootfs/base"), member("rootfs/f", b"low")))
    alone = put(store, tmp_path / "a.aci", aci(member("rootfs/f", b"top")))
    record = replace(alone, layers=(*alone.layers, below.id))
    extract(store, record, str(tmp_path / "extracted"), alone=True, bare=False)
    extract(store, record, str(tmp_path / "rendered"), alone=False, bare=False)
    extract(store, record, str(tmp_path / "root"), alone=False, bare=True)
    assert names(tmp_path / "extracted") == {".", "manifest", "rootfs", "rootfs/f"}
    assert names(tmp_path / "rendered") == {".", "manifest", "rootfs", "rootfs/base", "rootfs/f"}
    assert names(tmp_path / "root") == {".", "base", "f"}
    assert (tmp_path / "root" / "f").read_bytes() == b"top"
    assert json.loads((tmp_path / "rendered" / "manifest").read_bytes()) == MANIFEST


def test_nothing_half_written_stays(tmp_path: Path, store: Store) -> None:
    record = put(store, tmp_path / "a.aci", aci(member("rootfs/f", b"top")))
    before = sorted(os.listdir(tmp_path))
    (tmp_path / "file").write_text("in the way")
    for wrong in (replace(record, layers=("sha512-" + "0" * 64,)), record):
        with pytest.raises(RktError):
            extract(store, wrong, str(tmp_path / "file"), alone=False, bare=False)
    os.unlink(tmp_path / "file")
    assert sorted(os.listdir(tmp_path)) == before
