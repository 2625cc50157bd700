"""``rkt run --interactive``, as in a terminal and in a pipe: with tmux, which is a real one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from tests.box import Box
from tests.system.commands import IMAGE, good, lines, prepare, rkt, states
from tests.system.screens import PROMPT, Screen
from tests.waiting import eventually

RUN = f"rkt run --interactive --net=none {IMAGE}"


@pytest.fixture
def shell(cli: Box) -> Iterator[Screen]:
    screen = Screen(cli, RUN)
    screen.see(PROMPT)
    yield screen
    screen.close()


@pytest.mark.row("interactive/Interactive")
def test_a_shell_has_a_terminal(shell: Screen) -> None:
    shell.say("tty; stty size; id -u; case $TERM in tmux*|screen*) echo named;; esac")
    shell.see("24 80")
    shell.see("named")
    assert "/dev/pts/0" in shell.lines()
    shell.say("exit 7")
    shell.see("status=7")


def test_the_size_follows_the_window(shell: Screen) -> None:
    shell.resize(100, 30)
    shell.say("until [ \"$(stty size)\" = '30 100' ]; do sleep 0.1; done; echo is' it'")
    shell.see("is it")


def test_keys_are_signals_of_the_app(shell: Screen) -> None:
    # In a job of its own from before the word on: the shell misses a key that comes between what it
    # prints itself and the job that it begins next.
    shell.say("(echo going' on'; sleep 1000)")
    shell.see("going on")
    shell.type("C-c")
    shell.say("echo $?")
    shell.see("130")


def test_jobs_can_be_stopped_and_go_on(shell: Screen) -> None:
    shell.say("(echo in' front'; sleep 1000)")
    shell.see("in front")
    shell.type("C-z")
    eventually(lambda: "Stopped" in shell.text(), "the job is stopped")
    shell.say("kill -9 %1; wait; echo gone' now'")
    shell.see("gone now")


def test_the_terminal_is_as_before_and_the_end_is_told(cli: Box, shell: Screen) -> None:
    shell.type("C-d")
    shell.see("status=0")
    assert set(states(cli).values()) == {"exited"}
    assert cli.shell("ls -A /run/rkt/input") == ""


def test_the_app_ends_when_the_terminal_goes_away(cli: Box) -> None:
    screen = Screen(cli, RUN)
    screen.see(PROMPT)
    screen.close()
    eventually(lambda: set(states(cli).values()) == {"exited"}, "the pod has ended")


def test_a_stop_from_elsewhere(cli: Box, shell: Screen) -> None:
    (uuid_,) = states(cli)
    good(cli, "stop", "--timeout=0", uuid_)
    shell.see("status=137")


def test_a_prepared_pod(cli: Box) -> None:
    # systemd-nspawn tells the size when the app runs already; until then stty says nothing, and
    # that it succeeded.
    script = 'while [ -t 0 ] && [ -z "$(stty size)" ]; do sleep 0.05; done 2>/dev/null'
    script = f"{script}; stty size; exit 3"
    made = prepare(cli, IMAGE, "--", "-c", script)
    screen = Screen(cli, f"rkt run-prepared --interactive --net=none {made}")
    screen.see("status=3")
    assert "24 80" in screen.lines()
    screen.close()
    # Without the flag, and at a later start, there is no terminal.
    good(cli, "start", made)
    eventually(lambda: states(cli)[made] == "exited", "it has ended again")
    assert lines(good(cli, "status", made))["app-busybox"] == "3"


@pytest.mark.row("interactive/Interactive")
def test_what_is_piped_in_arrives_to_its_end(cli: Box) -> None:
    counted = cli.shell(f"head -c 3000000 /dev/zero | {RUN} -- -c 'wc -c' 2>/dev/null")
    assert counted == "3000000\n"
    script = shlex.quote("tty; cat; echo end; exit 4")
    done = cli.run(["sh", "-c", f"printf 'a\nb\n' | {RUN} -- -c {script}"])
    assert (done.returncode, done.stdout.splitlines()) == (4, ["not a tty", "a", "b", "end"])
    assert rkt(cli, "run", "--net=none", IMAGE, "--", "-c", "cat; tty").stdout == "not a tty\n"
    assert cli.shell("ls -A /run/rkt/input") == ""


def test_input_that_nobody_reads(cli: Box) -> None:
    script = (
        "rm -f /tmp/input; mkfifo /tmp/input; sleep 1000 >/tmp/input 2>/dev/null & writer=$!;"
        f" {RUN} -- -c 'exit 5' </tmp/input || echo $?; kill $writer"
    )
    assert cli.shell(script) == "5\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detach", IMAGE], "--interactive and --detach contradict each other"),
        (
            [IMAGE, "--name=a", "---", IMAGE, "--name=b"],
            "--interactive is for pods of one app, and this one has 2",
        ),
    ],
)
def test_mistakes(cli: Box, words: list[str], message: str) -> None:
    done = rkt(cli, "run", "--interactive", "--net=none", *words)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (254, f"run: {message}")
    assert states(cli) == {}
