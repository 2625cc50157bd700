"""Servers that are busy or slow, proxies between us and them, and what is sent but once."""

import base64
import contextlib
import email.utils
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rktsd.errors import FetchError
from rktsd.images.http import Client
from tests.images.test_transport import URL, answers
from tests.images.world import World
from tests.material.proxy import Proxy
from tests.material.servers import Answer, Content, Request


def busy(body: bytes, *refusals: Answer) -> Callable[[Request], Answer]:
    """Answers with each of ``refusals`` before it gives ``body``."""
    waiting = list(refusals)
    return lambda request: waiting.pop(0) if waiting else Answer(body)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(world: World, status: int) -> None:
    refusals = [Answer(b"later", status=status)] * 3
    with world.site({"/a.aci": busy(Path(world.aci()).read_bytes(), *refusals)}) as site:
        assert world.fetch(URL, insecure=["image"]).source == URL
    assert len(site.requests) == 4
    again = [line for line in world.said if "asking again in 0 s" in line]
    assert len(again) == 3
    assert again[0].startswith(f"{URL}: the server answered {status}")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_a_server_that_means_it_is_asked_once(world: World, status: int) -> None:
    with world.site({"/a.aci": Answer(status=status)}) as site:
        with pytest.raises(FetchError, match=f"answered {status}"):
            world.fetch(URL, insecure=["image"])
        assert len(site.requests) == 1


def test_patience_ends(world: World) -> None:
    world.settings(retries=2, retry_delay=0.01)
    refusals = [Answer(status=503)] * 9
    with world.site({"/a.aci": busy(b"", *refusals)}) as site:
        with world.store_unchanged(), pytest.raises(FetchError) as caught:
            world.fetch(URL, insecure=["image"])
        assert str(caught.value) == f"{URL}: the server answered 503 Service Unavailable"
        assert len(site.requests) == 3


def test_pauses_grow(world: World) -> None:
    world.settings(retries=3, retry_delay=0.1)
    times: list[float] = []

    def refuse(request: Request) -> Answer:
        times.append(time.monotonic())
        return Answer(status=503)

    with world.site({"/a.aci": refuse}), pytest.raises(FetchError):
        world.fetch(URL, insecure=["image"])
    pauses = [after - before for before, after in itertools.pairwise(times)]
    for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True):
        assert least <= pause


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_time_that_a_server_names_is_waited_for(world: World, form: str) -> None:
    when = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
    refusal = Answer(status=429, headers={"Retry-After": when})
    with world.site({"/a.aci": busy(Path(world.aci()).read_bytes(), refusal)}):
        started = time.monotonic()
        world.fetch(URL, insecure=["image"])
        assert time.monotonic() - started >= 0.9


@pytest.mark.parametrize(
    ("when", "told"),
    [("3600", "3600"), ("999999999", "999999999"), ("Fri, 31 Dec 9999 23:59:59 GMT", "[0-9]+")],
)
def test_a_server_that_wants_too_much_patience(world: World, when: str, told: str) -> None:
    refusal = Answer(status=429, headers={"Retry-After": when})
    with world.site({"/a.aci": busy(b"", *[refusal] * 9)}) as site:
        with pytest.raises(FetchError, match=rf"answered 429 .*\(it asks for {told} s of patience"):
            world.fetch(URL, insecure=["image"])
        assert len(site.requests) == 1


@pytest.mark.parametrize("when", ["soon", "-5", "1e9", "", "Fri, 99 Xxx", "٣"])
def test_nonsense_for_a_time_is_no_time(world: World, when: str) -> None:
    headers = {"Retry-After": when.encode().decode("latin-1")}
    refusal = Answer(status=429, headers=headers)
    with world.site({"/a.aci": busy(Path(world.aci()).read_bytes(), refusal)}):
        assert world.fetch(URL, insecure=["image"]).source == URL


@contextlib.contextmanager
def dribbling(first: bytes, rest: bytes, *, port: int) -> Iterator[None]:
    """A server that sends ``first`` and then a byte of ``rest`` every twentieth of a second."""
    stop = threading.Event()
    server = socket.create_server(("127.0.0.1", port))

    def dribble(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(first)
            for byte in rest * 1000:
                if stop.wait(0.05):
                    return
                connection.sendall(bytes([byte]))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=dribble, args=(connection,)).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "handshake": (443, b"\x16\x03\x03\x40\x00", b"x", r"a\.aci: timed out$"),
    "status": (80, b"", b"HTTP/1.1 ", r"a\.aci: timed out$"),
    "headers": (80, HEAD, b"X-Slow: 1\r\n", r"a\.aci: timed out$"),
    "body": (80, HEAD + b"Content-Length: 9999\r\n\r\n", b"x", "slower than 1024 bytes a second"),
    "chunks": (
        80,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n",
        "slower than 1024 bytes a second",
    ),
    "rest": (80, HEAD + b"\r\n" + b"x" * 900, b"x", "slower than 1024 bytes a second"),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_server_cannot_hold_us_by_a_byte_now_and_then(world: World, name: str) -> None:
    port, first, rest, expected = SLOW[name]
    world.settings(answer_timeout=1, retries=0)
    url = URL if port == 443 else "http://example.com/a.aci"
    with (
        dribbling(first, rest, port=port),
        world.store_unchanged(),
        pytest.raises(FetchError, match=expected),
    ):
        world.fetch(url, insecure=["image", "http"])


def test_slow_but_fast_enough(world: World) -> None:
    """As long as bytes come at the least rate, time does not matter."""
    world.settings(answer_timeout=0.3, minimum_rate=15, retries=0)
    first = HEAD + b"Content-Length: 25\r\n\r\n"
    with (
        dribbling(first, b"x", port=80),
        Client(world.paths, insecure=frozenset({"http"})) as client,
        client.get("http://example.com/a") as answer,
    ):
        assert answer.read(100) == b"x" * 25


def test_a_connection_is_used_again(world: World) -> None:
    """What is read to its end leaves the connection for the next question."""
    ports = set()

    def note(request: Request) -> Answer:
        ports.add(threading.get_ident())
        return Answer(b"ok")

    with world.site({"/a": note}), Client(world.paths) as client:
        for _ in range(3):
            with client.get("https://example.com/a") as answer:
                assert answer.read(10) == b"ok"
    assert len(ports) == 1


def proxied(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_https_goes_through_the_proxy_of_the_environment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is still that of the site: private authorities hold behind a proxy too."""
    with world.site({"/a.aci": Path(world.aci()).read_bytes()}), Proxy() as proxy:
        proxied(monkeypatch, https_proxy=f"http://127.0.0.1:{proxy.port}")
        assert world.fetch(URL, insecure=["image"]).source == URL
        with pytest.raises(FetchError, match="certificate not accepted"):
            world.fetch("https://localhost/a.aci", insecure=["image"])
    assert proxy.heads[0].startswith("CONNECT example.com:443 HTTP/1.")
    assert not any("GET" in head for head in proxy.heads)


def test_http_goes_through_the_proxy_of_the_environment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    content: dict[str, Content] = {"/a.aci": Path(world.aci()).read_bytes()}
    url = "http://example.com/a.aci"
    with world.site(content, port=80, tls=False), Proxy() as proxy:
        proxied(monkeypatch, http_proxy=f"http://127.0.0.1:{proxy.port}")
        assert world.fetch(url, insecure=["image", "http"]).source == url
    assert proxy.heads[0].startswith(f"GET {url} HTTP/1.1")


def test_hosts_may_be_left_out_of_the_proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.site({"/a.aci": Path(world.aci()).read_bytes()}), Proxy() as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        proxied(monkeypatch, HTTPS_PROXY=address, NO_PROXY="internal.example,example.com")
        world.fetch(URL, insecure=["image"])
        assert proxy.heads == []


def test_a_proxy_that_wants_a_password(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    password = base64.b64encode(b"me:secret").decode()
    with (
        world.site({"/a.aci": Path(world.aci()).read_bytes()}) as site,
        Proxy(password=password) as proxy,
    ):
        proxied(monkeypatch, https_proxy=f"http://127.0.0.1:{proxy.port}")
        with world.store_unchanged(), pytest.raises(FetchError, match="407"):
            world.fetch(URL, insecure=["image"])
        proxied(monkeypatch, https_proxy=f"http://me:secret@127.0.0.1:{proxy.port}")
        assert world.fetch(URL, insecure=["image"]).source == URL
    assert not any("proxy-authorization" in request.headers for request in site.requests)


def test_a_proxy_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    proxied(monkeypatch, https_proxy="http://127.0.0.1:1")
    assert answers(world, {}).endswith("Connection refused")


def test_forms_go_to_one_origin_over_https(world: World) -> None:
    sent = {"token": "secret"}
    content: dict[str, Content] = {
        "/": Answer(b"ok"),
        "/away": Answer(status=307, headers={"Location": "https://other.example/"}),
    }
    with (
        world.site(content) as site,
        Client(world.paths, insecure=frozenset({"http"})) as client,
    ):
        with client.get("https://example.com/", form=sent) as answer:
            assert answer.read(10) == b"ok"
        assert (site.requests[0].method, site.requests[0].body) == ("POST", b"token=secret")
        away = client.get("https://example.com/away", form=sent)
        with pytest.raises(FetchError, match="redirects what is for itself"), away:
            pass
        plain = client.get("http://example.com/", form=sent)
        with pytest.raises(FetchError, match="credentials are not sent over http"), plain:
            pass
        assert len(site.requests) == 2
