"""Bars on a terminal: what they say, and that nothing of them stays behind."""

import io
import os
import pty
import re
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from rktsd.cli.progress import Bar, Screen, talk
from rktsd.images.progress import unpacking

MIB = 1 << 20


class Terminal(io.StringIO):
    """A terminal that is remembered, and can be looked at."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """What stands on it now."""
        lines = [""]
        row = 0
        for text, up, erase in re.findall(r"([^\x1b]+)|\x1b\[(\d+)A|\x1b\[(J)", self.getvalue()):
            if up:
                row -= int(up)
                assert row >= 0, "above the top of what was written"
            elif erase:
                lines = [*lines[:row], ""]
            else:
                for character in text:
                    if character == "\n":
                        row += 1
                        if row == len(lines):
                            lines.append("")
                    elif character != "\r":
                        lines[row] += character
        return [line for line in lines if line]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def screen(terminal: Terminal, clock: Clock) -> Screen:
    return Screen(terminal, lambda line: print(f"image: {line}", file=terminal), clock=clock)


def test_a_bar_tells_share_size_rate_and_time_left(
    screen: Screen, terminal: Terminal, clock: Clock
) -> None:
    with screen.watch("https://example.com/images/web.aci?x=y", 100 * MIB) as moved:
        moved(0)
        for _ in range(10):
            clock.now += 1
            moved(4 * MIB)
        (line,) = terminal.screen()
    assert line.startswith("web.aci ")
    assert re.search(r"\[####\.+\]  40% of  100 MiB +4\.0 MiB/s +0:15 left$", line)
    assert len(line) < 80
    assert terminal.screen() == []


def test_a_bar_says_what_is_unpacked(screen: Screen, terminal: Terminal, clock: Clock) -> None:
    for what, name in (
        ("sha256:0123456789abcdef0123", "unpack 0123456789ab "),
        ("https://example.com/web.aci", "unpack web.aci "),
    ):
        with screen.watch(unpacking(what), 100) as moved:
            clock.now += 1
            moved(50)
            (line,) = terminal.screen()
        assert line.startswith(name)
        assert " 50% of " in line


def test_what_was_there_before_does_not_count_for_the_rate(clock: Clock) -> None:
    bar = Bar("web.aci", 100 * MIB)
    bar.add(60 * MIB, 0.0)
    assert bar.rate(0.0) is None
    bar.add(10 * MIB, 5.0)
    assert bar.rate(5.0) == 2 * MIB


def test_the_rate_is_that_of_late() -> None:
    bar = Bar("web.aci", None)
    bar.add(0, 0.0)
    for second in range(1, 11):
        bar.add(100 * MIB, float(second))
    for second in range(11, 21):
        bar.add(MIB, float(second))
    rate = bar.rate(20.0)
    assert rate is not None
    assert rate <= 1.1 * MIB


@pytest.mark.parametrize("width", [10, 20, 40, 60, 80, 200])
@pytest.mark.parametrize("total", [None, 0, 1, 10**15])
def test_a_line_is_never_too_wide(width: int, total: int | None) -> None:
    bar = Bar("x" * 200, total)
    bar.add(0, 0.0)
    bar.add(5 * 10**14, 100.0)
    line = bar.draw(100.0, width)
    assert 0 < len(line) <= width
    assert "\n" not in line


def test_without_a_size_there_is_no_bar(screen: Screen, terminal: Terminal, clock: Clock) -> None:
    with screen.watch("web.aci", None) as moved:
        moved(MIB)
        clock.now += 1
        moved(MIB)
        assert terminal.screen() == ["web.aci                    2.0 MiB   1.0 MiB/s"]


def test_several_at_once_and_lines_between(
    screen: Screen, terminal: Terminal, clock: Clock
) -> None:
    with screen.watch("one", 100) as one:
        one(10)
        with screen.watch("sha256:0123456789abcdef0123", 100) as two:
            clock.now += 1
            two(20)
            screen.report("something to tell")
            clock.now += 1
            one(40)
            shown = terminal.screen()
            assert shown[0] == "image: something to tell"
            assert shown[1].startswith("one ")
            assert " 50% of" in shown[1]
            assert shown[2].startswith("0123456789ab ")
            assert " 20% of" in shown[2]
        assert len(terminal.screen()) == 2
    assert terminal.screen() == ["image: something to tell"]


def test_bars_go_away_when_a_download_fails(screen: Screen, terminal: Terminal) -> None:
    def fail() -> None:
        with screen.watch("one", 100) as moved:
            moved(1)
            assert len(terminal.screen()) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert terminal.screen() == []


def test_drawing_is_not_more_often_than_eyes_see(
    screen: Screen, terminal: Terminal, clock: Clock
) -> None:
    with screen.watch("one", 10_000) as moved:
        for _ in range(10_000):
            clock.now += 0.0001
            moved(1)
    assert terminal.getvalue().count("one ") <= 12


def test_names_do_not_steer_the_terminal(screen: Screen, terminal: Terminal) -> None:
    with screen.watch("https://example.com/\x1b[2Jweb\n.aci", 10) as moved:
        moved(1)
        (line,) = terminal.screen()
    assert line.startswith(" [2Jweb .aci")


def test_threads_share_a_screen(terminal: Terminal) -> None:
    screen = Screen(terminal, lambda line: print(line, file=terminal))

    def work(number: int) -> None:
        with screen.watch(f"layer-{number}", 1000) as moved:
            for _ in range(1000):
                moved(1)
            screen.report(f"done {number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(terminal.screen()) == [f"done {number}" for number in range(8)]


@pytest.fixture
def tty() -> Iterator[TextIO]:
    master, slave = pty.openpty()
    with open(slave, "w") as stream:
        yield stream
    os.close(master)


def test_bars_are_for_terminals(
    tty: TextIO, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert talk(print, stream=tty).watch is not None
    assert talk(print, stream=io.StringIO()) == (print, None)
    monkeypatch.setenv("TERM", "dumb")
    assert talk(print, stream=tty) == (print, None)
    monkeypatch.delenv("TERM")
    assert talk(print, stream=terminal) == (print, None)
