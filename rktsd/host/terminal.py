"""Our terminal and one that somebody else works in: bytes both ways, and the size."""

import contextlib
import fcntl
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator

_READ = 1 << 16
_END_OF_INPUT = b"\x04"


def copy(master: int, ended: int) -> None:
    """Pass on what is typed and what is printed until the other side of ``master`` is closed.

    ``ended`` is a descriptor that becomes readable when whoever worked there has ended; what was
    printed until then is still passed on. Our own terminal, if standard input is one, is raw
    meanwhile.
    """

    def resize(size: bytes) -> None:
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)

    with raw(0), size_follows(resize):
        sources = [0, master, ended]
        while True:
            ready = select.select(sources, [], [])[0]
            if master in ready:
                data = read(master)
                if not data:
                    return
                write(1, data)
            elif ended in ready:
                return
            if 0 in ready:
                data = read(0)
                if not data:
                    sources.remove(0)
                write(master, data or _END_OF_INPUT)


def read(descriptor: int, most: int = _READ) -> bytes:
    """What is there to read; empty at the end, which is also a terminal that is closed."""
    try:
        return os.read(descriptor, most)
    except OSError:
        # The other side of a terminal is closed (EIO), or our own has hung up.
        return b""


def write(descriptor: int, data: bytes) -> None:
    """Write all of it. Raises OSError."""
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Keys come as bytes, if that is a terminal; in the end it is as before."""
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
def size_follows(tell: Callable[[bytes], None]) -> Iterator[None]:
    """Tell the size of our window, if we have one, now and when it changes (TIOCGWINSZ)."""

    def follow(*_: object) -> None:
        with contextlib.suppress(OSError):
            tell(fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, b"\0" * 8))

    before = signal.signal(signal.SIGWINCH, follow)
    follow()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
