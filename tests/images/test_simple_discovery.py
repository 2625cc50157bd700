"""Images at the address made from their name, where the administrator wants that."""

from pathlib import Path

import pytest

from rktsd.errors import FetchError, TrustError
from rktsd.images.discovery import simple_endpoint
from tests.images.world import World, discovery_site
from tests.material.images import architecture
from tests.material.servers import Content

PLACE = f"/app-1.0.0-linux-{architecture()}.aci"


def test_the_address() -> None:
    labels = {"os": "linux", "arch": "amd64", "version": "1.0 beta"}
    found = simple_endpoint("example.com/team/app", labels)
    assert found.aci == "https://example.com/team/app-1.0%20beta-linux-amd64.aci"
    assert found.signature == f"{found.aci}.asc"
    del labels["version"]
    assert simple_endpoint("example.com/app", labels).aci.endswith("/app-latest-linux-amd64.aci")


def test_it_is_asked_first_and_only_where_wanted(world: World) -> None:
    key, path = world.key(), world.aci()
    signature = Path(key.sign(path)).read_bytes()
    world.trust(key)
    content: dict[str, Content] = {PLACE: Path(path).read_bytes(), f"{PLACE}.asc": signature}
    with world.site(content) as site:
        with world.store_unchanged(), pytest.raises(FetchError, match="discovery failed"):
            world.fetch("example.com/app:1.0.0")
        assert PLACE not in [request.path for request in site.requests]
        site.requests.clear()
        world.settings(simple_discovery=True)
        record = world.fetch("example.com/app:1.0.0")
        assert [(request.method, request.path) for request in site.requests] == [
            ("HEAD", PLACE),
            ("GET", f"{PLACE}.asc"),
            ("GET", PLACE),
        ]
    assert record.source == f"https://example.com{PLACE}"
    assert record.verified_by == key.fingerprint.lower()


def test_what_is_not_there_is_discovered(world: World) -> None:
    world.settings(simple_discovery=True)
    name = f"example.com/app-1.0.0-linux-{architecture()}.aci"
    content = discovery_site({name: world.aci()})
    content["/app"] = content["/"]
    with world.site(content):
        record = world.fetch("example.com/app:1.0.0", insecure=["image"])
        assert record.source == f"https://example.com/images/{name}"
        with world.store_unchanged(), pytest.raises(FetchError) as caught:
            world.fetch("other.example/nothing:1.0.0", insecure=["image"], pull_policy="update")
    simple, _, rest = str(caught.value).partition("; ")
    assert simple.startswith("https://other.example/nothing-1.0.0-linux-")
    assert "404" in simple
    assert rest.startswith("discovery failed for 'other.example/nothing': ")


def test_an_unsigned_image_is_no_reason_to_look_elsewhere(world: World) -> None:
    """Whoever can remove a signature must not be able to choose where the image comes from."""
    world.settings(simple_discovery=True)
    world.trust(world.key())
    content: dict[str, Content] = {**discovery_site({}), PLACE: Path(world.aci()).read_bytes()}
    with world.site(content) as site, world.store_unchanged():
        with pytest.raises(TrustError, match="error opening signature file"):
            world.fetch("example.com/app:1.0.0")
        assert "/" not in [request.path for request in site.requests]


def test_endpoints_are_tried_in_turn(world: World) -> None:
    """A mirror that has no image, or no signature for it, is passed over; all are told of."""
    key, path = world.key(), world.aci()
    signature = Path(key.sign(path)).read_bytes()
    world.trust(key)
    body = Path(path).read_bytes()
    templates = "".join(
        f"<meta name=ac-discovery content='example.com https://{host}/{{name}}.{{ext}}'>"
        for host in ("example.com/none", "other.example/unsigned", "registry.example/good")
    )
    content: dict[str, Content] = {
        "/app": f"<head>{templates}</head>".encode(),
        "/none/example.com/app.aci.asc": signature,
        "/unsigned/example.com/app.aci": body,
        "/good/example.com/app.aci": body,
        "/good/example.com/app.aci.asc": signature,
    }
    with world.site(content):
        record = world.fetch("example.com/app:1.0.0")
        assert record.source == "https://registry.example/good/example.com/app.aci"
        del content["/good/example.com/app.aci"]
        world.store.remove(record.id)
        with pytest.raises(FetchError) as caught:
            world.fetch("example.com/app:1.0.0")
    for host in ("example.com/none", "other.example/unsigned", "registry.example/good"):
        assert f"https://{host}" in str(caught.value)


def test_a_bad_signature_at_one_endpoint_ends_it(world: World) -> None:
    key, path = world.key(), world.aci()
    world.trust(key)
    body = Path(path).read_bytes()
    bad = Path(world.key("Stranger").sign(path)).read_bytes()
    templates = "".join(
        f"<meta name=ac-discovery content='example.com https://{host}/{{name}}.{{ext}}'>"
        for host in ("example.com/bad", "other.example/good")
    )
    content: dict[str, Content] = {
        "/app": f"<head>{templates}</head>".encode(),
        "/bad/example.com/app.aci": body,
        "/bad/example.com/app.aci.asc": bad,
        "/good/example.com/app.aci": body,
        "/good/example.com/app.aci.asc": Path(key.sign(path)).read_bytes(),
    }
    with world.site(content), world.store_unchanged(), pytest.raises(TrustError):
        world.fetch("example.com/app:1.0.0")


def test_limits_are_settings(world: World) -> None:
    url = "https://example.com/a.aci"
    path = world.aci(files={"etc/zeros": "0" * 100_000})
    size = Path(path).stat().st_size
    with world.site({"/a.aci": Path(path).read_bytes()}):
        for settings, expected in (
            ({"maximum_archive": size - 1}, f"{size} bytes are more than the limit of {size - 1}"),
            ({"maximum_unpacked": 50_000}, "larger than 50000 bytes"),
            ({"maximum_entries": 2}, "more than 2"),
        ):
            world.settings(**settings)
            with world.store_unchanged(), pytest.raises(Exception, match=expected):
                world.fetch(url, insecure=["image"])
        world.settings(maximum_archive=size)
        assert world.fetch(url, insecure=["image"]).size == size
