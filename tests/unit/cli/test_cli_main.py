"""The entry point: exit codes, one line for every mistake, help without reading on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from rktsd.appc.names import SPEC_VERSION
from rktsd.cli import version
from rktsd.cli.commands import COMMANDS
from rktsd.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
REAL = [name for name, command in COMMANDS.items() if command.function]

Capture = pytest.CaptureFixture[str]


def _rkt(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def test_the_package_is_the_command(capsys: Capture) -> None:
    command = ["/usr/bin/python3", "-m", "rktsd", "version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == _rkt(capsys, "version")[1]


def test_without_a_command_there_is_help_and_exit_status_2(capsys: Capture) -> None:
    status, out, err = _rkt(capsys)
    assert (status, err) == (2, "")
    assert all(f"  {name} " in out for name in COMMANDS if " " not in name)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help(capsys: Capture, arguments: list[str]) -> None:
    status, out, err = _rkt(capsys, *arguments)
    assert (status, err) == (0, "")
    assert out.startswith("Pods as units of the host's systemd\n")


@pytest.mark.parametrize("command", REAL)
def test_help_of_a_command_stands_alone(capsys: Capture, command: str) -> None:
    status, out, err = _rkt(capsys, *command.split(), "--help")
    assert (status, err) == (0, "")
    assert _rkt(capsys, "help", *command.split())[1] == out
    assert out.startswith(f"{COMMANDS[command].summary}\n")
    assert f"Usage: rkt {command}" in out
    assert "Examples:\n  rkt " in out
    assert all(f"--{flag.name}" in out for flag in COMMANDS[command].flags)


def test_help_comes_before_mistakes(capsys: Capture) -> None:
    assert _rkt(capsys, "run", "--nonsense", "--help")[0] == 0


def test_help_behind_a_double_dash_is_the_apps(capsys: Capture, tmp_path: Path) -> None:
    arguments = [f"--dir={tmp_path}", "fetch", "x", "--", "--help"]
    assert _rkt(capsys, *arguments) == (254, "", "fetch: app arguments unsupported\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_read(command: str) -> None:
    from rktsd.cli.flags import GLOBAL
    from rktsd.cli.main import _find
    from rktsd.cli.parse import leading, parse

    for example in COMMANDS[command].examples:
        words = example.split()
        _, at = leading(words, GLOBAL)
        name, at = _find(words, at)
        assert name in (command, command.removeprefix("image "))
        parse(words[at:], (*GLOBAL, *COMMANDS[command].flags), grammar=COMMANDS[command].grammar)


@pytest.mark.parametrize("group", [["image"], ["imag"], ["image", "help"], ["image", "--help"]])
def test_a_group_alone_shows_its_commands(capsys: Capture, group: list[str]) -> None:
    status, out, err = _rkt(capsys, *group)
    assert (status, err) == (0 if len(group) > 1 else 2, "")
    assert "  cat-manifest  " in out


@pytest.mark.parametrize("word", ["version", "ver", "ve"])
def test_beginnings_of_commands(capsys: Capture, word: str) -> None:
    status, out, _ = _rkt(capsys, word)
    assert status == 0
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        "rkt Version",
        "appc Version",
        "Python Version",
        "Python OS/Arch",
        "Features",
    ]


def test_version_of_appc_is_the_one_that_manifests_get() -> None:
    assert version.APPC == SPEC_VERSION


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], 'rkt: unknown command "frobnicate" (see "rkt help")'),
        (["lsit"], 'rkt: unknown command "lsit" (did you mean list?)'),
        (["r"], 'rkt: ambiguous command "r": restart, rm, run, run-prepared'),
        (["image", "x"], 'rkt: unknown command "image x" (see "rkt help")'),
        (["--colour", "list"], "rkt: unknown flag: --colour"),
        (["list", "--colour"], "list: unknown flag: --colour"),
        (["list", "x"], 'list: unexpected argument "x"'),
        (["list", "--format=xml"],
         'list: --format: unknown format "xml", not one of json, json-pretty'),
        (["--dir=", "list"], "list: --dir: empty"),
        (["--insecure-options=image,image", "list"],
         'list: --insecure-options: "image" is given more than once'),
        (["--insecure-options=nonsense", "list"],
         'list: --insecure-options: unknown option "nonsense", not one of none, image, tls, http,'
         " pubkey, ondisk, capabilities, paths, seccomp, all-fetch, all-run, all"),
        (["--cpuprofile=x", "list"],
         "rkt: --cpuprofile is not done by this version: there is no Go runtime to profile"),
        (["fetch"], "fetch: must provide at least one image"),
        (["fetch", "--store-only", "--no-store", "a"],
         "fetch: both --store-only and --no-store are given"),
        (["fetch", "--pull-policy=new", "--no-store", "a"],
         "fetch: --pull-policy cannot be combined with --store-only and --no-store"),
        (["fetch", "--pull-policy=often", "a"],
         'fetch: --pull-policy: "often" is not one of new, update, never'),
        (["trust"], "trust: --prefix or --root required"),
        (["trust", "--prefix=a", "--root"], "trust: --prefix and --root cannot be combined"),
        (["trust", "--list", "--remove"], "trust: --list and --remove cannot be combined"),
        (["trust", "--list", "x"], 'trust: unexpected argument "x"'),
        (["trust", "--list", "--skip-fingerprint-review"],
         "trust: --skip-fingerprint-review has no meaning with --list"),
        (["trust", "--root", "--no-legend"], "trust: --no-legend has no meaning without --list"),
        (["trust", "--remove", "ab"], "trust: --prefix or --root required"),
        (["trust", "--remove", "--root"], "trust: must provide at least one fingerprint"),
        (["trust", "--remove", "--root", "ab"],
         "trust: 'ab' is not a fingerprint, or its last 16 digits"),
        (["logs", "--since=foo", "web"],
         'logs: --since: "foo" is not a time (see man 7 systemd.time)'),
        (["logs", "--since=-1h", "--until=", "web"],
         'logs: --until: "" is not a time (see man 7 systemd.time)'),
        (["logs"], "logs: must provide one pod UUID or name"),
        (["events", "--until=-1h"],
         'events: --until: "-1h" is over, and events are shown as they happen (the journal has '
         "what was: rkt logs, journalctl -u rkt@POD)"),
        (["events", "--until=x"], 'events: --until: "x" is not a time (see man 7 systemd.time)'),
        (["events", "-n0"], 'events: invalid argument "0" for --count: not a number above 0'),
        (["events", "nosuchpod"], 'events: no matches found for "nosuchpod"'),
        (["events", "--format=yaml"],
         'events: --format: unknown format "yaml", not one of json, json-pretty'),
        (["status", "a", "b"], "status: exactly one pod has to be given"),
        (["status"], "status: exactly one pod has to be given"),
        (["cat-manifest"], "cat-manifest: exactly one pod has to be given"),
        (["image", "cat-manifest"], "cat-manifest: must provide one image ID or name"),
        (["image", "list", "--fields=latest"],
         'list: --fields: unknown field "latest", not one of id, name, size, importtime, lastused, '
         "verifiedby"),
        (["image", "list", "--order=up"], 'list: --order: "up" is neither asc nor desc'),
        (["list", "\udcff"], "rkt: the argument '\\udcff' is not UTF-8"),
    ],
)  # fmt: skip
def test_mistakes(capsys: Capture, tmp_path: Path, arguments: list[str], message: str) -> None:
    place = [] if any(word.startswith("--dir") for word in arguments) else [f"--dir={tmp_path}"]
    assert _rkt(capsys, *place, *arguments) == (254, "", f"{message}\n")


@pytest.mark.parametrize("command", ["status", "cat-manifest", "stop", "logs"])
def test_a_pod_that_is_not_there(capsys: Capture, tmp_path: Path, command: str) -> None:
    if command == "stop" and not os.path.isdir("/run/systemd/system"):
        expected = "systemd does not run this machine, and pods are units of systemd"
    else:
        expected = 'no matches found for "abc"'
    arguments = [f"--dir={tmp_path}", f"--local-config={tmp_path}", command, "abc"]
    assert _rkt(capsys, *arguments) == (254, "", f"{command}: {expected}\n")


def test_a_uuid_file_that_is_not_there(capsys: Capture, tmp_path: Path) -> None:
    status, out, err = _rkt(capsys, f"--dir={tmp_path}", "status", f"--uuid-file={tmp_path}/no")
    assert (status, out) == (1, "")
    assert err == f"status: cannot read {tmp_path}/no: No such file or directory\n"


@pytest.mark.parametrize("text", ["root:x:0:0::/root:/bin/sh\n", "", "secret", "\udcff"])
def test_a_uuid_file_that_holds_something_else(capsys: Capture, tmp_path: Path, text: str) -> None:
    file = tmp_path / "file"
    file.write_text(text, errors="surrogateescape")
    arguments = ("status", f"--uuid-file={file}", f"--dir={tmp_path}")
    assert _rkt(capsys, *arguments) == (1, "", f"status: {file}: does not hold a UUID\n")


def test_lists_of_nothing(capsys: Capture, tmp_path: Path) -> None:
    place = f"--dir={tmp_path}"
    head = "UUID\tAPP\tIMAGE NAME\tSTATE\tCREATED\tSTARTED\tNETWORKS\n"
    assert _rkt(capsys, place, "list") == (0, head, "")
    assert _rkt(capsys, place, "list", "--no-legend") == (0, "", "")
    assert _rkt(capsys, place, "list", "--format=json") == (0, "[]\n", "")
    head = "ID\tNAME\tSIZE\tIMPORT TIME\tLAST USED\n"
    assert _rkt(capsys, place, "image", "list") == (0, head, "")
    assert _rkt(capsys, place, "image", "list", "--format=json") == (0, "[]\n", "")
    assert _rkt(capsys, place, "image", "rm", "x")[0] == 254
    assert not (tmp_path / "cas").exists()


def _run(
    *arguments: str, stdout: int = subprocess.PIPE, user: int | None = None
) -> subprocess.CompletedProcess[str]:
    script = (
        "import sys; sys.path[:0] = [sys.argv[1]]; from rktsd.cli.main import main;"
        "sys.exit(main(sys.argv[2:]))"
    )
    command = ["/usr/bin/python3", "-IS", "-c", script, str(ROOT), *arguments]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, user=user, group=user
    )


@pytest.mark.parametrize(
    ("line", "name"),
    [(["version"], "version"), (["--help"], "rkt"), (["help", "app"], "rkt"), (["app"], "app")],
)
def test_a_full_disk(line: list[str], name: str) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    done = _run(*line, stdout=descriptor)
    os.close(descriptor)
    message = f"{name}: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (254, message)


@pytest.mark.parametrize("word", ["version", "--help"])
def test_a_broken_pipe_is_silent(word: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = _run(word, stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (254, "")


def test_version_imports_next_to_nothing() -> None:
    script = (
        "import sys; sys.path[:0] = [sys.argv[1]]; from rktsd.cli.main import main;"
        "main(['version']); print(*sys.modules, sep='\\n')"
    )
    command = ["/usr/bin/python3", "-IS", "-c", script, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines())
    assert not loaded & {"argparse", "dataclasses", "subprocess", "json", "pystemd", "sqlite3"}
    assert {name for name in loaded if name.startswith("rktsd.")} <= {
        f"rktsd.{name}"
        for name in (
            "cli", "cli.arguments", "cli.commands", "cli.context", "cli.flags", "cli.main",
            "cli.parse", "cli.version", "errors", "paths",
        )
    }  # fmt: skip


@pytest.mark.row("root_commands/CommandsNeedRoot")
@pytest.mark.parametrize("command", [name for name in REAL if COMMANDS[name].root])
def test_commands_for_root_alone(command: str, tmp_path: Path) -> None:
    nobody = 65534 if os.geteuid() == 0 else None
    done = _run(f"--dir={tmp_path}", *command.split(), "x", user=nobody)
    name = command.rpartition(" ")[2]
    assert done.stderr == f"{name}: cannot run as unprivileged user\n"
    assert done.returncode == 254


@pytest.mark.row("error_output/RktEnsureErrors")
def test_debug_shows_causes(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "pods").write_text("not a directory")
    status, _, err = _rkt(capsys, f"--dir={tmp_path}", "--debug", "list")
    assert status == 254
    first, second = err.splitlines()
    assert first == f"list: cannot read {tmp_path}/pods/embryo: Not a directory"
    assert second.startswith("  └─NotADirectoryError: ")


RKT_1_30 = (
    "api-service, app add, app exec, app list, app rm, app sandbox, app start, app status,"
    " app stop, attach, cat-manifest, completion, config, enter, export, fetch, gc,"
    " image cat-manifest,"
    " image export, image extract, image fetch, image gc, image list, image render, image rm,"
    " image verify, list, metadata-service, prepare, rm, run, run-prepared, status, stop, trust,"
    " version"
).split(", ")


def test_every_command_of_rkt_is_here_or_refused(capsys: Capture) -> None:
    from rktsd.cli.absent import ABSENT

    assert not set(ABSENT) & set(COMMANDS)
    for name in RKT_1_30:
        if name in COMMANDS:
            continue
        status, out, err = _rkt(capsys, *name.split(), "5bc0")
        assert (status, out) == (254, "")
        assert err == (
            f'rkt: "{name}" is a command of rkt that this version lacks ({ABSENT[name]})\n'
        )
        assert _rkt(capsys, "help", *name.split())[0] == 254


def test_a_damaged_manifest_is_named(capsys: Capture, tmp_path: Path) -> None:
    from rktsd.paths import Paths
    from rktsd.pods.directories import RUN
    from tests.unit.pods.disk import UUIDS, make_pod

    place = make_pod(Paths(data=str(tmp_path)), UUIDS[0], RUN)
    Path(place.directory, "pod").write_text("{")
    status, out, err = _rkt(capsys, f"--dir={tmp_path}", "cat-manifest", UUIDS[0])
    assert (status, out) == (254, "")
    assert err.startswith(f"cat-manifest: {place.directory}/pod: line 1, column 2: not JSON")


HANGUP = """
import signal, sys
sys.path[:0] = [sys.argv[1]]
from rktsd.cli import main, running
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.stdin.read()
if sys.argv[2] == "run":
    lost = []
    assert not running._write(lost, b"what an app says") and not lost
    sys.exit(128 + signal.SIGHUP)
sys.exit(main.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(("command", "status"), [("run", 129), ("frobnicate", 254)])
def test_a_closed_terminal_does_not_change_the_exit_status(command: str, status: int) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        ["/usr/bin/python3", "-IS", "-c", HANGUP, str(ROOT), command],
        stdin=subprocess.PIPE, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    process.communicate()
    assert process.returncode == status
