"""Volumes of every kind, looked at from inside the apps, and named ones from outside as well."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box import Box
from tests.material import images
from tests.system.commands import good
from tests.system.conftest import MakePod, store_image
from tests.system.pods import NO_NETWORK, SERVE, app, lines_of
from tests.waiting import eventually

ODD = "example.com/odd"


@pytest.fixture(scope="module")
def odd_box(pod_box: Box, tmp_path_factory: pytest.TempPathFactory) -> Box:
    """With an appc image that has links and content, and an OCI image with a VOLUME."""
    directory = tmp_path_factory.mktemp("odd")
    root = images.busybox_root(directory / "root")
    os.makedirs(f"{root}/real")
    os.symlink("/real", f"{root}/link")
    os.symlink("/nowhere/yet", f"{root}/dangling")
    os.symlink("../../../../../../srv/host", f"{root}/escape")
    os.makedirs(f"{root}/data/sub")
    Path(f"{root}/data/sub/file").write_text("of the image\n")
    os.chown(f"{root}/data", 33, 44)
    os.chmod(f"{root}/data", 0o1770)
    points = [{"name": "spool", "path": "/var/spool"}]
    manifest = images.busybox_manifest(ODD, mountPoints=points)
    store_image(pod_box, images.write_aci(root, manifest, directory / "odd.aci"))
    images.oci_layout(
        str(root), directory / "layout", "v1", config={"cmd": "/bin/sh", "volume": "/data"}
    )
    pod_box.push(str(directory / "layout"), "/srv/layout")
    fetch = ["rkt", "--insecure-options=image", "fetch", "oci:/srv/layout:v1"]
    pod_box.run(fetch, check=True)
    pod_box.shell("mkdir -p /srv/host; echo untouched >/srv/host/file")
    return pod_box


@pytest.fixture
def volumes(odd_box: Box) -> Iterator[Box]:
    """The box, whose named volumes are gone after the test."""
    yield odd_box
    odd_box.shell("rm -rf /var/lib/rkt/volumes")


def _volume(name: str, **fields: object) -> str:
    lines = "".join(f"{key.replace('_', '-')} = {json.dumps(v)}\n" for key, v in fields.items())
    return f'[[volume]]\nname = "{name}"\n{lines}'


def _mounts(**targets: str) -> str:
    entries = (f'{{volume = "{name}", path = "{path}"}}' for name, path in targets.items())
    return f"mounts = [{', '.join(entries)}]\n"


def _names(box: Box) -> list[str]:
    listed = box.run(["rkt", "volume", "list", "--format=json"], check=True).stdout
    return [each["name"] for each in json.loads(listed)]


@pytest.mark.row("mount/MountSymlink", "app_sandbox/Mount")
def test_targets_that_are_links_stay_inside(make_pod: MakePod, odd_box: Box) -> None:
    """A link in the image leads where it leads in the image, also one to nowhere."""
    targets = {"a": "/link/below", "b": "/dangling", "c": "/escape", "d": "/a:b, c"}
    text = NO_NETWORK + "".join(_volume(name, source="/srv/target") for name in targets)
    odd_box.shell("mkdir -p /srv/target; echo found >/srv/target/f")
    script = "cat /real/below/f /nowhere/yet/f /srv/host/f '/a:b, c/f'; ls /srv/host"
    pod = make_pod("links", text + app("one", script, image=ODD, extra=_mounts(**targets)))
    assert lines_of(pod) == ["found"] * 4 + ["f"]
    assert odd_box.shell("ls /srv/host; ls -d /real /nowhere 2>/dev/null || :") == "file\n"


@pytest.mark.row("volume_mount_generic/VolumeMount")
@pytest.mark.parametrize("form", ["rw", "ro"])
@pytest.mark.parametrize("recursive", [True, False])
def test_mounts_below_a_volume(make_pod: MakePod, odd_box: Box, form: str, recursive: bool) -> None:
    odd_box.shell(
        "mkdir -p /srv/tree/inner; mountpoint -q /srv/tree/inner && exit;"
        " echo outer >/srv/tree/inner/file; mount -t tmpfs none /srv/tree/inner;"
        " echo nested >/srv/tree/inner/file"
    )
    volume = _volume("tree", source="/srv/tree", recursive=recursive, read_only=form == "ro")
    script = "cat /t/inner/file; for f in /t/x /t/inner/x; do echo >$f && echo ok; done 2>&1; :"
    text = NO_NETWORK + volume + app("one", script, extra=_mounts(tree="/t"))
    first, *written = lines_of(make_pod("tree", text))
    assert first == ("nested" if recursive else "outer")
    assert len(written) == 2
    for line in written:
        assert line == "ok" if form == "rw" else line.endswith("Read-only file system")


def test_a_file_as_a_volume(make_pod: MakePod, odd_box: Box) -> None:
    odd_box.write("/srv/one file", "content\n")
    volume = _volume("file", source="/srv/one file", read_only=True)
    extra = "read-only-root = true\n" + _mounts(file="/etc/new/name")
    script = "cat /etc/new/name; echo >/etc/new/name || echo refused"
    said = lines_of(make_pod("file", NO_NETWORK + volume + app("one", script, extra=extra)))
    assert (said[0], said[-1]) == ("content", "refused")


@pytest.mark.row("devices/Devices: opened")
@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({"source": "/dev/fuse"}, ["<", ">"]),
        ({"source": "/srv/nodes/a fuse"}, ["<", ">"]),
        ({"source": "/srv/nodes/a fuse", "read_only": True}, ["<"]),
        ({"source": "/srv/nodes"}, []),
    ],
)
def test_devices(
    make_pod: MakePod, odd_box: Box, fields: dict[str, object], allowed: list[str]
) -> None:
    """A device is usable as its volume is; a node in a directory opens nothing."""
    odd_box.shell(
        "mkdir -p /srv/nodes; [ -e '/srv/nodes/a fuse' ] || mknod '/srv/nodes/a fuse' c 10 229"
    )
    place = "/v/a fuse" if fields["source"] == "/srv/nodes" else "/dev/mine"
    target = "/v" if fields["source"] == "/srv/nodes" else "/dev/mine"
    script = f"(exec 3<'{place}' && echo '<'); (exec 3>'{place}' && echo '>'); :"
    one = app("one", script, extra=_mounts(v=target))
    said = lines_of(make_pod("devices", NO_NETWORK + _volume("v", **fields) + one))
    assert [line for line in said if len(line) == 1] == allowed
    assert len(said) == 2


def test_links_in_sources(make_pod: MakePod, odd_box: Box) -> None:
    odd_box.shell("mkdir -p /srv/there/sub; echo x >/srv/there/sub/f; ln -sfn there /srv/linked")
    text = NO_NETWORK + _volume("v", source="/srv/linked/sub")
    one = app("one", "cat /v/f", extra=_mounts(v="/v"))
    pod = make_pod("linked", text + one)
    assert pod.systemctl("start").returncode == 1
    assert pod.errors() == [
        "pod linked: volume v: /srv/linked/sub leads through a symbolic link to /srv/there/sub"
        " (write the real path, or allow links with follow-links)"
    ]
    pod.write("follow-links = true\n" + text + one)
    assert lines_of(pod) == ["x"]
    # What was once compiled is looked at again.
    odd_box.shell("rm /srv/linked; mkdir -p /srv/linked/sub; echo y >/srv/linked/sub/f")
    pod.write(text + one)
    assert lines_of(pod) == ["y"]
    odd_box.shell("rm -r /srv/linked; ln -s there /srv/linked")
    assert pod.systemctl("start").returncode == 1
    odd_box.shell("rm /srv/linked")


def test_memory(make_pod: MakePod, odd_box: Box) -> None:
    """tmpfs volumes: shared by the apps, as large as said, gone with the pod."""
    volume = _volume("m", kind="tmpfs", size="1Mi", mode="1770", uid=7, gid=8)
    first = "echo word >/m/f; dd if=/dev/zero of=/m/big bs=64k count=99 2>&1; stat -c '%a %u %g' /m"
    first += "; ls -s /m/big; touch /m/done; sleep 1000"
    second = "until [ -e /m/done ]; do sleep 0.1; done; cat /m/f; echo ready; sleep 1000"
    extra = _mounts(m="/m")
    text = NO_NETWORK + volume + app("one", first, extra=extra) + app("two", second, extra=extra)
    pod = make_pod("memory", text)
    pod.start()
    said = pod.messages(f"RKT_POD_UUID={pod.last_run()}")
    assert "1770 7 8" in said
    assert "word" in said
    assert any("No space left on device" in line for line in said)
    status = json.loads(good(odd_box, "status", "--format=json", "memory"))
    assert status["apps"][0]["mounts"][0]["host_path"] == "/run/rkt/pods/memory/memory/m"
    assert "/run/rkt/pods/memory/memory/m" in odd_box.read("/proc/self/mountinfo")
    pod.stop()
    assert pod.leftovers() == ""
    assert "/run/rkt/pods" not in odd_box.read("/proc/self/mountinfo")


def test_memory_is_released_by_a_start_that_fails(make_pod: MakePod, odd_box: Box) -> None:
    extra = _mounts(m="/m") + '[app.systemd]\nMemoryMax = "4096"\n'
    text = NO_NETWORK + _volume("m", kind="tmpfs") + app("one", "sleep 1000", extra=extra)
    pod = make_pod("no-start", text)
    assert pod.systemctl("start").returncode == 1
    assert pod.leftovers() == ""
    assert "/run/rkt/pods" not in odd_box.read("/proc/self/mountinfo")


@pytest.mark.row("volume/DockerVolumeSemantics")
@pytest.mark.parametrize("read_only", [False, True])
def test_a_volume_of_an_oci_image_has_its_content(
    make_pod: MakePod, odd_box: Box, read_only: bool
) -> None:
    script = (
        "cat /data/sub/file; stat -c %a /data; touch /data/new && ls /data; touch /x || echo ro"
    )
    extra = "read-only-root = true\n" if read_only else ""
    said = lines_of(
        make_pod("oci", NO_NETWORK + app("one", script, image="layout:v1", extra=extra))
    )
    assert said[:4] == ["of the image", "1770", "new", "sub"]
    assert ("ro" in said) == read_only


@pytest.mark.row("volume/DockerVolumeSemantics")
def test_a_host_volume_over_a_volume_of_an_oci_image(make_pod: MakePod, odd_box: Box) -> None:
    odd_box.shell("mkdir -p /srv/bare")
    text = NO_NETWORK + _volume("volume-data", source="/srv/bare")
    pod = make_pod("bare", text + app("one", "ls -A /data | wc -l", image="layout:v1"))
    assert lines_of(pod) == ["0"]


@pytest.mark.row("volume_nspawn/Volumes: implicit")
def test_an_unfilled_mount_point_of_an_appc_image(make_pod: MakePod, odd_box: Box) -> None:
    script = "grep -c ' /var/spool ' /proc/self/mountinfo; ls -A /var/spool | wc -l"
    pod = make_pod("spool", NO_NETWORK + app("one", script, image=ODD))
    assert lines_of(pod) == ["1", "0"]


def test_a_named_volume_is_filled_once_and_outlives_pods(make_pod: MakePod, volumes: Box) -> None:
    script = "stat -c '%a %u %g' /data; cat /data/sub/file; echo changed >/data/sub/file"
    text = NO_NETWORK + _volume("d", source="goods")
    pod = make_pod("first", text + app("one", script, image=ODD, extra=_mounts(d="/data")))
    assert lines_of(pod) == ["1770 33 44", "of the image"]
    assert lines_of(pod) == ["1770 33 44", "changed"]
    (mount,) = json.loads(good(volumes, "status", "--format=json", "first"))["apps"][0]["mounts"]
    assert mount["host_path"] == "/var/lib/rkt/volumes/goods/data"
    other = make_pod("second", text + app("one", "cat /d/sub/file", extra=_mounts(d="/d")))
    assert lines_of(other) == ["changed"]
    for each in (pod, other):
        each.remove()
    volumes.run(["rkt", "gc", "--grace-period=0s"], check=True)
    assert _names(volumes) == ["goods"]
    assert volumes.read("/var/lib/rkt/volumes/goods/data/sub/file") == "changed\n"
    mode = volumes.shell("stat -c %a /var/lib/rkt/volumes /var/lib/rkt/volumes/goods").split()
    assert all(each[-2:] == "00" for each in mode)


def test_a_named_volume_with_a_mode_of_its_own(make_pod: MakePod, volumes: Box) -> None:
    text = NO_NETWORK + _volume("d", source="own", mode="0700", uid=5, gid=6)
    script = "stat -c '%a %u %g' /data; ls /data"
    pod = make_pod("own", text + app("one", script, image=ODD, extra=_mounts(d="/data")))
    assert lines_of(pod) == ["700 5 6", "sub"]


def test_what_is_in_use_stays(make_pod: MakePod, volumes: Box) -> None:
    text = NO_NETWORK + _volume("d", source="held")
    pod = make_pod("holder", text + app("one", SERVE, extra=_mounts(d="/d")))
    pod.start()
    refused = volumes.run(["rkt", "volume", "rm", "held"])
    assert refused.returncode == 254
    assert refused.stderr == (
        'rm: volume "held" is used by pod holder, which is running (stop or remove the pod first)\n'
    )
    pod.stop()
    # The pod file still means it.
    assert volumes.run(["rkt", "volume", "prune"], check=True).stdout == ""
    inspected = volumes.run(["rkt", "volume", "inspect", "--format=json", "held"], check=True)
    (known,) = json.loads(inspected.stdout)
    assert (known["name"], known["created_by"]) == ("held", "holder")
    assert known["path"] == "/var/lib/rkt/volumes/held/data"
    assert known["used_by"][-1] == {"pod_file": "holder"}
    assert [each.get("state") for each in known["used_by"]] == ["exited", None]
    assert volumes.run(["rkt", "volume", "rm", "held"], check=True).stdout == '"held"\n'
    assert _names(volumes) == []
    pod.start()
    assert _names(volumes) == ["held"]


def test_prune(make_pod: MakePod, volumes: Box) -> None:
    template = NO_NETWORK + _volume("d", source="of-%i")
    volumes.write("/etc/rkt/pods/many@.toml", template + app("one", ":", extra=_mounts(d="/d")))
    volumes.shell("mkdir -p /var/lib/rkt/volumes/of-7/data /var/lib/rkt/volumes/nobodys/data")
    volumes.write("/etc/rkt/pods/broken.toml", "what = ")
    refused = volumes.run(["rkt", "volume", "prune"])
    assert refused.returncode == 254
    assert "/etc/rkt/pods/broken.toml" in refused.stderr
    assert _names(volumes) == ["nobodys", "of-7"]
    volumes.shell("rm /etc/rkt/pods/broken.toml")
    assert volumes.run(["rkt", "volume", "prune"], check=True).stdout == '"nobodys"\n'
    assert _names(volumes) == ["of-7"]
    volumes.shell("rm /etc/rkt/pods/many@.toml")
    assert volumes.run(["rkt", "volume", "prune"], check=True).stdout == '"of-7"\n'


def test_volumes_of_the_command_line(volumes: Box) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return volumes.run(["rkt", "run", "--net=none", *words])

    keep = ("--volume=k,kind=named,source=kept", "--volume=t,kind=tmpfs,size=64Ki")
    image = ("example.com/busybox", "--mount=volume=k,target=/k", "--mount=volume=t,target=/t")
    first = run(*keep, *image, "--exec=/bin/sh", "--", "-c", "echo 1 >>/k/f; df -k /t | tail -1")
    assert first.returncode == 0, first.stderr
    assert first.stdout.split()[1] == "64"
    again = run(*keep, *image, "--exec=/bin/sh", "--", "-c", "echo 2 >>/k/f; cat /k/f")
    assert again.stdout == "1\n2\n"
    prepared = volumes.run(["rkt", "prepare", "--quiet", *keep, *image], check=True).stdout.strip()
    refused = volumes.run(["rkt", "volume", "rm", "kept"])
    assert f"is used by pod {prepared}, which is prepared" in refused.stderr
    volumes.run(["rkt", "rm", prepared], check=True)
    volumes.run(["rkt", "volume", "rm", "kept"], check=True)


def test_links_on_the_command_line(odd_box: Box) -> None:
    odd_box.shell("mkdir -p /srv/behind; echo z >/srv/behind/f; ln -sfn behind /srv/before")
    command = ["rkt", "run", "--net=none", "--volume=v,kind=host,source=/srv/before"]
    image = ["example.com/busybox", "--mount=volume=v,target=/v", "--exec=/bin/cat", "--", "/v/f"]
    refused = odd_box.run([*command, *image])
    assert (refused.returncode, "symbolic link to /srv/behind" in refused.stderr) == (254, True)
    assert odd_box.run([*command, "--follow-links", *image], check=True).stdout == "z\n"


def test_a_crash_while_a_volume_is_made_leaves_no_half(make_pod: MakePod, volumes: Box) -> None:
    volumes.shell("mkdir -p /var/lib/rkt/volumes/.new/data; touch /var/lib/rkt/volumes/.new/data/x")
    text = NO_NETWORK + _volume("d", source="fresh")
    pod = make_pod("fresh", text + app("one", "ls -A /d", image=ODD, extra=_mounts(d="/d")))
    assert lines_of(pod) == []
    assert _names(volumes) == ["fresh"]
    eventually(lambda: volumes.shell("ls -A /var/lib/rkt/volumes") == "fresh\n", "nothing is left")


@pytest.mark.row("volume_nspawn/VolumeSysfs")
@pytest.mark.parametrize("network", ["none", "host"])
def test_the_sys_of_the_host(odd_box: Box, network: str) -> None:
    """It may be mounted as a whole; anything else there systemd-nspawn would hide."""
    command = ["rkt", "run", f"--net={network}", "--volume=s,kind=host,source=/sys,readOnly=true"]
    script = "ls -d /sys/firmware /sys/class /sys/module; (>/sys/class/x) 2>/dev/null || echo no"
    image = ["example.com/busybox", "--mount=volume=s,target=/sys", "--exec=/bin/sh"]
    said = odd_box.run([*command, *image, "--", "-c", script], check=True).stdout.split()
    assert said == ["/sys/class", "/sys/firmware", "/sys/module", "no"]
    for volume, target in (
        ("v,kind=empty", "/sys"), ("v,kind=host,source=/etc/hostname", "/sys/class"),
        ("v,kind=host,source=/sys/class", "/sys/class"), ("v,kind=host,source=/proc", "/proc"),
        ("v,kind=empty", "/proc/sys"),
    ):  # fmt: skip
        words = [f"--net={network}", f"--volume={volume}", "example.com/busybox"]
        done = odd_box.run(["rkt", "run", *words, f"--mount=volume=v,target={target}"])
        assert done.returncode == 254
        assert f"volume v cannot be mounted at {target}\n" in done.stderr


@pytest.mark.row("volume_nspawn/Volumes", "run_pod_manifest/PodManifest: volumes")
def test_volumes_without_mount_points(odd_box: Box) -> None:
    """Mounts where the image has no mount point, with the directories above, and unused volumes."""
    odd_box.shell("mkdir -p /srv/plain; chmod 700 /srv/plain")
    command = ["rkt", "run", "--net=none", "--volume=a,kind=host,source=/srv/plain"]
    unused = "--volume=unused,kind=host,source=/srv/plain"
    script = "echo kept >/deep/er/v/file; stat -c %a /deep /deep/er /deep/er/v"
    image = ["example.com/busybox", "--mount=volume=a,target=/deep/er/v", "--exec=/bin/sh"]
    done = odd_box.run([*command, unused, *image, "--", "-c", script], check=True)
    assert done.stdout.split() == ["755", "755", "700"]
    assert odd_box.read("/srv/plain/file") == "kept\n"
    twice = odd_box.run([*command, "--volume=a,kind=empty", *image])
    assert twice.returncode == 254
    assert "duplicate volume name" in twice.stderr
    gone = odd_box.run([*command[:3], "--volume=a,kind=host,source=/srv/gone", *image])
    assert gone.returncode == 254
    assert "volume a: /srv/gone does not exist" in gone.stderr
