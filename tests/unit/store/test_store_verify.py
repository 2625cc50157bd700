"""Every difference between a layer and its archive is found, and put right in one step."""

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rktsd.errors import BadInput, TrustError
from rktsd.store import publish
from rktsd.store.records import ImageRecord
from rktsd.store.store import Store
from rktsd.store.verify import Verdict, verify
from tests.unit.store.archives import (
    aci,
    diff_id,
    directory,
    hardlink,
    member,
    pax,
    snapshot,
    symlink,
)
from tests.unit.store.archives import archive as tar

CONTENT = [
    directory("rootfs/etc"),
    member("rootfs/etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
    member("rootfs/etc/empty"),
    directory("rootfs/etc/below"),
    member("rootfs/etc/below/file", b"below"),
    hardlink("rootfs/passwd2", "rootfs/etc/passwd"),
    symlink("rootfs/link", "etc/passwd"),
    pax({"SCHILY.xattr.user.key": "value"}),
    member("rootfs/attr", b"a"),
    member("rootfs/big", bytes(3 << 20) + b"end"),
]


def change_a_byte(root: Path) -> None:
    before = os.stat(root / "big")
    with open(root / "big", "r+b") as file:
        file.seek(2 << 20)
        file.write(b"\1")
    os.utime(root / "big", ns=(before.st_mtime_ns, before.st_mtime_ns))


def keep_times(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """``change`` hidden as well as can be: the times of directories are what they were."""

    def changed(root: Path) -> None:
        before = {path: os.stat(path).st_mtime_ns for path in (root, root / "etc")}
        change(root)
        for path, time in before.items():
            os.utime(path, ns=(time, time))

    return changed


def relink(root: Path) -> None:
    os.unlink(root / "link")
    os.symlink("etc/shadow", root / "link")


def unlink_hard(root: Path) -> None:
    content = (root / "passwd2").read_bytes()
    os.unlink(root / "passwd2")
    (root / "passwd2").write_bytes(content)


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "byte": (change_a_byte, "/big: the content differs"),
    "mode": (lambda root: (root / "etc/passwd").chmod(0o666), "/passwd2: the mode differs"),
    "owner": (lambda root: os.chown(root / "etc/empty", 5, 0), "/etc/empty: the owner differs"),
    "group": (lambda root: os.chown(root / "etc", 0, 5), "/etc: the owner differs"),
    "missing": (
        keep_times(lambda root: os.unlink(root / "etc/below/file")),
        "/etc/below/file is missing",
    ),
    "extra": (
        keep_times(lambda root: (root / "etc/evil\n").touch()),
        r"/etc/evil\x0a does not belong there",
    ),
    "link": (keep_times(relink), "/link: the target differs"),
    "hard link": (keep_times(unlink_hard), "/passwd2: the number of hard links differs"),
    "time": (lambda root: os.utime(root / "attr", (5, 5)), "/attr: the time differs"),
    "xattr": (
        lambda root: os.setxattr(root / "attr", "user.key", b"other"),
        "/attr: an extended attribute differs",
    ),
    "whiteout": (
        keep_times(lambda root: os.mknod(root / "white", stat.S_IFCHR, 0)),
        "/white does not belong there",
    ),
    "opaque": (
        lambda root: os.setxattr(root / "etc", "trusted.overlay.opaque", b"y"),
        "/etc: an extended attribute differs",
    ),
    "root": (lambda root: root.chmod(0o777), "/: the mode differs"),
}


@pytest.fixture
def image(tmp_path: Path, store: Store) -> ImageRecord:
    (tmp_path / "a.aci").write_bytes(aci(*CONTENT))
    return publish.import_aci(store, str(tmp_path / "a.aci"), source="a", verified_by="insecure")


@pytest.mark.parametrize("case", CHANGES)
def test_a_difference_is_found_and_put_right(store: Store, image: ImageRecord, case: str) -> None:
    layer = store.layer_path(image.id)
    right = snapshot(layer)
    change, said = CHANGES[case]
    change(Path(layer))
    blob = store.blob_path(f"{image.id}.aci")
    (verdict,) = verify(store, image)
    assert verdict.archive == blob
    assert said in verdict.differences
    assert snapshot(layer) == right
    assert list(verify(store, image)) == [Verdict(image.id, blob, ())]
    store.close()
    assert os.listdir(f"{store.root}/tmp") == []


def test_a_tree_that_is_missing_is_made_again(store: Store, image: ImageRecord) -> None:
    layer = store.layer_path(image.id)
    right = snapshot(layer)
    os.rename(layer, f"{store.root}/away")
    (verdict,) = verify(store, image)
    assert verdict.differences == ("the whole tree is missing",)
    assert snapshot(layer) == right


def test_many_differences_are_counted(store: Store, image: ImageRecord) -> None:
    for number in range(20):
        Path(store.layer_path(image.id), f"new{number}").touch()
    (verdict,) = verify(store, image)
    assert len(verdict.differences) == 6
    assert verdict.differences[-1] == "and 16 more"  # the time of the root among them


@pytest.mark.parametrize("damage", ["content", "cut", "nonsense"])
def test_a_damaged_archive_is_named_and_repairs_nothing(
    store: Store, image: ImageRecord, damage: str
) -> None:
    layer, blob = store.layer_path(image.id), Path(store.blob_path(f"{image.id}.aci"))
    data = blob.read_bytes()
    blob.write_bytes(
        {
            "content": data.replace(b"below\0", b"BELOW\0"),
            "cut": data[: len(data) // 2],
            "nonsense": b"nonsense",
        }[damage]
    )
    Path(layer, "attr").write_text("changed")
    with pytest.raises((BadInput, TrustError), match=str(blob)):
        list(verify(store, image))
    assert Path(layer, "attr").read_text() == "changed"
    store.close()
    assert os.listdir(f"{store.root}/tmp") == []


def test_who_has_the_old_tree_open_keeps_it(store: Store, image: ImageRecord) -> None:
    """And it is freed when nobody can be using it any more."""
    layer = store.layer_path(image.id)
    held = os.open(layer, os.O_RDONLY | os.O_DIRECTORY)
    Path(layer, "attr").write_text("changed")
    list(verify(store, image))
    store.close()
    store.collect([image.id], in_use={image.id: 1})
    descriptor = os.open("attr", os.O_RDONLY, dir_fd=held)
    assert os.read(descriptor, 10) == b"changed"
    os.close(descriptor)
    assert Path(layer, "attr").read_text() == "a"
    (retired,) = os.listdir(f"{store.root}/retired")
    moment = int(retired.rpartition(".")[2])
    assert store.collect([image.id], in_use={image.id: moment + 1}).size > 0
    assert os.listdir(f"{store.root}/retired") == []
    os.close(held)


def test_layers_of_oci_images(tmp_path: Path, store: Store) -> None:
    layers = [tar(member("low", b"1")), tar(member(".wh.low"), member("d/.wh..wh..opq"))]
    digests = []
    for data in layers:
        for name in ("layer", "blob"):
            (tmp_path / name).write_bytes(data)
        publish.import_layer(store, str(tmp_path / "layer"), diff_id=diff_id(data))
        publish.add_blob(store, str(tmp_path / "blob"), diff_id(data))
        digests.append(diff_id(data))
    kept = ImageRecord(
        id="sha512-" + "a" * 64, name="example.com/oci", labels=(), kind="oci",
        layers=tuple(each.replace(":", "-") for each in reversed(digests)), size=1, import_time=0,
        last_used=0, source="docker://a", verified_by="digest", blobs=tuple(digests),
    )  # fmt: skip
    extra = {
        "oci-manifest": json.dumps({"layers": [{"digest": each} for each in digests]}).encode(),
        "oci-config": json.dumps({"rootfs": {"diff_ids": digests}}).encode(),
    }
    record = publish.add_image(store, kept, b"{}", extra=extra)
    assert [verdict.differences for verdict in verify(store, record)] == [(), ()]
    top = Path(store.layer_path(record.layers[0]))
    right = snapshot(top)
    os.unlink(top / "low")
    found = [verdict.differences for verdict in verify(store, record)]
    assert found == [("/low is missing", "/: the time differs"), ()] or found == [
        ("/: the time differs", "/low is missing"),
        (),
    ]
    assert snapshot(top) == right
    unknown = [Verdict(layer, None, ()) for layer in record.layers]
    assert list(verify(store, replace(record, blobs=()))) == unknown
