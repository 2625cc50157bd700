"""Archives of images by an attacker: refused with the store as it was, as layers are."""

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rktsd.errors import BadInput, RktError
from tests.images.world import World
from tests.images.written import Written
from tests.unit.store.archives import archive, directory, hardlink, header, member, pax, symlink
from tests.unit.store.test_store_hostile import zstd
from tests.unit.store.test_store_tar import new_sparse

KINDS = ("oci-archive", "docker-archive")
MARKER = member("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
INDEXES = ("index.json", "manifest.json")


def listings(data: bytes) -> bytes:
    return archive(MARKER, *[member(name, data) for name in INDEXES])


REFUSED: dict[str, tuple[bytes, str]] = {
    "up": (archive(member("blobs/../../x")), 'name with ".."'),
    "absolute": (archive(member("/etc/x")), "absolute name"),
    "not UTF-8": (archive(member(b"\xff")), "a name that is not UTF-8"),
    "hard link to nothing": (archive(hardlink("manifest.json", "x")), "has no file x"),
    "hard link outward": (archive(hardlink("x", "../etc/passwd")), 'name with ".."'),
    "link outward": (
        archive(MARKER, *[symlink(name, "../../../../../etc/passwd") for name in INDEXES]),
        "has no file",
    ),
    "devices": (archive(*[header(n, b"3", device=(1, 5)) for n in INDEXES]), "has no file"),
    "directories": (archive(*map(directory, ("oci-layout", *INDEXES))), "has no file"),
    "deep": (archive(pax({"path": "d/" * 10_000 + "f"}), member("x")), "longer than 4095 bytes"),
    "overlong header": (archive(pax({"comment": "x" * (2 << 20)}), member("x")), "extended header"),
    "malformed header": (archive(member("p", b"9 path=x\n", b"x"), member("x")), "malformed"),
    "wrong size": (header("a", size=1000) + bytes(900), "is truncated"),
    "sparse beyond the limit": (archive(new_sparse("0\n", 1 << 40, b"")), "maximum-archive"),
    "many": (archive(*[member(str(n)) for n in range(101)]), "more than 100 entries"),
    "long names": (
        archive(*[pax({"linkpath": "x" * 1_000_000}) + symlink("x", "x")] * 20),
        "too many members with too long names",
    ),
    "behind the end": (archive(member("a")) + b"x", "has data after its end"),
    "listings of wrong types": (listings(b'[{"manifests": [1], "Config": 1}]'), "not an? "),
    "huge listings": (listings(b"[" * (5 << 20)), "larger than 4194304 bytes"),
    "brackets": (listings(b"[" * (4 << 20)), "nested more than 64 levels"),
}
PACKED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "gzip, cut": (lambda data: gzip.compress(data)[:-1], "is truncated"),
    "zstd, cut": (lambda data: zstd(data)[:-1], "is truncated"),
    "gzip, followed": (lambda data: gzip.compress(data) + b"garbage", "followed by something else"),
    "zstd, followed": (lambda data: zstd(data) + b"garbage", "followed by something else"),
    "gzip, damaged": (lambda data: gzip.compress(data)[:-8] + bytes(8), "damaged gzip data"),
}


@pytest.mark.parametrize("case", [*REFUSED, *PACKED])
def test_refused(world: World, tmp_path: Path, case: str) -> None:
    data, message = REFUSED.get(case, (archive(MARKER, member("index.json", b"{}")), ""))
    if case in PACKED:
        pack, message = PACKED[case]
        data = pack(data)
    path = tmp_path / "bad.tar"
    path.write_bytes(data)
    world.settings(maximum_entries=100 if case == "many" else 4_000_000)
    for kind in KINDS:
        with world.store_unchanged(), pytest.raises(RktError, match=message) as caught:
            world.fetch(f"{kind}:{path}", insecure=["image"])
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_what_grows_too_much(world: World, tmp_path: Path) -> None:
    """By how many times it grows, and by how large it becomes, before it fills the disk."""
    zeros = bz2.compress(bytes(64 << 20))
    path = tmp_path / "bomb"
    path.write_bytes(bz2.compress(archive(member("a"))) + zeros * 20)
    with world.store_unchanged(), pytest.raises(BadInput, match="maximum-expansion"):
        world.fetch(f"oci-archive:{path}", insecure=["image"])
    path.write_bytes(bz2.compress(header("zeros", size=1 << 30)) + zeros * 16)
    world.settings(maximum_archive=1 << 20)
    with world.store_unchanged(), pytest.raises(BadInput, match="maximum-archive"):
        world.fetch(f"oci-archive:{path}", insecure=["image"])
    world.settings(maximum_unpacked=1 << 20)
    with world.store_unchanged(), pytest.raises(BadInput, match="maximum-unpacked"):
        world.fetch(f"oci-archive:{path}", insecure=["image"])


def test_sparse_members_are_whole(world: World, tmp_path: Path) -> None:
    """GNU tar packs holes; a layer that is taken to be shorter than it is would be another one."""
    layer = archive(member("zeros", bytes(1 << 20)), member("end", b"end"))
    image = Written([layer])
    image.layout(tmp_path / "o")
    sparse = new_sparse
    members = [directory("blobs"), MARKER]
    for digest, data in image.blobs.items():
        name = f"blobs/{digest.replace(':', '/')}"
        if data == layer:
            start, end = data.index(b"end"), len(data)
            at = start // 512 * 512 - 1024
            table = f"2\n0\n512\n{at}\n{end - at}\n"
            members.append(sparse(table, len(data), data[:512] + data[at:]))
            assert not any(data[512:at])
            members.append(hardlink(name, "a"))
        else:
            members.append(member(name, data))
    index = (tmp_path / "o" / "index.json").read_bytes()
    path = tmp_path / "o.tar"
    path.write_bytes(archive(*members, member("index.json", index)))
    digest = json.loads(index)["manifests"][0]["digest"]
    record = world.fetch(f"oci-archive:{path}@{digest}")
    assert Path(world.store.layer_path(record.layers[0]), "end").read_text() == "end"
    for blob in record.blobs:
        assert Path(world.store.blob_path(blob)).stat().st_mode & 0o777 == 0o644
