"""What an app finds around itself, as rkt had it: seen from inside."""

from __future__ import annotations

import pytest

from tests.box import Box
from tests.system.conftest import MakeImage, MakePod
from tests.system.pods import NO_NETWORK, SERVE, app, lines_of

IMAGE = "example.com/busybox"


def run(box: Box, *words: str) -> list[str]:
    """What the apps of ``rkt run`` print, who have to succeed."""
    return box.run(["rkt", "run", *words], check=True, timeout=60).stdout.splitlines()


@pytest.mark.row("mtab/MtabExistence")
@pytest.mark.parametrize("extra", ["", "read-only-root = true\n"])
def test_mtab(make_pod: MakePod, extra: str) -> None:
    script = "readlink /etc/mtab; grep -c ' / ' /etc/mtab"
    said = lines_of(make_pod("mtab", NO_NETWORK + app("one", script, extra=extra)))
    assert said == ["../proc/self/mounts", "1"]


@pytest.mark.row("devices/Devices", "paths/DevPathsStat")
def test_devices_that_every_app_has(make_pod: MakePod) -> None:
    script = (
        "for each in null zero full random urandom tty pts/ptmx; do"
        " stat -c '%n %a %t:%T' /dev/$each; done; stat -L -c '%a %t:%T' /dev/ptmx;"
        " mknod /null c 1 3 && echo x >/null && echo made; ls -d /dev/shm /dev/pts /dev/net/tun;"
        " mknod /loop c 10 237 || head -c 1 /loop || echo refused"
    )
    said = lines_of(make_pod("devices", NO_NETWORK + app("one", f"({script}) 2>/dev/null")))
    assert said == [
        "/dev/null 666 1:3", "/dev/zero 666 1:5", "/dev/full 666 1:7", "/dev/random 666 1:8",
        "/dev/urandom 666 1:9", "/dev/tty 666 5:0", "/dev/pts/ptmx 666 5:2", "666 5:2",
        "made", "/dev/net/tun", "/dev/pts", "/dev/shm", "refused",
    ]  # fmt: skip


SETTING = "/proc/sys/kernel/core_pattern"


@pytest.mark.row("paths/PathsWrite", "paths/ProcPathsStat", "volume_nspawn/VolumeSysfs: normal")
@pytest.mark.parametrize("network", ["none", "host"])
def test_paths_of_the_kernel(pod_box: Box, network: str) -> None:
    script = (
        f"(exec 3>>{SETTING}) 2>/dev/null && echo writable || echo read-only;"
        " for each in firmware module power; do"
        ' [ -z "$(ls /sys/$each 2>/dev/null)" ] && echo hidden || echo seen; done;'
        " ls -d /sys/class /sys/kernel; (echo >/sys/kernel/x) 2>/dev/null || echo refused"
    )
    words = [f"--net={network}", IMAGE, "--", "-c", script]
    kernel = ["/sys/class", "/sys/kernel", "refused"]
    assert run(pod_box, *words) == ["read-only", *["hidden"] * 3, *kernel]
    free = run(pod_box, "--insecure-options=paths", *words)
    assert free[0] == "writable"
    assert free[1:4] == ["seen" if network == "host" else "hidden"] * 3


@pytest.mark.row("mountns/MountNSApp")
def test_every_app_has_mounts_of_its_own(make_pod: MakePod, pod_box: Box) -> None:
    # The number of a namespace that has ended is given to the next one: both have to live.
    script = f"readlink /proc/self/ns/mnt; {SERVE}"
    pod = make_pod("mnt", NO_NETWORK + app("one", script) + app("two", script))
    pod.start()
    said = pod.messages(f"RKT_POD_UUID={pod.last_run()}")
    spaces = {line for line in said if line.startswith("mnt:")}
    assert len({*spaces, pod_box.shell("readlink /proc/1/ns/mnt").strip()}) == 3


@pytest.mark.row(
    "app_isolator/Memory", "app_isolator/CPU", "app_isolator/CPUShares",
    "app_isolator_nspawn/Cgroups",
)  # fmt: skip
def test_limits_of_images_and_of_flags(make_image: MakeImage, pod_box: Box) -> None:
    image = make_image(
        "limited",
        isolators=[
            {"name": "resource/memory", "value": {"limit": "25Mi"}},
            {"name": "resource/cpu", "value": {"limit": "800m"}},
        ],
    )
    script = (
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares;"
        " for each in memory/memory.limit_in_bytes cpu/cpu.shares; do"
        " (echo 2000000 >$each) 2>/dev/null && echo wrote; done; echo refused"
    )
    words = ["--", "-c", script]
    said = run(pod_box, "--net=none", image, *words)
    assert [said[0], said[1], said[3]] == [str(25 << 20), "80000", "refused"]
    flags = ["--memory=42Mi", "--cpu=900m", "--cpu-shares=12345"]
    said = run(pod_box, "--net=none", image, *flags, *words)
    assert said == [str(42 << 20), "90000", "12345", "refused"]


# capabilities(7): the default set of appc, and bits 0 and 5 of it.
DEFAULT, CHOWN, KILL = 0xA80425FB, 1 << 0, 1 << 5


@pytest.mark.row(
    "caps_nspawn/TestCaps", "caps/SeveralAppWithPatches", "caps/SeveralAppWithFlags",
    "caps/Override", "run_pod_manifest/PodManifest: capability override",
)  # fmt: skip
def test_capabilities_of_images_and_of_flags(make_image: MakeImage, pod_box: Box) -> None:
    """Every combination in one pod: nothing of one app is another's, and a flag wins."""
    isolator = "os/linux/capabilities-{}-set"
    sets = {
        kind: make_image(
            f"caps-{kind}",
            isolators=[{"name": isolator.format(kind), "value": {"set": ["CAP_CHOWN"]}}],
        )
        for kind in ("retain", "remove")
    }
    expected, words = {}, ["--net=none"]
    for kind, image in {"none": IMAGE, **sets}.items():
        of_image = {"none": DEFAULT, "retain": CHOWN, "remove": DEFAULT & ~CHOWN}[kind]
        for flag, result in {
            "none": of_image,
            "retain": KILL,
            "remove": DEFAULT & ~KILL,
        }.items():
            name = f"{kind}-{flag}"
            expected[name] = f"{result:016x}"
            given = [] if flag == "none" else [f"--caps-{flag}=CAP_KILL"]
            script = f"echo {name} $(grep CapEff /proc/self/status)"
            words += [image, f"--name={name}", *given, "--", "-c", script, "---"]
    said = dict(line.split(" CapEff: ") for line in run(pod_box, *words[:-1]))
    assert said == expected
    both = ["--caps-retain=CAP_KILL", "--caps-remove=CAP_CHOWN"]
    done = pod_box.run(["rkt", "run", "--net=none", IMAGE, *both])
    assert done.returncode == 254


@pytest.mark.row("no_new_privs")
def test_no_new_privileges_of_images(make_image: MakeImage, pod_box: Box) -> None:
    name = "os/linux/no-new-privileges"
    words, expected = ["--net=none"], []
    for number, (values, user) in enumerate(
        [((), 0), ((True,), 0), ((True,), 1000), ((False,), 0), ((False,), 1000),
         ((False, True), 0), ((True, False), 1000)]
    ):  # fmt: skip
        image = make_image(
            f"privileges-{number}",
            user=str(user),
            group=str(user),
            isolators=[{"name": name, "value": value} for value in values],
        )
        script = f"echo {number} $(id -u) $(grep NoNewPrivs /proc/self/status)"
        words += [image, "--", "-c", script, "---"]
        # Unlike rkt the filter that every app has brings it along, unless an app declines.
        expected.append(f"{number} {user} NoNewPrivs: {int(values[-1] if values else True)}")
    assert sorted(run(pod_box, *words[:-1])) == expected


@pytest.mark.row("oom_score_adj")
def test_oom_scores(make_image: MakeImage, pod_box: Box) -> None:
    image = make_image("oom", isolators=[{"name": "os/linux/oom-score-adj", "value": 333}])
    words, expected = ["--net=none"], {}
    for name, place, flags, score in (
        ("of-image", image, [], 333),
        ("of-flag", IMAGE, ["--oom-score-adj=444"], 444),
        ("of-both", image, ["--oom-score-adj=555"], 555),
    ):
        script = f"echo {name} $(cat /proc/self/oom_score_adj)"
        words += [place, f"--name={name}", *flags, "--", "-c", script, "---"]
        expected[name] = str(score)
    assert dict(line.split() for line in run(pod_box, *words[:-1])) == expected


@pytest.mark.row("gc_nspawn/GCCgroup", "rm_nspawn/RmCgroup")
def test_no_control_group_stays(pod_box: Box) -> None:
    run(pod_box, "--net=none", "--uuid-file-save=/run/groups.uuid", IMAGE, "--", "-c", "exit 0")
    uuid = pod_box.read("/run/groups.uuid")
    found = pod_box.shell(f"find /sys/fs/cgroup -name '*{uuid.split('-')[0]}*' -type d")
    assert found == ""
    pod_box.run(["rkt", "rm", uuid], check=True)
