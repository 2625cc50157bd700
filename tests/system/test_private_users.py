"""Private users: who the apps are outside, what they see inside, and what is left on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box import Box
from tests.conftest import BoxFactory
from tests.material import images
from tests.system.conftest import MakePod, store_image
from tests.system.pods import NO_NETWORK, SERVE, Pod, app, lines_of
from tests.system.test_app_life import PYTHON, python
from tests.system.test_sockets import ONCE, PORTS, ask
from tests.waiting import eventually

PRIVATE = "private-users = true\n" + NO_NETWORK
RANGE = 65536

# vfs_cap_data of capabilities(7): CAP_CHOWN permitted, and in effect.
CAP_CHOWN_EP = bytes.fromhex("0100000201000000000000000000000000000000")


def _make_image(box: Box, directory: Path, name: str) -> None:
    """A busybox with a set-user-ID su and a chown with a file capability; files of user 33."""
    root = Path(images.busybox_root(directory / name))
    passwd = root / "etc/passwd"
    passwd.write_text(passwd.read_text().replace("root:x:", "root::"))
    box.push(str(root), f"/srv/{name}")
    box.shell(
        f"cd /srv/{name}/usr/bin; rm su chown; cp busybox su; cp busybox chown; chmod 4755 su;"
        " mkdir -p ../../data/sub; echo of the image >../../data/sub/file;"
        " chown -R 33:44 ../../data; chmod 1770 ../../data"
    )
    attribute = "security.capability"
    code = f"import os; os.setxattr('chown', '{attribute}', bytes.fromhex('{CAP_CHOWN_EP.hex()}'))"
    box.run(["sh", "-c", f'cd /srv/{name}/usr/bin && python3 -c "{code}"'], check=True)
    box.run(
        ["rkt", "image", "import", f"/srv/{name}", f"--name=example.com/{name}", "--exec=/bin/sh"],
        check=True,
    )


@pytest.fixture(scope="module")
def users_box(pod_box: Box, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """With the image, and a directory on a file system that can be id-mapped."""
    _make_image(pod_box, tmp_path_factory.mktemp("users"), "keys")
    pod_box.shell(
        "mkdir -p /srv/mapped; mount -t tmpfs none /srv/mapped; mkdir -p /srv/mapped/mixed/sub;"
        " mount --bind /srv/keys /srv/mapped/mixed/sub"
    )
    yield pod_box
    pod_box.shell(
        "umount -l /srv/mapped; rkt gc --grace-period=0s --expire-prepared=0s;"
        " rm -rf /var/lib/rkt/volumes"
    )


def first_user(box: Box, pod: str) -> int:
    """The first number of the pod's range, as rkt tells it."""
    told = json.loads(box.run(["rkt", "status", "--format=json", pod], check=True).stdout)
    assert told["private_users"]["count"] == RANGE
    return int(told["private_users"]["first"])


def _process(pod: Pod, name: str = "one") -> int:
    """The first process of an app, as the host numbers it."""
    main = pod.show("MainPID", pod.app_unit(name))
    return int(pod.box.read(f"/proc/{main}/task/{main}/children").split()[0])


def _owners(box: Box, *paths: str) -> list[str]:
    return box.run(["stat", "-c", "%u:%g", *paths], check=True).stdout.split()


def _tree(box: Box, directory: str) -> str:
    """Owners, modes, times and content of all files of a directory."""
    return box.shell(
        f"cd {directory}; find . -printf '%p %U %G %m %T@ %l\\n' | sort;"
        " find . -type f -exec sha256sum {} + | sort; getfattr -R -d -m - . 2>/dev/null | sort || :"
    )


@pytest.mark.row("userns/Userns")
def test_nobody_inside_is_the_same_outside(make_pod: MakePod, users_box: Box) -> None:
    before = _tree(users_box, "/var/lib/rkt/cas/layers")
    look = (
        "id -u; stat -c '%u:%g:%a' / /proc/1/root/; stat -c '%u:%g' /etc /etc/passwd /etc/hosts"
        " /data /data/sub/file /dev /dev/null /dev/shm; touch /made /tmp/made; echo >>/etc/passwd;"
        " mkdir /dir; chown 5:6 /dir; rm /data/sub/file; stat -c '%u:%g' /made /dir; "
    )
    one = app("one", look + SERVE, image="example.com/keys")
    pod = make_pod("nobody", PRIVATE + one + app("two", SERVE, extra="user = 1000\n"))
    pod.start()
    said = pod.messages("RKT_APP=one", f"RKT_POD_UUID={pod.last_run()}")
    root = "0:0"
    assert said == [
        "0",
        f"{root}:755",
        f"{root}:755",
        root,
        root,
        root,
        "33:44",
        "33:44",
        root,
        root,
        root,
        root,
        "5:6",
        "ready",
    ]
    first = first_user(users_box, "nobody")
    assert first % RANGE == 0
    assert 524288 <= first <= 1879048191 - RANGE + 1
    told = users_box.run(["rkt", "status", "nobody"], check=True).stdout
    assert f"\nprivate-users={first}:{RANGE}\n" in told
    processes = [f"/proc/{_process(pod)}", f"/proc/{_process(pod, 'two')}"]
    assert _owners(users_box, *processes) == [f"{first}:{first}", f"{first + 1000}:{first}"]
    # What the apps wrote belongs to them on disk; what they have read is as it was.
    upper = f"/var/lib/rkt/pods/run/{pod.last_run()}/overlay/one"
    files = [f"{upper}{name}" for name in ("", "/made", "/etc/passwd", "/dir")]
    expected = [f"{first}:{first}"] * 3 + [f"{first + 5}:{first + 6}"]
    assert _owners(users_box, *files) == expected
    assert _tree(users_box, "/var/lib/rkt/cas/layers") == before
    # Nothing of it is mounted on the host.
    assert "mapped" not in users_box.shell("grep /run/rkt /proc/self/mountinfo || :")
    changed = users_box.run(["rkt", "diff", "--app=one", "nobody"], check=True).stdout.splitlines()
    assert {"A /made", "C /etc/passwd", "A /dir", "D /data/sub/file"} <= set(changed)
    manifest = json.loads(users_box.run(["rkt", "cat-manifest", "nobody"], check=True).stdout)
    assert [each["name"] for each in manifest["apps"]] == ["one", "two"]
    pod.stop()
    assert pod.leftovers() == ""


def test_pods_are_strangers_to_each_other_and_to_the_host(
    make_pod: MakePod, users_box: Box
) -> None:
    script = f"echo secret >/root/key; chmod 600 /root/key; {SERVE}"
    pods = [make_pod(name, PRIVATE + app("one", script)) for name in ("mine", "yours", "usual")]
    pods[2].write(NO_NETWORK + app("one", script))
    for pod in pods:
        pod.start()
    mine = first_user(users_box, "mine")
    assert first_user(users_box, "yours") != mine
    become = f"import os; os.setgroups([]); os.setresgid(*[{mine}]*3); os.setresuid(*[{mine}]*3); "

    def can(attempt: str) -> bool:
        return users_box.run(["python3", "-c", become + attempt]).returncode == 0

    own, *others = (_process(pod) for pod in pods)
    assert can(f"os.kill({own}, 0)")
    for pid in others:
        assert not can(f"os.kill({pid}, 0)")
        for path in ("environ", "root/root/key", "mem"):
            users_box.run(["cat", f"/proc/{pid}/{path.replace('mem', 'maps')}"], check=True)
            assert not can(f"open('/proc/{pid}/{path}', 'rb').read(1)"), path


def test_a_pod_keeps_its_range(make_pod: MakePod, users_box: Box) -> None:
    script = f"[ -e /kept ] && stat -c %u:%g /kept; touch /kept; {SERVE}"
    pod = make_pod("keeps", PRIVATE + app("one", SERVE))
    pod.start()
    first = first_user(users_box, "keeps")
    for change in ("", "description = 'changed'\n"):
        pod.write(change + PRIVATE + app("one", SERVE))
        pod.restart()
        assert first_user(users_box, "keeps") == first
    pod.stop()
    record = f"/var/lib/rkt/users/{first}"
    users_box.run(["rkt", "gc", "--grace-period=0s"], check=True)
    assert users_box.read(record).splitlines() == ["keeps", "/var/lib/rkt"]
    # Somebody has taken the record away and another pod the range: the compiled pod is not used.
    users_box.write(record, "another\n/var/lib/rkt\n")
    pod.start()
    assert first_user(users_box, "keeps") != first
    pod.stop()
    pod.remove()
    users_box.run(["rkt", "gc", "--grace-period=0s"], check=True)
    assert "keeps" not in users_box.shell("cat /var/lib/rkt/users/* || :").splitlines()

    words = ["--private-users", "example.com/busybox", "--exec=/bin/sh", "--", "-c", script]
    prepare = ["rkt", "prepare", "--quiet", *words]
    uuid = users_box.run(prepare, check=True).stdout.strip()
    assert uuid not in users_box.shell("cat /var/lib/rkt/users/* 2>/dev/null || :")
    unit = f"rkt@{uuid}.service"
    firsts = set()
    for _ in range(2):
        users_box.run(["systemctl", "start", unit], check=True)
        firsts.add(first_user(users_box, uuid))
        users_box.run(["systemctl", "stop", unit], check=True)
    assert len(firsts) == 1
    assert "0:0" in users_box.shell(f"journalctl -o cat RKT_POD={uuid}").splitlines()
    assert uuid in users_box.shell("cat /var/lib/rkt/users/*").splitlines()
    users_box.run(["rkt", "rm", uuid], check=True)
    assert uuid not in users_box.shell("cat /var/lib/rkt/users/* 2>/dev/null || :").splitlines()


def test_files_in_volumes_have_the_owners_that_they_have_inside(
    make_pod: MakePod, users_box: Box
) -> None:
    users_box.shell(
        "cd /srv/mapped; mkdir -p host/below ro; mount -t tmpfs none host/below;"
        " chown 7:8 host; echo x >file; chown 9:9 file; echo y >ro/f; chown 1:2 ro/f"
    )
    volumes = (
        "[[volume]]\nname = 'host'\nsource = '/srv/mapped/host'\n"
        "[[volume]]\nname = 'empty'\nkind = 'empty'\nuid = 3\ngid = 4\n"
        "[[volume]]\nname = 'named'\nkind = 'named'\nsource = 'goods'\n"
        "[[volume]]\nname = 'memory'\nkind = 'tmpfs'\nuid = 5\ngid = 6\n"
        "[[volume]]\nname = 'file'\nsource = '/srv/mapped/file'\n"
        "[[volume]]\nname = 'ro'\nsource = '/srv/mapped/ro'\nread-only = true\n"
    )
    mounts = (
        'mounts = ["host:/host", "empty:/empty", "named:/data", "memory:/memory", "file:/file",'
        ' "ro:/ro"]\n'
    )
    script = (
        "stat -c '%n %u:%g' /host /empty /data /data/sub/file /memory /file /ro/f;"
        " for d in host host/below empty data memory; do"
        " echo z >/$d/made || echo cannot; chown 11:12 /$d/made; done;"
        " echo z >>/file; echo z 2>/dev/null >/ro/f || echo protected; "
    )
    one = app("one", script + SERVE, image="example.com/keys", extra=mounts)
    two = app("two", SERVE, image="example.com/keys", extra=mounts + "user = 11\n")
    pod = make_pod("volumes", PRIVATE + volumes + one + two)
    pod.start()
    said = pod.messages("RKT_APP=one", f"RKT_POD_UUID={pod.last_run()}")
    assert said == [
        "/host 7:8", "/empty 3:4", "/data 33:44", "/data/sub/file 33:44", "/memory 5:6",
        "/file 9:9", "/ro/f 1:2", "protected", "ready",
    ]  # fmt: skip
    look = "stat -c %u:%g /host/made /host/below/made /empty/made /memory/made"
    enter = ["rkt", "enter", "--app=two", "volumes", "sh", "-c", f"{look}; echo w >>/empty/made"]
    done = users_box.run(enter)
    assert (done.returncode, done.stdout.split()) == (0, ["11:12"] * 4), done.stderr
    run = f"/var/lib/rkt/pods/run/{pod.last_run()}"
    named = "/var/lib/rkt/volumes/goods/data"
    paths = ["/srv/mapped/host", "/srv/mapped/host/below", f"{run}/volumes/empty", named]
    assert _owners(users_box, *(f"{path}/made" for path in paths)) == ["11:12"] * 4
    assert _owners(users_box, f"{run}/volumes/empty", named) == ["3:4", "33:44"]
    # A pod with the users of the host finds them as they are.
    volume = "[[volume]]\nname = 'named'\nkind = 'named'\nsource = 'goods'\n"
    script = "stat -c %u:%g /data /data/made"
    other = make_pod(
        "plain", NO_NETWORK + volume + app("one", script, extra='mounts = ["named:/data"]')
    )
    assert lines_of(other) == ["33:44", "11:12"]
    pod.stop()
    users_box.shell("umount /srv/mapped/host/below")


def test_programs_that_give_rights(make_pod: MakePod, users_box: Box) -> None:
    script = (
        # With its path, or the shell would be the program itself.
        "id -u; /usr/bin/su -c 'id -u; cat /proc/self/uid_map'; touch /tmp/mine;"
        " /usr/bin/chown 44 /tmp/mine;"
        " stat -c %u /tmp/mine"
    )
    extra = "user = 1000\nno-new-privileges = false\n"
    pod = make_pod("gives", PRIVATE + app("one", script, image="example.com/keys", extra=extra))
    said = lines_of(pod)
    assert [*said[:2], *said[3:]] == ["1000", "0", "44"]
    assert said[2].split() == ["0", str(first_user(users_box, "gives")), str(RANGE)]


def test_devices(make_pod: MakePod, users_box: Box) -> None:
    users_box.shell(
        "rm -f /srv/fuse; mknod /srv/fuse c 10 229; chown 3:4 /srv/fuse; chmod 600 /srv/fuse"
    )
    volume = "[[volume]]\nname = 'd'\nsource = '/srv/fuse'\n"
    script = "stat -c %u:%g:%a /dev/mine; (exec 3<>/dev/mine) && echo opened; mknod /x c 1 3; :"
    one = app("one", script, extra='mounts = ["d:/dev/mine"]\nuser = 3\n')
    said = lines_of(make_pod("devices", PRIVATE + volume + one))
    assert said[:2] == ["3:4:600", "opened"]
    assert said[2].startswith("mknod: /x: ")


def test_the_network_of_the_pod(make_pod: MakePod, users_box: Box) -> None:
    """Ports below 1024 for every user; and what cannot be done is told."""
    serve = "trap 'exit 0' TERM; echo ready; httpd -f -p 80 -h /etc & wait"
    port = '[[port]]\nname = "http"\nhost-port = 8123\n'
    extra = 'user = 1000\nports = [{name = "http", port = 80}]\n'
    retain = 'capabilities-retain = ["CAP_NET_ADMIN", "CAP_KILL"]\n'
    text = "private-users = true\n" + port + app("web", serve, extra=extra)
    pod = make_pod("net", text + app("two", SERVE, extra=retain))
    pod.start()
    ask = (
        "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8123/hostname').read()"
        ".decode())"
    )
    eventually(
        lambda: users_box.run(["python3", "-c", ask]).stdout.strip() == "net", "the pod answers"
    )
    told = users_box.run(["rkt", "status", "net"], check=True).stdout
    line = "app two: CAP_NET_ADMIN: without effect in a pod with private users"
    assert f"\nunapplied={line}\n" in told
    link = users_box.run(["rkt", "enter", "--app=two", "net", "ip", "link", "set", "lo", "down"])
    assert link.returncode != 0
    pod.stop()
    assert pod.leftovers() == ""
    pod.write(f"strict = true\n{text}" + app("two", SERVE, extra=retain))
    assert pod.systemctl("start").returncode != 0
    assert pod.errors()[-1] == f"pod net: {line}"


def test_what_apps_can_otherwise_they_can_here(make_pod: MakePod, users_box: Box) -> None:
    users_box.write("/etc/rkt/secret", "from a file\n")
    secret = (
        "cd $CREDENTIALS_DIRECTORY; cat file; stat -c %u:%a file; test -t 1 && echo terminal;"
        " echo named >/dev/stdout; echo shared >/dev/shm/file; chmod 600 /dev/shm/file; "
    )
    own = (
        "mkdir /made 2>&1; cat /proc/sys/kernel/msgmax; grep -c . /proc/sys/kernel/hostname;"
        " until cat /dev/shm/file 2>/dev/null; do sleep 0.1; done; "
    )
    one = app(
        "one",
        secret + SERVE,
        extra='user = 1000\noutput = "tty"\nrlimits = { nofile = "99:100" }\n'
        '[app.health]\ncommand = ["/bin/sh", "-c", "[ $(id -u) = 1000 ]"]\ninterval = 0.5\n'
        "[app.systemd]\nLoadCredential = ['file:/etc/rkt/secret']\n",
    )
    removed = 'seccomp-remove = ["mkdir", "mkdirat"]\nseccomp-errno = "ENOSYS"\n'
    two = app("two", own + SERVE, extra=removed)
    pod = make_pod("able", 'sysctl = { "kernel.msgmax" = 4321 }\n' + PRIVATE + one + two)
    pod.start()
    run = f"RKT_POD_UUID={pod.last_run()}"
    assert [line.rstrip() for line in pod.messages("RKT_APP=one", run)] == [
        "from a file", "1000:400", "terminal", "named", "ready",
    ]  # fmt: skip
    said = pod.messages("RKT_APP=two", run)
    assert said[0].endswith("Function not implemented")
    assert said[1:] == ["4321", "1", "shared", "ready"]
    eventually(
        lambda: "app-one-health=healthy\n" in users_box.run(["rkt", "status", "able"]).stdout,
        "the check is done",
    )
    words = "tty; ulimit -Hn; [ -t 1 ] && echo on a terminal"
    enter = f'rkt enter --app=one --tty able sh -c "{words}"'
    shown = users_box.run(["script", "--quiet", "--command", enter, "/dev/null"]).stdout.split("\n")
    assert shown[1:3] == ["100", "on a terminal"], shown
    assert shown[0].startswith("/dev/pts/")
    logs = users_box.run(["rkt", "logs", "--app=one", "able"], check=True).stdout
    assert "from a file" in logs
    pod.stop()
    assert pod.status("one") == pod.status("two") == "success exited 0"
    assert pod.leftovers() == ""


def test_copies_belong_to_whom_they_do_inside(make_pod: MakePod, users_box: Box) -> None:
    """Running, ended, and before the first start."""
    users_box.shell(
        "mkdir -p /srv/mapped/cp/d /srv/mapped/shared; cd /srv/mapped/cp; echo x >d/f;"
        " chown 7:8 d/f; chmod 4755 d/f; echo y >g"
    )
    volume = "[[volume]]\nname = 'v'\nsource = '/srv/mapped/shared'\n"
    one = app(
        "one", SERVE, image="example.com/keys", extra='user = 33\ngroup = 33\nmounts = ["v:/v"]\n'
    )
    pod = make_pod("copies", PRIVATE + volume + one)
    pod.start()
    first = first_user(users_box, "copies")

    def copy(*words: str) -> None:
        users_box.run(["rkt", "cp", *words], check=True)

    def look() -> list[str]:
        copy("--archive", "copies:/d", "/srv/mapped/cp/back")
        return users_box.shell("cd /srv/mapped/cp; stat -c %u:%g:%a back/f; rm -r back").split()

    copy("/srv/mapped/cp/g", "copies:/tmp/g")
    copy("--archive", "/srv/mapped/cp/d", "copies:/")
    copy("/srv/mapped/cp/g", "copies:/v/g")
    stat = ["rkt", "enter", "copies", "stat", "-c", "%u:%g", "/tmp/g", "/d/f", "/v/g"]
    assert users_box.run(stat, check=True).stdout.split() == ["33:33", "7:8", "33:33"]
    assert _owners(users_box, "/srv/mapped/shared/g") == ["33:33"]
    assert look() == ["7:8:4755"]
    upper = f"/var/lib/rkt/pods/run/{pod.last_run()}/overlay/one"
    assert _owners(users_box, f"{upper}/d/f") == [f"{first + 7}:{first + 8}"]
    pod.stop()
    assert look() == ["7:8:4755"]
    copy("/srv/mapped/cp/g", "copies:/late")
    assert _owners(users_box, f"{upper}/late") == [f"{first + 33}:{first + 33}"]

    prepare = ["rkt", "prepare", "--quiet", "--private-users", "example.com/busybox"]
    script = "stat -c %u:%g / /g; cat /g; touch /ok"
    words = [*prepare, "--exec=/bin/sh", "--", "-c", script]
    uuid = users_box.run(words, check=True).stdout.strip()
    copy("/srv/mapped/cp/g", f"{uuid}:/g")
    said = users_box.run(["rkt", "run-prepared", "--net=none", uuid])
    assert (said.returncode, said.stdout.split()) == (0, ["0:0", "0:0", "y"]), said.stderr
    users_box.run(["rkt", "rm", uuid], check=True)


def test_an_export_is_as_it_was_inside(make_pod: MakePod, users_box: Box) -> None:
    script = "chown 7:8 /etc/passwd; touch /made; chown 65534 /made"
    pod = make_pod("left", PRIVATE + app("one", script, image="example.com/keys"))
    assert lines_of(pod) == []
    users_box.run(["rkt", "export", "left", "/srv/mapped/left.aci"], check=True)
    users_box.shell(
        "cd /srv/mapped; mkdir left; tar -C left -xzf left.aci --numeric-owner --same-owner"
    )
    root = "/srv/mapped/left/rootfs"
    files = [f"{root}{name}" for name in ("", "/etc", "/etc/passwd", "/made", "/data/sub/file")]
    assert _owners(users_box, *files) == ["0:0", "0:0", "7:8", "65534:0", "33:44"]


def test_event_handlers(make_pod: MakePod, users_box: Box, tmp_path: Path) -> None:
    scripts = {"pre-start": "id -u; echo pre >/order", "post-stop": "stat -c %u:%g /order"}
    manifest = images.busybox_manifest(
        "example.com/kept-in-order",
        ("/bin/sh", "-c", "id -u; cat /order"),
        user="1000",
        eventHandlers=[
            {"name": name, "exec": ["/bin/sh", "-c", text]} for name, text in scripts.items()
        ],
    )
    root = images.busybox_root(tmp_path / "root")
    store_image(users_box, images.write_aci(root, manifest, tmp_path / "handled.aci"))
    text = '[[app]]\nname = "one"\nimage = "example.com/kept-in-order"\n'
    pod = make_pod("handled", PRIVATE + text)
    assert lines_of(pod) == ["0", "1000", "pre", "0:0"]
    assert pod.status("one") == "success exited 0"


def test_apps_that_talk_to_systemd(make_pod: MakePod, users_box: Box) -> None:
    """Readiness, status, watchdog, and a socket that systemd listens on."""
    users_box.shell(
        "cd /srv/mapped; mkdir -p usr/bin usr/lib usr/lib64; cp -a /usr/bin/python3* usr/bin;"
        " cp -a /usr/lib/python3.* usr/lib; cp -L /lib64/ld-* usr/lib64;"
        " cp -L $(ldd /usr/bin/python3 | grep -o '/[^ ]*') usr/lib"
    )
    there = PYTHON.replace('"/usr', '"/srv/mapped/usr')
    watched = (
        'tell("READY=1\\nSTATUS=alive")\nwhile True:\n    tell("WATCHDOG=1")\n    time.sleep(0.1)\n'
    )
    settings = 'user = "1000"\n[app.systemd]\nType = "notify"\nWatchdogSec = 20\n'
    published = '[[port]]\nname = "http"\nhost-port = 8099\n'
    text = published + python("one", watched, settings) + python("two", ONCE, PORTS)
    pod = make_pod("talks", PRIVATE + text.replace(PYTHON, there))
    pod.start()
    eventually(lambda: pod.show("StatusText", pod.app_unit("one")) == "alive", "the status")
    assert ask(users_box, "127.0.0.1", 8099) == "['http'] ['lo']\n"
    pod.stop()
    assert pod.leftovers() == ""


def test_an_app_that_is_restarted_comes_back_the_same(make_pod: MakePod, users_box: Box) -> None:
    users_box.shell("mkdir /srv/mapped/v")
    volume = "[[volume]]\nname = 'v'\nsource = '/srv/mapped/v'\n"
    extra = (
        'mounts = ["v:/v"]\noom-score-adj = 77\n[app.systemd]\nRestart = "always"\nRestartSec = 0\n'
    )
    script = f"cat /proc/self/oom_score_adj; echo x >>/v/f; stat -c %u:%g /etc /v/f; {SERVE}"
    pod = make_pod("again", PRIVATE + volume + app("one", script, extra=extra))
    pod.start()
    users_box.run(["systemctl", "daemon-reload"], check=True)
    users_box.shell(f"kill -KILL {_process(pod)}")
    run = f"RKT_POD_UUID={pod.last_run()}"
    eventually(lambda: pod.messages(run).count("ready") == 2, "it runs again")
    said = [line for line in pod.messages(run) if not line.startswith("Container ")]
    assert said == ["77", "0:0", "0:0", "ready"] * 2
    assert users_box.read("/srv/mapped/v/f") == "x\n" * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[volume]]\nname = 'v'\nsource = '/srv/keys'\n",
            "pod bad: private users: /srv/keys: its file system cannot be id-mapped: Invalid"
            " argument",
        ),
        (
            "[[volume]]\nname = 'v'\nsource = '/srv/mapped/mixed'\n",
            "pod bad: private users: /srv/mapped/mixed: a file system below it cannot be id-mapped:"
            " Invalid argument (recursive = false leaves out what is mounted there)",
        ),
        (
            "[[volume]]\nname = 'v'\nkind = 'empty'\nuid = 65536\n",
            "volume v: user or group 65536: with private users there are 0 to 65535",
        ),
        (
            "[[volume]]\nname = 'v'\nkind = 'tmpfs'\ngid = 70000\n",
            "volume v: user or group 70000: with private users there are 0 to 65535",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(
    make_pod: MakePod, users_box: Box, text: str, message: str
) -> None:
    one = app("one", "echo ran", extra='mounts = ["v:/v"]\n')
    pod = make_pod("bad", PRIVATE + text + one)
    assert pod.systemctl("start").returncode != 0
    assert pod.errors()[-1] == message
    assert pod.messages("RKT_POD=bad") == []
    assert pod.leftovers() == ""


def test_what_is_mounted_below_a_volume_can_be_left_out(make_pod: MakePod, users_box: Box) -> None:
    volume = "[[volume]]\nname = 'v'\nsource = '/srv/mapped/mixed'\nrecursive = false\n"
    one = app("one", "ls /v; ls /v/sub", extra='mounts = ["v:/v"]\n')
    assert lines_of(make_pod("alone", PRIVATE + volume + one)) == ["sub"]


def test_apps_that_private_users_are_not_for(make_pod: MakePod) -> None:
    pod = make_pod("open", PRIVATE + app("one", SERVE, extra='insecure = "paths"\n'))
    assert pod.systemctl("start").returncode != 0
    assert pod.errors()[-1] == (
        "app one: insecure paths: not with private users, to whom systemd-nspawn gives no writable"
        " /sys and /proc"
    )
    for extra in ("user = 65536\n", "group = 70000\n", "supplementary-gids = [4294967294]\n"):
        pod = make_pod("large", PRIVATE + app("one", SERVE, extra=extra))
        assert pod.systemctl("start").returncode != 0
        number = re.sub(r"\D", "", extra)
        said = f"app one: user or group {number}: with private users there are 0 to 65535"
        assert pod.errors()[-1] == said


def test_private_users_on_debian_13(
    make_box: BoxFactory, debian13: str, busybox_aci: str, tmp_path: Path
) -> None:
    box = make_box(debian13, cgroup="unified")
    store_image(box, busybox_aci)
    _make_image(box, tmp_path, "keys")
    look = "id -u; stat -c '%u:%g' /etc /etc/hosts /data/sub/file; echo x >/vol/f; chown 7 /vol/f; "
    volume = "[[volume]]\nname = 'v'\nkind = 'named'\nsource = 'shared'\n"
    mounts = 'mounts = ["v:/vol"]\n'
    health = f'{mounts}[app.health]\ncommand = ["/bin/true"]\ninterval = "1s"\n'
    one = app("one", look + SERVE, image="example.com/keys", extra=health)
    two = app("two", SERVE, image="example.com/keys", extra=mounts + "user = 1000\n")
    pod = Pod(box, "both", PRIVATE + volume + one + two)
    pod.start()
    run = f"RKT_POD_UUID={pod.last_run()}"
    assert pod.messages(run, "RKT_APP=one") == ["0", "0:0", "0:0", "33:44", "ready"]
    first = first_user(box, "both")
    process = f"/proc/{_process(pod, 'two')}"
    assert _owners(box, process, "/var/lib/rkt/volumes/shared/data/f") == [
        f"{first + 1000}:{first}", "7:0",
    ]  # fmt: skip
    entered = box.run(["rkt", "enter", "--app=two", "both", "sh", "-c", "id -u; cat /vol/f"])
    assert entered.stdout == "1000\nx\n", entered.stderr
    eventually(
        lambda: "app-one-health=healthy" in box.run(["rkt", "status", "both"]).stdout,
        "the check is done",
    )
    box.run(["systemctl", "daemon-reload"], check=True)
    pod.restart()
    assert first_user(box, "both") == first
    pod.stop()
    assert pod.status("one") == pod.status("two") == "success exited 0"
    assert pod.leftovers() == ""
