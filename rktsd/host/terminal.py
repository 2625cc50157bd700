"""Our terminal and one that somebody else works in: bytes both ways, and the size."""

import contextlib
import fcntl
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator

_READ = 1 << 16
_END_OF_INPUT = b"\x04"


def copy(master: int, ended: int) -> None:
    """Pass on what is typed and what is printed until the other side of ``master`` is closed.

    ``ended`` is a descriptor that becomes readable when whoever worked there has ended; what was
    printed until then is still passed on. Our own terminal, if standard input is one, is raw
    meanwhile.
    """
    with _raw(0), _size_follows(master):
        sources = [0, master, ended]
        while True:
            ready = select.select(sources, [], [])[0]
            if master in ready:
                data = _read(master)
                if not data:
                    return
                _write(1, data)
            elif ended in ready:
                return
            if 0 in ready:
                data = _read(0)
                if not data:
                    sources.remove(0)
                _write(master, data or _END_OF_INPUT)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _READ)
    except OSError:
        # The other side of a terminal is closed (EIO), or our own has hung up.
        return b""


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _size_follows(master: int) -> Iterator[None]:
    def follow(*_: object) -> None:
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(master, termios.TIOCSWINSZ, size)

    before = signal.signal(signal.SIGWINCH, follow)
    follow()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
