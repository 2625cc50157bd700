"""Unpacking: faithful for honest archives, harmless for hostile ones."""

import gzip
import os
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rktsd.errors import BadInput, RktError, StoreError, TrustError
from rktsd.store import publish
from rktsd.store.records import Limits
from rktsd.store.store import Store
from rktsd.store.unpack import unpack
from tests.unit.store.archives import (
    MANIFEST,
    aci,
    archive,
    diff_id,
    directory,
    hardlink,
    header,
    image_id,
    member,
    names,
    pax,
    snapshot,
    stored,
    symlink,
)

Put = Callable[[Store, Path, bytes], str]


def put_aci(store: Store, path: Path, data: bytes) -> str:
    """Import an ACI; the directory of its layer."""
    path.write_bytes(data)
    record = publish.import_aci(store, str(path), source="file:a", verified_by="insecure")
    return store.layer_path(record.layers[0])


def put_layer(store: Store, path: Path, data: bytes) -> str:
    path.write_bytes(data)
    publish.import_layer(store, str(path), diff_id=diff_id(data))
    return store.layer_path(diff_id(data))


def below(prefix: str, *members: tuple[Callable[..., bytes], tuple[object, ...]]) -> list[bytes]:
    """Members named below ``prefix``; hard links lead below it too."""
    made = []
    for make, (name, *rest) in members:
        if make is hardlink:
            rest = [f"{prefix}{rest[0]}"]
        made.append(make(f"{prefix}{name}", *rest))
    return made


def test_everything_is_as_gnu_tar_packed_it(tmp_path: Path, tree: Path, store: Store) -> None:
    wanted = snapshot(tree)
    packed = tmp_path / "a.tar.gz"
    command: list[str | Path] = [
        "tar",
        "--format=posix",
        "--xattrs",
        "--xattrs-include=*",
        "-C",
        tree,
        "-czf",
    ]
    subprocess.run([*command, packed, "."], check=True)
    tar = gzip.decompress(packed.read_bytes())
    publish.import_layer(store, str(packed), diff_id=diff_id(tar))
    assert snapshot(store.layer_path(diff_id(tar))) == wanted


def test_an_aci_by_gnu_tar(tmp_path: Path, tree: Path, store: Store) -> None:
    import json

    wanted = snapshot(tree)
    (tmp_path / "manifest").write_text(json.dumps(MANIFEST))
    packed = tmp_path / "a.aci"
    command: list[str | Path] = [
        "tar",
        "--format=posix",
        "--xattrs",
        "--xattrs-include=*",
        "-C",
        tmp_path,
        "-cJf",
    ]
    subprocess.run([*command, packed, "rootfs", "manifest"], check=True)
    record = publish.import_aci(store, str(packed), source="file:a", verified_by="insecure")
    assert snapshot(store.layer_path(record.layers[0])) == wanted
    assert (record.name, record.kind, record.layers) == ("example.com/app", "aci", (record.id,))
    tar = subprocess.run(["xz", "-dc", packed], check=True, capture_output=True).stdout
    assert record.id == image_id(tar)


def test_directories_that_the_archive_left_out(tmp_path: Path, store: Store) -> None:
    layer = put_layer(store, tmp_path / "a", archive(member("a/b/c")))
    status = os.stat(f"{layer}/a/b")
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o755, 0, 0)


def test_nothing_is_inherited_from_the_place_of_the_store(tmp_path: Path) -> None:
    """A set-group-ID directory and a default ACL above the store do not reach into images."""
    place = tmp_path / "var"
    place.mkdir()
    os.chown(place, 0, 12)
    place.chmod(0o2775)
    # user::rwx user:13:rwx group::r-x mask::rwx other::r-x
    entries = ((1, 7, 0xFFFFFFFF), (2, 7, 13), (4, 5, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF),
               (32, 5, 0xFFFFFFFF))  # fmt: skip
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(place, "system.posix_acl_default", acl)
    with Store.open(str(place / "cas"), create=True) as store:
        layer = put_layer(store, tmp_path / "a", archive(member("d/f"), directory("e")))
    for name in (".", "d", "e", "d/f"):
        status = os.stat(f"{layer}/{name}")
        assert status.st_gid == 0
        assert not status.st_mode & 0o7000
        assert os.listxattr(f"{layer}/{name}") == []


def test_other_xattrs_are_left_out(tmp_path: Path, store: Store) -> None:
    records: dict[str, str | bytes] = {
        f"SCHILY.xattr.{name}": "y"
        for name in ("trusted.overlay.opaque", "trusted.x", "user.overlay.opaque", "security.ima")
    }
    data = archive(pax(records), directory("d"), pax({"SCHILY.xattr.user.a": "b"}), member("f"))
    layer = put_layer(store, tmp_path / "a", data)
    assert os.listxattr(f"{layer}/d") == []
    assert os.listxattr(f"{layer}/f") == ["user.a"]


# Each case: members, and what must hold afterwards: "refused", or a name inside the layer.
# OUT stands for a directory of the host that holds "file"; inside the image it is not there.
M, D, S, H = member, directory, symlink, hardlink
ATTACKS: dict[str, tuple[list[tuple[Callable[..., bytes], tuple[object, ...]]], str]] = {
    "parent": ([(M, ("../../escape", b"evil"))], "refused"),
    "parent in the middle": ([(D, ("a",)), (M, ("a/../../../escape", b"evil"))], "refused"),
    "link to a directory": ([(S, ("l", "OUT")), (M, ("l/escape", b"evil"))], "refused"),
    "relative link": ([(S, ("l", "../../../../OUT")), (M, ("l/escape", b"evil"))], "refused"),
    "link to the root": ([(S, ("l", "/")), (M, ("l/inside", b"evil"))], "inside"),
    "link to parents": ([(S, ("l", "../../../..")), (M, ("l/inside", b"evil"))], "inside"),
    "hard link up": ([(H, ("h", "../../../OUT/file"))], "refused"),
    "hard link by link": ([(S, ("l", "OUT")), (H, ("h", "l/file"))], "refused"),
    "hard link to link": ([(S, ("l", "OUT/file")), (H, ("h", "l")), (M, ("x", b""))], "h"),
    "write by file link": ([(S, ("l", "OUT/file")), (M, ("l", b"evil"))], "link"),
    "write by hard link": (
        [(S, ("l", "OUT/file")), (H, ("h", "l")), (M, ("h", b"evil"))],
        "link",
    ),
    "link then directory": ([(S, ("l", "OUT")), (D, ("l",)), (M, ("l/f", b"evil"))], "refused"),
    "directory then link": ([(D, ("l",)), (S, ("l", "OUT")), (M, ("l/f", b"evil"))], "refused"),
    "link to itself": ([(S, ("l", "l")), (M, ("l/f", b"evil"))], "refused"),
    "file then below it": ([(M, ("f", b"x")), (M, ("f/g", b"evil"))], "refused"),
    "hard link to directory": ([(D, ("d",)), (H, ("h", "d"))], "refused"),
    "hard link to nothing": ([(H, ("h", "nothing"))], "refused"),
    "name too long": ([(M, ("n" * 90 + "/" + "n" * 5, b"")), (S, ("x", "OUT"))], "x"),
}


@pytest.mark.parametrize("kind", ["aci", "oci"])
@pytest.mark.parametrize("case", ATTACKS)
def test_attacks(tmp_path: Path, store: Store, case: str, kind: str) -> None:
    outside = tmp_path / "o"
    outside.mkdir()
    (outside / "file").write_bytes(b"host content")
    host = snapshot(outside)
    before = stored(store.root)
    steps, outcome = ATTACKS[case]
    resolved = [
        (make, tuple(a.replace("OUT", str(outside)) if isinstance(a, str) else a for a in args))
        for make, args in steps
    ]
    members = below("rootfs/" if kind == "aci" else "", *resolved)
    data = aci(*members) if kind == "aci" else archive(*members)
    put: Put = put_aci if kind == "aci" else put_layer
    if outcome == "link":
        # A second entry of the same name: an ACI must not have one, in a layer it replaces.
        outcome = "refused" if kind == "aci" else "l"
    if outcome == "refused":
        with pytest.raises(BadInput, match=str(tmp_path / "evil")):
            put(store, tmp_path / "evil", data)
        store.close()
        assert stored(store.root) == before
    else:
        layer = put(store, tmp_path / "evil", data)
        assert outcome in names(layer)
    assert snapshot(outside) == host
    assert not list(tmp_path.rglob("escape"))


@pytest.mark.parametrize("kind", [b"3", b"4"])
def test_devices_are_kept_but_for_those_below_dev(
    tmp_path: Path, store: Store, kind: bytes
) -> None:
    null = header("x/null", kind, mode=0o640, device=(1, 3), uid=b"0000011\0")
    data = archive(directory("dev"), header("dev/mem", kind), member("dev/file", b"kept"), null)
    layer = put_layer(store, tmp_path / "a", data)
    assert names(layer) == {".", "dev", "dev/file", "x", "x/null"}
    status = os.lstat(f"{layer}/x/null")
    assert stat.S_IFMT(status.st_mode) == (stat.S_IFCHR if kind == b"3" else stat.S_IFBLK)
    assert (status.st_rdev, stat.S_IMODE(status.st_mode)) == (os.makedev(1, 3), 0o640)
    assert (status.st_uid, status.st_mtime) == (9, 1)


BAD_ACIS = {
    "no rootfs": (archive(member("manifest", b"{}")), 'has no directory "rootfs"'),
    "no manifest": (archive(directory("rootfs")), 'has no "manifest"'),
    "implied rootfs": (archive(member("manifest", b"{}"), member("rootfs/a")), "no directory"),
    "rootfs is a file": (aci()[:-1536] + archive(member("rootfs")), '"rootfs": is not a directory'),
    "rootfs is a link": (archive(symlink("rootfs", "/")), '"rootfs": is not a directory'),
    "manifest is a link": (archive(symlink("manifest", "/etc/passwd")), "is not a regular file"),
    "manifest is a directory": (archive(directory("manifest")), "is not a regular file"),
    "two manifests": (aci(member("manifest", b"{}")), '"manifest": duplicate entry'),
    "something else": (aci(member("other")), '"other": an ACI holds only manifest and rootfs'),
    "rootfsx": (aci(member("rootfsx/a")), "an ACI holds only manifest and rootfs"),
    "link to manifest": (aci(hardlink("rootfs/a", "manifest")), "not in rootfs"),
    "link to rootfs": (aci(hardlink("rootfs/a", "rootfs")), "not in rootfs"),
    "two files": (aci(member("rootfs/a"), member("rootfs/a")), '"rootfs/a": duplicate entry'),
    "dir and file": (aci(directory("rootfs/a"), member("rootfs/a")), "directory and something"),
    "file and dir": (aci(member("rootfs/a"), directory("rootfs/a")), "directory and something"),
    "manifest too large": (archive(member("manifest", bytes((4 << 20) + 1))), "larger than 4194"),
    "not JSON": (archive(member("manifest", b"{"), directory("rootfs")), "manifest"),
    "wrong kind": (archive(member("manifest", b'{"acKind":1}'), directory("rootfs")), "acKind"),
    "truncated": (aci(member("rootfs/a", b"x" * 2000))[:-2000], "archive is truncated"),
    "not an archive": (b"#!/bin/sh\n" * 100, "not a tar archive"),
    "empty": (b"", "archive is truncated"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ACIS)
def test_malformed_acis(tmp_path: Path, store: Store, case: str) -> None:
    before = stored(store.root)
    data, message = BAD_ACIS[case]
    with pytest.raises(BadInput) as caught:
        put_aci(store, tmp_path / "bad.aci", data)
    assert str(caught.value).startswith(f"{tmp_path}/bad.aci: ")
    assert message in str(caught.value)
    store.close()
    assert stored(store.root) == before


def test_a_directory_may_come_twice_in_an_aci(tmp_path: Path, store: Store) -> None:
    layer = put_aci(
        store, tmp_path / "a", aci(directory("rootfs/d"), directory("rootfs/d", mode=0o700))
    )
    assert stat.S_IMODE(os.stat(f"{layer}/d").st_mode) == 0o700


def test_the_dot_directory_may_come_first(tmp_path: Path, store: Store) -> None:
    data = archive(directory("./"), aci(member("./rootfs/a"))[:-1024])
    assert names(put_aci(store, tmp_path / "a", data)) == {".", "a"}


LIMITS = {
    "size": (Limits(size=1 << 20), archive(member("zeros", bytes(1 << 20))), "larger than 1048576"),
    "padding": (Limits(size=1 << 20), archive() + bytes(2 << 20), "larger than 1048576"),
    "entries": (Limits(entries=2), archive(*[member(str(n)) for n in range(3)]), "more than 2"),
    "path": (Limits(path=20), archive(member("d/" * 10 + "f")), "longer than 20 bytes"),
    "default path": (Limits(), archive(pax({"path": "d/" * 2100}), directory("x")), "longer than"),
    "component": (Limits(), archive(pax({"path": "n" * 256}), member("x")), "name too long"),
    "link": (Limits(), archive(pax({"linkpath": "n" * 5000}), symlink("l", "x")), "too long"),
}


@pytest.mark.parametrize("case", LIMITS)
def test_limits(tmp_path: Path, store: Store, case: str) -> None:
    limits, data, message = LIMITS[case]
    before = stored(store.root)
    packed = tmp_path / "bomb"
    packed.write_bytes(gzip.compress(data))
    with pytest.raises(BadInput, match=f"(?i){message}"):
        publish.import_layer(store, str(packed), diff_id=diff_id(data), limits=limits)
    store.close()
    assert stored(store.root) == before


def test_the_deepest_tree_that_is_allowed_comes_and_goes(tmp_path: Path, store: Store) -> None:
    path = "d/" * 2040 + "f"
    data = archive(pax({"path": path}), member("x", b"deep"))
    (tmp_path / "a").write_bytes(data)
    publish.import_layer(store, str(tmp_path / "a"), diff_id=diff_id(data))
    assert store.has_layer(diff_id(data))
    store.close()
    assert store.collect().layers == (diff_id(data).replace(":", "-"),)
    assert not store.has_layer(diff_id(data))
    assert os.listdir(f"{store.root}/tmp") == []


def test_another_digest_leaves_nothing(tmp_path: Path, store: Store) -> None:
    before = stored(store.root)
    (tmp_path / "a").write_bytes(archive(member("a")))
    wanted = diff_id(b"something else")
    with pytest.raises(TrustError, match=f"uncompressed digest is sha256:.*, not {wanted}"):
        publish.import_layer(store, str(tmp_path / "a"), diff_id=wanted)
    store.close()
    assert stored(store.root) == before


def whiteout(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def opaque(path: str) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


def test_whiteouts(tmp_path: Path, store: Store) -> None:
    data = archive(
        directory("d"),
        member("d/.wh..wh..opq"),
        member("d/new"),
        member("e/.wh.gone"),
        member(".wh.top"),
        member(".wh..wh.plnk"),
    )
    layer = put_layer(store, tmp_path / "a", data)
    assert names(layer) == {".", "d", "d/new", "e", "e/gone", "top"}
    assert whiteout(f"{layer}/e/gone")
    assert whiteout(f"{layer}/top")
    assert opaque(f"{layer}/d")
    assert not opaque(f"{layer}/e")


@pytest.mark.parametrize("first", ["whiteout", "entry"])
def test_a_name_that_is_deleted_and_made_anew(tmp_path: Path, store: Store, first: str) -> None:
    """Whatever comes first, the new entry is there and nothing of a lower one shines through."""
    deleted = [member(".wh.d"), member(".wh.f"), member(".wh.p")]
    made = [directory("d"), member("d/x"), member("f", b"new"), member("p/q")]
    data = archive(*deleted, *made) if first == "whiteout" else archive(*made, *deleted)
    layer = put_layer(store, tmp_path / "a", data)
    assert names(layer) == {".", "d", "d/x", "f", "p", "p/q"}
    assert opaque(f"{layer}/d")
    assert opaque(f"{layer}/p")
    assert Path(f"{layer}/f").read_bytes() == b"new"


def test_an_opaque_directory_behind_a_link_is_refused(tmp_path: Path, store: Store) -> None:
    before = stored(store.root)
    data = archive(directory("d"), symlink("l", "d"), member("l/.wh..wh..opq"))
    with pytest.raises(BadInput, match='opaque directory "l"'):
        put_layer(store, tmp_path / "a", data)
    store.close()
    assert stored(store.root) == before


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh..."])
def test_whiteouts_of_nothing(tmp_path: Path, store: Store, name: str) -> None:
    with pytest.raises(BadInput, match="bad whiteout"):
        put_layer(store, tmp_path / "a", archive(directory("d"), member(name)))


def test_the_last_of_several_wins_in_a_layer(tmp_path: Path, store: Store) -> None:
    data = archive(member("a", b"first"), hardlink("b", "a"), member("a", b"second"))
    layer = put_layer(store, tmp_path / "a", data)
    assert Path(f"{layer}/a").read_bytes() == b"second"
    assert Path(f"{layer}/b").read_bytes() == b"first"


def test_the_child_can_do_nothing_but_write_there(tmp_path: Path) -> None:
    """What is left of root: six capabilities, no way to other files, no new privileges."""
    import sys

    probe = (
        "import os, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from rktsd.store.confine import confine\n"
        "status = os.open('/proc/self/status', os.O_RDONLY)\n"
        "confine(sys.argv[2])\n"
        "print(os.read(status, 65536).decode())\n"
        "print('root', os.listdir('/'))\n"
        "os.mknod('x', 0o020600, os.makedev(1, 3))\n"
        "for call in (lambda: open('x'), lambda: os.chroot('/'), lambda: os.setuid(1)):\n"
        "    try: call(); print('DONE')\n"
        "    except PermissionError: print('refused')\n"
    )
    root = tmp_path / "root"
    root.mkdir()
    repository = Path(__file__).parents[3]
    command = [sys.executable, "-I", "-c", probe, str(repository), str(root)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    fields = dict(line.split(":\t", 1) for line in shown.splitlines() if ":\t" in line)
    kept = sum(1 << capability for capability in (0, 1, 3, 4, 27, 31))
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == kept
    assert int(fields["CapBnd"], 16) == kept
    assert fields["NoNewPrivs"] == "1"
    assert "root []" in shown
    assert shown.count("refused") == 3
    assert "DONE" not in shown


def test_a_missing_archive(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(StoreError, match="No such file"):
        unpack(str(tmp_path / "no"), str(tmp_path / "root"), kind="oci", digest="sha256")
    with pytest.raises(RktError):
        unpack(str(tmp_path), str(tmp_path / "root"), kind="oci", digest="sha256")
