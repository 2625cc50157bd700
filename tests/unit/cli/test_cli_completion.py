"""What is offered for a word, as the shells ask for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rktsd.cli.commands import COMMANDS
from rktsd.cli.completing import FILES, SCRIPTS, offers
from rktsd.cli.main import main
from rktsd.paths import Paths
from rktsd.pods.directories import RUN
from tests.unit.pods.disk import UUIDS, make_pod

ROOT = Path(__file__).parents[3]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(data=str(tmp_path / "data"), local_config=str(tmp_path / "etc"))


OFFERS = {
    "sta": ["start", "stats", "status"],
    "image in": ["inspect"],
    "app st": ["start", "status", "stop"],
    "app add --store": ["--store-only"],
    "image verify --fe": ["--fetch"],
    "image tree --format=": ["--format=dot", "--format=tree"],
    "help imp": [],
    "eve": ["events"],
    "events --format=json-": ["--format=json-pretty"],
    "help statu": ["status"],
    "--debug li": ["list"],
    "--dir /tmp li": ["list"],
    "--insec": ["--insecure-options="],
    "list --format=": ["--format=json", "--format=json-pretty"],
    "list --format json-": ["json-pretty"],
    "run --stage1-h": [],
    "run --stage1-n": ["--stage1-name="],
    "run --stage1-name=f": ["--stage1-name=fly"],
    "run --pull-policy=u": ["--pull-policy=update"],
    "run --net=h": ["--net=host"],
    "run --pod-manifest=x": [FILES],
    "run --pod-manifest ": [FILES],
    "trust --prefix=x ": [FILES],
    "exec web --": [FILES],
    "exec web ls -": [FILES],
    "completion ": ["bash", "fish", "zsh"],
    "no-such-command ": [],
    "version ": [],
}


@pytest.mark.parametrize("line", OFFERS)
def test_offers(line: str, paths: Paths) -> None:
    assert offers(line.split(" "), paths) == OFFERS[line]


def test_every_command_and_flag_is_offered(paths: Paths) -> None:
    for name, command in COMMANDS.items():
        *before, last = name.split()
        assert last in offers([*before, last[:1]], paths)
        for flag in command.flags:
            found = offers([*name.split(), f"--{flag.name}"], paths)
            shown = {f"--{flag.name}", f"--{flag.name}="} & set(found)
            assert bool(shown) == (flag.refused is None and bool(command.function)), flag


def test_pods_and_apps_are_offered(paths: Paths) -> None:
    make_pod(paths, UUIDS[0], RUN, name="web")
    assert offers(["stop", ""], paths) == sorted([UUIDS[0], "web"])
    assert offers(["stop", "w"], paths) == ["web"]
    assert offers(["logs", "web", "--app="], paths) == ["--app=one"]
    assert offers(["enter", "--app", ""], paths) == ["one"]


def test_networks_are_offered(paths: Paths) -> None:
    directory = Path(paths.local_config, "net.d")
    directory.mkdir(parents=True)
    (directory / "10.conf").write_text('{"name": "backend", "type": "bridge"}')
    assert offers(["run", "--net=b"], paths) == ["--net=backend"]


@pytest.mark.parametrize("words", [(), ("tcsh",), ("bash", "zsh")])
def test_what_is_no_shell(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", *words]) == 254
    message = "completion: exactly one shell has to be given: bash, zsh, fish\n"
    assert capsys.readouterr().err == message


@pytest.fixture
def rkt(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "rkt"
    program.parent.mkdir()
    script = (
        f"import sys; sys.path[:0] = ['{ROOT}']; from rktsd.cli.main import main; sys.exit(main())"
    )
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{script}" "$@"\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("rkt sto", "stop"),
        ("rkt list --form", "--format="),
        ("rkt list --format=json-", "json-pretty"),
        ("rkt logs x --no", ""),
        ("rkt image ", "build cat-manifest"),
    ],
)
def test_bash_completes(rkt: Path, line: str, replies: str) -> None:
    script = (
        f'PATH={rkt.parent}:$PATH; source <(rkt completion bash); COMP_LINE="$1";'
        ' COMP_POINT=${#COMP_LINE}; _rkt; echo "${COMPREPLY[*]}"'
    )
    done = subprocess.run(["bash", "-c", script, "bash", line], capture_output=True, text=True)
    assert done.stderr == ""
    assert f"{done.stdout.strip()} ".startswith(f"{replies} ")


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_says_nothing_wrong_to_its_shell(shell: str, rkt: Path) -> None:
    done = subprocess.run([rkt, "completion", shell], capture_output=True, text=True, check=True)
    assert done.stdout == SCRIPTS[shell]
    if shell == "bash":
        assert subprocess.run(["bash", "-n", "-c", done.stdout]).returncode == 0
