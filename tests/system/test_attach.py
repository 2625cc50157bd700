"""``rkt attach``, to terminals and to streams, and how to leave a terminal again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from tests.box import Box
from tests.system.commands import IMAGE, good, lines, rkt, states
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, Pod, app
from tests.system.screens import PROMPT, Screen
from tests.waiting import eventually

STREAMS = 'stdin = "stream"\nstdout = "stream"\nstderr = "stream"\n'
TERMINAL = 'stdin = "tty"\n'
FLAVORS = pytest.mark.parametrize("flavor", ["nspawn", "fly"])

# Says every line again, and knows when to end.
ECHO = (
    "echo up; while read -r line; do case $line in quit) exit 5;; bad) echo worse >&2;;"
    " *) echo got $line;; esac; done"
)
SHELL = "exec sh"


def pod_of(make_pod: MakePod, name: str, script: str, extra: str, *, flavor: str = "nspawn") -> Pod:
    head = f'{NO_NETWORK}stage1 = "{flavor}"\n' if flavor == "nspawn" else f'stage1 = "{flavor}"\n'
    pod = make_pod(name, head + app("one", script, extra=extra))
    assert pod.systemctl("start").returncode == 0
    return pod


def attached(box: Box, said: str, *words: str) -> tuple[int, list[str], list[str]]:
    """Attach, and say something: the status, what came out, and what on standard error."""
    command = f"printf {shlex.quote(said)} | rkt attach {shlex.join(words)}"
    done = box.run(["sh", "-c", command])
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


@pytest.fixture
def screens(cli: Box) -> Iterator[list[Screen]]:
    """Windows that are closed after the test."""
    opened: list[Screen] = []
    yield opened
    for each in opened:
        each.close()


@pytest.mark.row("attach/Smoke")
@FLAVORS
def test_streams(pod_box: Box, make_pod: MakePod, flavor: str) -> None:
    pod = pod_of(make_pod, "streamy", ECHO, STREAMS, flavor=flavor)
    # Whoever has nothing to read is done when its input is.
    assert attached(pod_box, "a\\n", "--mode=stdin", "streamy") == (0, [], [])
    # What nobody took was kept, each stream is its own, and the end is the app's.
    status, out, errors = attached(pod_box, "b\\nbad\\nquit\\n", "streamy")
    assert (status, out, errors) == (5, ["up", "got a", "got b"], ["worse"])
    pod.wait_for("failed")
    assert pod.status("one") == "exit-code exited 5"
    # As with rkt, what goes to streams is not in the journal.
    assert pod.messages(f"RKT_POD_UUID={pod.last_run()}") == []
    assert pod.leftovers() == ""


@pytest.mark.row("attach/Smoke")
@FLAVORS
def test_a_terminal(pod_box: Box, make_pod: MakePod, screens: list[Screen], flavor: str) -> None:
    pod_of(make_pod, "ttys", f"tty; echo $TERM; {SHELL}", TERMINAL, flavor=flavor)
    screens.append(Screen(pod_box, "rkt attach ttys"))
    first = screens[0]
    first.see(PROMPT)
    assert "xterm" in first.lines()
    assert "/dev/pts/" in first.text()
    first.resize(100, 30)
    first.say("until [ \"$(stty size)\" = '30 100' ]; do sleep 0.1; done; echo is' it'")
    first.see("is it")
    # Another one is at the same terminal, and can leave it.
    screens.append(Screen(pod_box, "rkt attach --mode=tty ttys"))
    second = screens[1]
    eventually(lambda: clients(pod_box, "ttys") == 2, "both are there")
    second.say("echo from' two'")
    first.see("from two")
    second.see("from two")
    second.type("C-p", "C-q")
    second.see("status=0")
    first.say("exit 6")
    first.see("status=6")


def clients(box: Box, pod: str, app: str = "one") -> int:
    """How many are attached to an app."""
    place = f"/run/rkt/pods/{pod}/attach/{app}/socket"
    return int(box.shell(f"ss -xH state connected src {place} | wc -l"))


def test_who_looks_on_says_nothing(cli: Box, make_pod: MakePod, screens: list[Screen]) -> None:
    pod_of(make_pod, "watched", SHELL, TERMINAL)
    screens += [Screen(cli, "rkt attach --mode=tty-out watched"), Screen(cli, "rkt attach watched")]
    eventually(lambda: clients(cli, "watched") == 2, "both are there")
    screens[0].say("echo from' me'")
    screens[1].say("echo from' you'")
    screens[0].see("from you")
    assert "from me" not in screens[1].text()
    screens[1].say("exit")
    screens[0].see("status=0")
    screens[1].see("status=0")


@pytest.mark.row("attach/StartStop")
def test_an_app_that_comes_again(cli: Box, make_pod: MakePod) -> None:
    restart = (
        f'{STREAMS}stop-timeout = 0.1\nsystemd.Restart = "always"\nsystemd.RestartSec = 0\n'
        "systemd.StartLimitIntervalSec = 0"
    )
    pod = pod_of(make_pod, "again", ECHO, restart)
    unit = pod.app_unit("one")
    helper = f"{unit.removesuffix('.service')}._attach.service"
    main = pod.show("MainPID", helper)
    assert attached(cli, "quit\\n", "again")[:2] == (5, ["up"])
    assert attached(cli, "x\\nquit\\n", "again")[:2] == (5, ["up", "got x"])
    cli.run(["systemctl", "restart", unit], check=True)
    assert attached(cli, "y\\nquit\\n", "again")[0] == 5
    assert pod.show("MainPID", helper) == main
    # The pod, stopped and started.
    pod.stop()
    done = rkt(cli, "attach", "again")
    assert (done.returncode, done.stderr.count("isn't currently running")) == (254, 1)
    assert pod.systemctl("start").returncode == 0
    assert attached(cli, "z\\nquit\\n", "again")[:2] == (5, ["up", "got z"])
    pod.stop()
    assert pod.leftovers() == ""


@pytest.mark.row("attach/Smoke", "attach/StartStop")
def test_apps_that_come_and_go(cli: Box) -> None:
    good(cli, "app", "sandbox", "-d", "--name=box", "--net=none")
    streams = ["--stdin=stream", "--stdout=stream"]
    good(cli, "app", "add", "box", IMAGE, "--name=one", *streams, "--", "-c", ECHO)
    good(cli, "app", "add", "box", IMAGE, "--name=two", "--stdin=tty", "--", "-c", ECHO)
    for _ in range(2):
        good(cli, "app", "start", "--app=one", "box")
        good(cli, "app", "start", "--app=two", "box")
        assert attached(cli, "a\\nquit\\n", "--app=one", "box")[:2] == (5, ["up", "got a"])
        status, out, _ = attached(cli, "b\\nquit\\n", "--app=two", "box")
        assert status == 5
        assert "got b" in out
    # Not one that has ended.
    done = rkt(cli, "attach", "--app=one", "box")
    assert (done.returncode, done.stderr) == (254, 'attach: app "one" of pod box does not run\n')
    good(cli, "stop", "--timeout=0", "box")


@pytest.mark.parametrize("extra", [STREAMS, TERMINAL], ids=["streams", "terminal"])
def test_an_app_does_not_notice_when_the_helper_is_killed(
    cli: Box, make_pod: MakePod, extra: str
) -> None:
    pod = pod_of(make_pod, "lasting", ECHO, extra)
    unit = pod.app_unit("one")
    helper = f"{unit.removesuffix('.service')}._attach.service"
    app_pid, main = pod.show("MainPID", unit), pod.show("MainPID", helper)
    # systemd reads such units anew.
    cli.run(["systemctl", "daemon-reload"], check=True)
    cli.run(["kill", "-9", main], check=True)
    eventually(
        lambda: pod.state(helper) == "active" and pod.show("MainPID", helper) not in ("0", main),
        "the helper is there again",
    )
    status, out, _ = attached(cli, "a\\nquit\\n", "lasting")
    assert status == 5
    assert "got a" in out
    assert pod.status("one") == "exit-code exited 5"
    assert app_pid != "0"


def test_a_slow_client_is_in_nobody_s_way(cli: Box, make_pod: MakePod) -> None:
    script = "read go; head -c 9000000 /dev/zero; echo; echo over; read end; exit 7"
    pod_of(make_pod, "flood", script, STREAMS)
    # One that does not read, beside one that does.
    cli.shell(
        "set +e; rm -f /tmp/slow.* /tmp/fast.*; exec >/dev/null 2>&1 </dev/null;"
        " (rkt attach --mode=stdout flood 2>/tmp/slow.err; echo $? >/tmp/slow.code) |"
        " sh -c 'echo $$ >/tmp/slow.pid; kill -STOP $$; exec cat' &"
        " (rkt attach --mode=stdout flood; echo $? >/tmp/fast.code) | tail -n1 >/tmp/fast.out &"
    )
    eventually(lambda: clients(cli, "flood") == 2, "both are there")
    assert attached(cli, "go\\n", "--mode=stdin", "flood")[0] == 0
    assert attached(cli, "end\\n", "--mode=stdin", "flood")[0] == 0
    eventually(lambda: cli.shell("cat /tmp/fast.code || :") == "7\n", "the fast one is at the end")
    assert cli.read("/tmp/fast.out") == "over\n"
    cli.shell("kill -CONT $(cat /tmp/slow.pid)")
    eventually(lambda: cli.shell("cat /tmp/slow.code || :") == "254\n", "the slow one was given up")
    assert "output of the app was lost" in cli.read("/tmp/slow.err")


def test_flags_list_and_modes(cli: Box) -> None:
    # Started with flags; of what goes to the journal nothing is attached to.
    words = ["run", "-d", "--net=none", "--name=mixed", IMAGE, "--stdin=stream", "--stderr=stream"]
    good(cli, *words, "--", "-c", "echo to the journal; cat >&2")
    listed = json.loads(good(cli, "attach", "--mode=list", "mixed"))
    assert (listed["version"], [each["name"] for each in listed["targets"]]) == (
        1,
        ["stdin", "stderr"],
    )
    assert attached(cli, "x", "--mode=stdin", "mixed")[0] == 0
    for mode, message in (
        ("stdout", 'app "busybox" has no stdout, only stdin, stderr'),
        ("tty", 'app "busybox" has no tty-in, only stdin, stderr'),
        ("tty,stdin", "--mode: only stdin, stdout and stderr can be combined"),
        ("all", '--mode: "all" is not one of list, auto, tty, tty-in, tty-out, stdin, stdout,'),
    ):
        done = rkt(cli, "attach", f"--mode={mode}", "mixed")
        assert done.returncode == 254
        assert message in done.stderr
    eventually(lambda: "to the journal" in good(cli, "logs", "mixed"), "the rest is in the journal")


def test_an_app_that_asked_for_nothing(cli: Box) -> None:
    sleep = ["--exec=/bin/sleep", "--stdout=null", "--", "1000"]
    good(cli, "run", "-d", "--net=none", "--name=deaf", IMAGE, *sleep)
    done = rkt(cli, "attach", "deaf")
    assert done.returncode == 254
    assert 'app "busybox" of pod deaf has nothing to attach to' in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stdin=stream", "--stdout=tty"], 'app busybox: stdin: "stream" beside "tty"'),
        (["--stdin=tty", "--stderr=log"], 'app busybox: stderr: "log" beside "tty"'),
        (["--stdin=log"], '--stdin: "log" is not one of null, stream, tty'),
        (["--stdout=stream", "--output=tty"], "output: stdin, stdout or stderr say it as well"),
    ],
)
def test_contradictions(cli: Box, words: list[str], message: str) -> None:
    done = rkt(cli, "run", "--net=none", IMAGE, *words)
    assert done.returncode == 254
    assert message in done.stderr
    assert states(cli) == {}


def test_the_keys_leave_rkt_run(cli: Box, screens: list[Screen]) -> None:
    screens.append(Screen(cli, f"rkt run --interactive --rm --net=none --name=left {IMAGE}"))
    screens[0].see(PROMPT)
    screens[0].say("echo fir'st'")
    screens[0].see("first")
    screens[0].type("C-p", "C-q")
    screens[0].see("status=0")
    assert "run: detached; the way back: rkt attach left" in screens[0].lines()
    assert set(states(cli).values()) == {"running"}
    screens.append(Screen(cli, "rkt attach --detach-keys=ctrl-a,d left"))
    eventually(lambda: clients(cli, "left", "busybox") == 1, "it is attached to again")
    screens[1].say("echo sec'ond'")
    screens[1].see("second")
    # Keys that are the beginning alone go to the app.
    screens[1].type("C-a", "e", "Enter")
    screens[1].type("C-a", "d")
    screens[1].see("status=0")
    screens.append(Screen(cli, "rkt attach left"))
    eventually(lambda: clients(cli, "left", "busybox") == 1, "it is attached to once more")
    screens[2].say("exit 4")
    screens[2].see("status=4")
    eventually(lambda: states(cli) == {}, "the pod is gone")


def test_the_terminal_is_as_before_after_a_signal(cli: Box, screens: list[Screen]) -> None:
    good(cli, "run", "-d", "--net=none", "--name=tried", IMAGE, "--stdin=tty")
    screens.append(
        Screen(
            cli,
            "stty -a >/tmp/before; rkt attach tried; code=$?; stty -a >/tmp/after; (exit $code)",
        )
    )
    screens[0].see(PROMPT)
    cli.shell("pkill -TERM -f 'rkt attach tried$'")
    screens[0].see("status=143")
    assert cli.read("/tmp/after") == cli.read("/tmp/before")
    assert lines(good(cli, "status", "tried"))["state"] == "running"
