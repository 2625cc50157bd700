"""Programs that run while something else is done."""

from pathlib import Path

import pytest

from rktsd.errors import CommandFailed
from rktsd.host.process import run


def waiting(go: Path, then: str) -> list[str]:
    return ["sh", "-c", f"until [ -e {go} ]; do sleep 0.01; done; {then}"]


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_the_program_runs_meanwhile_and_gets_its_input(tmp_path: Path, size: int) -> None:
    go = tmp_path / "go"
    done = run(waiting(go, "cat"), input=b"x" * size, meanwhile=go.touch)
    assert len(done.stdout) == size


def test_a_program_that_reads_nothing_is_no_trouble(tmp_path: Path) -> None:
    go = tmp_path / "go"
    assert run(waiting(go, "echo end"), input=b"x", meanwhile=go.touch).stdout == b"end\n"
    assert run(["true"], input=b"x", meanwhile=go.touch).returncode == 0


def test_what_fails_meanwhile_is_told_when_the_program_has_ended(tmp_path: Path) -> None:
    go, end = tmp_path / "go", tmp_path / "end"

    def fail() -> None:
        go.touch()
        raise LookupError("meanwhile")

    with pytest.raises(LookupError, match="meanwhile"):
        run(waiting(go, f"sleep 0.1; touch {end}"), meanwhile=fail)
    assert end.exists()


def test_a_program_that_fails_or_takes_too_long_is_told(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with pytest.raises(CommandFailed, match="no way"):
        run(waiting(go, "echo no way >&2; exit 3"), meanwhile=go.touch)
    with pytest.raises(CommandFailed, match="did not end within"):
        run(["sleep", "1000"], timeout=0.1, meanwhile=go.touch)
