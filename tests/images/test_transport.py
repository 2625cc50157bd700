"""Servers that are away, wrong, endless, slow or curious."""

import itertools
import os
import socket
import threading
from pathlib import Path

import pytest

from rktsd.errors import FetchError, RktError, StoreError, TrustError
from rktsd.images.http import MAX_REDIRECTS, Client
from tests.box import syscalls
from tests.images.world import World, discovery_site
from tests.material.certificates import issue, make_ca
from tests.material.servers import Answer, Content, HttpsSite, Request

URL = "https://example.com/a.aci"


def redirect(to: str) -> Answer:
    return Answer(status=302, headers={"Location": to})


def answers(world: World, content: dict[str, Content], reference: str = URL) -> str:
    """The message that fetching an unsigned image from such a site ends with."""
    with world.site(content), world.store_unchanged(), pytest.raises(FetchError) as caught:
        world.fetch(reference, insecure=["image"], limit=100_000)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def test_status_and_url_are_told(world: World) -> None:
    assert answers(world, {}) == f"{URL}: the server answered 404 Not Found"
    answer = Answer(b"no", status=500)
    assert answers(world, {"/a.aci": answer}).endswith(
        "the server answered 500 Internal Server Error"
    )


def test_nobody_listens(world: World) -> None:
    with world.store_unchanged(), pytest.raises(FetchError) as caught:
        world.fetch(URL, insecure=["image"])
    assert str(caught.value) == f"{URL}: Connection refused"


def test_a_host_that_does_not_exist(world: World) -> None:
    with world.store_unchanged(), pytest.raises(FetchError) as caught:
        world.fetch("https://nowhere.invalid/a.aci", insecure=["image"])
    assert str(caught.value).startswith("https://nowhere.invalid/a.aci: ")
    assert "object at" not in str(caught.value)


def test_endless_and_oversized_bodies_are_cut_off(world: World) -> None:
    endless = Answer(b"x" * 4096, endless=True)
    assert "more than the limit of 100000 bytes" in answers(world, {"/a.aci": endless})
    large = b"x" * 100_001
    assert "100001 bytes are more than the limit" in answers(world, {"/a.aci": large})


@pytest.mark.parametrize("length", ["9" * 30, "9" * 100])
def test_sizes_that_no_disk_has(world: World, length: str) -> None:
    absurd = Answer(b"x", length=int(length))
    assert "bytes are more than the limit" in answers(world, {"/a.aci": absurd})


def test_a_body_that_ends_early_is_no_image(world: World) -> None:
    cut = Answer(b"x" * 50, length=60)
    assert answers(world, {"/a.aci": cut}).startswith(f"{URL}: ended after 50 of 60 bytes")


def test_redirect_loops_end(world: World) -> None:
    content: dict[str, Content] = {"/a.aci": redirect(URL)}
    assert answers(world, content) == f"{URL}: more than {MAX_REDIRECTS} redirects"


@pytest.mark.parametrize("steps", [MAX_REDIRECTS, MAX_REDIRECTS + 1])
def test_so_many_redirects_and_no_more(world: World, steps: int) -> None:
    paths = ["/a.aci", *(f"/{number}" for number in range(1, steps)), "/last"]
    content: dict[str, Content] = {
        here: redirect(f"https://example.com{there}") for here, there in itertools.pairwise(paths)
    }
    content["/last"] = Path(world.aci()).read_bytes()
    if steps > MAX_REDIRECTS:
        assert answers(world, content) == f"{URL}: more than {MAX_REDIRECTS} redirects"
    else:
        with world.site(content):
            assert world.fetch(URL, insecure=["image"]).source == URL


def test_the_body_of_a_redirect_is_not_read(world: World) -> None:
    target = "https://example.com/b.aci"
    endless = Answer(b"x" * 4096, status=302, headers={"Location": target}, endless=True)
    assert answers(world, {"/a.aci": endless}).startswith(f"{target}: the server answered 404")


def test_redirects_are_followed_to_another_host_but_not_to_http(world: World) -> None:
    content: dict[str, Content] = {
        "/a.aci": redirect("https://other.example/b.aci"),
        "/b.aci": Path(world.aci()).read_bytes(),
        "/c.aci": redirect("http://example.com/b.aci"),
        "/d.aci": redirect("file:///etc/passwd"),
        "/e.aci": redirect("https://me:secret@example.com/b.aci"),
        "/f.aci": redirect("https://[broken/"),
    }
    with world.site(content):
        assert world.fetch(URL, insecure=["image"]).source == URL
    message = answers(world, content, "https://example.com/c.aci")
    assert message.startswith("http://example.com/b.aci: http is refused")
    for name in "de":
        message = answers(world, content, f"https://example.com/{name}.aci")
        assert "not an https URL without user name and password" in message
    assert "redirects to 'https://[broken/'" in answers(world, content, "https://example.com/f.aci")


def test_http_is_refused_unless_allowed(world: World) -> None:
    content: dict[str, Content] = {"/a.aci": Path(world.aci()).read_bytes()}
    url = "http://example.com/a.aci"
    with world.site(content, port=80, tls=False) as site:
        with world.store_unchanged(), pytest.raises(FetchError, match="http is refused") as caught:
            world.fetch(url, insecure=["image"])
        assert "--insecure-options=http" in str(caught.value)
        assert site.requests == []
        assert world.fetch(url, insecure=["image", "http"]).source == url


def test_unknown_certificates_are_refused(world: World) -> None:
    content: dict[str, Content] = {"/a.aci": Path(world.aci()).read_bytes()}
    url = "https://127.0.0.1/a.aci"
    with world.site(content) as site:
        with world.store_unchanged(), pytest.raises(FetchError) as caught:
            world.fetch(url, insecure=["image"])
        assert str(caught.value).startswith(f"{url}: certificate not accepted: unable to get local")
        assert site.requests == []
        # Believed for example.com, the authority is still nobody for another host.
        assert world.fetch(URL, insecure=["image"]).name == "example.com/app"
        assert world.fetch(url, insecure=["image", "tls"]).source == url


def test_a_certificate_for_another_name_is_refused(world: World) -> None:
    other = issue(make_ca(world.directory / "tls"), ["other.example"])
    os.environ["REQUESTS_CA_BUNDLE"] = world.ca.certificate
    try:
        with HttpsSite({"/a.aci": b""}, other, port=443), world.store_unchanged():
            world.trust_ca("example.com")
            with pytest.raises(FetchError, match=r"certificate not accepted: .*example\.com"):
                world.fetch(URL, insecure=["image"])
    finally:
        del os.environ["REQUESTS_CA_BUNDLE"]


def test_an_authority_of_ones_own_leaves_others_unknown(world: World) -> None:
    stranger = issue(make_ca(world.directory / "strangers"), ["example.com"])
    with (
        HttpsSite({"/a.aci": b""}, stranger, port=443) as site,
        world.store_unchanged(),
        pytest.raises(FetchError, match="certificate not accepted: "),
    ):
        world.fetch(URL, insecure=["image"])
    assert site.requests == []


def test_authorities_hold_for_host_and_port(world: World) -> None:
    content: dict[str, Content] = {"/a.aci": Path(world.aci()).read_bytes()}
    with world.site(content, port=8443):
        url = "https://example.com:8443/a.aci"
        with pytest.raises(FetchError, match="certificate not accepted"):
            world.fetch(url, insecure=["image"])
        world.trust_ca("example.com:8443")
        assert world.fetch(url, insecure=["image"]).source == url


def test_a_broken_certificate_file_is_named(world: World) -> None:
    path = f"{world.paths.local_config}/certs.d/example.com/broken.crt"
    Path(path).write_text("nonsense")
    with (
        world.store_unchanged(),
        pytest.raises(RktError, match=r"broken\.crt: not a PEM certificate"),
    ):
        world.fetch(URL, insecure=["image"])


def test_a_server_that_says_nothing_sensible(world: World) -> None:
    with socket.create_server(("127.0.0.1", 443)) as server:

        def mumble() -> None:
            connection, _ = server.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            connection.close()

        thread = threading.Thread(target=mumble)
        thread.start()
        with world.store_unchanged(), pytest.raises(FetchError) as caught:
            world.fetch(URL, insecure=["image"])
        thread.join()
        assert str(caught.value).startswith(f"{URL}: ")
        assert "object at" not in str(caught.value)


@pytest.mark.parametrize("page", [b"", b"\xff\x00<meta", b"<meta name=ac-discovery content=x>"])
def test_bad_discovery_pages(world: World, page: bytes) -> None:
    message = answers(world, {"/": page}, "example.com/app")
    assert message.startswith("discovery failed for 'example.com/app': https://example.com/app?ac-")
    assert message.endswith("example.com: no matching discovery element")


def test_a_discovery_page_that_never_ends(world: World) -> None:
    endless = Answer(b"<p>", endless=True)
    assert "bytes" in answers(world, {"/": endless}, "example.com/app")


def test_discovery_falls_back_to_http_when_allowed(world: World) -> None:
    path = world.aci()
    page = b"<meta name=ac-discovery content='example.com http://example.com/{name}.{ext}'>"
    content: dict[str, Content] = {"/": page, "/example.com/app.aci": Path(path).read_bytes()}
    with world.site(content, port=80, tls=False):
        with world.store_unchanged(), pytest.raises(FetchError, match="discovery failed"):
            world.fetch("example.com/app", insecure=["image"])
        record = world.fetch("example.com/app", insecure=["image", "http"])
    assert record.source == "http://example.com/example.com/app.aci"


def test_a_missing_signature_is_told_as_such(world: World) -> None:
    world.trust(world.key())
    path = world.aci()
    content = discovery_site({})
    content["/a.aci"] = Path(path).read_bytes()
    with world.site(content), world.store_unchanged(), pytest.raises(TrustError) as caught:
        world.fetch(URL)
    assert f"error opening signature file: {URL}.asc: the server answered 404" in str(caught.value)


def test_credentials_go_to_one_origin_and_cookies_nowhere(world: World) -> None:
    def welcome(request: Request) -> Answer:
        target = "https://other.example/there" if request.path == "/here" else "/here"
        return Answer(status=307, headers={"Location": target, "Set-Cookie": "a=b; Path=/"})

    content: dict[str, Content] = {"/": welcome, "/here": welcome, "/there": b"ok"}
    with (
        world.site(content) as site,
        Client(world.paths) as client,
        client.get("https://example.com/", authorization="Basic c2VjcmV0") as answer,
    ):
        assert answer.read(10) == b"ok"
        assert answer.url == "https://other.example/there"
    sent = [request.headers.get("authorization") for request in site.requests]
    assert sent == ["Basic c2VjcmV0", "Basic c2VjcmV0", None]
    assert not any("cookie" in request.headers for request in site.requests)


def test_credentials_never_go_over_http_nor_come_from_netrc(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.directory / ".netrc").write_text("machine example.com login me password secret\n")
    (world.directory / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(world.directory))
    with (
        world.site({"/": b"ok"}, port=80, tls=False) as plain,
        world.site({"/": b"ok"}) as site,
        Client(world.paths, insecure=frozenset({"http"})) as client,
    ):
        with client.get("http://example.com/", authorization="Basic c2VjcmV0"):
            pass
        with client.get("https://example.com/"):
            pass
        assert "authorization" not in plain.requests[0].headers
        assert "authorization" not in site.requests[0].headers


def test_a_full_disk(world: World) -> None:
    files = {"var/noise": os.urandom(400_000).hex()}
    path = world.aci(files=files)
    syscalls.mount("tmpfs", f"{world.paths.store}/tmp", kind="tmpfs", data="size=200k")
    with world.site({"/a.aci": Path(path).read_bytes()}):
        for reference in (URL, path):
            with world.store_unchanged(), pytest.raises(StoreError, match="No space left"):
                world.fetch(reference, insecure=["image"])
