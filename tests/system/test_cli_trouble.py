"""The command line where the machine or the caller is in its way."""

from __future__ import annotations

import json

import pytest

from tests.box import Box
from tests.system.commands import IMAGE, begun, good, rkt, run, states


@pytest.mark.parametrize("attempt", range(4))
def test_signals_in_a_row_are_one_wish(cli: Box, attempt: int) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo ready; sleep 1000 & wait"
    out = cli.shell(
        begun("setsid", script) + " kill -INT $pid; kill -INT -$pid || :; kill -INT -$pid || :;"
        " wait $pid || echo $?; cat /tmp/run.out"
    )
    assert out.splitlines()[0] == "3"
    assert out.splitlines()[-1] == "bye"
    assert set(states(cli).values()) == {"exited"}


def test_an_interrupt_before_the_start_leaves_no_prepared_pod(cli: Box) -> None:
    for delay in ("0.05", "0.1", "0.15", "0.2", "0.3"):
        cli.shell(
            f"rkt run --net=none {IMAGE} -- -c 'sleep 2' >/dev/null 2>&1 & pid=$!;"
            f" sleep {delay}; kill -INT $pid; wait $pid || :"
        )
    assert "prepared" not in states(cli).values()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(cli: Box, closed: str) -> None:
    done = cli.run(["sh", "-c", f"rkt run --net=none {IMAGE} -- -c 'exit 4' {closed}"])
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    done = cli.run(["sh", "-c", f"rkt image bogus {closed}"])
    assert done.returncode == 254
    assert "Traceback" not in done.stderr


def test_a_uuid_file_that_cannot_be_written_leaves_no_pod(cli: Box) -> None:
    for path in ("/nonexistent/uuid", "/etc"):
        done = run(cli, "exit 0", f"--uuid-file-save={path}")
        assert done.returncode == 254
        assert path in done.stderr
    assert states(cli) == {}


def test_no_bus_leaves_no_pod(cli: Box) -> None:
    cli.shell("mount --bind /dev/null /run/dbus/system_bus_socket")
    try:
        done = run(cli, "exit 0")
    finally:
        cli.shell("umount /run/dbus/system_bus_socket")
    assert done.returncode == 254
    assert "system bus" in done.stderr
    assert states(cli) == {}


def test_an_end_that_could_not_be_recorded_is_no_success(cli: Box) -> None:
    cli.shell("mkdir -p /var/tmp/small; mount -t tmpfs -o size=4m none /var/tmp/small")
    try:
        flags = ("--dir=/var/tmp/small", "--insecure-options=image")
        assert rkt(cli, *flags, "fetch", "/var/tmp/busybox.aci").returncode == 0
        fill = "cat /dev/zero >/fill; exit 7"
        done = rkt(cli, *flags, "run", "--net=none", IMAGE, "--", "-c", fill)
        assert done.returncode == 254
        assert "how app busybox ended could not be recorded" in done.stderr
        assert "record-result" not in done.stdout
    finally:
        cli.shell("umount -l /var/tmp/small")


@pytest.mark.parametrize("path", ["/", "/proc", "/proc/sys", "/sys", "/sys/fs", "/dev", "/run"])
def test_mounts_that_nspawn_makes_itself(cli: Box, path: str) -> None:
    cli.shell("mkdir -p /srv/mounted")
    volume, mount = "--volume=d,kind=host,source=/srv/mounted", f"--mount=volume=d,target={path}"
    done = rkt(cli, "run", "--net=none", volume, mount, IMAGE, "--", "-c", "exit 0")
    assert done.returncode == 254
    assert done.stderr.splitlines()[-1] == (
        f"run: app busybox: volume d cannot be mounted at {path}"
    )
    assert cli.shell("ls /srv/mounted") == ""
    assert json.loads(good(cli, "list", "--format=json") or "[]") == []
