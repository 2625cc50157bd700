"""What an app sees and may do, looked at from inside the app."""

from __future__ import annotations

import pytest

from tests.box import Box
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, app, lines_of


@pytest.mark.row("caps_nspawn/TestCaps")
def test_default_capabilities_of_root(make_pod: MakePod) -> None:
    script = "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status"
    said = lines_of(make_pod("caps", NO_NETWORK + app("one", script)))
    sets = dict(line.split(":\t") for line in said)
    assert sets == {
        "CapInh": "0" * 16,
        "CapPrm": "00000000a80425fb",
        "CapEff": "00000000a80425fb",
        "CapBnd": "00000000a80425fb",
        "CapAmb": "0" * 16,
    }


@pytest.mark.row("caps/NonRoot")
def test_capabilities_of_another_user(make_pod: MakePod) -> None:
    script = "grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status; id"
    extra = "user = 1000\ngroup = 100\nsupplementary-gids = [400]\n"
    extra += 'capabilities-retain = ["CAP_CHOWN"]\n'
    said = lines_of(make_pod("user-caps", NO_NETWORK + app("one", script, extra=extra)))
    assert said[:3] == [
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000001",
    ]
    assert "uid=1000" in said[3]
    assert "gid=100" in said[3]
    assert "400" in said[3]


REFUSED = {
    "mount": "mount -t tmpfs none /mnt",
    "device": "mknod /loop b 7 0 && head -c 1 /loop",
    "sysrq": "echo h >/proc/sysrq-trigger",
    "kernel settings": "echo x >/proc/sys/kernel/core_pattern",
    "kernel memory": "head -c 1 /proc/kcore",
    "kernel symbols": '[ -n "$(head -c 1 /proc/kallsyms)" ]',
    "timers": '[ -n "$(head -c 1 /proc/timer_list)" ]',
    "host name": "hostname another",
    "other namespaces": "unshare -m true",
    "clock": "date -s 2001-01-01; [ $(date +%Y) = 2001 ]",
    "signals to the host": "kill -0 $(($(cat /proc/sys/kernel/pid_max) - 1))",
}


@pytest.mark.row("paths/PathsWrite", "devices/Devices")
@pytest.mark.parametrize("what", REFUSED)
def test_refused_inside(make_pod: MakePod, what: str) -> None:
    script = f"({REFUSED[what]}) && echo done || echo refused"
    pod = make_pod("refused", NO_NETWORK + app("one", script))
    assert lines_of(pod)[-1] == "refused"


def test_system_calls_outside_the_filter_fail_and_do_not_kill(make_pod: MakePod) -> None:
    pod = make_pod("filter", NO_NETWORK + app("one", "pivot_root . . ; echo status $?"))
    error, status = lines_of(pod)
    assert error.endswith("Operation not permitted")
    assert status == "status 1"


def test_names_and_processes(make_pod: MakePod) -> None:
    script = "hostname; cat /etc/hostname; echo $$; ps -o pid= | wc -l; ls -d /proc/[0-9]* | wc -l"
    said = lines_of(make_pod("names", NO_NETWORK + app("one", script)))
    assert said[:3] == ["names", "names", "1"]
    assert int(said[4]) <= 3


def test_environment_is_only_what_is_given(make_pod: MakePod) -> None:
    extra = '[app.environment]\nGREETING = "a$b; \'c\' \\"d\\" é"\n'
    pod = make_pod("env", NO_NETWORK + app("one", "env", extra=extra))
    given = dict(line.split("=", 1) for line in lines_of(pod) if "=" in line)
    assert given["GREETING"] == "a$b; 'c' \"d\" é"
    assert given["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert given["AC_APP_NAME"] == "one"
    assert given["container"] == "rkt"
    assert (given["HOME"], given["USER"], given["SHELL"]) == ("/root", "root", "/bin/sh")
    assert "INVOCATION_ID" not in given


@pytest.mark.row("volume_mount_generic/VolumeMount")
def test_read_only_root_with_a_writable_volume(make_pod: MakePod) -> None:
    script = "touch /file && echo root; touch /data/file && echo data; touch /etc/x && echo etc"
    volume = '[[volume]]\nname = "data"\nkind = "empty"\n'
    extra = 'read-only-root = true\nmounts = [{volume = "data", path = "/data"}]\n'
    pod = make_pod("ro-root", NO_NETWORK + volume + app("one", script + "; :", extra=extra))
    assert [line for line in lines_of(pod) if " " not in line] == ["data"]


def test_volumes_of_the_host_and_of_the_pod(make_pod: MakePod, pod_box: Box) -> None:
    pod_box.shell(
        "mkdir -p '/srv/with:colon, and blank'; echo there >'/srv/with:colon, and blank/f'"
    )
    volumes = (
        '[[volume]]\nname = "host"\nkind = "host"\nsource = "/srv/with:colon, and blank"\n'
        '[[volume]]\nname = "fixed"\nkind = "host"\nsource = "/srv"\nread-only = true\n'
        '[[volume]]\nname = "shared"\nkind = "empty"\nmode = "0700"\nuid = 9991\ngid = 9992\n'
    )
    writer = "cat /h/f; echo new >/h/new; touch /fixed/no; echo word >/s/word"
    reader = "until [ -e /s/word ]; do sleep 0.1; done; cat /s/word; stat -c '%a %u %g' /s"
    shared = '{volume="shared", path="/s"}'
    others = '{volume="host", path="/h"}, {volume="fixed", path="/fixed"}'
    first, second = f"mounts = [{others}, {shared}]\n", f"mounts = [{shared}]\n"
    apps = app("writer", writer, extra=first) + app("reader", reader, extra=second)
    said = lines_of(make_pod("volumes", NO_NETWORK + volumes + apps))
    assert sorted(said) == sorted(
        ["there", "touch: /fixed/no: Read-only file system", "word", "700 9991 9992"]
    )
    assert pod_box.read("/srv/with:colon, and blank/new") == "new\n"


@pytest.mark.row("volume_nspawn/Volumes")
def test_a_missing_source_of_a_volume(make_pod: MakePod) -> None:
    volume = '[[volume]]\nname = "gone"\nkind = "host"\nsource = "/srv/absent"\n'
    pod = make_pod("gone", NO_NETWORK + volume + app("one", ":"))
    assert pod.systemctl("start").returncode == 1
    assert pod.errors() == ["pod gone: volume gone: /srv/absent does not exist"]
    assert pod.leftovers() == ""


@pytest.mark.row("no_new_privs")
@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("", "NoNewPrivs:\t1"),
        ("no-new-privileges = true\n", "NoNewPrivs:\t1"),
        ("no-new-privileges = false\n", "NoNewPrivs:\t0"),
        ('insecure = ["seccomp"]\n', "NoNewPrivs:\t0"),
    ],
)
def test_no_new_privileges(make_pod: MakePod, extra: str, expected: str) -> None:
    script = "grep NoNewPrivs /proc/self/status; pivot_root . . || echo refused"
    said = lines_of(make_pod("privileges", NO_NETWORK + app("one", script, extra=extra)))
    assert said[0] == expected
    assert said[-1] == "refused"


def test_oom_score_and_limits(make_pod: MakePod) -> None:
    extra = 'oom-score-adj = 123\n[app.systemd]\nLimitNOFILE = "2000:3000"\nLimitCORE = 0\n'
    script = "cat /proc/self/oom_score_adj; ulimit -Sn; ulimit -Hn; ulimit -c"
    said = lines_of(make_pod("score", NO_NETWORK + app("one", script, extra=extra)))
    assert said == ["123", "2000", "3000", "0"]


@pytest.mark.row("caps/InsecureOption", "seccomp/AppIsolatorSeccomp")
@pytest.mark.parametrize("word", ["capabilities", "paths", "seccomp", "all-run"])
def test_insecure_options(make_pod: MakePod, word: str) -> None:
    script = "grep -E '^(CapEff|Seccomp):' /proc/self/status; head -c 1 /proc/kallsyms | wc -c"
    extra = f'insecure = ["{word}"]\n'
    capabilities, seccomp, symbols = lines_of(
        make_pod("insecure", NO_NETWORK + app("one", script, extra=extra))
    )[:3]
    everything = word == "all-run"
    assert (capabilities != "CapEff:\t00000000a80425fb") == (everything or word == "capabilities")
    assert (seccomp == "Seccomp:\t0") == (everything or word == "seccomp")
    assert (symbols == "1") == (everything or word == "paths")


def test_insecure_for_a_pod_and_for_one_app(make_pod: MakePod, pod_box: Box) -> None:
    script = "echo $AC_APP_NAME $(grep Seccomp: /proc/self/status)"
    both = app("one", script) + app("two", script)
    of_pod = f'insecure = ["seccomp"]\n{NO_NETWORK}{both}'
    assert sorted(lines_of(make_pod("of-pod", of_pod))) == ["one Seccomp: 0", "two Seccomp: 0"]
    of_one = NO_NETWORK + app("one", script) + app("two", script, extra='insecure = "all-run"\n')
    assert sorted(lines_of(make_pod("of-one", of_one))) == ["one Seccomp: 2", "two Seccomp: 0"]
    image = ["example.com/busybox", "--exec=/bin/sh"]
    command = [
        "rkt", "run", "--net=none",
        *image, "--name=one", "--", "-c", script, "---",
        *image, "--name=two", "--insecure=capabilities,seccomp", "--", "-c", script,
    ]  # fmt: skip
    said = pod_box.run(command, check=True, timeout=60).stdout.splitlines()
    assert sorted(said) == ["one Seccomp: 2", "two Seccomp: 0"]
    command[2:3] = ["--insecure-options=seccomp", "--net=none"]
    said = pod_box.run(command, check=True, timeout=60).stdout.splitlines()
    assert sorted(said) == ["one Seccomp: 0", "two Seccomp: 0"]
    wrong = pod_box.run(["rkt", "run", *image[:1], "--insecure=image"])
    assert wrong.returncode == 254
    assert 'run: --insecure: "image" is not one of capabilities, paths' in wrong.stderr
