"""System call filters that images, pod files and flags ask for, seen from inside the app."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from tests.box import Box
from tests.material import images
from tests.system.conftest import MakePod, store_image
from tests.system.pods import NO_NETWORK, Pod, app, lines_of

# One that the default filter allows, and one that it forbids; both fail with EPERM for other users
# or without CAP_SYS_ADMIN, so it is the filter's own word where another is seen.
SCRIPT = (
    "mkdir /made; echo mkdir $?; (pivot_root . .); echo pivot_root $?; grep Seccomp: /proc/1/status"
)


def _run(make_pod: MakePod, extra: str) -> list[str]:
    return lines_of(make_pod("seccomp", NO_NETWORK + app("one", SCRIPT, extra=extra)))


KILLED = ["Bad system call", "pivot_root 159", "Seccomp:\t2"]
DENIED = ["pivot_root: (null): Operation not permitted", "pivot_root 1", "Seccomp:\t2"]
FULL = ["mkdir: can't create directory '/made': Exchange full", "mkdir 1"]

CASES = {
    "the default": ("", ["mkdir 0", *DENIED]),
    "retain, no error": ('seccomp-retain = ["@rkt/default-whitelist"]', ["mkdir 0", *KILLED]),
    "retain, error": (
        'seccomp-retain = ["@docker/default-whitelist"]\nseccomp-errno = "EXFULL"',
        ["mkdir 0", "pivot_root: (null): Exchange full", "pivot_root 1", "Seccomp:\t2"],
    ),
    "retain more": (
        'seccomp-retain = ["@rkt/default-whitelist", "@systemd/mount"]',
        ["mkdir 0", *DENIED],
    ),
    "retain all": (
        'seccomp-retain = ["@appc.io/all"]',
        ["mkdir 0", *DENIED[:2], "Seccomp:\t0"],
    ),
    "remove, error": (
        'seccomp-remove = ["mkdir", "mkdirat"]\nseccomp-errno = "EXFULL"',
        [*FULL, *DENIED],
    ),
    "remove, no error": ('seccomp-remove = ["@rkt/default-blacklist"]', ["mkdir 0", *KILLED]),
    "remove a set": (
        'seccomp-remove = ["@systemd/mount"]\nseccomp-errno = "ENOSYS"',
        [
            "mkdir 0",
            "pivot_root: (null): Function not implemented",
            "pivot_root 1",
            "Seccomp:\t2",
        ],
    ),
    "remove nothing": ('seccomp-remove = ["@appc.io/empty"]', ["mkdir 0", *DENIED]),
    "what nspawn itself needs": (
        'seccomp-remove = ["prctl", "setresuid", "capset", "close_range"]\nseccomp-errno = "EPERM"',
        ["mkdir 0", *DENIED],
    ),
    "insecure": (
        'seccomp-remove = ["mkdir", "mkdirat"]\ninsecure = ["seccomp"]',
        ["mkdir 0", *DENIED[:2], "Seccomp:\t0"],
    ),
    "another user": (
        'seccomp-remove = ["mkdir", "mkdirat"]\nseccomp-errno = "EXFULL"\n'
        "user = 1000\ngroup = 1000",
        [*FULL, *DENIED],
    ),
}


@pytest.mark.row("seccomp/AppIsolatorSeccomp")
@pytest.mark.parametrize("case", CASES)
def test_sets_of_a_pod_file(make_pod: MakePod, case: str) -> None:
    extra, expected = CASES[case]
    assert _run(make_pod, extra) == expected


def test_an_app_that_is_killed_by_its_filter(make_pod: MakePod) -> None:
    extra = 'seccomp-remove = ["mkdir", "mkdirat"]\n'
    pod = make_pod("sigsys", NO_NETWORK + app("one", "exec mkdir /made", extra=extra))
    assert not [line for line in lines_of(pod) if "terminated by signal SYS" not in line]
    assert pod.state() == "failed"
    # What systemd-nspawn makes of a signal.
    assert pod.status("one") == "signal killed SYS"


def test_a_program_that_is_not_there_for_long(make_pod: MakePod) -> None:
    """The launcher is gone from memory, and an app sees its own command line and environment."""
    script = "xargs -0 echo </proc/1/cmdline; echo $GREETING; ls -l /proc/1/exe"
    extra = 'seccomp-retain = ["@rkt/default-whitelist"]\n[app.environment]\nGREETING = "a b"\n'
    said = lines_of(make_pod("launched", NO_NETWORK + app("one", script, extra=extra)))
    assert said[0].startswith("/bin/sh -c xargs ")
    assert said[1] == "a b"
    assert said[2].endswith("-> /usr/bin/busybox")


WRONG = {
    'seccomp-retain = ["@rkt/nothing"]': "@rkt/nothing: no such set of system calls",
    'seccomp-remove = ["mkdir"]\nseccomp-errno = "EWRONG"': "EWRONG: no such error on Linux",
    'seccomp-remove = ["execve"]': "without the system call execve nothing can be executed",
    'seccomp-remove = ["mkdir"]\nno-new-privileges = false': "a seccomp set needs",
}


@pytest.mark.parametrize("extra", WRONG)
def test_wrong_sets_are_refused(make_pod: MakePod, extra: str) -> None:
    pod = make_pod("wrong", NO_NETWORK + app("one", SCRIPT, extra=extra))
    assert pod.systemctl("start").returncode == 1
    assert WRONG[extra] in pod.errors()[-1]
    assert pod.leftovers() == ""


def test_a_name_that_nobody_knows_is_told(make_pod: MakePod, pod_box: Box) -> None:
    extra = 'seccomp-remove = ["mkdirr"]\n'
    text = NO_NETWORK + app("one", "echo here", extra=extra)
    pod = make_pod("unknown", text)
    assert lines_of(pod) == ["here"]
    status = pod_box.run(["rkt", "status", "unknown"], check=True).stdout
    told = "app one: seccomp: mkdirr: libseccomp knows no such system call"
    assert f"unapplied={told}\n" in status
    pod.write(f"strict = true\n{text}")
    assert pod.systemctl("start").returncode == 1
    assert pod.errors()[-1] == f"pod unknown: {told}"


EXFULL = {"set": ["mkdir", "mkdirat"], "errno": "EXFULL"}


@pytest.fixture(scope="module")
def image(pod_box: Box, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Stores busybox images with isolators of their own: ``image(name, ISOLATOR, VALUE)``."""
    directory = tmp_path_factory.mktemp("isolated")
    root = images.busybox_root(directory / "root")

    def store(name: str, *isolators: tuple[str, object]) -> str:
        manifest = images.busybox_manifest(
            f"example.com/{name}",
            ("/bin/sh", "-c", SCRIPT),
            isolators=[{"name": key, "value": value} for key, value in isolators],
        )
        path = os.fspath(directory / f"{name}.aci")
        images.write_aci(root, manifest, path)
        store_image(pod_box, path)
        return f"example.com/{name}"

    return store


def _rkt(box: Box, *arguments: str) -> subprocess.CompletedProcess[str]:
    return box.run(["rkt", "run", "--net=none", *arguments], timeout=60)


@pytest.mark.row("seccomp/AppIsolatorSeccomp")
def test_a_set_of_an_image_and_a_flag_that_overrides_it(image: Any, pod_box: Box) -> None:
    name = image("narrow", ("os/linux/seccomp-remove-set", EXFULL))
    said = _rkt(pod_box, name).stdout.splitlines()
    # What the image does not remove itself is removed all the same, with the image's own error.
    assert said == [*FULL, "pivot_root: (null): Exchange full", "pivot_root 1", "Seccomp:\t2"]
    flag = "--seccomp=mode=remove,errno=ENOTUNIQ,mkdir,mkdirat"
    said = _rkt(pod_box, name, flag).stdout.splitlines()
    assert said[0].endswith("Name not unique on network")
    assert said[2:] == DENIED
    said = _rkt(pod_box, name, "--seccomp=mode=retain,@appc.io/all").stdout.splitlines()
    assert said == ["mkdir 0", *DENIED[:2], "Seccomp:\t0"]
    said = _rkt(pod_box, name, "--insecure=all-run").stdout.splitlines()
    assert (said[0], said[-1]) == ("mkdir 0", "Seccomp:\t0")


def test_an_image_asks_for_more_than_the_default(image: Any, pod_box: Box) -> None:
    name = image("wide", ("os/linux/seccomp-retain-set", {"set": ["@appc.io/all"]}))
    refused = _rkt(pod_box, name)
    assert refused.returncode == 254
    assert "asks for system calls that the default filter forbids" in refused.stderr
    said = _rkt(pod_box, name, "--seccomp=mode=retain,@appc.io/all").stdout.splitlines()
    assert said[-1] == "Seccomp:\t0"
    pod_box.write("/etc/rkt/rktsd.toml", "[run]\nimage-privileges = true\n")
    try:
        assert _rkt(pod_box, name).stdout.splitlines()[-1] == "Seccomp:\t0"
    finally:
        pod_box.shell("rm /etc/rkt/rktsd.toml")


def test_an_image_with_privileges(image: Any, pod_box: Box) -> None:
    retain = ("os/linux/capabilities-retain-set", {"set": ["CAP_NET_ADMIN"]})
    name = image("privileged", retain)
    refused = _rkt(pod_box, name)
    assert refused.returncode == 254
    assert "asks for CAP_NET_ADMIN" in refused.stderr
    text = f'{NO_NETWORK}[[app]]\nname = "one"\nimage = "{name}"\n'
    text += "exec = ['/bin/sh', '-c', 'grep CapEff /proc/self/status']\n"
    pod_box.write("/etc/rkt/rktsd.toml", "[run]\nimage-privileges = true\n")
    try:
        pod = Pod(pod_box, "granted", text)
        assert lines_of(pod) == ["CapEff:\t0000000000001000"]
        pod_box.shell("rm /etc/rkt/rktsd.toml")
        # The compiled form must not outlive the setting.
        assert pod.systemctl("start").returncode == 1
    finally:
        pod_box.shell("rm -f /etc/rkt/rktsd.toml")
        pod.remove()
