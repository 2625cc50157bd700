"""The journal, through journalctl(1): follow a pod's lines, and read what a unit complained of."""

from __future__ import annotations

import os

from rktsd.host.process import run, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Sequence

_READ = 1 << 16
_FORMAT = ["--output=export", "--output-fields=MESSAGE", "--quiet", "--no-pager", "--all"]


def sync() -> None:
    """Return when everything logged before is in the journal's files, as far as we may ask."""
    run(["journalctl", "--sync"], check=False, timeout=30)


class Parser:
    """Takes journalctl's export format in pieces, gives (cursor, message) for each entry.

    The format is the one of "Journal Export Formats" in systemd's documentation: a field is
    ``NAME=VALUE``, or for binary values the name, a 64-bit little-endian size, and the value.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._cursor = ""
        self._message: bytes | None = None

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """The entries that are complete with ``data``."""
        buffer, at = self._rest + data, 0
        while True:
            end = buffer.find(b"\n", at)
            if end < 0:
                break
            line = buffer[at:end]
            if not line:
                if self._message is not None:
                    yield self._cursor, self._message
                self._message, at = None, end + 1
                continue
            name, equals, value = line.partition(b"=")
            after = end + 1
            if not equals:
                if len(buffer) < after + 8:
                    break
                size = int.from_bytes(buffer[after : after + 8], "little")
                if len(buffer) < after + 8 + size + 1:
                    break
                value = buffer[after + 8 : after + 8 + size]
                after += 8 + size + 1
            if name == b"__CURSOR":
                self._cursor = value.decode()
            elif name == b"MESSAGE":
                self._message = value
            at = after
        self._rest = buffer[at:]


class Follower:
    """Hands on the messages of entries that match, from the first one on; a context manager.

    ``write`` gets each message with a newline, in a thread of its own until ``finish``, and must
    not raise. No line is lost at the end: what the follower had not shown is read once more.
    """

    def __init__(self, matches: Sequence[str], write: Callable[[bytes], None]) -> None:
        self._matches = list(matches)
        self._write = write
        self._cursor = ""

    def __enter__(self) -> Follower:
        import threading

        command = ["journalctl", "--follow", "--no-tail", *_FORMAT, *self._matches]
        self._process: subprocess.Popen[bytes] = start(command)
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def finish(self) -> None:
        """Show what is left of everything logged up to now."""
        sync()
        self._end()
        place = [f"--after-cursor={self._cursor}"] if self._cursor else []
        done = run(["journalctl", *_FORMAT, *place, *self._matches], check=False)
        self._show(Parser(), done.stdout)

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()

    def _copy(self) -> None:
        assert self._process.stdout is not None
        parser, descriptor = Parser(), self._process.stdout.fileno()
        while data := os.read(descriptor, _READ):
            self._show(parser, data)

    def _show(self, parser: Parser, data: bytes) -> None:
        shown = []
        for cursor, message in parser.feed(data):
            self._cursor = cursor
            shown.append(message + b"\n")
        if shown:
            self._write(b"".join(shown))


def complaints(unit: str, *, since: float) -> list[str]:
    """What the processes of ``unit`` logged as errors since ``since``, seconds of the epoch."""
    sync()
    done = run(
        [
            "journalctl",
            "--quiet",
            "--no-pager",
            "--output=cat",
            f"--since=@{since:.6f}",
            "--priority=err",
            f"_SYSTEMD_UNIT={unit}",
            "_TRANSPORT=stdout",
        ],
        check=False,
    )
    return done.stdout.decode(errors="replace").splitlines()


def values(field: str) -> list[str]:
    """All values that a field has anywhere in the journal."""
    done = run(["journalctl", "--quiet", f"--field={field}"], check=False)
    return done.stdout.decode(errors="replace").splitlines()


def backwards(field: str, *matches: str) -> Iterator[str]:
    """The values of a field in the entries that match, from the last entry to the first."""
    command = ["journalctl", "--quiet", "--no-pager", "--reverse", "--output=cat"]
    process = start([*command, f"--output-fields={field}", *matches])
    assert process.stdout is not None
    try:
        for line in process.stdout:
            yield line.decode(errors="replace").rstrip("\n")
    finally:
        process.terminate()
        process.stdout.close()
        process.wait()
