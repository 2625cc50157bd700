"""``rkt cp``: what goes into an app and comes out, and that a hostile app gains nothing by it."""

from __future__ import annotations

import pytest

from tests.box import Box
from tests.system.commands import IMAGE, good, prepare, rkt
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, SERVE, Pod, app

USER = "user = 1000\ngroup = 100\n"
VOLUME = '[[volume]]\nname = "data"\nkind = "host"\nsource = "/srv/copied"\n'
MOUNT = 'mounts = [{volume = "data", path = "/vol"}]\n'


def serving(make_pod: MakePod, box: Box, *, extra: str = USER) -> Pod:
    """A pod whose app runs as somebody, with a volume; and a place for files beside it."""
    box.shell("rm -rf /srv/copied /tmp/copy; mkdir -p /srv/copied /tmp/copy")
    pod = make_pod("copied", NO_NETWORK + app("one", SERVE, extra=extra + MOUNT) + VOLUME)
    pod.start()
    return pod


def inner(pod: Pod, script: str) -> str:
    return good(pod.box, "enter", "--privileged", pod.name, "sh", "-c", script)


def tree(box: Box) -> None:
    box.shell(
        "cd /tmp/copy && mkdir -p d/e && echo x >d/e/f && ln d/e/f d/h && ln -s f d/e/l"
        " && chown -R 7:8 d && chmod 0751 d && chmod 4755 d/h && touch -d @1000 d/e/f"
    )


def test_a_file_goes_in_and_comes_out(make_pod: MakePod, pod_box: Box) -> None:
    pod = serving(make_pod, pod_box)
    pod.box.write("/tmp/copy/a", "hello\n")
    pod.box.shell("touch -d @1000 /tmp/copy/a; chmod 640 /tmp/copy/a")
    for target, found in (("/etc", "/etc/a"), ("/etc/", "/etc/a"), ("/etc/b", "/etc/b")):
        done = rkt(pod.box, "cp", "/tmp/copy/a", f"copied:{target}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert inner(pod, f"stat -c '%u %g %a %Y' {found}; cat {found}; rm {found}") == (
            "1000 100 640 1000\nhello\n"
        )
    good(pod.box, "cp", "/tmp/copy/a", "copied:one:/vol/v")
    assert pod.box.read("/srv/copied/v") == "hello\n"
    good(pod.box, "cp", "copied:/vol/v", "/tmp/copy")
    assert pod.box.shell("stat -c '%u %g %a %Y' /tmp/copy/v") == "0 0 640 1000\n"
    # What is mounted there cannot be replaced.
    good(pod.box, "cp", "/tmp/copy/a", "copied:/etc/hosts")
    assert inner(pod, "cat /etc/hosts; ls -a / | grep rkt-cp || :") == "hello\n"


def test_directories(make_pod: MakePod, pod_box: Box) -> None:
    pod = serving(make_pod, pod_box)
    tree(pod.box)
    look = "stat -c '%n %u %g %a %Y %h' d d/e/f d/h; readlink d/e/l"
    good(pod.box, "cp", "/tmp/copy/d", "copied:/etc")
    assert inner(pod, f"cd /etc; {look}").splitlines()[1:] == [
        "d/e/f 1000 100 755 1000 2", "d/h 1000 100 755 1000 2", "f",
    ]  # fmt: skip
    good(pod.box, "cp", "/tmp/copy/d/.", "copied:/new")
    assert inner(pod, "ls /new") == "e\nh\n"
    inner(pod, "mkdir /kept")
    good(pod.box, "cp", "--archive", "/tmp/copy/d", "copied:/kept")
    assert inner(pod, "cd /kept; stat -c '%n %u %g %a' d d/h") == "d 7 8 751\nd/h 7 8 4755\n"
    good(pod.box, "cp", "copied:/kept/d", "/tmp/copy/back")
    assert pod.box.shell("cd /tmp/copy/back; stat -c '%n %u %g %a %h' h e/f; readlink e/l") == (
        "h 0 0 755 2\ne/f 0 0 755 2\nf\n"
    )
    good(pod.box, "cp", "-a", "copied:/kept/d", "/tmp/copy/back")
    assert pod.box.shell("stat -c '%u %g %a' /tmp/copy/back/d/h") == "7 8 4755\n"


def test_streams(make_pod: MakePod, pod_box: Box) -> None:
    pod = serving(make_pod, pod_box)
    tree(pod.box)
    pod.box.shell("cd /tmp/copy && tar cz d | rkt cp - copied:/vol")
    listed = pod.box.shell("rkt cp copied:/vol/d - | tar t")
    assert listed.split() == ["d/", "d/h", "d/e/", "d/e/f", "d/e/l"]
    assert pod.box.shell("rkt cp copied:/vol/d/e/f - | tar xO") == "x\n"
    assert pod.box.shell("rkt cp copied:/ - | tar t | grep -c '^proc/.' || :") == "0\n"
    assert pod.box.shell("rkt cp copied:/ - | head -c 1 | wc -c") == "1\n"


INTERRUPTED = """
import signal, subprocess
def begin():
    pipe = subprocess.PIPE
    copy = subprocess.Popen(["rkt", "cp", "copied:/big", "-"], bufsize=0, stdout=pipe, stderr=pipe)
    copy.stdout.read(1)  # from now on the pipes are full
    with open(f"/proc/{copy.pid}/task/{copy.pid}/children") as file:
        children = file.read().split()
    for child in children:
        subprocess.run(["kill", "-INT", child], check=True)
    return copy, len(children)
copy, children = begin()
rest, said = copy.communicate()
print(children, copy.returncode, len(rest) > 1 << 20, said.decode())
copy, children = begin()
copy.send_signal(signal.SIGINT)
said = copy.stderr.read()
print(children, copy.wait(), said.decode())
"""


def test_an_interrupt_is_for_the_command(make_pod: MakePod, pod_box: Box) -> None:
    pod = serving(make_pod, pod_box, extra="")
    inner(pod, "head -c 1048576 /dev/zero >/big")
    done = pod.box.run(["/usr/bin/python3", "-c", INTERRUPTED], check=True)
    assert done.stdout == "1 0 True \n1 130 cp: interrupted\n\n"


def test_pods_that_do_not_run(cli: Box) -> None:
    cli.write("/tmp/new", "hello\n")
    uuid = prepare(cli, IMAGE, "--", "-c", "cat /new; echo made >/made")
    good(cli, "cp", "/tmp/new", f"{uuid}:/new")
    assert rkt(cli, "run-prepared", "--net=none", uuid).stdout == "hello\n"
    assert cli.shell(f"rkt cp {uuid}:/made - | tar xO") == "made\n"
    good(cli, "cp", "/tmp/new", f"{uuid}:/made")
    assert cli.shell(f"rkt cp {uuid}:/made - | tar xO; rkt diff {uuid} | grep -vE '/etc|/dev'") == (
        "hello\nA /made\nA /new\n"
    )
    assert cli.shell(f"ls -A /var/lib/rkt/pods/run/{uuid}/overlay | grep cp- || :") == ""


ENDED = """
import os, signal, subprocess, sys, tarfile
uuid, number = sys.argv[1], int(sys.argv[2])
copy = subprocess.Popen(["rkt", "cp", "-", f"{uuid}:/"], bufsize=0, stdin=subprocess.PIPE)
archive = tarfile.open(fileobj=copy.stdin, mode="w|", bufsize=512)
member = tarfile.TarInfo("begun")
member.size = 1 << 20
archive.addfile(member, open("/dev/zero", "rb"))  # most of it is read by now
with open(f"/proc/{copy.pid}/task/{copy.pid}/children") as file:
    print(len(file.read().split()), end=" ")
copy.send_signal(number)
print(copy.wait(), [name for name in os.listdir(sys.argv[3]) if name.startswith(".cp-")])
"""


def test_nothing_stays_of_a_copy_that_is_ended(cli: Box) -> None:
    cli.write("/tmp/new", "hello\n")
    uuid = prepare(cli, IMAGE)
    place = f"/var/lib/rkt/pods/prepared/{uuid}/overlay"
    for number, status in ((15, 143), (1, 129), (2, 130)):
        done = cli.run(["/usr/bin/python3", "-c", ENDED, uuid, str(number), place], check=True)
        assert done.stdout == f"1 {status} []\n"
    done = cli.run(["/usr/bin/python3", "-c", ENDED, uuid, "9", place], check=True)
    assert done.stdout.startswith("1 -9 ['.cp-")
    good(cli, "cp", "/tmp/new", f"{uuid}:/new")
    assert cli.shell(f"ls -A {place} | grep cp- || :") == ""


def test_a_hostile_app_gains_nothing(make_pod: MakePod, pod_box: Box) -> None:
    pod = serving(make_pod, pod_box, extra="")
    box = pod.box
    box.shell("echo secret >/tmp/copy/secret; echo mine >/tmp/copy/mine")
    inner(
        pod,
        "ln -s /tmp/copy /out; ln -s ../../../../tmp/copy/secret /up; ln -s /proc/sys/kernel /k;"
        " ln -s /proc/1/root/tmp/copy /magic; mkdir -p /tree; ln -s /tmp/copy /tree/link;"
        " mknod /tree/dev c 1 3; mkfifo /tree/fifo; cp /bin/sh /tree/su; chmod 6755 /tree/su",
    )
    absent, there = "no such file or directory", "app one of pod copied"
    for path, message in (
        ("/out/secret", f"/out/secret: {absent}"),
        ("/up", f"/up: {absent}"),
        ("/magic/secret", "/proc/1/root: Permission denied"),
    ):
        done = rkt(box, "cp", f"copied:{path}", "/tmp/stolen")
        assert (done.returncode, done.stderr) == (254, f"cp: {there}: {message}\n")
    done = rkt(box, "cp", "/tmp/copy/mine", "copied:/out/planted")
    assert (done.returncode, done.stderr) == (254, f"cp: {there}: /out: no such directory\n")
    kernel = "not a place for files: it is the kernel's"
    done = rkt(box, "cp", "/tmp/copy/mine", "copied:/k/core_pattern")
    assert (done.returncode, done.stderr) == (254, f"cp: {there}: /k/core_pattern: {kernel}\n")
    done = rkt(box, "cp", "copied:/tree", "/tmp/copy")
    assert (done.returncode, done.stderr) == (
        0,
        "cp: left out devices: 1 (--archive copies them)\n",
    )
    assert box.shell("cd /tmp/copy; ls tree; stat -c %a tree/su; readlink tree/link") == (
        "fifo\nlink\nsu\n755\n/tmp/copy\n"
    )
    # What came out as a link leads nothing back.
    inner(pod, "rm /tree/link; mkdir /tree/link; echo bad >/tree/link/secret")
    done = rkt(box, "cp", "copied:/tree", "/tmp/copy")
    assert (done.returncode, box.read("/tmp/copy/secret")) == (254, "secret\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b"], "neither of the two is in a pod (write POD:APP:PATH, or POD:PATH)"),
        (["a"], "must provide what to copy and where to"),
        (["x:/a", "y:/b"], "one of the two has to be on this machine (./NAME has a colon)"),
        (["no-such:/a", "b"], 'no matches found for "no-such"'),
        (["/no-such", "copied:/"], "on this machine: /no-such: no such file or directory"),
        (["copied:/no-such", "."], "app one of pod copied: /no-such: no such file or directory"),
        (["copied:nobody:/a", "."], 'pod copied has no app "nobody", only one'),
        (["/etc/hostname", "copied:/no/"], "app one of pod copied: /no/: no such directory"),
        (["/etc/hostname", "copied:/no/such"], "app one of pod copied: /no: no such directory"),
        (["copied:/etc", "/no/such"], "on this machine: /no: no such directory"),
        (["-", "copied:/no"], "app one of pod copied: /no/: no such directory"),
        (
            ["copied:/dev/null", "."],
            "app one of pod copied: /dev/null: neither a file nor a directory",
        ),
    ],
)
def test_mistakes(make_pod: MakePod, pod_box: Box, words: list[str], message: str) -> None:
    pod = serving(make_pod, pod_box)
    done = pod.box.run(["rkt", "cp", *words], input=None if words[0] != "-" else "")
    assert (done.returncode, done.stderr) == (254, f"cp: {message}\n")
