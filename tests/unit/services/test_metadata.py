"""The metadata service on a real socket: what it answers, and what hostile callers get."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rktsd.services.http import BODY_LIMIT, HEAD_LIMIT, Answer, Head, parse, serve
from rktsd.services.metadata import Registrations, responder

UUID = "6a1b2c3d-0000-4000-8000-00000000abcd"
TOKEN = "5f" * 16
KEYS = [b"new" * 20, b"old" * 20]
BASE = f"/{TOKEN}/acMetadata/v1"
IMAGE: dict[str, Any] = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.com/nginx",
    "annotations": [{"name": "authors", "value": "A"}, {"name": "created", "value": "now"}],
}
POD: dict[str, Any] = {
    "acVersion": "0.8.11",
    "acKind": "PodManifest",
    "apps": [
        {
            "name": "nginx",
            "image": {"id": "sha512-" + "a" * 64},
            "annotations": [
                {"name": "created", "value": "later"},
                {"name": "coreos.com/rkt/lorem", "value": "ipsüm"},
            ],
        }
    ],
    "annotations": [{"name": "owner", "value": "me"}],
}


class Service(NamedTuple):
    port: int
    directory: Path

    def ask(
        self, path: str, method: str = "GET", *, body: bytes | None = None, **headers: str
    ) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names)
        return connection.getresponse()

    def get(self, path: str) -> tuple[int, str, bytes]:
        response = self.ask(BASE + path)
        return response.status, response.headers["Content-Type"], response.read()

    def post(self, path: str, **fields: str | bytes) -> tuple[int, bytes]:
        body = urllib.parse.urlencode(fields).encode()
        kind = "application/x-www-form-urlencoded"
        response = self.ask(BASE + path, "POST", body=body, content_type=kind)
        return response.status, response.read()

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 30)

    def raw(self, data: bytes) -> bytes:
        """What comes back until the service closes."""
        with self.open() as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))


def register(directory: Path, name: str, *, token: str = TOKEN, pod: object = None) -> None:
    registration = {
        "uuid": UUID,
        "token": token,
        "pod": json.dumps(POD if pod is None else pod),
        "images": {"nginx": IMAGE},
    }
    temporary = directory / f".{name}.tmp"
    temporary.write_text(json.dumps(registration))
    temporary.rename(directory / name)


Serve = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Serve]:
    """Starts the service: ``start(keys, patience=…, places=…)``."""
    with ExitStack() as stack:

        def make(keys: Sequence[bytes] = KEYS, **bounds: Any) -> Service:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))
            directory = os.open(tmp_path, os.O_RDONLY)
            stack.callback(os.close, directory)
            wake, stop = os.pipe()
            stack.callback(os.close, wake)
            respond = responder(Registrations(directory), keys)
            thread = threading.Thread(
                target=serve, args=([listener], respond), kwargs={"stop": wake, **bounds}
            )
            thread.start()
            stack.callback(thread.join)
            stack.callback(os.close, stop)
            return Service(listener.getsockname()[1], tmp_path)

        yield make


@pytest.fixture
def service(start: Serve, tmp_path: Path) -> Service:
    register(tmp_path, "web")
    return start()


def test_what_a_pod_may_know(service: Service) -> None:
    text, as_json = "text/plain; charset=us-ascii", "application/json"
    assert service.get("/pod/uuid") == (200, text, UUID.encode())
    assert service.get("/pod/annotations/owner") == (200, text, b"me")
    assert service.get("/apps/nginx/image/id") == (200, text, b"sha512-" + b"a" * 64)
    lorem = "/apps/nginx/annotations/coreos.com%2Frkt/lorem"
    assert service.get(lorem) == (200, text, "ipsüm".encode())
    for path, expected in {
        "/pod/manifest": POD,
        "/pod/annotations": POD["annotations"],
        "/apps/nginx/image/manifest": IMAGE,
        "/apps/nginx/annotations": [
            {"name": "authors", "value": "A"},
            {"name": "created", "value": "later"},
            {"name": "coreos.com/rkt/lorem", "value": "ipsüm"},
        ],
    }.items():
        status, kind, body = service.get(path)
        assert (status, kind, json.loads(body)) == (200, as_json, expected)


def test_annotations_that_a_manifest_does_not_have_are_null(start: Serve, tmp_path: Path) -> None:
    bare = {"apps": [{"name": "nginx", "image": {"id": "sha512-aa"}}]}
    register(tmp_path, "web", pod=bare)
    assert start().get("/pod/annotations")[2] == b"null"


@pytest.mark.parametrize(
    "path",
    ["", "/", "/pod", "/pod/", "/pod/annotations/", "/pod/annotations/no", "/apps", "/apps/nginx",
     "/apps/other/image/id", "/apps/nginx/image", "/apps/nginx/annotations/no", "/pod/uuid/",
     "/pod/hmac", "/../../etc/passwd", "//pod/uuid", "/apps/nginx/annotations/%00%ff"],
)  # fmt: skip
def test_what_is_not_there(service: Service, path: str) -> None:
    status, kind, _ = service.get(path)
    assert (status, kind) == (404, "text/plain; charset=us-ascii")


def test_who_does_not_know_the_token_learns_nothing(service: Service) -> None:
    for path in ("/", "//", "/x/acMetadata/v1/pod/uuid", f"/{TOKEN[:-1]}/acMetadata/v1/pod/uuid",
                 f"/{TOKEN.upper()}/acMetadata/v1/pod/uuid", "/web/acMetadata/v1/pod/hmac/sign",
                 "/./acMetadata", "/../web", "/.web.tmp/acMetadata/v1/pod/uuid"):  # fmt: skip
        for method in ("GET", "POST", "BREW"):
            response = service.ask(path, method)
            assert (response.status, response.read()) == (401, b"unknown token\n"), path


def test_methods(service: Service) -> None:
    for method, path, right in (
        ("POST", "/pod/uuid", "GET"),
        ("HEAD", "/pod/manifest", "GET"),
        ("GET", "/pod/hmac/sign", "POST"),
        ("PUT", "/pod/hmac/verify", "POST"),
    ):
        response = service.ask(BASE + path, method)
        assert (response.status, response.headers["Allow"]) == (405, right)
        assert response.headers["Metadata-Flavor"] == "AppContainer"


def test_what_a_pod_signs_can_be_verified(service: Service) -> None:
    content = b"\x00\xff+ &=%\r\n" + "ü".encode()
    status, signature = service.post("/pod/hmac/sign", content=content)
    assert status == 200
    expected = hmac.new(KEYS[0], uuid.UUID(UUID).bytes + content, hashlib.sha512).digest()
    assert base64.b64decode(signature, validate=True) == expected
    told: dict[str, str | bytes] = {"content": content, "uuid": UUID, "signature": signature}
    assert service.post("/pod/hmac/verify", **told) == (200, b"")
    changes: list[tuple[int, dict[str, str | bytes]]] = [
        (403, {"content": content + b"x"}),
        (403, {"uuid": str(uuid.UUID(int=1))}),
        (403, {"signature": base64.b64encode(b"x" * 64)}),
        (400, {"uuid": UUID.replace("-", " ")}),
        (400, {"uuid": "x" * 36}),
        (400, {"signature": b"*"}),
    ]
    for expected_status, change in changes:
        assert service.post("/pod/hmac/verify", **told | change)[0] == expected_status
    for missing in told:
        rest = {name: value for name, value in told.items() if name != missing}
        assert service.post("/pod/hmac/verify", **rest) == (
            400,
            f"the form has no field {missing}\n".encode(),
        )
    assert service.post("/pod/hmac/sign")[0] == 400
    response = service.ask(f"{BASE}/pod/hmac/sign", "POST", body=b"{}", content_type="text/json")
    assert response.status == 400
    many = "&".join("content=x" for _ in range(1000)).encode()
    form = "application/x-www-form-urlencoded"
    assert service.ask(f"{BASE}/pod/hmac/sign", "POST", body=many, content_type=form).status == 400


def test_signatures_outlive_the_service_and_a_change_of_key(start: Serve, tmp_path: Path) -> None:
    register(tmp_path, "web")
    _, signature = start(KEYS[1:]).post("/pod/hmac/sign", content="x")
    told: dict[str, str | bytes] = {"content": "x", "uuid": UUID, "signature": signature}
    assert start(KEYS).post("/pod/hmac/verify", **told)[0] == 200
    assert start(KEYS[:1]).post("/pod/hmac/verify", **told)[0] == 403
    assert start(()).post("/pod/hmac/sign", content="x")[0] == 503


def test_registrations_come_and_go(service: Service) -> None:
    other, path = "0a" * 16, "/acMetadata/v1/pod/uuid"
    for _ in range(3):
        assert service.ask(f"/{other}{path}").status == 401
        register(service.directory, "other", token=other)
        assert service.ask(f"/{other}{path}").status == 200
        (service.directory / "other").unlink()
        assert service.ask(f"/{other}{path}").status == 401
    # The pod begins a new run.
    register(service.directory, "web", token=other)
    assert service.get("/pod/uuid")[0] == 401
    assert service.ask(f"/{other}{path}").status == 200


def test_slow_callers_are_dropped(start: Serve, tmp_path: Path) -> None:
    register(tmp_path, "web")
    service = start(patience=0.3)
    slow = [service.open() for _ in range(50)]
    for number, each in enumerate(slow):
        each.sendall(f"POST {BASE}/pod/hmac/sign HTTP/1.1\r\nHost: x\r\n".encode()[: number * 2])
    for each in slow:
        assert each.recv(100) == b""
        each.close()


def test_who_takes_all_places_loses_the_oldest(start: Serve, tmp_path: Path) -> None:
    register(tmp_path, "web")
    service = start(patience=3600, places=8)
    idle = [service.open() for _ in range(60)]
    for _ in range(20):
        assert service.get("/pod/uuid")[0] == 200
    assert idle[0].recv(100) == b""
    for each in idle:
        each.close()


def test_too_much_is_refused_before_it_is_read(service: Service) -> None:
    head = f"GET {BASE}/pod/uuid HTTP/1.1\r\nHost: x\r\nX: ".encode()
    assert service.raw(head + b"x" * 2 * HEAD_LIMIT).startswith(b"HTTP/1.1 431 ")
    form = "Host: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    sign = f"POST {BASE}/pod/hmac/sign HTTP/1.1\r\n{form}"
    large = f"{sign}Content-Length: {BODY_LIMIT + 1}\r\n\r\n"
    assert service.raw(large.encode()).startswith(b"HTTP/1.1 413 ")
    vast = f"{sign}Content-Length: {'9' * 15}\r\n\r\n"
    assert service.raw(vast.encode() + b"x" * 10**6).startswith(b"HTTP/1.1 413 ")
    unknown = f"POST /x/acMetadata/v1/pod/hmac/sign HTTP/1.1\r\n{form}Content-Length: 1000\r\n\r\n"
    assert service.raw(unknown.encode() + b"x" * 10).startswith(b"HTTP/1.1 401 ")
    most = urllib.parse.urlencode({"content": "x" * (BODY_LIMIT - 8)})
    assert service.post("/pod/hmac/sign", content=most[8:])[0] == 200


def test_a_body_that_waits_to_be_asked_for(service: Service) -> None:
    head = (
        f"POST {BASE}/pod/hmac/sign HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        "Content-Type: application/x-www-form-urlencoded; charset=x\r\nContent-Length: 9\r\n\r\n"
    )
    with service.open() as connection, connection.makefile("rb") as answers:
        connection.sendall(head.encode())
        assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert answers.readline() == b"\r\n"
        connection.sendall(b"content=x")
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET / HTTP/1.1", 400),
        ("GET / HTTP/2.0\r\nHost: x", 505),
        ("PRI * HTTP/1.1\r\nHost: x", 400),
        ("GET http://x/ HTTP/1.1\r\nHost: x", 400),
        ("GET  / HTTP/1.1\r\nHost: x", 400),
        ("G-T / HTTP/1.1\r\nHost: x", 400),
        ("GET /\xe9 HTTP/1.1\r\nHost: x", 400),
        ("GET /\x00 HTTP/1.1\r\nHost: x", 400),
        ("hello", 400),
        ("", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: y", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\n folded", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA : b", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: \xb2", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked", 411),
    ],
)
def test_malformed_requests(service: Service, request_: str, status: int) -> None:
    data = f"{request_}\r\n\r\n".encode("latin-1")
    assert service.raw(data).startswith(f"HTTP/1.1 {status} ".encode())
    assert service.get("/pod/uuid")[0] == 200


def test_heads_are_read() -> None:
    data = b"POST /a?b HTTP/1.0\r\nExpect: 100-Continue\r\nCONTENT-length:  7 \r\nX:"
    assert parse(data) == Head("POST", "/a", 7, expects=True)


def test_callers_who_leave_do_no_harm(service: Service) -> None:
    for data in (b"", b"GET", f"GET {BASE}/pod/manifest HTTP/1.0\r\n\r\n".encode()):
        for _ in range(50):
            with service.open() as connection:
                connection.sendall(data)
    assert service.get("/pod/uuid")[0] == 200


def test_it_ends_when_nobody_asks() -> None:
    wake, stop = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve([listener], lambda head, body: Answer(200), stop=wake, idle=0.01)
        # Whoever comes now waits for the next one.
        socket.create_connection(listener.getsockname()).close()
    os.close(wake)
    os.close(stop)


def test_what_is_under_way_is_answered_before_it_ends() -> None:
    wake, stop = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        begun = threading.Event()

        def respond(head: Head, body: bytes | None) -> Answer | None:
            if body is None:
                begun.set()
                return None
            return Answer(200, body)

        thread = threading.Thread(target=serve, args=([listener], respond), kwargs={"stop": wake})
        thread.start()
        with socket.create_connection(listener.getsockname()) as connection:
            connection.sendall(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n")
            begun.wait()
            os.write(stop, b"x")
            connection.sendall(b"hi")
            assert b"".join(iter(lambda: connection.recv(100), b"")).endswith(b"\r\n\r\nhi")
        thread.join()
    os.close(wake)
    os.close(stop)


def test_many_callers_at_once(service: Service) -> None:
    statuses: list[int] = []

    def ask() -> None:
        statuses.extend(service.get("/apps/nginx/annotations")[0] for _ in range(25))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 400
