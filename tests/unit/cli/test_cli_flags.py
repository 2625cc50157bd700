"""The table of flags holds what rkt 1.30 had, each done or refused, and nothing is ignored."""

from __future__ import annotations

import ast
import glob
import os

import pytest

from rktsd.cli import rkt130
from rktsd.cli.absent import ABSENT
from rktsd.cli.commands import COMMANDS, PLAIN
from rktsd.cli.flags import APP, BOTH, GLOBAL, POD, VALUE, Flag
from rktsd.cli.parse import parse
from rktsd.errors import Unsupported, UsageError

CLI = os.path.join(os.path.dirname(__file__), "..", "..", "..", "rktsd", "cli")

_STAGE1 = "stage1-url stage1-path stage1-name stage1-hash stage1-from-dir"
_PULL = "pull-policy store-only no-store"
_DNS = "dns dns-search dns-opt dns-domain hosts-entry hostname"
_APPS = (
    "signature exec name user group supplementary-gids working-dir readonly-rootfs mount"
    " environment annotation user-annotation user-label memory cpu cpu-shares caps-retain"
    " caps-remove cap-retain cap-remove seccomp oom-score-adj stdin stdout stderr"
    # Ours.
    " stop-signal output pids rlimit block-bandwidth block-iops selinux-context apparmor-profile"
    " insecure no-healthcheck"
)
_MADE = (
    f"{_STAGE1} port volume inherit-env set-env set-env-file private-users no-overlay {_PULL}"
    " pod-manifest follow-links"
    # Ours.
    " sysctl network-bandwidth shm-size strict"
)

# What rkt 1.30 took, from its documentation and sources.
RKT_1_30 = {
    "app add": f"{_APPS} mnt-volume {_PULL} platform uuid-file",
    "app exec": "app environment privileged tty uuid-file working-dir",
    "app list": "no-legend format uuid-file",
    "app rm": "app uuid-file",
    "app sandbox": (
        f"net {_DNS} uuid-file-save no-overlay port annotation user-annotation user-label"
        # Ours.
        " detach rm name replace volume follow-links"
    ),
    "app start": "app uuid-file",
    "app status": "app format uuid-file",
    "app stop": "app uuid-file",
    "attach": "app detach-keys mode uuid-file",
    "completion": "",
    "config": "pretty-print",
    "export": "app overwrite to-store full uuid-file",
    "enter": "app environment privileged tty uuid-file working-dir",
    "fetch": f"signature full {_PULL} platform",
    "image fetch": f"signature full {_PULL} platform",
    "run": (
        f"net {_DNS} interactive ipc mds-register uuid-file-save {_MADE} {_APPS} platform"
        " detach replace rm pid detach-keys"
    ),
    "prepare": f"quiet {_MADE} {_APPS} platform replace uuid-file-save",
    "run-prepared": f"net {_DNS} interactive ipc mds-register detach rm uuid-file pid detach-keys",
    "list": "full no-legend format",
    "status": "wait wait-ready format uuid-file",
    "stop": "force signal timeout uuid-file",
    "rm": "uuid-file",
    "metadata-service": "listen-port rotate-key",
    "gc": "grace-period expire-prepared mark-only",
    "trust": "prefix root skip-fingerprint-review insecure-allow-http list remove format no-legend",
    "cat-manifest": "uuid-file pretty-print",
    "image list": "fields sort order full no-legend format",
    "image rm": "",
    "image cat-manifest": "pretty-print",
    "image export": "overwrite",
    "image extract": "rootfs-only overwrite",
    "image gc": "grace-period keep",
    "image inspect": "format",
    "image verify": "fetch format",
    "image render": "rootfs-only overwrite",
    "version": "",
}
OURS = {
    "diff": "app format uuid-file",
    "events": "app count format no-legend until uuid-file",
    "stats": "format no-legend uuid-file",
    "top": "count format interval no-legend uuid-file",
    "kill": "app signal uuid-file",
    "pause": "app uuid-file",
    "unpause": "app uuid-file",
    "exec": "app environment privileged tty uuid-file working-dir",
    "login": "authfile password-stdin username",
    "logout": "authfile",
    "logs": "app follow format lines run since tail until uuid-file",
    "generate kube": "force output overwrite strict",
    "generate quadlet": "force output overwrite strict",
    "generate run": (
        f"force output overwrite net {_DNS} interactive ipc mds-register uuid-file-save {_MADE}"
        f" {_APPS.replace(' output', '')} platform detach replace rm pid detach-keys"
    ),
    "pod check": "instance",
    "start": "uuid-file",
    "cp": "archive",
    "restart": "uuid-file",
    "pod diff": "uuid-file",
    "pod graph": "format uuid-file",
    "pod init": "overwrite",
    "pod show": "instance pretty-print",
    "pod units": "format instance",
    "image tree": "format full",
    "volume inspect": "format",
    "volume list": "format no-legend",
    "volume prune": "",
    "volume rm": "",
    "image build": (
        "manifest name label annotation dependency exec user group supplementary-gids "
        "working-directory env port mount user-annotation user-label memory cpu "
        "cpu-shares caps-retain caps-remove oom-score-adj owner compression sign sign-by "
        "overwrite"
    ),
    "image push": "overwrite",
    "image import": (
        "manifest name label annotation dependency exec user group supplementary-gids "
        "working-directory env port mount user-annotation user-label memory cpu "
        "cpu-shares caps-retain caps-remove oom-score-adj owner full pull-policy"
    ),
}
RKT_GLOBAL = (
    "debug dir system-config local-config user-config insecure-options trust-keys-from-https"
    " cpuprofile memprofile help"
)

REFUSED = {
    "app sandbox": {"no-overlay"},
    "run": {
        "no-overlay", "stage1-hash",
    },
    "prepare": {
        "no-overlay", "stage1-hash",
    },
    "generate run": {
        "no-overlay", "stage1-hash",
    },
}  # fmt: skip

EVERY = [(name, flag) for name, command in COMMANDS.items() for flag in command.flags]


@pytest.mark.parametrize("command", [*RKT_1_30, *OURS])
def test_every_flag_is_in_the_table(command: str) -> None:
    expected = {**RKT_1_30, **OURS}[command].split()
    assert sorted(flag.name for flag in COMMANDS[command].flags) == sorted(expected)


def test_every_global_flag_is_in_the_table() -> None:
    assert sorted(flag.name for flag in GLOBAL) == sorted(RKT_GLOBAL.split())


def test_no_command_is_without_an_expectation() -> None:
    assert {name for name, command in COMMANDS.items() if command.function} == {
        *RKT_1_30,
        *OURS,
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_refused(command: str) -> None:
    refused = {flag.name for flag in COMMANDS[command].flags if flag.refused}
    assert refused == REFUSED.get(command, set())


def _given(flag: Flag) -> list[str]:
    """A command line with the flag, where an image comes first if it has to."""
    image = ["image"] if flag.scope in (APP, BOTH) else []
    return [*image, f"--{flag.name}={'x' if flag.kind == VALUE else 'true'}"]


@pytest.mark.parametrize(("command", "flag"), EVERY)
def test_a_flag_is_parsed_or_refused(command: str, flag: Flag) -> None:
    grammar = COMMANDS[command].grammar
    flags = (*GLOBAL, *COMMANDS[command].flags)
    if flag.refused:
        with pytest.raises(Unsupported, match=f"--{flag.name} is not done by this version"):
            parse(_given(flag), flags, grammar=grammar)
        return
    parsed = parse(_given(flag), flags, grammar=grammar)
    values = parsed.values if flag.scope == POD else parsed.apps[0].values
    assert list(values) == [flag.name]


@pytest.mark.parametrize(
    ("command", "flag"), [(name, flag) for name, flag in EVERY if flag.scope == APP]
)
def test_a_flag_of_an_app_follows_an_image(command: str, flag: Flag) -> None:
    if flag.refused:
        return
    with pytest.raises(UsageError, match=f"^--{flag.name} must follow an image$"):
        parse(_given(flag)[1:], COMMANDS[command].flags, grammar=COMMANDS[command].grammar)


def test_every_flag_that_is_done_is_read_somewhere() -> None:
    words: set[str] = set()
    for path in glob.glob(os.path.join(CLI, "*.py")):
        if os.path.basename(path) in ("flags.py", "commands.py", "help.py"):
            continue
        with open(path) as file:
            tree = ast.parse(file.read())
        words |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    done = {flag.name for _, flag in EVERY if not flag.refused}
    done |= {flag.name for flag in GLOBAL if not flag.refused}
    assert done - words == set()


@pytest.mark.parametrize(("command", "flag"), EVERY)
def test_a_flag_that_is_done_is_explained(command: str, flag: Flag) -> None:
    assert bool(flag.help) != bool(flag.refused)
    assert flag.kind != VALUE or flag.refused or flag.metavar


EVERY_OF_RKT = [
    (name, flag)
    for name, words in [("", rkt130.GLOBAL), *rkt130.FLAGS.items()]
    for flag in dict.fromkeys(words.split())
]


@pytest.mark.parametrize(("name", "flag"), EVERY_OF_RKT)
def test_what_became_of_a_flag_of_rkt(name: str, flag: str) -> None:
    fate, reason = rkt130.fate(name, flag)
    if fate == rkt130.LACKING:
        assert ABSENT[name] == reason
        return
    own = COMMANDS[name].flags if name else GLOBAL
    found = next(each for each in own if each.name == flag)
    if fate == rkt130.REFUSED:
        with pytest.raises(Unsupported) as caught:
            parse(_given(found), own, grammar=COMMANDS[name].grammar if name else PLAIN)
        assert str(caught.value) == reason
    else:
        assert found.help


def test_every_command_of_rkt_is_in_the_table() -> None:
    assert set(ABSENT) <= set(rkt130.FLAGS) <= set(COMMANDS) | set(ABSENT)
    assert len(rkt130.FLAGS) == 36


def test_a_pod_can_be_told_by_a_file_everywhere() -> None:
    for name, command in COMMANDS.items():
        words = command.usage.replace("|", " ").replace("...", "").strip("[]").split()
        # Elsewhere POD is a part of a word, or may be a file itself.
        if {"POD", "[POD"} & set(words) and "FILE" not in words:
            assert "uuid-file" in {flag.name for flag in command.flags}, name
