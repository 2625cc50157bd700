"""What the helper of an attachable app has open, and systemd keeps for the next one."""

import contextlib
import os
import select
import socket
import termios
import tty

from rktsd.host.notify import connected
from rktsd.host.packets import ERRORS, OUTPUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_FIRST_STORED = 3


class Client:
    """``kinds`` are the letters of the packets it wants, ``leaving`` when it gets no more, ``late``
    since when it holds up the app, or 0."""

    __slots__ = ("channel", "gone", "input", "kinds", "late", "leaving", "size", "waiting")

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.kinds = b""
        self.input = False
        self.waiting: list[bytes] = []
        self.size = 0
        self.late = 0.0
        self.leaving = False
        self.gone = False


class Mux:
    """What is open: ``outputs`` are descriptors with the letter of what comes there, ``input`` is
    what the app reads from, -1 for nothing; ``slave`` the app's side of its terminal, or -1."""

    __slots__ = (
        "awaited", "backlog", "clients", "directory", "ended", "held", "input", "kept", "listener",
        "modes", "outputs", "pending", "poll", "slave",
    )  # fmt: skip

    def __init__(self, directory: str, words: "Sequence[str]") -> None:
        self.directory = directory
        self.poll = select.epoll()
        self.clients: dict[int, Client] = {}
        self.outputs: dict[int, bytes] = {}
        self.input = self.slave = -1
        self.pending = bytearray()
        self.backlog: list[bytes] = []
        self.kept = 0
        self.held = False
        self.awaited = "awaited" in words
        # What the terminal of the app is like before an app has changed it.
        self.modes: list[int | list[bytes | int]] = []
        stored = _stored()
        if "tty-out" in words:
            self._open_terminal(stored, words)
        for name, kind in (("stdout", OUTPUT), ("stderr", ERRORS)):
            if name in words:
                self.outputs[self._fifo(name, stored)] = kind
        if "stdin" in words:
            self.input = self._fifo("stdin", stored)
        self.ended = self._fifo("ended", stored)
        self.listener = _listening(f"{directory}/socket")
        for each in (*self.outputs, self.ended, self.listener.fileno()):
            self.poll.register(each, select.EPOLLIN)
        if self.input >= 0 and self.input not in self.outputs:
            # Known already, to be asked for when something waits.
            self.poll.register(self.input, 0)

    def _fifo(self, name: str, stored: dict[str, int]) -> int:
        # Both ends: nobody who has the other one ever sees it closed.
        path = f"{self.directory}/{name}"
        if name in stored:
            return stored[name]
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path)
        # Whoever has it open may open it by name as well; nobody else gets to the directory.
        os.chmod(path, 0o666)
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        _store(name, descriptor)
        return descriptor

    def _open_terminal(self, stored: dict[str, int], words: "Sequence[str]") -> None:
        path = f"{self.directory}/terminal"
        if "terminal" in stored:
            master = stored["terminal"]
            self.slave = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        else:
            # The slave stays open here: without an app the terminal is to seem no different.
            master, self.slave = os.openpty()
            if "raw" in words:
                tty.setraw(self.slave)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.symlink(os.ttyname(self.slave), path)
            os.set_blocking(master, False)
            _store("terminal", master)
        self.modes = termios.tcgetattr(self.slave)
        self.outputs[master] = OUTPUT
        if "tty-in" in words:
            self.input = master


def _stored() -> dict[str, int]:
    """What one before us had open, by name (sd_listen_fds_with_names(3))."""
    names = os.environ.get("LISTEN_FDNAMES", "")
    found = {name: _FIRST_STORED + n for n, name in enumerate(names.split(":")) if name}
    for each in found.values():
        os.set_inheritable(each, False)
    return found


def tell(message: str, descriptor: int = -1) -> None:
    """Tell systemd (sd_notify(3)), and hand a descriptor to it. Raises OSError."""
    with connected(os.environ["NOTIFY_SOCKET"]) as channel:
        if descriptor < 0:
            channel.sendall(message.encode())
        else:
            socket.send_fds(channel, [message.encode()], [descriptor])


def _store(name: str, descriptor: int) -> None:
    tell(f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}", descriptor)


def _listening(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    listener.setblocking(False)
    return listener
