"""stage1 fly: a root of its own and limits, and otherwise the host."""

from __future__ import annotations

import os

import pytest

from tests.box import Box
from tests.conftest import BoxFactory
from tests.material import images
from tests.system.conftest import MakePod, store_image
from tests.system.pods import SERVE, Pod, app, lines_of
from tests.system.test_app_life import python
from tests.system.test_enter import LOOK, USER
from tests.system.test_sockets import PUBLISHED, ask
from tests.waiting import eventually

FLY = 'stage1 = "fly"\n'
NAMESPACES = "for each in net pid ipc uts user cgroup; do readlink /proc/self/ns/$each; done"


def fly(make_pod: MakePod, name: str, script: str = SERVE, *, extra: str = "") -> Pod:
    return make_pod(name, FLY + app("one", script, extra=extra))


@pytest.mark.row("fly/FlyNetns")
def test_nothing_but_the_root_is_its_own(pod_box: Box, make_pod: MakePod) -> None:
    look = (
        f"{NAMESPACES}; uname -n; stat -c %d:%i /dev/shm /sys/fs/cgroup; cat /proc/1/comm;"
        " grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'"
    )
    pod = fly(make_pod, "free", f"{look}; ls /; cat /etc/hostname; {SERVE}")
    before = pod_box.read("/proc/self/mountinfo")
    pod.start()
    service = ["systemd-run", "--quiet", "--wait", "--pipe", "sh", "-c", look]
    host = pod_box.run(service, check=True).stdout.splitlines()
    own = pod.messages(f"RKT_POD_UUID={pod.last_run()}")
    assert own[: len(host)] == host
    assert "lib64" in own
    assert "boot" not in own
    assert own[-2] == host[6]
    assert pod_box.read("/proc/self/mountinfo") == before
    # Nothing stays beside the app: a shell, and the sleep that it began.
    group = pod.show("ControlGroup", pod.app_unit("one"))
    running = pod_box.shell(f"cat /sys/fs/cgroup/*{group}/cgroup.procs | sort -u | wc -l")
    assert int(running) == 2
    pod.stop()
    assert pod.status("one") == "success exited 0"
    assert pod.leftovers() == ""


@pytest.mark.parametrize("extra", ["", USER], ids=["root", "user"])
def test_a_command_is_confined_as_the_app_is(make_pod: MakePod, extra: str) -> None:
    look = f"( {LOOK} ) 2>&1; echo looked; {SERVE}"
    pod = fly(make_pod, "confined", look, extra=extra)
    pod.start()
    of_app = pod.messages(f"RKT_POD_UUID={pod.last_run()}")
    done = pod.box.run(["rkt", "enter", "confined", "sh", "-c", LOOK])
    assert done.returncode == 0, done.stderr
    assert [line.rstrip() for line in done.stdout.splitlines()] == of_app[: of_app.index("looked")]
    assert not extra or ("/etc" in of_app and "1000" in " ".join(of_app))


def test_names_and_rights_are_those_of_manifest_and_image(make_pod: MakePod) -> None:
    script = (
        "id -u; id -g; grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status;"
        " mkdir /tmp/x && chmod 700 /tmp/x || echo barred; echo $0 $1"
    )
    extra = (
        'user = "app"\ngroup = "app"\nargs = ["a;$b", "it\'s é"]\n'
        'capabilities-retain = ["CAP_CHOWN"]\n'
        'seccomp-remove = ["mkdir", "mkdirat"]\nseccomp-errno = "EPERM"\n'
    )
    said = [line.split() for line in lines_of(fly(make_pod, "named", script, extra=extra))]
    assert [words[-1] for words in said[:2]] == ["1000", "1000"]
    assert ["CapBnd:", "0000000000000001"] in said
    assert ["CapEff:", "0000000000000000"] in said
    assert ["NoNewPrivs:", "1"] in said
    assert ["Seccomp:", "2"] in said
    assert said[-2:] == [["barred"], ["a;$b", "it's", "é"]]


def test_a_filter_needs_no_place_in_the_root(pod_box: Box, make_pod: MakePod) -> None:
    look = "mkdir /made 2>&1; grep Seccomp: /proc/self/status; ls -d /run/systemd/system; umask"
    extra = (
        'seccomp-remove = ["mkdir", "mkdirat"]\nseccomp-errno = "EXFULL"\nread-only-root = true\n'
        'mounts = ["/run:/run"]\nsystemd = { UMask = "0027" }\n'
    )
    pod = fly(make_pod, "filtered", f"{look}; {SERVE}", extra=extra)
    pod.start()
    seen = ["mkdir: can't create directory '/made': Exchange full", "Seccomp:\t2"]
    seen += ["/run/systemd/system", "0027"]
    assert pod.messages(f"RKT_POD_UUID={pod.last_run()}") == [*seen, "ready"]
    entered = pod_box.run(["rkt", "enter", "filtered", "sh", "-c", look], check=True).stdout
    assert entered.splitlines() == seen
    missing = pod_box.run(["rkt", "enter", "filtered", "nothing"])
    assert "cannot run nothing: No such file or directory" in missing.stderr


PROTECTED = {
    "PrivateDevices": "ls /dev/loop0",
    "ProtectHostname": "hostname $(hostname)",
    "ProtectControlGroups": "cd /sys/fs/cgroup/$1 && mkdir made && rmdir made",
    # CAP_SYS_TIME
    "ProtectClock": "[ $((0x$(grep CapBnd /proc/self/status | cut -f2) >> 25 & 1)) = 1 ]",
    "ProtectKernelLogs": "dmesg",
}


def test_settings_that_keep_it_from_the_host(pod_box: Box, make_pod: MakePod) -> None:
    tried = "; ".join(
        f"( {step} ) >/dev/null 2>&1 && echo {name}" for name, step in PROTECTED.items()
    )
    group = "unified" if pod_box.shell("ls -d /sys/fs/cgroup/unified || :").strip() else "."
    script = f"set -- {group}; {tried}; ls -d /proc/1 2>/dev/null; cat /etc/hostname; echo done"
    free = lines_of(fly(make_pod, "free", script))
    assert set(free) >= {*PROTECTED, "/proc/1"} - {"ProtectKernelLogs"}
    words = [*PROTECTED, "ProtectKernelModules", "ProtectKernelTunables"]
    extra = "[app.systemd]\n" + "".join(f"{name} = true\n" for name in words)
    kept = fly(make_pod, "kept", script, extra=f"{extra}ProtectProc = 'invisible'\n")
    assert [line for line in lines_of(kept) if line in (*PROTECTED, "done")] == ["done"]
    # Group 0 sees processes all the same, as the kernel has it (proc(5)).
    own = "user = 1000\ngroup = 1000\nsystemd = { ProtectProc = 'invisible' }\n"
    assert "/proc/1" not in lines_of(fly(make_pod, "user", script, extra=own))
    other = make_pod("other", app("one", "echo no", extra="systemd = { ProtectClock = true }\n"))
    assert other.systemctl("start").returncode == 1
    assert "systemd.ProtectClock: not for an app" in other.errors()[-1]


def test_limits_hold(pod_box: Box, make_pod: MakePod) -> None:
    eat = "head -c 200000000 /dev/zero | tail -n 1 >/dev/null; echo $?"
    extra = 'memory = "32Mi"\nrlimits = { nofile = 99 }\n[app.systemd]\nNice = 7\n'
    script = f"ulimit -n; awk '{{print $19}}' /proc/self/stat; {eat}; {SERVE}"
    pod = fly(make_pod, "bound", script, extra=f'{extra}OOMPolicy = "continue"\n')
    pod.start()
    assert pod.messages(f"RKT_POD_UUID={pod.last_run()}") == ["99", "7", "Killed", "137", "ready"]


@pytest.mark.parametrize(
    ("script", "told", "code"),
    [
        ("exit 7", "exit-code exited 7", 7),
        ("kill -SEGV $$", "signal killed SEGV", 139),
        ("kill -KILL $$", "signal killed KILL", 137),
    ],
)
def test_how_an_app_ended(
    pod_box: Box, make_pod: MakePod, script: str, told: str, code: int
) -> None:
    pod = fly(make_pod, "ended", script)
    pod.systemctl("start")
    pod.wait_for("failed", "inactive")
    assert pod.status("one") == told
    said = pod_box.run(["rkt", "status", "ended"], check=True).stdout
    assert f"app-one={code}\n" in said


@pytest.mark.parametrize("signal", ["SIGQUIT", "SIGUSR1"])
def test_the_signal_to_stop(make_pod: MakePod, signal: str) -> None:
    heard = f"trap 'echo heard; exit 0' {signal.removeprefix('SIG')}; echo ready; sleep 1000 & wait"
    pod = fly(make_pod, "heard", heard, extra=f'stop-signal = "{signal}"\n')
    pod.start()
    pod.stop()
    assert pod.messages(f"RKT_POD_UUID={pod.last_run()}") == ["ready", "heard"]
    pod.write(FLY + app("one", "echo ready; exec sleep 1000", extra=f'stop-signal = "{signal}"\n'))
    pod.start()
    pod.stop()
    assert pod.status("one") == f"success killed {signal.removeprefix('SIG')}"


def test_it_is_ready_when_it_says_so_and_what_it_says_is_shown(make_pod: MakePod) -> None:
    code = 'tell("READY=1\\nSTATUS=at work")\nsignal.pause()'
    pod = make_pod("told", FLY + python("one", code, '[app.systemd]\nType = "notify"\n'))
    pod.start()
    assert pod.show("StatusText", pod.app_unit("one")) == "at work"
    pod.stop()
    pod.write(FLY + python("one", "sys.exit(3)", '[app.systemd]\nType = "notify"\n'))
    assert pod.systemctl("start").returncode != 0
    assert "app one did not start" in pod.errors()[-1]
    assert pod.leftovers() == ""


def test_health_kill_and_restart(pod_box: Box, make_pod: MakePod) -> None:
    check = "[app.health]\ncommand = ['/bin/sh', '-c', '[ -e /well ]']\ninterval = 0.5\n"
    settings = '[app.systemd]\nRestart = "always"\nRestartSec = 0\n'
    pod = fly(make_pod, "well", f"touch /well; {SERVE}", extra=check + settings)
    pod.start()

    def state() -> str:
        return pod_box.run(["rkt", "status", "well"], check=True).stdout

    eventually(lambda: "app-one-health=healthy" in state(), "the app is healthy")
    pod_box.run(["rkt", "kill", "--signal=KILL", "well"], check=True)
    eventually(lambda: pod.show("NRestarts", pod.app_unit("one")) == "1", "it is started anew")
    pod_box.run(["systemctl", "daemon-reload"], check=True)
    run = f"RKT_POD_UUID={pod.last_run()}"
    eventually(lambda: pod.messages(run).count("ready") == 2, "it runs again")
    eventually(lambda: "app-one-health=healthy" in state(), "it is healthy again")
    pod.stop()
    assert pod.leftovers() == ""


def test_what_it_wrote(pod_box: Box, make_pod: MakePod) -> None:
    pod = fly(make_pod, "wrote", "echo kept >/etc/new; rm /etc/group")
    pod.start()
    pod.wait_for("inactive")
    changes = pod_box.run(["rkt", "diff", "wrote"], check=True).stdout.splitlines()
    assert {"C /etc", "A /etc/new", "D /etc/group"} <= set(changes)


@pytest.mark.row("volume_mount_generic/VolumeMount")
def test_volumes(pod_box: Box, make_pod: MakePod) -> None:
    pod_box.shell("mkdir -p /srv/fly/deep /srv/fly-link; ln -sfn /etc /srv/fly-link/etc")
    mounts = (
        'mounts = ["/srv/fly:/data:ro", "/run:/run", "/srv/fly-link:/links", "scratch:/scratch"]\n'
    )
    script = (
        "echo x 2>/dev/null >/data/x || echo protected; ls -d /run/systemd/system;"
        " ls /links/etc/hostname; mkdir /links/point; mount -t tmpfs fly /links/point;"
        f" touch /links/point/inside /scratch/x; {SERVE}"
    )
    volume = '[[volume]]\nname = "scratch"\nkind = "empty"\n'
    pod = make_pod("volumes", FLY + volume + app("one", script, extra=mounts))
    pod.start()
    said = pod.messages(f"RKT_POD_UUID={pod.last_run()}")
    assert said == ["protected", "/run/systemd/system", "/links/etc/hostname", "ready"]
    # As with rkt's fly, what an app mounts in a volume is mounted on the host.
    assert pod_box.shell("ls /srv/fly-link/point") == "inside\n"
    assert pod_box.shell("ls -d /run/rkt-launcher 2>/dev/null || :") == ""
    pod.stop()
    pod_box.shell("umount /srv/fly-link/point; rm -r /srv/fly /srv/fly-link")
    assert pod.leftovers() == ""


def test_a_root_that_is_read_only(make_pod: MakePod) -> None:
    script = (
        "echo x 2>/dev/null >/etc/x || echo protected; echo x >/tmp/x && echo x >/run/x; ls /tmp"
    )
    said = lines_of(fly(make_pod, "frozen", script, extra="read-only-root = true\n"))
    assert said == ["protected", "x"]


def test_links_of_an_image_lead_nowhere_outside(
    pod_box: Box, make_pod: MakePod, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("links")
    root = images.busybox_root(directory / "root")
    archive = f"{directory}/links.aci"
    os.symlink("../../../../../../srv/outside", f"{root}/out")
    images.write_aci(root, images.busybox_manifest("example.com/links"), archive)
    store_image(pod_box, archive)
    pod_box.shell("mkdir -p /srv/outside /srv/given; touch /srv/given/mark")
    text = app(
        "one",
        f"ls /srv/outside; {SERVE}",
        image="example.com/links",
        extra='mounts = ["/srv/given:/out"]\n',
    )
    pod = make_pod("links", FLY + text)
    pod.start()
    assert pod.messages(f"RKT_POD_UUID={pod.last_run()}") == ["mark", "ready"]
    assert pod_box.shell("ls /srv/outside") == ""
    pod.stop()


def test_credentials_and_sockets(pod_box: Box, make_pod: MakePod) -> None:
    code = (
        "names = os.environ['LISTEN_FDNAMES'].split(':')\n"
        "assert os.environ['LISTEN_PID'] == str(os.getpid())\n"
        "listener = socket.socket(fileno=3 + names.index('http'))\n"
        "peer, _ = listener.accept()\n"
        "peer.sendall(open(os.environ['CREDENTIALS_DIRECTORY'] + '/text', 'rb').read())\n"
    )
    extra = (
        'user = "1000"\nports = [{ name = "http", port = 80, socket-activated = true }]\n'
        "[app.systemd]\nSetCredential = 'text:it is $PATH'\n"
    )
    pod = make_pod("opened", FLY + PUBLISHED + python("one", code, extra))
    pod.start()
    assert pod.state(pod.app_unit("one")) == "inactive"
    assert ask(pod_box, "127.0.0.1", 8088) == "it is $PATH"
    pod.stop()
    assert pod.leftovers() == ""


def test_handlers(
    pod_box: Box, make_pod: MakePod, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("handled")
    root, archive = images.busybox_root(directory / "root"), f"{directory}/handled.aci"
    before = "id -u >/begun; touch /ended; chmod 666 /ended"
    manifest = images.image_manifest(
        "example.com/flown", ["/bin/sh", "-c", "cat /begun; id -u; echo main >/ended"], user="1000",
        eventHandlers=[
            {"name": "pre-start", "exec": ["/bin/sh", "-c", before]},
            {"name": "post-stop", "exec": ["/bin/sh", "-c", "cat /ended"]},
        ],
    )  # fmt: skip
    images.write_aci(root, manifest, archive)
    store_image(pod_box, archive)
    text = '[[app]]\nname = "one"\nimage = "example.com/flown"\n'
    assert lines_of(make_pod("handled", FLY + text)) == ["0", "1000", "main"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('network = "default"\n', "network: with stage1 fly apps have the network of the host"),
        ('network = "none"\n', "network: with stage1 fly apps have the network of the host"),
        ('hostname = "x"\n', "hostname: with stage1 fly apps have the name of the host"),
        (
            "private-users = true\n",
            "private-users: with stage1 fly apps have the users of the host",
        ),
        ("register = true\n", "register: with stage1 fly there is no machine"),
        ('shm-size = "1Mi"\n', "shm-size: with stage1 fly apps have the /dev/shm of the host"),
        ("sysctl = { 'net.ipv4.ip_forward' = 1 }\n", "sysctl net.ipv4.ip_forward with the network"),
        (PUBLISHED, "cannot publish port"),
    ],
)
def test_what_cannot_be_is_refused(make_pod: MakePod, text: str, complaint: str) -> None:
    ports = 'ports = [{ name = "http", port = 80 }]\n'
    pod = make_pod("refused", FLY + text + app("one", SERVE, extra=ports))
    assert pod.systemctl("start").returncode != 0
    assert complaint in pod.errors()[-1]
    assert pod.leftovers() == ""


def test_ipc_of_its_own(make_pod: MakePod) -> None:
    script = f"readlink /proc/self/ns/ipc; ls -di /dev/shm; {SERVE}"
    text = FLY + 'ipc = "private"\nshm-size = "1Mi"\n' + app("one", script) + app("two", script)
    pod = make_pod("private", text)
    pod.start()
    said = pod.messages(f"RKT_POD_UUID={pod.last_run()}")
    assert len([line for line in set(said) if line.startswith("ipc:")]) == 1
    assert len([line for line in set(said) if line.endswith("/dev/shm")]) == 1
    assert pod.box.shell("readlink /proc/self/ns/ipc").strip() not in said
    pod.stop()
    assert pod.leftovers() == ""


@pytest.mark.row("stage1_loading/FromConfig", "stage1_loading/FromFlags")
def test_chosen_as_rkt_chooses(pod_box: Box, make_pod: MakePod) -> None:
    def uses(*flags: str) -> str:
        command = ["rkt", "run", *flags, "example.com/busybox", "--exec=/bin/sh"]
        done = pod_box.run([*command, "--", "-c", "readlink /proc/self/ns/pid"], check=True)
        return "fly" if done.stdout.split()[-1] == here else "nspawn"

    here = pod_box.shell("readlink /proc/self/ns/pid").strip()
    assert uses("--net=none") == "nspawn"
    assert uses("--stage1-name=coreos.com/rkt/stage1-fly:1.30.0") == "fly"
    assert uses("--stage1-path=/usr/lib/rkt/stage1-images/stage1-fly.aci") == "fly"
    default = make_pod("default", app("one", f"readlink /proc/self/ns/pid; {SERVE}"))
    default.start()
    configured = '"location": "/usr/lib/rkt/stage1-images/stage1-fly.aci"'
    pod_box.write(
        "/etc/rkt/stage1.d/fly.json",
        f'{{"rktKind": "stage1", "rktVersion": "v1", {configured}}}',
    )
    try:
        assert uses() == "fly"
        assert uses("--stage1-from-dir=stage1-coreos.aci", "--net=none") == "nspawn"
        # What was compiled for the last start does not count any more.
        default.restart()
        assert here in default.messages(f"RKT_POD_UUID={default.last_run()}")
    finally:
        pod_box.shell("rm -r /etc/rkt/stage1.d")
    default.restart()
    assert here not in default.messages(f"RKT_POD_UUID={default.last_run()}")


def test_prepared(pod_box: Box) -> None:
    command = ["rkt", "prepare", "--stage1-name=fly", "--quiet", "example.com/busybox"]
    done = pod_box.run([*command, "--exec=/bin/uname", "--", "-n"], check=True)
    uuid = done.stdout.strip()
    refused = pod_box.run(["rkt", "run-prepared", "--net=default", uuid])
    assert refused.returncode == 254
    assert "with stage1 fly apps have the network of the host" in refused.stderr
    done = pod_box.run(["rkt", "run-prepared", uuid], check=True)
    assert done.stdout.split()[-1:] == pod_box.shell("uname -n").split()


def test_fly_on_debian_13(make_box: BoxFactory, debian13: str, busybox_aci: str) -> None:
    box = make_box(debian13, cgroup="unified")
    store_image(box, busybox_aci)
    pod = Pod(box, "free", FLY + app("one", f"uname -n; {SERVE}", extra='user = "app"\n'))
    pod.start()
    host = box.shell("uname -n").strip()
    assert pod.messages(f"RKT_POD_UUID={pod.last_run()}") == [host, "ready"]
    done = box.run(["rkt", "enter", "free", "id", "-u"])
    assert (done.returncode, done.stdout) == (0, "1000\n")
    pod.stop()
    assert pod.status("one") == "success exited 0"
    assert pod.leftovers() == ""
