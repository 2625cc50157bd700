"""What is looked up in an image about an app's process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rktsd.pods.process import logs_to_streams, signal_number, stop_signal
from rktsd.store.rootview import RootView


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGQUIT", 3), ("QUIT", 3), ("quit", 3), ("3", 3), ("SIGRTMIN+3", 37), ("RTMAX-1", 63),
        ("64", 64), ("0", None), ("65", None), ("SIGNO", None), ("", None), ("SIGTERM+1", None),
        ("SIGRTMIN+60", None), ("-9", None), ("\u0663", None),
    ],
)  # fmt: skip
def test_signals(text: str, number: int | None) -> None:
    assert signal_number(text) == number


def test_the_pod_beats_the_image() -> None:
    image = {"appc.io/docker/stopsignal": "SIGWINCH"}
    assert stop_signal(None, {}) == 15
    assert stop_signal(None, image) == 28
    assert stop_signal(2, image) == 2
    assert stop_signal(None, {"appc.io/docker/stopsignal": "SIGNONSENSE"}) == 15


@pytest.mark.parametrize(
    ("link", "target", "expected"),
    [
        ("var/log/nginx/access.log", "/dev/stdout", True),
        ("var/log/a.log", "/proc/self/fd/2", True),
        ("var/log/a/b/c/d.log", "/dev/stderr", True),
        ("var/log/a/b/c/d/e.log", "/dev/stderr", False),
        ("var/log/a.log", "/dev/null", False),
        ("var/log/a.log", "../dev/stdout", False),
        ("srv/a.log", "/dev/stdout", False),
    ],
)
def test_logs_that_are_standard_output(
    tmp_path: Path, link: str, target: str, expected: bool
) -> None:
    path = tmp_path / "layer" / link
    path.parent.mkdir(parents=True)
    os.symlink(target, path)
    assert logs_to_streams(RootView([str(tmp_path / "layer")])) is expected


def test_a_layer_above_may_have_replaced_the_link(tmp_path: Path) -> None:
    for layer in ("above", "below"):
        (tmp_path / layer / "var/log").mkdir(parents=True)
    os.symlink("/dev/stdout", tmp_path / "below/var/log/a")
    view = RootView([str(tmp_path / "above"), str(tmp_path / "below")])
    assert logs_to_streams(view)
    (tmp_path / "above/var/log/a").write_text("a file")
    assert not logs_to_streams(view)


def test_an_image_without_logs(tmp_path: Path) -> None:
    assert not logs_to_streams(RootView([str(tmp_path)]))
