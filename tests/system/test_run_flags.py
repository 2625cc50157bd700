"""What the flags of run and prepare come to, seen from inside the app."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.box import Box
from tests.material import images
from tests.system.conftest import MakeImage, MakePod
from tests.system.pods import NO_NETWORK, SERVE, app

IMAGE = "example.com/busybox"


def run(box: Box, *words: str) -> subprocess.CompletedProcess[str]:
    return box.run(["rkt", "run", "--net=none", *words], timeout=60)


def said(box: Box, *words: str) -> list[str]:
    done = run(box, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def prepared(box: Box, words: Sequence[str], *flags: str) -> list[str]:
    """What is said by way of prepare and run-prepared."""
    made = box.run(["rkt", "prepare", "--quiet", *words], check=True).stdout.strip()
    command = ["rkt", "run-prepared", "--net=none", *flags, made]
    return box.run(command, check=True, timeout=60).stdout.splitlines()


@pytest.mark.row("env/Env: run")
def test_environments_in_their_order(make_image: MakeImage, pod_box: Box) -> None:
    names = ["A", "B", "C", "D", "E"]
    image = make_image(
        "env", environment=[{"name": name, "value": "image"} for name in (*names[1:], "TERM")]
    )
    pod_box.write("/run/env", "# comment\n; another\n\nC=file\nD=file\nE=file\n")
    flags = [
        "--inherit-env", "--set-env-file=/run/env", "--set-env=D=set", "--set-env=E=set", image,
        "--environment=E=app",
    ]  # fmt: skip
    script = "echo $A $B $C $D $E $TERM"
    command = ["env", "A=host", "B=host", "TERM=host", "rkt", "run", "--net=none", *flags]
    done = pod_box.run([*command, "--", "-c", script], check=True, timeout=60)
    assert done.stdout == "host image file set app image\n"
    without = said(pod_box, *flags[1:], "--", "-c", f"{script}; echo ${{A-unset}}")
    assert without == ["image file set app image", "unset"]
    assert prepared(pod_box, [*flags[1:], "--", "-c", script]) == without[:1]


@pytest.mark.row("env/Env: enter")
def test_a_command_has_the_environment_of_the_app(make_pod: MakePod) -> None:
    extra = '[app.environment]\nGREETING = "hello"\nPATH = "/opt:/bin"\n'
    pod = make_pod("entered", NO_NETWORK + app("one", SERVE, extra=extra))
    pod.start()
    script = "echo $GREETING $PATH $AC_APP_NAME $HOME"
    done = pod.box.run(["rkt", "enter", "entered", "/bin/sh", "-c", script], check=True)
    assert done.stdout == "hello /opt:/bin one /root\n"


@pytest.mark.row("exec/RunOverrideExec", "exec/RunPreparedOverrideExec")
def test_another_program_than_the_images(make_image: MakeImage, pod_box: Box) -> None:
    image = make_image("echo", ("/bin/echo", "of the image"))
    for words, expected in (
        ([image, "--", "more", "--", "words"], "of the image more -- words"),
        ([image, "--exec=/bin/printf", "--", r"%s,", "a", "b"], "a,b,"),
        # A link to busybox, that finds its applet by the name.
        ([image, "--exec=/usr/bin/basename", "--", "/x/y"], "y"),
        ([image, "--exec=basename", "--", "/x/z"], "z"),
    ):
        assert said(pod_box, *words) == [expected]
        assert prepared(pod_box, words) == [expected]


@pytest.mark.row("dns/DNSParam", "net_nspawn/CNIDNSArgNone")
@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        ([], None),
        (["--dns=none"], None),
        (["--dns=8.8.8.8"], ["nameserver 8.8.8.8"]),
        (["--dns=8.8.8.8", "--dns=8.8.4.4"], ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]),
        (["--dns=8.8.8.8,8.8.4.4"], ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]),
        (["--dns-search=a", "--dns-search=b"], ["search a b"]),
        (["--dns-opt=debug", "--dns-opt=rotate"], ["options debug rotate"]),
        (["--dns-domain=example.com"], ["domain example.com"]),
    ],
)
def test_name_servers(pod_box: Box, flags: list[str], lines: list[str] | None) -> None:
    script = "cat /etc/resolv.conf 2>/dev/null || echo absent"
    found = said(pod_box, *flags, IMAGE, "--", "-c", script)
    expected = ["absent"] if lines is None else lines
    assert [line for line in found if not line.startswith("#")] == expected


@pytest.mark.row("dns/DNSHost", "etc_hosts/EtcHosts")
def test_files_of_the_host(pod_box: Box) -> None:
    names = "10.9.8.7 from-the-host\n"
    pod_box.shell(f"cp /etc/hosts /run/hosts; printf '{names}' >>/etc/hosts")
    try:
        flags = ["--dns=host", "--hosts-entry=host", "--hosts-entry=host"]
        script = "cat /etc/resolv.conf; echo --; cat /etc/hosts"
        done = run(pod_box, *flags, IMAGE, "--", "-c", script)
        files = f"{pod_box.read('/etc/resolv.conf')}--\n{pod_box.read('/etc/hosts')}"
        assert done.stdout == files
    finally:
        pod_box.shell("cat /run/hosts >/etc/hosts")


@pytest.mark.row("etc_hosts/EtcHosts", "hostname/Hostname")
def test_names(pod_box: Box) -> None:
    script = ["--", "-c", "hostname; cat /etc/hostname; cat /etc/hosts"]
    uuid = ["--uuid-file-save=/run/names.uuid"]
    host, file, *hosts = said(pod_box, *uuid, "--hosts-entry=10.1.1.1=far", IMAGE, *script)
    name = f"rkt-{pod_box.read('/run/names.uuid')}"
    assert (host, file) == (name, name)
    (own,) = [line for line in hosts if line.startswith("127.0.0.1 ")]
    assert {"localhost", name} <= set(own.split())
    assert "10.1.1.1 far" in hosts
    assert said(pod_box, "--hostname=other", IMAGE, *script)[:2] == ["other", "other"]


@pytest.mark.row("etc_hosts/EtcHosts", "etc_hosts/PrepareAppCheckEtcHostname")
def test_names_of_prepared_pods_and_of_volumes(pod_box: Box) -> None:
    pod_box.write("/srv/own-hosts", "10.2.2.2 own\n")
    volume = ["--volume=h,kind=host,source=/srv/own-hosts"]
    mount = ["--mount=volume=h,target=/etc/hosts"]
    script = "cat /etc/hostname; cat /etc/hosts"
    words = [*volume, IMAGE, *mount, "--", "-c", script]
    assert said(pod_box, "--hostname=here", *words) == ["here", "10.2.2.2 own"]
    assert prepared(pod_box, words, "--hostname=there") == ["there", "10.2.2.2 own"]


USERS = [
    # of the image, flags, what comes of it
    (("0", "0"), [], "0 0"),
    (("1000", "100"), [], "1000 100"),
    (("app", "app"), [], "1000 1000"),
    (("root", "root"), [], "0 0"),
    (("/etc/passwd", "/etc/passwd"), [], "0 0"),
    (("0", "0"), ["--user=1000", "--group=100"], "1000 100"),
    (("0", "0"), ["--user=app", "--group=app"], "1000 1000"),
    (("app", "app"), ["--user=root", "--group=root"], "0 0"),
    (("app", "app"), ["--user=/etc/passwd", "--group=/etc/group"], "0 0"),
    (("0", "0"), ["--user=5"], "5 0"),
    (("0", "0"), ["--group=6"], "0 6"),
    (("0", "0"), ["--user=7", "--group=8", "--supplementary-gids=400,500,1200"], "7 8"),
]


@pytest.mark.row(
    "run_user_group/AppUserGroup: without user namespaces", "supplementary_gids",
    "run_user_group/AppUserGroup: user namespaces", "run_pod_manifest/PodManifest: user and group",
)  # fmt: skip
@pytest.mark.parametrize("private", [False, True])
def test_users_and_groups(make_image: MakeImage, pod_box: Box, private: bool) -> None:
    words: list[str] = ["--private-users"] if private else []
    expected: list[str] = []
    stored: dict[tuple[str, str], str] = {}
    for number, (pair, flags, result) in enumerate(USERS):
        if pair not in stored:
            stored[pair] = make_image(f"user-{len(stored)}", user=pair[0], group=pair[1])
        script = f"echo {number:02} $(id -u) $(id -g) $(id -G)"
        words += [stored[pair], f"--name=a{number}", *flags, "--", "-c", script, "---"]
        groups = "8 400 500 1200" if "--supplementary-gids" in str(flags) else result.split()[1]
        expected.append(f"{number:02} {result} {groups}")
    assert sorted(said(pod_box, *words[:-1])) == expected


@pytest.mark.row("run_pod_manifest/PodManifest: bad users and groups")
@pytest.mark.parametrize("flag", ["user", "group"])
@pytest.mark.parametrize("value", ["nobody-there", "/not/there"])
def test_users_and_groups_that_are_none(pod_box: Box, flag: str, value: str) -> None:
    done = run(pod_box, IMAGE, f"--{flag}={value}")
    assert done.returncode == 254
    assert f'app busybox: {flag} "{value}": no such' in done.stderr


@pytest.mark.row("mount_overlay/OverlayMount")
def test_a_data_directory_with_separators(pod_box: Box) -> None:
    place = "--dir=/var/lib/rkt/a:b,c\\d"
    archive = ["--insecure-options=image", "run", "--net=none", "/var/tmp/busybox.aci"]
    for flags in ([], ["--readonly-rootfs=true"]):
        words = [*archive, *flags, "--", "-c", "echo x 2>/dev/null >/y; cat /y /etc/group"]
        done = pod_box.run(["rkt", place, *words], timeout=60)
        assert "root:x:0:" in done.stdout, done.stderr
        assert ("x" in done.stdout.splitlines()) != bool(flags)
    pod_box.run(["rkt", place, "gc", "--grace-period=0s"], check=True)
    assert pod_box.shell("ls /var/lib/rkt/a:*/pods/run") == ""
    pod_box.shell("rm -r /var/lib/rkt/a:*")


@pytest.mark.row("service_file/ServiceFile")
def test_run_as_a_transient_unit(pod_box: Box) -> None:
    script = f"echo in the journal; {SERVE}"
    command = ["rkt", "run", "--net=none", IMAGE, "--", "-c", script]
    # What systemd would take for a variable is the app's.
    words = [word.replace("$", "$$") for word in command]
    unit = "--unit=of-rkt-run.service"
    pod_box.run(["systemd-run", "--quiet", unit, "--collect", *words], check=True)
    logs = "journalctl -u of-rkt-run -o cat"
    pod_box.shell(f"until {logs} | grep -qx ready; do sleep 0.1; done")
    assert pod_box.shell("systemctl is-active of-rkt-run").strip() == "active"
    pod_box.run(["systemctl", "stop", "of-rkt-run"], check=True, timeout=60)
    lines = pod_box.shell(f"journalctl --sync; {logs}").splitlines()
    assert "in the journal" in lines
    assert "bye" in lines
    assert pod_box.shell("systemctl is-active of-rkt-run || :").strip() == "inactive"


@pytest.mark.row("os_arch/MissingOrInvalid")
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"arch": "amd64"}, "missing os label in the image manifest"),
        ({"os": "linux"}, "missing arch label in the image manifest"),
        ({"os": "freebsd", "arch": "amd64"}, 'bad os "freebsd"'),
        ({"os": "linux", "arch": "aarch64"}, 'bad arch "aarch64"'),
    ],
)
def test_images_of_other_machines(
    pod_box: Box, tmp_path: Path, labels: dict[str, str], message: str
) -> None:
    manifest = images.busybox_manifest("example.com/other")
    manifest["labels"] = [{"name": name, "value": value} for name, value in labels.items()]
    archive = images.write_aci(None, manifest, tmp_path / "other.aci")
    pod_box.push(archive, "/var/tmp/other.aci")
    done = pod_box.run(["rkt", "--insecure-options=image", "run", "/var/tmp/other.aci"])
    assert done.returncode == 254
    assert message in done.stderr


@pytest.mark.row("interactive/Interactive: without")
def test_standard_input_is_none(pod_box: Box) -> None:
    assert said(pod_box, IMAGE, "--", "-c", "[ -t 0 ] || echo none; cat | wc -c") == ["none", "0"]


@pytest.mark.row("app_sandbox/Annotations", "app_sandbox/AppAnnotations")
def test_annotations_and_labels(pod_box: Box) -> None:
    of_app = ["--annotation=a=1", "--user-annotation=b=2", "--user-label=c=3"]
    made = pod_box.run(["rkt", "prepare", "--quiet", IMAGE, *of_app], check=True).stdout.strip()
    manifest = json.loads(pod_box.run(["rkt", "cat-manifest", made], check=True).stdout)
    (found,) = manifest["apps"]
    assert {"name": "a", "value": "1"} in found["annotations"]
    assert (found["app"]["userAnnotations"], found["app"]["userLabels"]) == ({"b": "2"}, {"c": "3"})
    manifest |= {"userAnnotations": {"of": "pod"}, "userLabels": {"also": "pod"}}
    pod_box.write("/run/annotated.json", json.dumps(manifest))
    words = ["rkt", "prepare", "--quiet", "--pod-manifest=/run/annotated.json"]
    again = pod_box.run(words, check=True).stdout.strip()
    kept = json.loads(pod_box.run(["rkt", "cat-manifest", again], check=True).stdout)
    assert (kept["userAnnotations"], kept["userLabels"]) == ({"of": "pod"}, {"also": "pod"})
    pod_box.run(["rkt", "rm", made, again], check=True)


@pytest.mark.row(
    "status/UuidFile", "cat_manifest/CatManifest", "rm/RmInvalid", "rm/RmEmptyUUID", "rm/Rm"
)
def test_pods_by_their_uuid(pod_box: Box) -> None:
    made = pod_box.run(["rkt", "prepare", "--quiet", IMAGE], check=True).stdout.strip()
    pod_box.write("/run/made.uuid", made)
    by_file = "--uuid-file=/run/made.uuid"
    shown = pod_box.run(["rkt", "status", by_file], check=True).stdout
    assert shown.splitlines()[0] == "state=prepared"
    shown = pod_box.run(["rkt", "cat-manifest", by_file], check=True).stdout
    assert [each["name"] for each in json.loads(shown)["apps"]] == ["busybox"]
    for command, word, message in (
        ("cat-manifest", "nonsense", 'no matches found for "nonsense"'),
        ("rm", made[::-1], f'no matches found for "{made[::-1]}"'),
        ("rm", "", "UUID cannot be empty"),
    ):
        done = pod_box.run(["rkt", command, word])
        assert (done.returncode, done.stderr) == (254, f"{command}: {message}\n")
    other = pod_box.run(["rkt", "prepare", "--quiet", IMAGE], check=True).stdout.strip()
    done = pod_box.run(["rkt", "rm", made, other], check=True)
    assert sorted(done.stdout.split()) == sorted([f'"{made}"', f'"{other}"'])
