"""What downloading and unpacking look like: bars on a terminal, nothing elsewhere."""

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, TextIO

from rktsd.cli.context import one_line
from rktsd.cli.table import size
from rktsd.images.progress import UNPACKING, Moved, Watch

_INTERVAL = 0.1
_WINDOW = 5.0
_NAME, _NUMBERS = 24, 44
_LEAST = 10


class Talk(NamedTuple):
    """What fetching tells the user: lines, and how far downloads are."""

    report: Callable[[str], None]
    watch: Watch | None


def talk(report: Callable[[str], None], *, stream: TextIO | None = None) -> Talk:
    """``report`` and bars beside its lines where ``stream`` (standard error) is a terminal."""
    target = stream or sys.stderr
    if not target.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return Talk(report, None)
    screen = Screen(target, report)
    return Talk(screen.report, screen.watch)


class Bar:
    """One download or unpacking; ``total`` is None where nobody said how large it is."""

    __slots__ = ("_samples", "done", "name", "total")

    def __init__(self, name: str, total: int | None) -> None:
        self.name = name
        self.total = total
        self.done = 0
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, count: int, now: float) -> None:
        """``count`` bytes came. What came first does not count for the rate: it may be of old."""
        self.done += count
        self._samples.append((now, self.done))
        while len(self._samples) > 2 and self._samples[1][0] < now - _WINDOW:
            self._samples.popleft()

    def rate(self, now: float) -> float | None:
        """Bytes a second of late, None when there is nothing to tell it by."""
        if not self._samples or now - self._samples[0][0] < _INTERVAL:
            return None
        start, before = self._samples[0]
        return (self.done - before) / (now - start)

    def draw(self, now: float, width: int) -> str:
        """One line of at most ``width`` characters."""
        rate = self.rate(now)
        speed = f"{size(int(rate))}/s" if rate is not None else ""
        name = self.name if len(self.name) <= _NAME else f"{self.name[: _NAME - 1]}…"
        if not self.total:
            return f"{name:{_NAME}} {size(self.done):>9} {speed:>11}"[:width]
        share = min(self.done / self.total, 1.0)
        left = _span((self.total - self.done) / rate) if rate else ""
        numbers = f"{share:4.0%} of {size(self.total):>8} {speed:>11} {left:>10}"
        room = width - _NAME - _NUMBERS
        if room < _LEAST:
            return f"{name} {share:.0%} {speed} {left}"[:width]
        filled = int(share * room)
        return f"{name:{_NAME}} [{'#' * filled}{'.' * (room - filled)}] {numbers}"[:width]


class Screen:
    """Bars below everything else on a terminal, one for each download that is under way.

    Threads may share it. What is reported appears above the bars.
    """

    def __init__(
        self,
        stream: TextIO,
        report: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._report = report
        self._clock = clock
        self._lock = threading.RLock()
        self._bars: list[Bar] = []
        self._shown = 0
        self._last = float("-inf")

    def report(self, message: str) -> None:
        """A line above the bars."""
        with self._lock:
            self._erase()
            self._report(message)
            self._draw()

    @contextlib.contextmanager
    def watch(self, what: str, total: int | None) -> Iterator[Moved]:
        """A bar while entered."""
        bar = Bar(_shown(what), total)
        with self._lock:
            self._bars.append(bar)

        def moved(count: int) -> None:
            with self._lock:
                now = self._clock()
                bar.add(count, now)
                if now - self._last >= _INTERVAL:
                    self._redraw()

        try:
            yield moved
        finally:
            with self._lock:
                self._bars.remove(bar)
                self._redraw()

    def _redraw(self) -> None:
        self._erase()
        self._draw()

    def _erase(self) -> None:
        if self._shown:
            # Up to the first bar, and everything from there on away.
            self._stream.write(f"\x1b[{self._shown}A\r\x1b[J")
            self._shown = 0
            self._stream.flush()

    def _draw(self) -> None:
        self._last = self._clock()
        width, height = _measures(self._stream)
        shown = self._bars[: max(1, height - 1)]
        lines = [bar.draw(self._last, width - 1) for bar in shown]
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._shown = len(lines)


def _measures(stream: TextIO) -> tuple[int, int]:
    try:
        measures = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return measures.columns or 80, measures.lines or 24


def _shown(what: str) -> str:
    """The part of a URL that people know a download by; of a digest, its beginning."""
    if what.startswith(UNPACKING):
        return f"unpack {_shown(what.removeprefix(UNPACKING))}"
    name = one_line(what).partition("?")[0].rstrip("/").rpartition("/")[2] or one_line(what)
    algorithm, separator, digest = name.partition(":")
    return digest[:12] if separator and algorithm in ("sha256", "sha512") else name


def _span(seconds: float) -> str:
    whole = int(seconds + 0.5)
    if whole >= 100 * 3600:
        return "days left"
    hours, minutes = whole // 3600, whole // 60 % 60
    clock = f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
    return f"{clock} left"
