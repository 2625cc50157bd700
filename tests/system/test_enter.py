"""``rkt enter``: a command in an app is confined as the app is, and its end is told."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.box import Box
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, SERVE, Pod, app
from tests.waiting import eventually

FIELDS = "CapInh|CapPrm|CapEff|CapBnd|CapAmb|Uid|Gid|Groups|NoNewPrivs|Seccomp"
LOOK = (
    f"grep -E '^({FIELDS}):' /proc/self/status; cat /proc/self/oom_score_adj; ulimit -n; pwd;"
    " for each in mnt pid net ipc uts cgroup user; do readlink /proc/self/ns/$each; done;"
    " hostname; env | grep -vE '^(_|SHLVL|PWD|OLDPWD|container_|NOTIFY|LISTEN|TERM)' | sort;"
    " cat /proc/self/cgroup"
)
USER = """
user = 1000
group = 100
supplementary-gids = [400]
working-directory = "/etc"
capabilities-retain = ["CAP_CHOWN"]
oom-score-adj = 77
[app.environment]
GREETING = "hello world"
[app.systemd]
LimitNOFILE = "99:200"
AmbientCapabilities = ["CAP_CHOWN"]
"""


def enter(pod: Pod, *words: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    return pod.box.run(["rkt", "enter", *words], input=input)


def serving(make_pod: MakePod, name: str, *, extra: str = "") -> Pod:
    pod = make_pod(name, NO_NETWORK + app("one", SERVE, extra=extra))
    pod.start()
    return pod


def _begin(pod: Pod, name: str, seconds: str) -> int:
    """A sleep inside, in the background. Returns its number outside."""
    found = pod.box.shell(
        f"rkt enter {name} sleep {seconds} >/dev/null 2>&1 &"
        f" until pgrep -x -f 'sleep {seconds}'; do sleep 0.05; done"
    )
    return int(found.split()[0])


@pytest.mark.row("env/Env: enter")
@pytest.mark.parametrize(
    ("extra", "of_pod"),
    [("", ""), (USER, ""), (USER, "private-users = true\n")],
    ids=["root", "user", "private"],
)
def test_a_command_is_confined_as_the_app_is(make_pod: MakePod, extra: str, of_pod: str) -> None:
    look = f"( {LOOK} ) 2>&1; echo looked; {SERVE}"
    pod = make_pod("confined", of_pod + NO_NETWORK + app("one", look, extra=extra))
    pod.start()
    of_app = pod.messages(f"RKT_POD_UUID={pod.last_run()}")
    done = enter(pod, "confined", "sh", "-c", LOOK)
    assert done.returncode == 0, done.stderr
    said = [line.rstrip() for line in done.stdout.splitlines()]
    assert said == of_app[: of_app.index("looked")]


def test_what_an_app_may_not_do_a_command_may_not_either(make_pod: MakePod) -> None:
    pod = serving(make_pod, "bars", extra='memory = "64Mi"\n')
    for attempt in (
        "mount -t tmpfs none /etc",
        "unshare -m true",
        "mknod /loop b 7 0 && head -c 1 /loop",
        "echo x >/proc/sys/kernel/core_pattern",
        "kill -0 $(($(cat /proc/sys/kernel/pid_max) - 1))",
        # More than the app's memory.
        "head -c 200000000 /dev/zero | tail -n 1 >/dev/null; [ ${PIPESTATUS:-$?} = 0 ]",
    ):
        assert enter(pod, "bars", "sh", "-c", attempt).returncode != 0, attempt
    group = pod.show("ControlGroup", pod.app_unit("one"))
    inside = _begin(pod, "bars", "99.5")
    assert f"{group}/" in pod.box.read(f"/proc/{inside}/cgroup").replace("\n", "/\n")
    # The command ends with its app.
    pod.stop()
    eventually(lambda: not pod.box.shell("pgrep -x -f 'sleep 99.5' || :"), "it has ended")
    assert pod.leftovers() == ""


def test_an_app_that_may_gain_privileges(make_pod: MakePod) -> None:
    pod = serving(make_pod, "gains", extra="no-new-privileges = false\n")
    said = enter(pod, "gains", "grep", "-E", "NoNewPrivs|Seccomp:", "/proc/self/status").stdout
    assert said.split() == ["NoNewPrivs:", "0", "Seccomp:", "2"]
    assert enter(pod, "gains", "mount", "-t", "tmpfs", "none", "/etc").returncode != 0


def test_an_app_with_a_filter_of_its_own(make_pod: MakePod) -> None:
    own = 'seccomp-remove = ["mkdir", "mkdirat"]\nseccomp-errno = "ENOSYS"\n'
    pod = serving(make_pod, "own", extra=own)
    done = enter(pod, "own", "mkdir", "/made")
    assert (done.returncode, done.stderr) == (
        1,
        "mkdir: can't create directory '/made': Function not implemented\n",
    )
    assert enter(pod, "own", "touch", "/made").returncode == 0
    assert enter(pod, "own", "absent").returncode == 127
    assert enter(pod, "own", "/etc").returncode == 126


def test_privileged(make_pod: MakePod) -> None:
    pod = serving(make_pod, "free", extra="user = 1000\n")
    done = enter(pod, "--privileged", "free", "sh", "-c", f"{LOOK}; mount -t tmpfs none /etc")
    assert done.returncode == 0, done.stderr
    fields = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["0"] * 4
    assert fields["Seccomp"].strip() == fields["NoNewPrivs"].strip() == "0"
    host = pod.box.shell("grep CapBnd /proc/self/status").split()[1]
    assert fields["CapEff"].strip() == host
    assert "free" in done.stdout.splitlines()


def test_streams_statuses_and_words_are_the_commands(make_pod: MakePod) -> None:
    pod = serving(make_pod, "streams")
    done = enter(pod, "streams", "sh", "-c", "cat; echo err >&2; exit 3", input="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "in\n", "err\n")
    assert enter(pod, "streams", "echo", "-n", "--help", "--").stdout == "--help --"
    assert enter(pod, "streams", "sh", "-c", "kill -9 $$").returncode == 128 + 9
    assert enter(pod, "streams", input="echo $0\n").stdout == "/bin/sh\n"
    assert enter(pod, "streams").stderr == 'enter: no command specified, assuming "/bin/sh"\n'
    words = [
        "--working-dir=/etc",
        "--environment=A=b c",
        "streams",
        "--",
        "sh",
        "-c",
        "pwd; echo $A",
    ]
    assert enter(pod, *words).stdout == "/etc\nb c\n"
    # Of rkt's own descriptors none is left to the command.
    assert enter(pod, "streams", "sh", "-c", "echo /proc/$$/fd/*").stdout.count("/fd/") <= 4


@pytest.mark.row("pid_file/AbortedStart")
def test_what_cannot_be_entered(make_pod: MakePod) -> None:
    pod = make_pod("pair", NO_NETWORK + app("one", SERVE) + app("two", SERVE))
    pod.start()
    uuid = pod.last_run()
    for words, status, message in (
        (["pair", "true"], 254, "pod has multiple apps: one, two (say which one with --app)"),
        (["--app=six", "pair", "true"], 254, 'pod pair has no app "six", only one, two'),
        (["--app=one", "pair", "absent"], 127, "cannot run absent: No such file or directory"),
        (["--app=one", "pair", "/etc"], 126, "cannot run /etc: Permission denied"),
        (["--app=one", "--working-dir=/absent", "pair", "true"], 127,
         "cannot change to the directory /absent: No such file or directory"),
        ([], 254, "exactly one pod has to be given"),
        (["absent", "true"], 254, 'no matches found for "absent"'),
    ):  # fmt: skip
        done = enter(pod, *words)
        assert (done.returncode, done.stderr) == (status, f"enter: {message}\n")
    done = pod.box.run(["rkt", "exec", "--app=two", uuid[:8], "cat", "/proc/1/comm"])
    assert done.stdout == "sh\n"
    pod.stop()
    done = enter(pod, "--app=one", "pair", "true")
    assert (done.returncode, done.stderr) == (
        254,
        f'enter: pod "{uuid}" isn\'t currently running\n',
    )


def _typed(box: Box, script: str) -> str:
    """What a shell with a terminal of 33 rows and 77 columns prints."""
    box.write("/tmp/typed", f"stty rows 33 cols 77; {script}\n")
    return box.shell("script -qec 'sh /tmp/typed' /dev/null </dev/null").replace("\r", "")


def test_a_terminal_of_its_own(make_pod: MakePod) -> None:
    pod = serving(make_pod, "terminal", extra="user = 1000\n")
    look = "tty; stty size; echo $TERM; exit 5"
    said = _typed(pod.box, f"TERM=vt220 rkt enter terminal sh -c '{look}'; echo $?")
    name, *others = said.splitlines()
    assert name.startswith("/dev/pts/")
    assert others == ["33 77", "vt220", "5"]
    assert _typed(pod.box, "rkt enter --tty=false terminal tty || :").strip() == "not a tty"
    done = enter(pod, "--tty", "terminal", "cat", input="typed\n")
    assert done.stdout.replace("\r", "").splitlines() == ["typed", "typed"]


def test_size_and_interrupts_go_through_a_terminal(make_pod: MakePod) -> None:
    pod = serving(make_pod, "resize")
    inner = (
        'trap "stty size" WINCH; trap "echo got; exit 4" INT; echo up; while :; do sleep 0.1; done'
    )
    outer = (
        f"(sleep 1.5; stty rows 44 cols 55 </dev/tty; sleep 1; printf '\\003' >/tmp/keys) &"
        f" rkt enter resize sh -c '{inner}'; echo $?"
    )
    pod.box.write("/tmp/typed", f"{outer}\n")
    said = pod.box.shell(
        "rm -f /tmp/keys; mkfifo /tmp/keys; exec 9<>/tmp/keys;"
        " script -qec 'sh /tmp/typed' /dev/null <&9"
    )
    shown = said.replace("\r", "").replace("^C", "").split()
    assert (shown[0], shown[-2:]) == ("up", ["got", "4"])
    assert "44 55" in " ".join(shown)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_on(make_pod: MakePod, number: signal.Signals) -> None:
    pod = serving(make_pod, "signals")
    script = f"trap 'exit {number.value}' {number.value}; echo up; while :; do sleep 0.1; done"
    pod.box.write("/tmp/inner", script)
    said = pod.box.shell(
        'rm -f /tmp/said; rkt enter signals sh -c "$(cat /tmp/inner)" >/tmp/said & pid=$!;'
        f" until grep -q up /tmp/said; do sleep 0.05; done; kill -{number.value} $pid;"
        " wait $pid || echo $?"
    )
    assert said.strip() == str(number.value)


def test_nothing_stays_when_it_is_killed(make_pod: MakePod) -> None:
    pod = serving(make_pod, "killed")
    _begin(pod, "killed", "88.5")
    pod.box.shell("kill -9 $(pgrep -f '[r]kt enter killed')")
    eventually(lambda: not pod.box.shell("pgrep -x -f 'sleep 88.5' || :"), "it has ended")


def test_the_hosts_interpreter_is_out_of_reach(make_pod: MakePod) -> None:
    pod = serving(make_pod, "self")
    # What runs there as /proc/self/exe is the copy: no file that could be written to.
    inside = _begin(pod, "self", "77.5")
    found = pod.box.shell(f"readlink /proc/$(ps -o ppid= -p {inside} | tr -d ' ')/exe")
    assert found.startswith("/memfd:rkt")


def test_only_root_enters(pod_box: Box) -> None:
    done = pod_box.run(["su", "nobody", "-s", "/bin/sh", "-c", "rkt enter web true"])
    assert (done.returncode, done.stderr) == (254, "enter: cannot run as unprivileged user\n")
