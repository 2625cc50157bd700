"""Policy update: what is stored is fetched again only when the server has something else."""

import time
from pathlib import Path
from typing import Any

import pytest

from rktsd.errors import BadInput, FetchError, TrustError
from rktsd.store.records import ImageRecord
from tests.images.test_transport import URL
from tests.images.world import World, discovery_site
from tests.material.images import architecture
from tests.material.servers import Answer, Content, Request
from tests.material.versions import Version


def update(world: World, reference: str = URL, **options: Any) -> ImageRecord:
    return world.fetch(reference, pull_policy="update", insecure=["image"], **options)


@pytest.mark.row("fetch/NoStoreCacheControl")
@pytest.mark.parametrize(
    ("etag", "modified", "header"),
    [
        ('"one"', None, "if-none-match"),
        ('W/"weak"', None, "if-none-match"),
        (None, "Mon, 23 Nov 2026 08:00:00 GMT", "if-modified-since"),
    ],
)
def test_an_unchanged_image_costs_one_question(
    world: World, etag: str | None, modified: str | None, header: str
) -> None:
    version = Version(Path(world.aci()).read_bytes(), etag, modified)
    with world.site({"/a.aci": version}) as site:
        first = update(world)
        generation = world.store.generation()
        site.requests.clear()
        assert update(world) == first
        assert [request.path for request in site.requests] == ["/a.aci"]
        assert site.requests[0].headers[header] == (etag or modified)
        assert len(version.asked) == 1
    assert world.store.generation() == generation
    assert world.said[-1] == f"image from {URL} has not changed"


def test_a_changed_image_is_fetched(world: World) -> None:
    version = Version(Path(world.aci()).read_bytes())
    with world.site({"/a.aci": version}):
        first = update(world)
        version.body = Path(world.aci(files={"etc/new": "new"})).read_bytes()
        version.etag = '"two"'
        second = update(world)
        assert second.id != first.id
        assert update(world).id == second.id
    assert world.store.find_source(URL) == second


@pytest.mark.row("fetch/NoStoreCacheControl")
def test_a_fresh_image_costs_no_question(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within max-age nothing is asked, afterwards it is, and a 304 begins a new span."""
    version = Version(
        Path(world.aci()).read_bytes(),
        headers={"Cache-Control": "public, max-age=100", "Age": "40"},
    )
    start = time.time()
    with world.site({"/a.aci": version}) as site:
        first = update(world)
        site.requests.clear()
        assert update(world) == first
        assert site.requests == []
        assert world.said[-1] == f"image from {URL} is fresh still, not asking for it"
        clock = {"now": start + 70}
        monkeypatch.setattr("rktsd.images.revalidate.time.time", lambda: clock["now"])
        assert update(world) == first
        assert len(site.requests) == 1
        clock["now"] += 50
        assert update(world) == first
        assert len(site.requests) == 1
        # A clock that went back says nothing about freshness.
        clock["now"] = start - 3600
        assert update(world) == first
        assert len(site.requests) == 2
    assert len(version.asked) == 1


@pytest.mark.parametrize("control", ["no-cache, max-age=100", "max-age=100, no-store", "max-age=x"])
def test_servers_may_want_to_be_asked(world: World, control: str) -> None:
    version = Version(Path(world.aci()).read_bytes(), headers={"Cache-Control": control})
    with world.site({"/a.aci": version}) as site:
        update(world)
        site.requests.clear()
        update(world)
        assert len(site.requests) == 1


def test_without_validators_everything_is_fetched(world: World) -> None:
    version = Version(Path(world.aci()).read_bytes(), etag=None)
    with world.site({"/a.aci": version}):
        update(world)
        update(world)
    assert version.asked == [None, None]


def test_an_image_that_was_removed_is_fetched(world: World) -> None:
    version = Version(Path(world.aci()).read_bytes(), headers={"Cache-Control": "max-age=100"})
    with world.site({"/a.aci": version}):
        world.store.remove(update(world).id)
        update(world)
    assert version.asked == [None, None]


def test_an_image_from_two_places_is_remembered_of_both(world: World) -> None:
    body = Path(world.aci()).read_bytes()
    here, there = Version(body, '"here"'), Version(body, '"there"')
    with world.site({"/a.aci": here, "/b.aci": there}):
        for _ in range(2):
            update(world)
            update(world, "https://example.com/b.aci")
    assert (len(here.asked), len(there.asked)) == (1, 1)


def test_what_came_unverified_is_fetched_again_when_signatures_count(world: World) -> None:
    key, path = world.key(), world.aci()
    signature = Path(key.sign(path)).read_bytes()
    version = Version(Path(path).read_bytes(), headers={"Cache-Control": "max-age=100"})
    with world.site({"/a.aci": version, "/a.aci.asc": signature}):
        assert update(world).verified_by == "insecure"
        with pytest.raises(TrustError):
            world.fetch(URL, pull_policy="update")
        where = world.trust(key)
        assert world.fetch(URL, pull_policy="update").verified_by == key.fingerprint.lower()
        asked = len(version.asked)
        world.fetch(URL, pull_policy="update")
        assert len(version.asked) == asked
        # A key that is trusted no more does not vouch for what is stored either.
        Path(where).unlink()
        with pytest.raises(TrustError):
            world.fetch(URL, pull_policy="update")


def test_by_name_the_page_is_asked_and_the_labels_count(world: World) -> None:
    name = f"example.com/app-1.0.0-linux-{architecture()}"
    version = Version(Path(world.aci()).read_bytes())
    content: dict[str, Content] = {**discovery_site({}), f"/images/{name}.aci": version}
    content["/app"] = content["/"]
    with world.site(content) as site:
        update(world, "example.com/app:1.0.0")
        site.requests.clear()
        update(world, "example.com/app:1.0.0")
        assert [request.path for request in site.requests] == ["/app", f"/images/{name}.aci"]
        # Another name that leads to the same address is not the image's.
        content["/other"] = discovery_site({})["/"].replace(  # type: ignore[union-attr]  # bytes
            b"{name}", b"example.com/app"
        )
        with pytest.raises(BadInput, match=r'image name "example\.com/other" expected'):
            update(world, "example.com/other:1.0.0")


def test_dependencies_of_an_unchanged_image_are_looked_after(world: World) -> None:
    names = {
        each: f"/images/example.com/{each}-1.0.0-linux-{architecture()}.aci"
        for each in ("base", "app")
    }
    label = [{"name": "version", "value": "1.0.0"}]
    base = Version(Path(world.aci("example.com/base")).read_bytes())
    dependency = {"imageName": "example.com/base", "labels": label}
    app = Version(Path(world.aci("example.com/app", dependencies=[dependency])).read_bytes())
    content: dict[str, Content] = {names["base"]: base, names["app"]: app}
    for page in ("/app", "/base"):
        content[page] = discovery_site({})["/"]
    with world.site(content):
        first = update(world, "example.com/app:1.0.0")
        assert update(world, "example.com/app:1.0.0") == first
        base.body = Path(world.aci("example.com/base", files={"new": "new"})).read_bytes()
        base.etag = '"two"'
        second = update(world, "example.com/app:1.0.0")
    # A changed one is asked for twice: whether it is another one, and for its content.
    assert (len(app.asked), len(base.asked)) == (1, 3)
    assert second.id == first.id
    assert second.layers[0] == first.layers[0]
    assert second.layers[1:] == (world.store.find("example.com/base").id,) != first.layers[1:]
    assert world.store.image(first.id).layers == second.layers


@pytest.mark.row("fetch/DeferredSignatureDownload")
def test_a_deferred_signature_is_asked_for_once_more(world: World) -> None:
    key, path = world.key(), world.aci()
    signature = Path(key.sign(path)).read_bytes()
    world.trust(key)
    order: list[str] = []
    ready = {"after": 1}

    def sign(request: Request) -> Answer:
        order.append("signature")
        count = order.count("signature")
        return Answer(signature) if count > ready["after"] else Answer(b"soon", status=202)

    def archive(request: Request) -> Answer:
        order.append("image")
        return Answer(Path(path).read_bytes())

    with world.site({"/a.aci": archive, "/a.aci.asc": sign}):
        assert world.fetch(URL).verified_by == key.fingerprint.lower()
        assert order == ["signature", "image", "signature"]
        order.clear()
        ready["after"] = 9
        with world.store_unchanged(), pytest.raises(TrustError) as caught:
            world.fetch(URL, pull_policy="update")
        assert str(caught.value) == f"{URL}: the server still has no signature to give"
    assert order == ["signature", "image", "signature"]


def test_a_server_that_is_away_is_an_error_and_leaves_the_image(world: World) -> None:
    version = Version(Path(world.aci()).read_bytes())
    with world.site({"/a.aci": version}):
        first = update(world)
    with world.store_unchanged(), pytest.raises(FetchError, match="Connection refused"):
        update(world)
    assert world.fetch(URL) == first
