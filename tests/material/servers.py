"""Web servers on loopback that serve what a test gives them, over TLS or plainly."""

import http.server
import os
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from tests.material.certificates import Certificate


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path is answered with; ``endless`` repeats the body until the client hangs up."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    endless: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for; ``headers`` have lower-case names."""

    path: str
    query: str
    headers: Mapping[str, str]
    method: str = "GET"
    body: bytes = b""


Content = bytes | Answer | Callable[[Request], Answer]


class HttpsSite:
    """Serves a directory, or a mapping from paths to contents, in a thread while entered.

    Without ``certificate`` it speaks plain HTTP. Port 0 takes a free one. ``requests`` is what was
    asked so far. A mapping may be changed while the site is up; what is not in it is a 404.
    """

    def __init__(
        self,
        content: Mapping[str, Content] | str | os.PathLike[str],
        certificate: Certificate | None = None,
        *,
        port: int = 0,
        address: str = "127.0.0.1",
    ) -> None:
        self.content = content if isinstance(content, Mapping) else os.fspath(content)
        self.requests: list[Request] = []
        self._certificate = certificate
        self._server = _Server((address, port), _Handler)
        self._server.site = self
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            self._server.tls = context
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def url(self, path: str = "/", *, host: str = "127.0.0.1") -> str:
        """The URL of ``path`` under a name of this machine."""
        scheme, default = ("https", 443) if self._certificate else ("http", 80)
        port = "" if self.port == default else f":{self.port}"
        return f"{scheme}://{host}{port}{path}"

    def answer(self, request: Request) -> Answer:
        """What ``request`` is answered with."""
        if isinstance(self.content, str):
            return _from_directory(self.content, request.path)
        found = self.content.get(request.path)
        if found is None:
            return Answer(b"not here\n", status=404)
        if isinstance(found, bytes):
            return Answer(found)
        return found if isinstance(found, Answer) else found(request)

    def __enter__(self) -> "HttpsSite":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and wait for the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve_forever(self) -> None:
        """Serve in this thread until interrupted."""
        try:
            self._server.serve_forever()
        finally:
            self._server.server_close()


def _from_directory(root: str, path: str) -> Answer:
    name = os.path.normpath(f"{root}/{path}")
    if os.path.isdir(name):
        name += "/index.html"
    if not name.startswith(os.path.normpath(root) + "/") or not os.path.isfile(name):
        return Answer(b"not here\n", status=404)
    with open(name, "rb") as file:
        return Answer(file.read())


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    site: HttpsSite
    tls: ssl.SSLContext | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay quiet: clients that hang up or distrust us are what many tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = urllib.parse.unquote(parts.path) or "/"
        body = self.rfile.read(int(headers.get("content-length", "0")))
        request = Request(path, parts.query, headers, self.command, body)
        self.server.site.requests.append(request)
        self._send(self.server.site.answer(request))

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.endless:
            self.close_connection = True
        else:
            length = len(answer.body) if answer.length is None else answer.length
            self.send_header("Content-Length", str(length))
            self.close_connection = length != len(answer.body)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
            while answer.endless:
                self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
