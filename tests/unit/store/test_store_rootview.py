"""The view of a layered root: what it sees is what overlayfs shows."""

import os
import random
import stat
import subprocess
from pathlib import Path

import pytest

from rktsd.errors import BadInput
from rktsd.store.rootview import RootView
from tests.unit.store.stacks import PATHS, make, random_layers


def real(view: RootView, path: str) -> str | None:
    found = view.resolve(path)
    return found.real if found else None


def test_upper_layers_shadow_lower_ones(tmp_path: Path) -> None:
    top = make(tmp_path / "2", {"etc/a": "top", "gone": "wh", "d": "opq", "f": "file", "g/x": "g"})
    low = make(
        tmp_path / "1",
        {"etc/a": "low", "etc/b": "low", "gone/x": "", "d/old": "", "f/below": "", "g": "file"},
    )
    view = RootView([top, low])
    assert view.read("/etc/a", 10) == b"top"
    assert view.read("etc/b", 10) == b"low"
    assert real(view, "/etc") == f"{top}/etc"
    assert real(view, "/gone") is None
    assert real(view, "/gone/x") is None
    assert real(view, "/d/old") is None
    assert real(view, "/f/below") is None
    assert view.read("/f", 10) == b"file"
    assert view.read("/g/x", 10) == b"g"
    assert real(view, "/") == top


def test_a_file_in_the_middle_ends_a_directory(tmp_path: Path) -> None:
    layers = [
        make(tmp_path / "3", {"d/top": ""}),
        make(tmp_path / "2", {"d": "not a directory"}),
        make(tmp_path / "1", {"d/low": ""}),
    ]
    view = RootView(layers)
    assert real(view, "/d/top") == f"{layers[0]}/d/top"
    assert real(view, "/d/low") is None


def test_links_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("host")
    secret = str(tmp_path / "secret")
    root = make(
        tmp_path / "root" / "1",
        {
            "abs": f"->{secret}",
            "up": "->../../../secret",
            "etc/file": "image",
            "bin": "->usr/bin",
            "usr/bin/sh": "shell",
            "usr/bin/awk": "->/etc/alternatives/awk",
            "etc/alternatives/awk": "->../../../../usr/bin/mawk",
            "usr/bin/mawk": "mawk",
            "root": "->/",
            "loop": "->loop",
            "a": "->b",
            "b": "->a",
            "dangling": "->nothing",
        },
    )
    view = RootView([root])
    assert real(view, "/abs") is None
    assert real(view, "/up") is None
    assert real(view, "/../../../secret") is None
    assert view.read("/bin/sh", 10) == b"shell"
    assert view.read("/bin/awk", 10) == b"mawk"
    found = view.resolve("/bin/awk")
    assert found is not None
    assert found.path == "/usr/bin/mawk"
    assert view.read("/root/root/root/etc/file", 10) == b"image"
    assert view.read("/usr/../etc/./file", 10) == b"image"
    assert real(view, "/dangling") is None
    assert real(view, "/etc/file/") is None
    assert real(view, "/etc/file/.") is None
    assert real(view, "/etc/file/../file") is None
    assert real(view, "/a\0b") is None
    for name in ("loop", "a", "loop/x"):
        with pytest.raises(BadInput, match="too many symbolic links"):
            view.resolve(name)
    link = view.resolve("/bin", follow=False)
    assert link is not None
    assert stat.S_ISLNK(link.status.st_mode)


def test_forty_links_and_no_more(tmp_path: Path) -> None:
    links: dict[str, str | None] = {f"l{n}": f"->l{n - 1}" for n in range(1, 42)}
    view = RootView([make(tmp_path / "1", {"l0": "end", **links})])
    assert view.read("l40", 10) == b"end"
    with pytest.raises(BadInput):
        view.resolve("l41")


def test_reading_is_bounded_and_only_of_files(tmp_path: Path) -> None:
    root = make(tmp_path / "1", {"f": "x" * 11, "d": None})
    os.mkfifo(f"{root}/fifo")
    view = RootView([root])
    with pytest.raises(BadInput, match="/f in the image is larger than 10 bytes"):
        view.read("/f", 10)
    assert view.read("/d", 10) is None
    assert view.read("/fifo", 10) is None
    assert view.read("/none", 10) is None
    assert RootView([]).resolve("/") is None


def test_it_sees_what_the_kernel_shows(tmp_path: Path) -> None:
    """Random layers, every path: compared with a real overlay mount in a namespace of its own."""
    random.seed(7)
    for trial in range(12):
        layers = random_layers(tmp_path / str(trial))
        mounted = tmp_path / str(trial) / "m"
        mounted.mkdir()
        script = (
            'mount -t overlay overlay -o "ro,lowerdir=$1" "$2" && cd "$2" && shift 2 && '
            'for p; do chroot . /busybox stat -L -c "%d.%i.%F" "/$p" 2>/dev/null || echo none; done'
        )
        tools = make(tmp_path / str(trial) / "tools", {})
        Path(f"{tools}/busybox").write_bytes(Path("/bin/busybox").read_bytes())
        Path(f"{tools}/busybox").chmod(0o755)
        stack = [tools, *layers]
        shown = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", ":".join(stack), mounted, *PATHS],
            check=True, capture_output=True, text=True,
        ).stdout.splitlines()  # fmt: skip
        view = RootView(stack)
        seen = []
        for path in PATHS:
            try:
                found = view.resolve(path)
            except BadInput:
                found = None
            seen.append(None if found is None else stat.S_IFMT(found.status.st_mode))
        kinds = {"directory": stat.S_IFDIR, "regular file": stat.S_IFREG}
        wanted = [None if s == "none" else kinds[s.split(".", 2)[2]] for s in shown]
        assert dict(zip(PATHS, seen, strict=True)) == dict(zip(PATHS, wanted, strict=True))
        assert len(set(wanted)) == 3
