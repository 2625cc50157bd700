"""Every fuzz target for a moment: honest inputs are taken, others are refused in words.

``tests/fuzz`` runs the same for as long as one likes.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.inputs import altered
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_refusals(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=200,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(altered(target.seeds))
    def run(data: bytes) -> None:
        target.run(data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_honest(name: str) -> None:
    """Where they were refused, fuzzing would look at the doorstep only."""
    if name in ("message", "key", "names"):
        return
    for data in TARGETS[name].seeds:
        TARGETS[name].bare(data)


def test_the_runner_of_inputs(tmp_path: Path) -> None:
    """A target that breaks its promise is told; the corpus is run, and inputs without atheris."""
    (tmp_path / "a").write_bytes(b"linux/amd64")
    base = [sys.executable, "-m", "tests.fuzz"]
    for arguments in (["--corpus", str(tmp_path), "platform"], ["--seconds", "0.1", "platform"]):
        subprocess.run([*base, *arguments], cwd=ROOT, check=True, capture_output=True)
    listed = subprocess.run([*base, "--list"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert listed.stdout.split() == list(TARGETS)
