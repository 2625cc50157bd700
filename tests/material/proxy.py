"""A web proxy on loopback: tunnels by CONNECT, and forwards what is asked over http."""

import contextlib
import select
import socket
import threading
from types import TracebackType


class Proxy:
    """Serves in threads while entered. ``heads`` are the requests it got, heads only.

    With ``password`` (``user:password`` in base64) it wants Proxy-Authorization.
    """

    def __init__(self, *, password: str | None = None) -> None:
        self.heads: list[str] = []
        self._password = password
        self._server = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.getsockname()[1])

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Closing alone does not wake up accept().
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                data += client.recv(4096)
            head, _, rest = data.partition(b"\r\n\r\n")
            self.heads.append(head.decode())
            wanted = f"Proxy-Authorization: Basic {self._password}"
            if self._password and wanted not in self.heads[-1].split("\r\n"):
                client.sendall(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
                )
                return
            method, target, _ = self.heads[-1].split("\r\n")[0].split(" ")
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                with socket.create_connection((host, int(port))) as server:
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    _pump(client, server)
                return
            host, _, path = target.removeprefix("http://").partition("/")
            lines = [f"{method} /{path} HTTP/1.1", *self.heads[-1].split("\r\n")[1:]]
            with socket.create_connection((host, 80)) as server:
                server.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + rest)
                _pump(client, server)


def _pump(one: socket.socket, other: socket.socket) -> None:
    while True:
        for ready in select.select([one, other], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            (other if ready is one else one).sendall(data)
