"""Any sequence of members: unpacked within its directory or refused as the archive's fault."""

import os
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rktsd.errors import BadInput, Unsupported
from rktsd.store.merge import walk
from rktsd.store.tree import remove_tree
from rktsd.store.unpack import unpack
from tests.unit.store.archives import (
    archive,
    directory,
    hardlink,
    header,
    member,
    pax,
    snapshot,
    symlink,
)

name = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
target = st.sampled_from(
    ["a", "b/a", "/", "/a/b", "..", "../../..", "../b", "c/../a", "OUT", "OUT/file", ".", "x" * 300]
)


def _whiteout(path: str) -> bytes:
    parent, _, last = path.rpartition("/")
    return member(f"{parent}/.wh.{last}" if parent else f".wh.{last}")


step = st.one_of(
    st.builds(directory, name, mode=st.sampled_from([0o755, 0, 0o7777])),
    st.builds(lambda path, data: member(path, data), name, st.binary(max_size=20)),
    st.tuples(name, target),
    st.builds(hardlink, name, name),
    st.builds(_whiteout, name),
    st.builds(lambda path: member(f"{path}/.wh..wh..opq"), name),
    st.just(member(".wh..wh..opq")),
    st.builds(lambda path: header(path, b"6"), name),
    st.builds(lambda path: header(path, b"3", device=(1, 3)), name),
    st.builds(
        lambda path, key, value: pax({f"SCHILY.xattr.{key}": value}) + member(path),
        name,
        st.sampled_from(["user.a", "trusted.overlay.opaque", "security.capability", "system.x"]),
        st.binary(min_size=1, max_size=30),
    ),
)


def test_any_sequence_of_members(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("the host's")
    host = snapshot(outside)

    def made(steps: list[Any]) -> bytes:
        return archive(
            *[
                symlink(each[0], each[1].replace("OUT", str(outside)))
                if isinstance(each, tuple)
                else each
                for each in steps
            ]
        )

    @settings(
        max_examples=40,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(step, min_size=1, max_size=10))
    def run(steps: list[Any]) -> None:
        check(made(steps), tmp_path)

    run()
    assert snapshot(outside) == host


def check(data: bytes, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (tmp_path / "a").write_bytes(data)
    found: list[object] = []
    for _ in range(2):
        remove_tree(str(root))
        root.mkdir()
        try:
            unpack(str(tmp_path / "a"), str(root), kind="oci", digest="sha256", label="a")
        except (BadInput, Unsupported) as error:
            found.append(str(error))
            continue
        found.append(snapshot(root))
        assert {entry.path for entry in walk([str(root)], whiteouts=True)} == {
            "" if path == "." else path for path in snapshot(root)
        }
    assert found[0] == found[1]
    assert not isinstance(found[0], str) or found[0].startswith(("a: ", "opaque directory "))
    assert {*os.listdir(tmp_path)} <= {"a", "outside", "cas", "root", "root.times"}
