"""The launcher's program: executed for real where this machine can."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rktsd.appc.names import host_labels
from rktsd.host.seccomp import compile_filter
from rktsd.stage1 import launcher

HERE = host_labels()["arch"]


def _launch(path: Path, program: bytes, *command: str) -> subprocess.CompletedProcess[str]:
    path.write_bytes(program)
    path.chmod(0o755)
    environment = {"GREETING": "a b", "PATH": "/bin"}
    return subprocess.run(
        [str(path), command[0], *command],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.fixture
def program() -> bytes:
    rules = [(75, ["mkdir", "mkdirat"])]  # EOVERFLOW
    return launcher.program(HERE, filter=compile_filter(HERE, default="allow", rules=rules))


def test_arguments_and_environment_are_handed_on(tmp_path: Path, program: bytes) -> None:
    script = 'echo "$0" "$1" "$GREETING"; grep -E "^(Seccomp|NoNewPrivs):" /proc/self/status'
    done = _launch(tmp_path / "program", program, "/bin/sh", "-c", script, "zero", "one two")
    assert done.stdout.splitlines() == ["zero one two a b", "NoNewPrivs:\t1", "Seccomp:\t2"]


def test_the_filter_holds(tmp_path: Path, program: bytes) -> None:
    done = _launch(tmp_path / "program", program, "/bin/mkdir", str(tmp_path / "made"))
    assert "Value too large" in done.stderr
    assert not (tmp_path / "made").exists()


def test_killed(tmp_path: Path) -> None:
    filter = compile_filter(HERE, default="allow", rules=[("kill", ["mkdir", "mkdirat"])])
    made = launcher.program(HERE, filter=filter)
    assert _launch(tmp_path / "program", made, "/bin/mkdir", str(tmp_path / "x")).returncode == -31


@pytest.mark.parametrize("command", ["/absent", "/etc/passwd"])
def test_what_cannot_be_executed(tmp_path: Path, program: bytes, command: str) -> None:
    assert _launch(tmp_path / "program", program, command).returncode == 203


def test_the_umask_is_set_before_a_filter_that_forbids_it(tmp_path: Path) -> None:
    rules = [("kill", ["umask"])]
    for filter in (None, compile_filter(HERE, default="allow", rules=rules)):
        made = launcher.program(HERE, filter=filter, umask=0o137)
        file = tmp_path / f"made-{filter is None}"
        assert _launch(tmp_path / "program", made, "/bin/touch", str(file)).returncode == 0
        assert file.stat().st_mode & 0o777 == 0o640


def test_a_filter_that_the_kernel_refuses(tmp_path: Path) -> None:
    made = launcher.program(HERE, filter=bytes(8))
    assert _launch(tmp_path / "program", made, "/bin/true").returncode == 203


def test_a_profile_is_written_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: bytes
) -> None:
    """Into a file here: what AppArmor makes of it is AppArmor's."""
    place = tmp_path / "exec"
    monkeypatch.setattr(launcher, "APPARMOR", str(place))
    filter = compile_filter(HERE, default="allow", rules=[(1, ["write", "openat", "open"])])
    made = launcher.program(HERE, filter=None, profile="web//hat")
    assert _launch(tmp_path / "program", made, "/bin/true").returncode == 203
    place.write_text("")
    assert _launch(tmp_path / "program", made, "/bin/echo", "here").stdout == "here\n"
    assert place.read_text() == "exec web//hat"
    place.write_text("")
    made = launcher.program(HERE, filter=filter, profile="web")
    _launch(tmp_path / "program", made, "/bin/true")
    assert place.read_text() == "exec web"


def test_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated, seccomp(2) is refused: up to there the program runs, and ends as it should."""
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        # The package is large; where it is there, it says whether the code is right.
        return
    path, place = tmp_path / "program", tmp_path / "exec"
    place.write_text("")
    monkeypatch.setattr(launcher, "APPARMOR", str(place))
    for filter, profile, expected in ((bytes(8), None, 203), (None, "web", 0)):
        path.write_bytes(launcher.program("aarch64", filter=filter, profile=profile))
        path.chmod(0o755)
        command = [emulator, os.fspath(path), "/bin/sh", "sh", "-c", "exit $1", "sh", "0"]
        assert subprocess.run(command, check=False).returncode == expected
    assert place.read_text() == "exec web"


def test_an_i386_program_runs_on_amd64(tmp_path: Path) -> None:
    if HERE != "amd64":
        return
    filter = compile_filter("i386", default="allow", rules=[(75, ["mkdir"])])
    made = launcher.program("i386", filter=filter)
    # A program of the other architecture would be killed by this filter: it came that far.
    assert _launch(tmp_path / "program", made, "/bin/true").returncode == -31
    assert _launch(tmp_path / "program", made, "/absent").returncode == 203
