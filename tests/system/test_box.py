"""The box itself: what tests that run in one rely on."""

import glob
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.box import Box, BoxError, CommandError

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.environ.get("RKTSD_BOX_DIR", "/var/tmp")
ROOT = "/var/lib/rkt/busybox"
RUN = "systemd-run --wait -P -q"
NSPAWN = f"systemd-nspawn -q --register=no --keep-unit -D {ROOT}"
CLI = [sys.executable, "-m", "tests.box"]
STATE = "state=$(systemctl is-system-running); systemctl --failed --plain --no-legend; echo $state"


@pytest.fixture(scope="module")
def plain() -> Iterator[Box]:
    with Box() as box:
        box.shell(
            f"mkdir -p {ROOT}/bin {ROOT}/usr {ROOT}/etc; touch {ROOT}/etc/os-release;"
            f"cd {ROOT}/bin; cp /bin/busybox busybox; ln -s busybox sh; ln -s busybox true"
        )
        yield box


@contextmanager
def cli(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*CLI, *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with process:
            yield process
    finally:
        process.kill()


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


def processes(name: str) -> dict[int, int]:
    """Host processes of the box ``name``, by cgroup or command line, with their parents."""
    found = {}
    for directory in glob.glob("/proc/[0-9]*"):
        try:
            with open(f"{directory}/cgroup") as file, open(f"{directory}/cmdline") as words:
                ours = f"/{name}" in file.read() or f'"{name}"' in words.read()
            if ours:
                with open(f"{directory}/stat") as file:
                    parent = file.read().rpartition(")")[2].split()[1]
                found[int(os.path.basename(directory))] = int(parent)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def traces(name: str) -> list[str]:
    with open("/proc/self/mountinfo") as file:
        mounts = [line.strip() for line in file if name.removeprefix("box-") in line]
    cgroups = [
        path for path, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(path).startswith(name)
    ]
    work = glob.glob(f"{WORK}/rktsd-{name}")
    return [*mounts, *cgroups, *work, *(f"process {pid}" for pid in processes(name))]


def test_it_boots_to_a_clean_small_system(plain: Box) -> None:
    assert plain.shell(STATE) == "running\n"
    units = plain.shell("systemctl list-units --type=service --state=running --plain --no-legend")
    assert {line.split()[0] for line in units.splitlines()} == {
        "dbus.service",
        "systemd-journald.service",
        "systemd-logind.service",
    }
    assert plain.boot_seconds < 10


def test_a_command_has_its_streams_and_status(plain: Box) -> None:
    done = plain.run(["sh", "-c", "cat; echo oops >&2; exit 7"], input="grüße\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "grüße\n", "oops\n")
    assert plain.run(["sh", "-c", "kill -TERM $$"]).returncode == -signal.SIGTERM
    missing = plain.run(["no-such-program"])
    assert (missing.returncode, missing.stderr) == (
        127,
        "no-such-program: No such file or directory\n",
    )
    with pytest.raises(CommandError, match="exit status 3\nwhy"):
        plain.run(["sh", "-c", "echo why; exit 3"], check=True)


def test_a_command_has_a_clean_environment(plain: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    names = {line.partition("=")[0] for line in plain.shell("env").splitlines()}
    assert names == {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TERM", "PWD"}
    assert plain.shell("umask; pwd; ls /proc/self/fd | wc -l") == "0022\n/\n4\n"
    assert plain.shell("grep SigIgn /proc/self/status").split() == ["SigIgn:", "0" * 16]


def test_a_command_dies_with_its_caller(plain: Box) -> None:
    running = plain.popen(["sleep", "4711"])
    assert until(lambda: plain.run(["pgrep", "-f", "sleep 4711"]).returncode == 0)
    running.kill()
    running.communicate()
    assert until(lambda: plain.run(["pgrep", "-f", "sleep 4711"]).returncode == 1)
    with pytest.raises(subprocess.TimeoutExpired):
        plain.run(["sleep", "4712"], timeout=0.3)
    assert until(lambda: plain.run(["pgrep", "-f", "sleep 4712"]).returncode == 1)


def test_a_signal_reaches_the_command(plain: Box) -> None:
    running = plain.popen(
        ["sh", "-c", "trap 'echo caught; exit 5' TERM; echo up; sleep 60 >&- 2>&- & wait"]
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    running.terminate()
    assert running.communicate()[0] == "caught\n"
    assert running.returncode == 5


def test_files_go_in_and_out(plain: Box, tmp_path: str) -> None:
    plain.write("/srv/new/file", "text\n", mode=0o640)
    assert plain.read("/srv/new/file") == "text\n"
    assert plain.shell("stat -c %a:%U /srv/new/file") == "640:root\n"
    with open(f"{tmp_path}/blob", "wb") as file:
        file.write(bytes(range(256)) * 1000)
    plain.push(f"{tmp_path}/blob", "/srv/blob")
    plain.push(str(tmp_path), "/srv/directory")
    assert plain.shell("stat -c %s /srv/blob /srv/directory/blob") == "256000\n256000\n"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param(f"{RUN} {NSPAWN} /bin/true", "", id="nspawn"),
        pytest.param(
            f"{RUN} {NSPAWN} --private-users=pick --private-users-ownership=chown /bin/true",
            "",
            id="nspawn with user namespace",
        ),
        pytest.param(
            f"{RUN} systemd-nspawn -q -M m1 -D {ROOT} /bin/sh -c 'echo registered'",
            "registered\n",
            id="nspawn registered",
        ),
        pytest.param("machinectl list", "No machines.\n", id="machined"),
        pytest.param(
            f"{RUN} -p SetCredential=a:secret sh -c 'cat $CREDENTIALS_DIRECTORY/a'",
            "secret",
            id="SetCredential",
        ),
        pytest.param(
            "echo s3cret >/root/cred;"
            f"{RUN} -p LoadCredential=a:/root/cred sh -c 'cat $CREDENTIALS_DIRECTORY/a'",
            "s3cret\n",
            id="LoadCredential",
        ),
        pytest.param(
            f"{RUN} -p LimitNOFILE=900000 echo started",
            "started\n",
            id="limit above the host's",
        ),
        pytest.param(
            f"tar -C {ROOT} -c . | podman import -q - b >/dev/null;"
            "podman run --rm --network=none b /bin/sh -c 'echo $container'",
            "podman\n",
            id="podman",
        ),
        pytest.param(
            "cd /tmp; truncate -s 9M i; mkfs.ext4 -q i; mount -o loop i /mnt; umount /mnt; echo ok",
            "ok\n",
            id="loop",
        ),
    ],
)
def test_it_runs_what_a_host_runs(plain: Box, command: str, expected: str) -> None:
    assert plain.shell(command) == expected


def test_limits_are_seen_in_the_cgroup(plain: Box) -> None:
    unit = "systemd-run --unit=limited -q -p MemoryMax=64M -p TasksMax=17 sleep 60"
    found = plain.shell(
        f"{unit}; cd /sys/fs/cgroup;"
        "cat memory/system.slice/limited.service/memory.limit_in_bytes 2>/dev/null"
        " || cat system.slice/limited.service/memory.max;"
        "cat pids/system.slice/limited.service/pids.max 2>/dev/null"
        " || cat system.slice/limited.service/pids.max; systemctl stop limited"
    )
    assert found == f"{64 << 20}\n17\n"


def test_cni_networks_work(plain: Box) -> None:
    plain.write(
        "/tmp/net",
        '{"cniVersion":"0.4.0","name":"n","type":"ptp","ipMasq":true,'
        '"ipam":{"type":"host-local","subnet":"10.99.0.0/24"}}',
    )
    plain.shell(
        "ip netns add n; CNI_COMMAND=ADD CNI_CONTAINERID=n CNI_NETNS=/run/netns/n CNI_IFNAME=eth0"
        " CNI_PATH=/usr/lib/cni /usr/lib/cni/ptp </tmp/net"
    )
    assert "10.99.0.0/24" in plain.shell("iptables -t nat -S")
    assert "bytes from" in plain.shell("ip netns exec n busybox ping -c 1 -W 5 10.99.0.1 || true")


def test_the_kernel_of_the_host_is_out_of_reach(plain: Box) -> None:
    for setting in ("kernel/core_pattern", "fs/file-max", "vm/swappiness"):
        done = plain.run(
            ["sh", "-c", f"cat /proc/sys/{setting} >/tmp/v; cat /tmp/v >/proc/sys/{setting}"]
        )
        assert "Read-only file system" in done.stderr
    plain.shell("sysctl -qw net.ipv4.ip_forward=1")
    here = os.stat("/dev").st_dev
    assert int(plain.shell("stat -c %d /dev")) != here
    bounding = int(plain.shell("grep CapBnd /proc/1/status").split()[1], 16)
    assert not bounding & 1 << 16, "PID 1 could load kernel modules"


def test_reboot_keeps_the_disk_and_nothing_else(bare_box: Callable[..., Box]) -> None:
    box = bare_box()
    facts = "cat /etc/machine-id; cat /var/lib/rkt/kept; ls /run/gone /tmp/gone 2>/dev/null || true"
    box.shell("echo here >/var/lib/rkt/kept; touch /run/gone /tmp/gone")
    before, boot_id, first = (
        box.shell(facts),
        box.read("/proc/sys/kernel/random/boot_id"),
        box.init_pid,
    )
    box.reboot()
    assert box.shell(facts) == before.replace("/run/gone\n/tmp/gone\n", "")
    assert "here\n" in before
    assert box.init_pid != first
    assert box.read("/proc/sys/kernel/random/boot_id") != boot_id
    assert box.shell(STATE) == "running\n"
    assert "Reached target poweroff" not in box.journal("-b", "-1")
    assert "Reached target" in box.journal("-b", "-1")


def test_power_goes_off_and_on(bare_box: Callable[..., Box]) -> None:
    box = bare_box()
    box.shell("systemd-run -q --unit=last -p ExecStop='/bin/touch /root/order' sleep 600")
    box.poweroff()
    assert box.init_pid == 0
    with pytest.raises(BoxError, match="the box is off: poweroff"):
        box.run(["true"])
    box.start()
    assert box.read("/root/order") == ""
    box.shell(
        "rm /root/order; systemd-run -q --unit=last -p ExecStop='touch /root/order' sleep 600; sync"
    )
    box.crash()
    box.start()
    assert box.run(["test", "-e", "/root/order"]).returncode == 1
    assert box.shell(STATE) == "running\n"


def test_two_boxes_do_not_disturb_each_other(bare_box: Callable[..., Box]) -> None:
    one, two = bare_box(), bare_box(tmpfs=True)
    for box, limit in ((one, "10"), (two, "20")):
        box.shell(f"systemd-run -q --unit=same -p TasksMax={limit} sleep 600")
        box.shell("ip link add same type bridge; ip addr add 10.1.2.3/24 dev same")
    one.shell("systemctl stop same; ip link del same; loginctl list-users; touch /var/lib/rkt/mine")
    assert two.shell("systemctl is-active same; ip -o link show same | wc -l; ls /var/lib/rkt") == (
        "active\n1\n"
    )
    assert one.read("/etc/machine-id") != two.read("/etc/machine-id")
    one.close()
    assert two.shell(STATE) == "running\n"


def test_binds_are_there(bare_box: Callable[..., Box], tmp_path: str) -> None:
    box = bare_box(binds=[(str(tmp_path), "/srv/shared")], tmpfs=True)
    box.shell("echo from the box >/srv/shared/file")
    with open(f"{tmp_path}/file") as file:
        assert file.read() == "from the box\n"
    assert box.shell("stat -f -c %T /var/lib/rkt") == "tmpfs\n"


def test_closing_leaves_nothing() -> None:
    with Box() as box:
        name = f"box-{box.name}"
        box.popen(["setsid", "sleep", "600"])
        box.shell("systemd-run -q sleep 600")
        assert traces(name) != []
    assert traces(name) == []


@pytest.mark.parametrize("victims", ["client", "supervisor", "reaper", "client and reaper"])
def test_a_killed_box_leaves_nothing(victims: str) -> None:
    with cli("run", "--", "sh", "-c", "systemd-run -q sleep 600; hostname; sleep 600") as client:
        assert client.stdout is not None
        name = client.stdout.readline().strip()
        assert name.startswith("box-")
        reaper = next(pid for pid, parent in processes(name).items() if parent == client.pid)
        supervisor = next(pid for pid, parent in processes(name).items() if parent == reaper)
        pids = {"client": client.pid, "reaper": reaper, "supervisor": supervisor}
        for victim in victims.split(" and "):
            os.kill(pids[victim], signal.SIGKILL)
        if victims == "client and reaper":
            # nobody is left to clean up before the next box does
            assert until(lambda: processes(name) == {})
            with Box():
                pass
        assert until(lambda: traces(name) == []), traces(name)


def test_ending_the_command_line_tool_ends_the_box() -> None:
    with cli("run", "--", "sh", "-c", "hostname; sleep 600") as client:
        assert client.stdout is not None
        name = client.stdout.readline().strip()
        client.terminate()
        assert client.wait(20) == 128 + signal.SIGTERM
        assert traces(name) == []


def test_the_command_line_tool_passes_everything_on() -> None:
    done = subprocess.run(
        [*CLI, "run", "--tmpfs", "--", "sh", "-c", "cat; echo oops >&2; exit 9"],
        cwd=REPOSITORY,
        input="given\n",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (9, "given\n", "oops\n")


def test_a_shell_has_a_terminal_of_the_box() -> None:
    master, slave = os.openpty()
    command = [*CLI, "shell"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=slave, stdout=slave, stderr=slave
    ) as shell:
        os.close(slave)
        os.write(master, b"tty; stty size; hostname; exit 4\n")
        printed = b""
        while not re.search(rb"box-[0-9a-f]{8}\r\n", printed):
            printed += os.read(master, 4096)
        assert shell.wait(20) == 4
        os.close(master)
    assert b"/dev/pts/0\r\n" in printed


def test_a_root_without_systemd_is_refused(tmp_path: str) -> None:
    done = subprocess.run(
        [*CLI, "run", "--root", str(tmp_path), "true"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (
        254,
        f"box: {tmp_path}: no /lib/systemd/systemd to boot\n",
    )


@pytest.mark.parametrize("cgroup", ["auto", "unified"])
def test_a_box_boots_in_a_box(bare_box: Callable[..., Box], cgroup: str) -> None:
    outer = bare_box(cgroup=cgroup, binds=[(REPOSITORY, "/srv")])
    inner = f"cd /srv && python3 -m tests.box run -- sh -c '{STATE}; hostname'"
    state, name = outer.shell(inner, timeout=120).split()
    assert state == "running"
    assert name not in outer.shell("find /sys/fs/cgroup -name 'box-*'; ls /var/tmp; mount; ps ax")
    assert outer.shell(STATE) == "running\n"


def test_a_box_boots_from_a_chroot_without_proc(
    bare_box: Callable[..., Box], debian13: str
) -> None:
    outer = bare_box(binds=[(os.path.dirname(debian13), "/srv/cache")])
    tree = f"/srv/merged/{os.path.basename(debian13)}"
    outer.shell(
        "mkdir -p /srv/merged /var/lib/rkt/u /var/lib/rkt/w; mount -t overlay overlay /srv/merged"
        " -o lowerdir=/srv/cache,upperdir=/var/lib/rkt/u,workdir=/var/lib/rkt/w;"
        f"mkdir {tree}/srv/tests; touch {tree}/srv/tests/__init__.py"
    )
    outer.push(os.path.join(REPOSITORY, "tests", "box"), f"{tree}/srv/tests/box")
    command = f"cd /srv && python3 -m tests.box run -- sh -c '{STATE}; hostname'"
    state, name = outer.run(
        ["chroot", tree, "sh", "-c", command], check=True, timeout=120
    ).stdout.split()
    assert state == "running"
    assert name not in outer.shell("cat /proc/self/mountinfo; find /sys/fs/cgroup; ps ax")
    assert outer.shell(f"ls {tree}/proc {tree}/var/tmp | grep box || true") == ""


def test_debian_13_boots_on_cgroup_v2(bare_box: Callable[..., Box], debian13: str) -> None:
    box = bare_box(debian13, cgroup="unified")
    assert box.shell(STATE) == "running\n"
    assert int(box.shell("systemctl --version").split()[1]) >= 257
    assert box.shell("stat -f -c %T /sys/fs/cgroup") == "cgroup2fs\n"
    credential = (
        "systemd-run --wait -P -q -p SetCredential=a:x sh -c 'cat $CREDENTIALS_DIRECTORY/a'"
    )
    assert box.shell(credential) == "x"
    box.reboot()
    assert box.shell(STATE) == "running\n"


def test_a_failed_test_shows_the_journal(tmp_path: str) -> None:
    with open(f"{tmp_path}/test_it.py", "w") as file:
        file.write(
            "def test_it(bare_box):\n"
            "    bare_box().shell('logger -t tale the last words; journalctl --sync; false')\n"
        )
    done = run_pytest(f"{tmp_path}/test_it.py")
    assert done.returncode == 1
    assert "journal of box 0" in done.stdout
    assert "the last words" in done.stdout


def test_a_missing_package_says_what_to_do(tmp_path: str) -> None:
    with open(f"{tmp_path}/test_it.py", "w") as file:
        file.write("def test_it(box):\n    pass\n")
    done = run_pytest(f"{tmp_path}/test_it.py", "--deb", "/no/such.deb")
    assert done.returncode == 1
    assert "/no/such.deb: no such package file" in done.stdout


def run_pytest(file: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command += ["--rootdir", os.path.dirname(file), *options, file]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.parametrize("target", ["/tmp/here", "/run/../tmp/here", "/run"])
def test_binds_that_nobody_would_see_are_refused(target: str) -> None:
    command = [*CLI, "run", f"--bind=/etc:{target}", "--", "true"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{target} would be hidden by the box's own /tmp or /run: write /etc:/mnt" in done.stderr
