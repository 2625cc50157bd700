"""Credentials of auth.d on their way: to the right host, over https, and nowhere else."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from rktsd.errors import BadInput, FetchError
from tests.images.test_transport import URL, redirect
from tests.images.world import World, discovery_site
from tests.material.images import architecture
from tests.material.servers import Answer, Content, Request

BASIC = f"Basic {base64.b64encode(b'me:secret').decode()}"


def login(world: World, domain: str, *, directory: str | None = None, **fields: Any) -> None:
    """Configure credentials for ``domain``: a user name and password unless ``fields`` differ."""
    place = Path(directory or world.paths.local_config) / "auth.d"
    place.mkdir(parents=True, exist_ok=True)
    document = {
        "rktKind": "auth",
        "rktVersion": "v1",
        "domains": [domain],
        "type": "basic",
        "credentials": {"user": "me", "password": "secret"},
        **fields,
    }
    (place / f"{domain.replace(':', '_')}.json").write_text(json.dumps(document))


def guarded(body: bytes, expected: str = BASIC) -> Content:
    """What only who says ``expected`` gets."""

    def answer(request: Request) -> Answer:
        if request.headers.get("authorization") != expected:
            return Answer(b"who are you?", status=401)
        return Answer(body)

    return answer


@pytest.mark.row("auth/Sanity")
def test_a_server_that_wants_credentials_is_named(world: World) -> None:
    with world.site({"/a.aci": guarded(b"")}), world.store_unchanged():
        with pytest.raises(FetchError) as caught:
            world.fetch(URL, insecure=["image"])
        assert str(caught.value) == (
            f"{URL}: the server answered 401 Unauthorized"
            " (auth.d has no credentials for example.com)"
        )
        login(world, "example.com", credentials={"user": "me", "password": "wrong"})
        with pytest.raises(FetchError, match=r"401 .*auth\.d has other credentials for example"):
            world.fetch(URL, insecure=["image"])


@pytest.mark.row("auth/Basic", "auth/Oauth")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, BASIC), ({"type": "oauth", "credentials": {"token": "sesame"}}, "Bearer sesame")],
)
def test_credentials_let_a_fetch_succeed(
    world: World, fields: dict[str, Any], expected: str
) -> None:
    login(world, "example.com", **fields)
    with world.site({"/a.aci": guarded(Path(world.aci()).read_bytes(), expected)}):
        assert world.fetch(URL, insecure=["image"]).source == URL


@pytest.mark.row("auth/Override")
def test_local_credentials_override_those_of_the_system(world: World) -> None:
    wrong = {"user": "me", "password": "old"}
    login(world, "example.com", directory=world.paths.system_config, credentials=wrong)
    login(world, "example.com")
    with world.site({"/a.aci": guarded(Path(world.aci()).read_bytes())}):
        assert world.fetch(URL, insecure=["image"]).source == URL


def test_page_image_and_signature_are_asked_for_with_credentials(world: World) -> None:
    login(world, "example.com")
    key, path = world.key(), world.aci()
    signature = key.sign(path)
    world.trust(key)
    name = f"example.com/app-1.0.0-linux-{architecture()}"
    site = discovery_site({f"{name}.aci": path, f"{name}.aci.asc": signature})
    content: dict[str, Content] = {
        at: guarded(body) for at, body in site.items() if isinstance(body, bytes)
    }
    content["/app"] = content["/"]
    with world.site(content):
        record = world.fetch("example.com/app:1.0.0")
    assert record.verified_by == key.fingerprint.lower()


def test_requests_to_s3_are_signed(world: World) -> None:
    keys = {"accessKeyID": "KEYID", "secretAccessKey": "SECRET", "awsRegion": "eu-west-3"}
    login(world, "example.com", type="aws", credentials=keys)
    with world.site({"/a.aci": Path(world.aci()).read_bytes()}) as site:
        world.fetch(URL, insecure=["image"])
    sent = site.requests[0].headers
    assert sent["authorization"].startswith("AWS4-HMAC-SHA256 Credential=KEYID/")
    assert "/eu-west-3/s3/aws4_request, SignedHeaders=host;x-amz-" in sent["authorization"]
    assert {"x-amz-date", "x-amz-content-sha256"} <= set(sent)
    assert "SECRET" not in str(sent)


def test_credentials_are_for_one_host_only(world: World) -> None:
    """Neither does another host get them by a redirect, nor do its own follow one."""
    login(world, "example.com")
    login(world, "other.example", credentials={"user": "you", "password": "hidden"})
    content: dict[str, Content] = {
        "/a.aci": redirect("https://other.example/b.aci"),
        "/b.aci": Path(world.aci()).read_bytes(),
    }
    with world.site(content) as site:
        world.fetch(URL, insecure=["image"])
        sent = [request.headers.get("authorization") for request in site.requests]
        assert sent == [BASIC, None]
        site.requests.clear()
        world.fetch("https://registry.example/b.aci", insecure=["image"])
        assert "authorization" not in site.requests[0].headers


def test_another_port_is_another_host(world: World) -> None:
    world.trust_ca("example.com:8443")
    login(world, "example.com")
    content: dict[str, Content] = {
        "/a.aci": Path(world.aci()).read_bytes(),
        "/c.aci": redirect("https://example.com:8443/a.aci"),
    }
    with world.site(content) as first, world.site(content, port=8443) as second:
        world.fetch("https://example.com/c.aci", insecure=["image"])
        assert first.requests[0].headers["authorization"] == BASIC
        assert "authorization" not in second.requests[0].headers


def test_credentials_never_go_over_http(world: World) -> None:
    login(world, "example.com")
    content: dict[str, Content] = {
        "/a.aci": Path(world.aci()).read_bytes(),
        "/c.aci": redirect("http://example.com/a.aci"),
    }
    with world.site(content), world.site(content, port=80, tls=False) as plain:
        world.fetch("http://example.com/a.aci", insecure=["image", "http"])
        world.fetch("https://example.com/c.aci", insecure=["image", "http"])
        assert len(plain.requests) == 2
        assert not any("authorization" in request.headers for request in plain.requests)


def test_broken_credentials_stop_a_fetch_before_anything_is_asked(world: World) -> None:
    login(world, "example.com", rktVersion="v7")
    with world.site({"/a.aci": b""}) as site, world.store_unchanged():
        with pytest.raises(BadInput, match=r'auth\.d/example\.com\.json: rktVersion: "v7" is not'):
            world.fetch(URL, insecure=["image"])
        assert site.requests == []
