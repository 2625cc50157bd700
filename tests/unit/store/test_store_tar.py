"""The tar reader: what honest tools write is read, what is malformed is refused by name."""

import os
import random
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rktsd.errors import BadInput, RktError, Unsupported
from rktsd.store.tar import Member, TarReader
from tests.unit.store.archives import (
    END,
    archive,
    by_tarfile,
    directory,
    hardlink,
    header,
    member,
    pax,
    symlink,
)


def pieces(data: bytes, size: int) -> Callable[[], bytes]:
    parts: Iterator[bytes] = (data[i : i + size] for i in range(0, len(data), size))
    return lambda: next(parts, b"")


def read(data: bytes, *, chunk: int = 1 << 20) -> list[tuple[Member, bytes]]:
    reader = TarReader(pieces(data, chunk), "a.tar")
    found = []
    while (entry := reader.next()) is not None:
        content = b""
        while part := reader.chunk():
            content += part
        found.append((entry, content))
    return found


@pytest.mark.parametrize("chunk", [1, 7, 511, 512, 513, 4096, 1 << 20])
def test_the_size_of_chunks_does_not_matter(chunk: int) -> None:
    data = archive(member("a", b"x" * 1000), directory("d/"), member("d/b", b"y" * 512))
    found = read(data, chunk=chunk)
    assert [(m.name, m.kind, content) for m, content in found] == [
        (b"a", b"0", b"x" * 1000),
        (b"d", b"5", b""),
        (b"d/b", b"0", b"y" * 512),
    ]


def test_content_that_is_not_read_is_skipped() -> None:
    reader = TarReader(pieces(archive(member("a", b"x" * 5000), member("b", b"y")), 700), "a.tar")
    assert reader.next() is not None
    assert len(reader.chunk()) > 0
    second = reader.next()
    assert second is not None
    assert second.name == b"b"
    assert bytes(reader.chunk()) == b"y"
    assert reader.next() is None


@pytest.mark.parametrize("style", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_every_format_of_gnu_tar(tmp_path: Path, style: str) -> None:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "file").write_bytes(b"content")
    os.utime(root / "d" / "file", ns=(0, 1_500_000_000_000_000_000))
    (root / "d" / "link").symlink_to("file")
    os.link(root / "d" / "file", root / "d" / "other")
    command: list[str | Path] = [
        "tar",
        "-C",
        root,
        f"--format={style}",
        "--owner=12",
        "--group=34",
        "-c",
        ".",
    ]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    found = {m.name: (m, content) for m, content in read(data)}
    assert set(found) == {b"", b"d", b"d/file", b"d/link", b"d/other"}
    assert found[b"d/link"][0].target == b"file"
    files = sorted([found[b"d/file"], found[b"d/other"]], key=lambda x: x[0].kind)
    assert [m.kind for m, _ in files] == [b"0", b"1"]
    assert files[0][1] == b"content"
    assert (files[0][0].uid, files[0][0].gid) == (12, 34)
    assert files[0][0].mtime == 1_500_000_000_000_000_000
    assert files[1][0].target == files[0][0].name


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(style: int) -> None:
    name = "d/" * 150 + "ü" * 40
    assert [m.name for m, _ in read(by_tarfile([(name, b"x")], format=style))] == [name.encode()]


def test_the_ustar_prefix_comes_before_the_name() -> None:
    assert read(archive(header("b", prefix=b"a/x")))[0][0].name == b"a/x/b"
    # GNU's own headers keep other things in that place.
    times = b"01234567012\00001234567012\0"
    assert read(archive(header("b", prefix=times, magic=b"ustar  \0")))[0][0].name == b"b"


def test_numbers_beyond_octal() -> None:
    big = b"\x80" + (1 << 30).to_bytes(7, "big")
    past = b"\xff" * 11 + b"\xfe"
    entry = read(archive(header("a", uid=big, mtime=past)))[0][0]
    assert (entry.uid, entry.mtime) == (1 << 30, -2_000_000_000)


def test_pax_records_override_the_header() -> None:
    records: dict[str, str | bytes] = {
        "path": "long/näme\nwith newline",
        "uid": "70000",
        "gid": "70001",
        "mtime": "-1.25",
        "SCHILY.xattr.user.k": b"\0=\n\xff",
        "comment": "nothing",
    }
    entry, content = read(archive(pax(records), member("short", b"data")))[0]
    assert entry.name == "long/näme\nwith newline".encode()
    assert (entry.uid, entry.gid, entry.mtime) == (70000, 70001, -1_250_000_000)
    assert entry.xattrs == {"user.k": b"\0=\n\xff"}
    assert content == b"data"


def test_pax_size_counts() -> None:
    body = b"z" * 600
    data = pax({"size": "600"}) + header("a", size=0) + body + bytes(424) + member("b") + END
    assert [(m.name, c) for m, c in read(data)] == [(b"a", body), (b"b", b"")]


def test_a_global_comment_is_ignored() -> None:
    assert len(read(archive(pax({"comment": "commit"}, b"g"), member("a")))) == 1


def test_names_are_cleaned() -> None:
    data = archive(member("./a//b/./c"), directory("./"), hardlink("l", "./a/b"))
    assert [m.name for m, _ in read(data)] == [b"a/b/c", b"", b"l"]
    assert read(data)[2][0].target == b"a/b"


GOOD = archive(member("a", b"x" * 700), symlink("s", "a"))

REFUSED = {
    "parent": (archive(member("a/../../b")), '"a/../../b": name with ".."'),
    "parent alone": (archive(member("..")), '"..": name with ".."'),
    "absolute": (archive(member("/etc/passwd")), '"/etc/passwd": absolute name'),
    "empty": (archive(member("")), "empty name"),
    "NUL in a PAX name": (archive(pax({"path": "a\0b"}), member("x")), "NUL in a name"),
    "hard link up": (archive(hardlink("a", "../b")), '"a": name with ".."'),
    "hard link to absolute": (archive(hardlink("a", "/b")), '"a": absolute name'),
    "hard link to nothing": (archive(hardlink("a", "")), '"a": empty name'),
    "symbolic link to nothing": (archive(symlink("a", "")), '"a": symbolic link with a bad target'),
    "NUL in a link": (
        archive(pax({"linkpath": "a\0b"}), symlink("s", "x")),
        "symbolic link with a bad target",
    ),
    "unknown type": (archive(member("a", kind=b"Z")), '"a": unknown type "Z"'),
    "multi-volume": (archive(member("a", kind=b"M")), '"a": unknown type "M"'),
    "size of a directory": (archive(header("a", b"5", size=512), bytes(512)), "has a size"),
    "not octal": (archive(header("a", size_field=b"0000000008 \0")), '"a": bad size'),
    "underscore": (archive(header("a", size_field=b"00_0\0")), '"a": bad size'),
    "sign": (archive(header("a", size_field=b"-1\0")), '"a": bad size'),
    "negative size": (archive(header("a", size_field=b"\xff" * 12)), '"a": bad size'),
    "huge size": (archive(header("a", size_field=b"\x80" + b"\x7f" * 11)), "truncated"),
    "huge owner": (archive(header("a", uid=b"\x80\0\0\x01\0\0\0\0")), "owner"),
    "minus one as owner": (archive(pax({"uid": "4294967295"}), member("a")), "out of range"),
    "huge mtime": (archive(header("a", mtime=b"\x80" + b"\x7f" * 11)), "mtime is out of range"),
    "checksum": (GOOD[:20] + b"!" + GOOD[21:], "not a tar archive, or a header is damaged"),
    "not tar": (b"hello" * 1000, "not a tar archive"),
    "nothing": (b"", "archive is truncated"),
    "in a header": (GOOD[:300], "archive is truncated"),
    "in content": (GOOD[:1000], "archive is truncated"),
    "in padding": (GOOD[:1300], "archive is truncated"),
    "no end": (GOOD[: -len(END)], "archive is truncated"),
    "behind the end": (GOOD + member("b"), "has data after its end"),
    "between the ends": (GOOD[:-512] + member("b") + END, "has data after its end"),
    "header for nothing": (pax({"path": "a"}) + END, "ends inside the description"),
    "long name too long": (member("x", b"a" * (1 << 20), b"L") + END, "extended headers"),
    "many headers": (pax({"comment": "c" * 4096}) * 300 + member("a") + END, "extended headers"),
    "endless header": (header("x", b"x", size=0, size_field=b"\x80" + b"\x7f" * 11), "extended"),
    "PAX length": (archive(member("x", b"99 path=a\n", b"x"), member("a")), "malformed extended"),
    "PAX short": (archive(member("x", b"3 a\n", b"x"), member("a")), "malformed extended"),
    "PAX no number": (archive(member("x", b"path=a\n", b"x"), member("a")), "malformed extended"),
    "PAX zero": (archive(member("x", b"0 a=b\n", b"x"), member("a")), "malformed extended"),
    "PAX no newline": (archive(member("x", b"8 path=ab", b"x"), member("a")), "malformed"),
    "PAX uid": (archive(pax({"uid": "-1"}), member("a")), "bad"),
    "PAX size": (archive(pax({"size": "1" * 30}), member("a")), "bad"),
    "PAX mtime": (archive(pax({"mtime": "1e5"}), member("a")), "bad mtime"),
    "long name without end": (archive(member("x", b"ab", b"L"), member("a")), "without end"),
    "magic of nobody": (archive(header("a", magic=b"ustar\0zz")), "neither ustar, GNU's nor older"),
    "words for GNU's times": (archive(header("a", magic=b"ustar  \0", prefix=b"up/x")), "bad time"),
    "long name empty": (archive(member("x", b"\0", b"L"), member("a")), "empty name"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    data, message = REFUSED[case]
    with pytest.raises(BadInput) as caught:
        read(data)
    assert str(caught.value).startswith("a.tar: ")
    assert message in str(caught.value)


def old_sparse(
    parts: list[tuple[int, int]], size: int, content: bytes, *, more: bytes = b""
) -> bytes:
    """A sparse file in GNU's old format; ``more`` are blocks with further parts."""
    block = bytearray(header("a", b"S", size=len(content), magic=b"ustar  \0"))
    for index, (offset, length) in enumerate(parts):
        block[386 + 24 * index : 410 + 24 * index] = b"%011o\0%011o\0" % (offset, length)
    block[482] = bool(more)
    block[483:495] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + more + content + bytes(-len(content) % 512)


def new_sparse(table: str, size: int, content: bytes) -> bytes:
    """A sparse file in GNU's PAX format 1.0."""
    text = table.encode()
    data = text + bytes(-len(text) % 512) + content
    return pax(
        {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "a",
            "GNU.sparse.realsize": str(size),
        }
    ) + member("GNUSparseFile.0/a", data)


def test_sparse_files_say_where_their_data_is() -> None:
    again = bytearray(512)
    again[:24] = b"%011o\0%011o\0" % (4096, 1)
    for data in (
        old_sparse([(0, 1)], 9000, b"xy", more=bytes(again)),
        new_sparse("2\n0\n1\n4096\n1\n", 9000, b"xy"),
        pax(
            {
                "GNU.sparse.map": "0,1,4096,1",
                "GNU.sparse.numblocks": "2",
                "GNU.sparse.size": "9000",
                "GNU.sparse.name": "a",
            }
        )
        + member("x", b"xy"),
    ):
        reader = TarReader(iter([archive(data, member("next")), b""]).__next__, "a.tar")
        found = reader.next()
        assert found is not None
        assert (found.name, found.kind, found.size) == (b"a", b"0", 9000)
        assert found.parts == ((0, 1), (4096, 1))
        assert bytes(reader.chunk()) == b"xy"
        after = reader.next()
        assert after is not None
        assert (after.name, after.parts) == (b"next", None)


SPARSE = {
    "overlap": new_sparse("2\n0\n4\n2\n4\n", 99, b"x" * 8),
    "beyond the end": new_sparse("1\n90\n10\n", 99, b"x" * 10),
    "less data": new_sparse("1\n0\n10\n", 99, b"x" * 9),
    "more data": new_sparse("1\n0\n10\n", 99, b"x" * 11),
    "huge": new_sparse("0\n", 1 << 63, b""),
    "no number": new_sparse("1\nx\n0\n", 99, b""),
    "negative": new_sparse("1\n-1\n0\n", 99, b""),
    "endless count": new_sparse("9999999999999999999\n" + "0\n" * (1 << 20), 99, b""),
    "long number": new_sparse("1" * 4000, 99, b""),
    "map larger than the file": new_sparse("", 99, b""),
    "old, overlapping": old_sparse([(4, 4), (0, 4)], 99, b"x" * 8),
    "old, endless": old_sparse([], 99, b"", more=(bytes(504) + b"\1" + bytes(7)) * 9000),
    "a directory": pax({"GNU.sparse.major": "1"}) + member("a", kind=b"5"),
    "0.0": pax({"GNU.sparse.size": "1", "GNU.sparse.offset": "0"}) + member("a"),
    "2.0": pax({"GNU.sparse.major": "2", "GNU.sparse.minor": "0"}) + member("a"),
    "0.1 of another length": pax(
        {"GNU.sparse.map": "0", "GNU.sparse.numblocks": "1", "GNU.sparse.size": "1"}
    )
    + member("a"),
}


@pytest.mark.parametrize("case", SPARSE)
def test_maps_that_are_none_are_refused(case: str) -> None:
    with pytest.raises(BadInput, match=r"a\.tar"):
        read(archive(SPARSE[case]))


def test_global_headers_that_change_members_are_refused() -> None:
    with pytest.raises(Unsupported, match='global extended header "path"'):
        read(archive(pax({"path": "b"}, b"g"), member("a")))


def test_messages_show_hostile_names_harmlessly() -> None:
    with pytest.raises(BadInput) as caught:
        read(archive(member(b"\x1b[31m\n\xff/..", kind=b"0")))
    assert str(caught.value) == 'a.tar: "\\x1b[31m\\x0a\\xff/..": name with ".."'


def test_damaged_archives_never_raise_anything_else() -> None:
    """Ten thousand archives with some bytes changed: read or refused, in bounded time."""
    random.seed(1)
    base = archive(
        pax({"path": "p", "mtime": "1.5", "SCHILY.xattr.user.a": "b"}),
        member("x", b"content"),
        member("n" * 90, b"L" * 200 + b"\0", b"L"),
        directory("d"),
        hardlink("h", "d/x"),
        symlink("s", "../x"),
    )
    refused = 0
    for _ in range(10_000):
        data = bytearray(base)
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(data))
            data[at] = random.randrange(256)
        block = random.randrange(len(data) // 512) * 512
        # Mend the checksum of one header, so that its fields are looked at.
        total = sum(data[block : block + 512]) - sum(data[block + 148 : block + 156]) + 256
        data[block + 148 : block + 156] = b"%06o\0 " % total
        try:
            for entry, _content in read(bytes(data)):
                assert b".." not in entry.name.split(b"/")
                assert entry.name[:1] != b"/"
        except RktError:
            refused += 1
    assert 100 < refused < 10_000
