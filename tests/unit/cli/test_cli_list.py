"""``rkt list`` for scripts, and for people."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rktsd.paths import Paths
from tests.unit.pods.disk import UUIDS, make_pod

ROOT = Path(__file__).parents[3]
A, B = UUIDS[:2]


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A data directory with a pod that has a name, and one that has none."""
    paths = Paths(data=f"{tmp_path}/data")
    make_pod(paths, A, "run", name="web")
    make_pod(paths, B, "prepared")
    return f"--dir={paths.data}"


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "rktsd", *words]


def piped(*words: str) -> str:
    done = subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def on_a_terminal(*words: str) -> str:
    master, slave = pty.openpty()
    with subprocess.Popen(command(*words), cwd=ROOT, stdout=slave) as running:
        os.close(slave)
        shown = b""
        try:
            while part := os.read(master, 65536):
                shown += part
        except OSError:
            pass  # How Linux says that a terminal's other side is closed.
    os.close(master)
    assert running.returncode == 0
    return shown.decode().replace("\r\n", "\n")


def cells(text: str) -> list[list[str]]:
    return [re.split(r"\t+", line) for line in text.splitlines()]


def test_scripts_get_the_columns_of_rkt(place: str) -> None:
    header, first, second = cells(piped(place, "list"))
    assert header == ["UUID", "APP", "IMAGE NAME", "STATE", "CREATED", "STARTED", "NETWORKS"]
    assert first[:4] == [A[:8], "one", "example.com/web:1.0.0", "exited"]
    assert second[:4] == [B[:8], "one", "example.com/web:1.0.0", "prepared"]
    header, first, _ = cells(piped(place, "list", "--full"))
    assert header[:5] == ["UUID", "APP", "IMAGE NAME", "IMAGE ID", "STATE"]
    assert header[5:] == ["CREATED", "STARTED", "NETWORKS"]
    assert (first[0], first[3]) == (A, "sha512-000000000000")


def test_people_see_names(place: str) -> None:
    header, first, second = cells(on_a_terminal(place, "list"))
    assert header == [
        "UUID",
        "NAME",
        "APP",
        "IMAGE NAME",
        "STATE",
        "CREATED",
        "STARTED",
        "NETWORKS",
    ]
    assert first[:4] == [A[:8], "web", "one", "example.com/web:1.0.0"]
    # No cell between the tabs: this pod has no name.
    assert second[:3] == [B[:8], "one", "example.com/web:1.0.0"]
    header, first, _ = cells(on_a_terminal(place, "list", "--full"))
    assert header[:5] == ["UUID", "NAME", "APP", "IMAGE NAME", "IMAGE ID"]
    assert first[:3] == [A, "web", "one"]


def test_json_tells_names_everywhere(place: str) -> None:
    for text in (
        piped(place, "list", "--format=json"),
        on_a_terminal(place, "list", "--format=json"),
    ):
        first, second = json.loads(text)
        assert first["pod_name"] == "web"
        assert "pod_name" not in second
