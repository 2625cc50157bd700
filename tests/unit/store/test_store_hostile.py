"""What an attacker would send: refused with the store as it was, or harmless."""

import bz2
import gzip
import lzma
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rktsd.errors import BadInput
from rktsd.store import publish
from rktsd.store.records import Limits
from rktsd.store.store import Store
from rktsd.store.tree import remove_tree
from tests.unit.store.archives import (
    aci,
    archive,
    diff_id,
    directory,
    hardlink,
    header,
    member,
    names,
    pax,
    stored,
    symlink,
)
from tests.unit.store.test_store_tar import new_sparse

ROOT = Path(__file__).parents[3]
SMALL = archive(member("a", b"content"))


def zstd(data: bytes, *options: str) -> bytes:
    command = ["zstd", "-q", "-c", *options]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def xattr(name: str, value: bytes | str = "x") -> bytes:
    return archive(pax({f"SCHILY.xattr.{name}": value}), member("f"))


def deep_by_links() -> bytes:
    """Three short ways, each through a link to the end of the one before."""
    steps, start = [], ""
    for link in "abc":
        way = f"{start}{'d/' * 1500}"
        steps += [pax({"path": way}), directory("x"), pax({"linkpath": way}), symlink(link, "x")]
        start = f"{link}/"
    return archive(*steps)


REFUSED = {
    "NUL in an attribute": (xattr("user.a\0b"), "NUL in the name of an extended attribute"),
    "attribute without name": (xattr("user."), 'extended attribute "user.": Invalid'),
    "capability that is none": (xattr("security.capability"), '"security.capability": Invalid'),
    "huge attribute": (xattr("user.a", "x" * 70_000), 'attribute "user.a": Argument list too'),
    "whiteout as a device": (archive(header("d", b"3")), "0:0 would be a whiteout"),
    "device that is none": (archive(header("d", b"3", device=(1 << 12, 0))), "bad device"),
    "hard link to a whiteout": (archive(member(".wh.w"), hardlink("h", "w")), "which is deleted"),
    "hard link with content": (
        archive(member("a"), header("h", b"1", target="a", size=9), bytes(512)),
        "has a size but no content",
    ),
    "file with a slash": (archive(member("f/", b"x")), "a file by its type and a directory"),
    "link replaced": (
        archive(directory("a"), symlink("l", "a"), directory("l/x"), symlink("l", "b")),
        '"l/x": came through a link that was replaced',
    ),
    "opaque through a link": (
        archive(directory("d"), symlink("l", "d"), member("l/.wh..wh..opq")),
        'opaque directory "l"',
    ),
    "opaque file": (archive(member("f"), member("f/.wh..wh..opq")), '"f/.wh..wh..opq"'),
    "sparse beyond all disks": (archive(new_sparse("0\n", 1 << 62, b"")), "maximum-unpacked"),
    "sparse": (archive(new_sparse("0\n", 65 << 30, b"")), "larger than 68719476736 bytes"),
    "many that are sparse": (
        archive(*[new_sparse("0\n", 33 << 30, b""), member("b")] * 2),
        "larger than 68719476736 bytes with all before it",
    ),
    "deep": (archive(pax({"path": "d/" * 10_000 + "f"}), member("x")), "longer than 4095 bytes"),
    "deep by links": (deep_by_links(), "longer than 4095 bytes"),
    "gzip twice": (SMALL, "archive is truncated"),
    "zeros behind gzip": (SMALL, "followed by something else"),
    "half a gzip header": (SMALL, "archive is truncated"),
    "garbage behind zstd": (SMALL, "archive is followed by something else"),
    "zstd with a huge window": (SMALL, "more than 128 MiB of memory are needed"),
    "xz with a huge dictionary": (SMALL, "more than 256 MiB of memory are needed"),
}  # fmt: skip
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip twice": lambda data: gzip.compress(gzip.compress(data)),
    "zeros behind gzip": lambda data: gzip.compress(data) + bytes(512),
    "half a gzip header": lambda data: gzip.compress(data) + b"\x1f",
    "garbage behind zstd": lambda data: zstd(data) + b"garbage",
    "zstd with a huge window": lambda data: zstd(data, "--ultra", "--long=31", "--no-content-size"),
    "xz with a huge dictionary": lambda data: lzma.compress(
        data, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: Path, store: Store, case: str) -> None:
    data, message = REFUSED[case]
    path = tmp_path / "evil"
    path.write_bytes(PACKED.get(case, bytes)(data))
    before = stored(store.root)
    with pytest.raises(BadInput) as caught:
        publish.import_layer(store, str(path), diff_id=diff_id(data), label="evil")
    assert message in str(caught.value)
    if "opaque directory" not in message:
        assert str(caught.value).startswith("evil: ")
    store.close()
    assert stored(store.root) == before


EMPTY: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "gzip": (gzip.compress, 100_000),
    "bzip2": (bz2.compress, 300_000),
    "xz": (lzma.compress, 200_000),
    "zstd": (zstd, 500_000),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_streams_of_nothing_cost_little(tmp_path: Path, store: Store, kind: str) -> None:
    """An archive followed by very many empty streams: the work grows with its size only."""
    pack, count = EMPTY[kind]

    def work(streams: int) -> float:
        small = archive(member(str(streams)))
        (tmp_path / "a").write_bytes(pack(small) + pack(b"") * streams)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        publish.import_layer(store, str(tmp_path / "a"), diff_id=diff_id(small))
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    # Four times the streams would be sixteen times the work if each cost what is left.
    assert work(count) < 8 * work(count // 4)


def test_names_that_look_like_others_stay_apart(tmp_path: Path, store: Store) -> None:
    """Case, composed and decomposed letters, directions, backslashes, dots that are not "..": all
    are names like others to Linux, and lead nowhere."""
    given = {"A", "a", "\u00e9", "e\u0301", "\u202egnp.exe", "\uff0e\uff0e"}
    given |= {"..\\..\\x", "...", ".. ", "C:\\x"}
    data = archive(*[member(name, name.encode()) for name in sorted(given)])
    (tmp_path / "a").write_bytes(data)
    publish.import_layer(store, str(tmp_path / "a"), diff_id=diff_id(data))
    layer = store.layer_path(diff_id(data))
    assert names(layer) == {".", *given}
    assert all(Path(layer, name).read_text() == name for name in given)


def bomb(path: Path, size: str, command: list[str]) -> None:
    zeros = subprocess.Popen(["head", "-c", size, "/dev/zero"], stdout=subprocess.PIPE)
    with path.open("wb") as file:
        subprocess.run(command, stdin=zeros.stdout, stdout=file, check=True)
    zeros.wait()


def test_ten_gigabytes_in_ten_kilobytes(tmp_path: Path, store: Store) -> None:
    """By the limits that hold by default; and where more is allowed, by the other one."""
    head = header("zeros", size=0, size_field=b"\x80" + (10 << 30).to_bytes(11, "big"))
    one = tmp_path / "one"
    bomb(one, "64M", ["bzip2", "-9"])
    path = tmp_path / "bomb"
    # bzip2 of 10 GiB takes minutes; streams may be joined, and every part is the same.
    path.write_bytes(bz2.compress(head) + one.read_bytes() * 160 + bz2.compress(bytes(1024)))
    assert path.stat().st_size < 20_000
    before = stored(store.root)
    for limits, message in (
        (None, r"more than 2000 times its size .* \(maximum-expansion in rktsd.toml\)"),
        (
            Limits(expansion=1 << 50, size=1 << 20),
            r'"zeros": .* \(maximum-unpacked in rktsd.toml\)',
        ),
    ):
        with pytest.raises(BadInput, match=message):
            publish.import_layer(store, str(path), diff_id=diff_id(b""), limits=limits)
        store.close()
        assert stored(store.root) == before


IMPORT = (
    "import sys, resource; from rktsd.errors import RktError\n"
    "from rktsd.store.store import Store; from rktsd.store.records import Limits\n"
    "from rktsd.store import publish\n"
    "store, archive, digest, entries = sys.argv[1:]\n"
    "try:\n"
    "    with Store.open(store) as opened:\n"
    "        limits = Limits(entries=int(entries))\n"
    "        publish.import_layer(opened, archive, diff_id=digest, limits=limits)\n"
    "except RktError as error:\n"
    "    print(error, file=sys.stderr)\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
)


def limited(store: Store, archive: Path, digest: str, entries: int) -> tuple[int, str]:
    """How much memory (KiB) the child took for a layer with so many entries, and the refusal."""
    command = ["/usr/bin/python3", "-c", IMPORT, store.root, str(archive), digest, str(entries)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout), done.stderr


def test_a_million_entries(tmp_path: Path, store: Store) -> None:
    """Each is counted, also one that leaves nothing on the disk; none of them stays in memory."""
    block = b"".join(header(f".wh..wh.{n}") for n in range(1000))
    path = tmp_path / "many"
    path.write_bytes(gzip.compress(block, 1) * 1000 + gzip.compress(bytes(1024)))
    before = stored(store.root)
    memory, refusal = limited(store, path, diff_id(b""), 999_999)
    reason = "more than 999999 entries (maximum-entries in rktsd.toml)"
    assert refusal == f"{path}: {reason}\n"
    assert memory < 64 << 10
    assert stored(store.root) == before


def test_as_many_entries_as_the_limit_allows(tmp_path: Path, store: Store) -> None:
    block = b"".join(header(f"d{n}/", b"5") for n in range(1000))
    data = archive(block * 50)
    path = tmp_path / "many"
    path.write_bytes(gzip.compress(data, 1))
    memory, refusal = limited(store, path, diff_id(data), 50_000)
    assert refusal == ""
    assert memory < 64 << 10
    assert len(os.listdir(store.layer_path(diff_id(data)))) == 1000


@pytest.mark.parametrize("size", [3 << 19, 8 << 20])
def test_a_manifest_of_many_megabytes(tmp_path: Path, store: Store, size: int) -> None:
    """JSON that is all brackets, or too large to be looked at."""
    data = aci()
    manifest = b"[" * size
    data = archive(member("manifest", manifest), directory("rootfs"))
    (tmp_path / "a").write_bytes(data)
    before = stored(store.root)
    with pytest.raises(BadInput, match=r"nested more than 64 levels|larger than 4194304 bytes"):
        publish.import_aci(store, str(tmp_path / "a"), source="a", verified_by="insecure")
    store.close()
    assert stored(store.root) == before


def test_trees_that_an_app_made_too_deep_for_a_path_can_be_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for number in range(10_000):
        name = "d" if number % 100 else "n" * 255
        os.mkdir(name, dir_fd=here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(str(top))
    assert not top.exists()
