"""Descriptions of pods as people write them, and the pod files that come of them.

``RKTSD_GOLDEN=write`` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rktsd.cli.main import main

Capture = pytest.CaptureFixture[str]

CASES = Path(__file__).parent / "cases"
# What is given of each directory, and how.
GIVEN = {
    "kube-pod": "kube web.yaml",
    "kube-several": "kube all.yaml",
    "kube-told": "kube odd.yaml",
    "quadlet-arguments": "quadlet db.container",
    "quadlet-dropin": "quadlet app.container",
    "quadlet-pod": "quadlet shop.pod front.container",
    "quadlet-rights": "quadlet worker.container",
    "quadlet-template": "quadlet sleep@.container",
    "quadlet-told": "quadlet odd.container",
    "quadlet-web": "quadlet web.container",
}


def test_every_case_is_given() -> None:
    assert sorted(each.name for each in CASES.iterdir()) == sorted(GIVEN)


@pytest.mark.parametrize("case", GIVEN)
def test_a_case(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(CASES / case)
    words = [f"--dir={tmp_path}/data", "generate", *GIVEN[case].split(), f"--output={tmp_path}"]
    assert main(words) == 0
    captured = capsys.readouterr()
    files = captured.out.splitlines()
    told = captured.err
    found = {os.path.basename(path): Path(path).read_text() for path in files} | {"told": told}
    # The directory of this test is in paths that were relative.
    found = {name: text.replace(str(CASES), "/cases") for name, text in found.items()}
    if os.environ.get("RKTSD_GOLDEN") == "write":
        for name, text in found.items():
            (CASES / case / f"{name}.expected").write_text(text)
    wanted = {
        each.name.removesuffix(".expected"): each.read_text()
        for each in (CASES / case).glob("*.expected")
    }
    assert found == wanted
    assert main(["pod", "check", *files]) == 0
    capsys.readouterr()
    # The same comes out again, and nothing at all where everything has to be carried over.
    (tmp_path / "again").mkdir()
    words[-1] = f"--output={tmp_path}/again"
    assert main(words) == 0
    again = capsys.readouterr().out.splitlines()
    assert [Path(x).read_text() for x in again] == [Path(x).read_text() for x in files]
    for path in again:
        os.unlink(path)
    lacking = ": not " in told
    assert main([*words, "--strict"]) == (254 if lacking else 0)
    assert bool(os.listdir(tmp_path / "again")) is not lacking
