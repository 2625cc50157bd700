"""Limits and kernel settings, at app and at pod level, as they hold inside the app."""

from __future__ import annotations

import json

import pytest

from tests.box import Box
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, app, lines_of


def test_resource_limits_of_processes(make_pod: MakePod) -> None:
    extra = 'rlimits = { nofile = "100:200", core = 0, stack = "infinity", nproc = "1k" }\n'
    script = "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -s; ulimit -u; ulimit -Sn 200; ulimit -Sn"
    said = lines_of(make_pod("rlimits", NO_NETWORK + app("one", script, extra=extra)))
    assert said == ["100", "200", "0", "unlimited", "1000", "200"]


FORKS = "for i in 1 2 3 4 5 6 7 8 9; do sleep 3 & done; wait"


@pytest.mark.parametrize("level", ["app", "pod"])
def test_processes_are_bounded(make_pod: MakePod, level: str) -> None:
    if level == "app":
        text = NO_NETWORK + app("one", FORKS, extra="pids = 6\n")
    else:
        text = f"{NO_NETWORK}pids = 6\n" + app("one", FORKS)
    said = lines_of(make_pod("pids", text))
    assert said
    assert "can't fork" in said[0]


def test_kernel_settings_of_a_pod(make_pod: MakePod, pod_box: Box) -> None:
    before = pod_box.shell("cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax")
    text = 'sysctl = { "net.core.somaxconn" = 77, "kernel.shmmax" = 1048576 }\n'
    script = "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/msg_max"
    own = 'sysctl = { "fs.mqueue.msg_max" = "33" }\n'
    apps = app("one", script, extra=own) + app("two", script)
    said = lines_of(make_pod("sysctl", NO_NETWORK + text + apps))
    assert sorted(said) == ["1048576", "1048576", "33", "33", "77", "77"]
    assert pod_box.shell("cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax") == before


WRONG = {
    '"vm.swappiness" = 1': "sysctl vm.swappiness would change the whole machine",
    '"kernel.core_pattern" = "x"': "sysctl kernel.core_pattern would change",
    '"net.core.nothing" = 1': "cannot set net.core.nothing to '1': No such file or directory",
    '"net/../../kernel.core_pattern" = "x"': "not the name of a setting",
}


@pytest.mark.parametrize("setting", WRONG)
def test_wrong_kernel_settings(make_pod: MakePod, setting: str) -> None:
    pod = make_pod("wrong", f"{NO_NETWORK}sysctl = {{ {setting} }}\n" + app("one", "echo here"))
    assert pod.systemctl("start").returncode == 1
    assert WRONG[setting] in pod.errors()[-1]
    assert pod.leftovers() == ""


def test_kernel_settings_of_the_host_stay(make_pod: MakePod) -> None:
    text = 'network = "host"\nsysctl = { "net.core.somaxconn" = 1 }\n' + app("one", "echo here")
    pod = make_pod("host-sysctl", text)
    assert pod.systemctl("start").returncode == 1
    assert "sysctl net.core.somaxconn with the network of the host" in pod.errors()[-1]


AMOUNT = 2_000_000


def test_bandwidth_of_a_pod(make_pod: MakePod, pod_box: Box) -> None:
    """2 MB at 1 MB a second, after a burst of a tenth: more than a second and less than ten."""
    stay, quick = "sleep 100", "stop-timeout = 0.1\n"
    apps = app("takes", f"nc -l -p 7000 -e wc -c; {stay}", extra=quick)
    give = f"head -c {AMOUNT} /dev/zero >/zero; nc -l -p 7001 -e cat /zero; {stay}"
    apps += app("gives", give, extra=quick)
    pod = make_pod("slow", 'network-bandwidth = "1M"\n' + apps)
    assert pod.systemctl("start").returncode == 0
    path = f"/var/lib/rkt/pods/run/{pod.last_run()}/net-info.json"
    address = json.loads(pod_box.read(path))[0]["ip"]
    assert _transferred(pod_box, address, 7000, f"peer.sendall(bytes({AMOUNT}))") == AMOUNT
    assert _transferred(pod_box, address, 7001, "pass") == AMOUNT
    pod.stop()
    assert pod.leftovers() == ""
    assert "bwp" not in pod_box.shell("ip -o link")


def _transferred(box: Box, address: str, port: int, send: str) -> int:
    """What was sent or received over a connection that has to take its time."""
    script = f"""
import socket, time
while True:
    try:
        peer = socket.create_connection(("{address}", {port}))
        break
    except OSError:
        time.sleep(0.05)
begin = time.monotonic()
{send}
peer.shutdown(socket.SHUT_WR)
said = b"".join(iter(lambda: peer.recv(65536), b""))
print(time.monotonic() - begin, len(said) if len(said) > 100 else said.decode())
"""
    seconds, amount = box.run(["python3", "-c", script], check=True, timeout=60).stdout.split()
    assert 1 < float(seconds) < 20
    return int(amount)


def test_limits_of_disks_reach_the_cgroups(make_pod: MakePod, pod_box: Box) -> None:
    # The box has a /dev of its own, without disks.
    pod_box.shell(
        "for disk in $(ls /sys/block); do [ -e /dev/$disk ] ||"
        " mknod /dev/$disk b $(tr : ' ' </sys/block/$disk/dev); done"
    )
    devices = pod_box.shell("ls /sys/block").split()
    text = NO_NETWORK + 'block-bandwidth = "10M"\n'
    text += app("one", "echo ready; sleep 100", extra='block-bandwidth = "1M"\nstop-timeout = 1\n')
    pod = make_pod("disks", text)
    pod.start()
    for unit, limit in (
        (pod.app_unit("one"), "1000000"),
        (pod.slice.replace("\\\\", "\\"), "10000000"),
    ):
        for way in ("Read", "Write"):
            shown = pod.show(f"IO{way}BandwidthMax", unit)
            assert any(f"/dev/{device} {limit}" in shown for device in devices), shown
    files = "find /sys/fs/cgroup/blkio -path '*rkt-disks*' -name 'blkio.throttle.*_bps_device'"
    content = pod_box.shell(f"cat $({files}) 2>/dev/null || :")
    unified = pod_box.shell("test -e /sys/fs/cgroup/cgroup.controllers && echo yes || :").strip()
    assert unified or {line.split()[1] for line in content.splitlines()} == {"1000000", "10000000"}


def test_what_this_machine_cannot_do_is_told(make_pod: MakePod, pod_box: Box) -> None:
    extra = 'apparmor-profile = "web"\nselinux-context = "u:r:t:s0"\n'
    text = NO_NETWORK + app("one", "echo here", extra=extra)
    pod = make_pod("poor", text)
    assert lines_of(pod) == ["here"]
    told = [
        "app one: os/linux/apparmor-profile: AppArmor is not enabled in this kernel",
        "app one: os/linux/selinux-context: SELinux is not enabled in this kernel",
    ]
    status = pod_box.run(["rkt", "status", "poor"], check=True).stdout.splitlines()
    assert [line for line in status if line.startswith("unapplied=")] == [
        f"unapplied={line}" for line in told
    ]
    journal = pod_box.journal("-u", pod.unit, "-p", "warning", "-o", "cat")
    assert all(f"pod poor: not applied: {line}" in journal for line in told)
    pod.write(f"strict = true\n{text}")
    assert pod.systemctl("start").returncode == 1
    assert pod.errors()[-1] == f"pod poor: {told[0]}"
    run = pod_box.run(["rkt", "run", "--net=none", "--strict", "example.com/busybox",
                       "--apparmor-profile=x", "--exec=/bin/true"])  # fmt: skip
    assert run.returncode == 254
    assert "AppArmor is not enabled" in run.stderr


def test_a_kernel_that_shapes_no_traffic(make_pod: MakePod, pod_box: Box) -> None:
    text = 'network-bandwidth = "1M"\n' + app("one", "echo here; ip -o link | grep -c eth0")
    pod = make_pod("loose", text)
    # What the kernel would say to the tool itself.
    pod_box.shell("printf '#!/bin/sh\\nexit 2\\n' >/usr/local/sbin/tc; chmod +x /usr/local/sbin/tc")
    try:
        assert lines_of(pod) == ["here", "1"]
        status = pod_box.run(["rkt", "status", "loose"], check=True).stdout
        told = "resource/network-bandwidth: this kernel has no ifb or no tbf (tc(8))"
        assert f"unapplied={told}\n" in status
        pod.write(f"strict = true\n{text}")
        assert pod.systemctl("start").returncode == 1
        assert pod.errors()[-1] == f"pod loose: {told}"
    finally:
        pod_box.shell("rm /usr/local/sbin/tc")


def test_flags(pod_box: Box) -> None:
    script = (
        "ulimit -n; cat /proc/sys/net/core/somaxconn; for i in 1 2 3 4 5; do sleep 2 & done; wait"
    )
    done = pod_box.run(
        ["rkt", "run", "--net=none", "--sysctl=net.core.somaxconn=55", "example.com/busybox",
         "--rlimit=nofile=64", "--rlimit=core=0", "--pids=4", "--exec=/bin/sh", "--", "-c", script],
        timeout=60,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[:2] == ["64", "55"]
    assert "can't fork" in lines[2]
