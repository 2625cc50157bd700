"""Downloads that break off: gone on with, begun anew when the file is another, never mixed up."""

import email.utils
import os
import time
from pathlib import Path

import pytest

from rktsd.errors import BadInput, FetchError, StoreError, TrustError
from rktsd.store.store import Store
from tests.box import syscalls
from tests.images.test_transport import URL
from tests.images.world import World
from tests.material.servers import Answer, Content, Request
from tests.material.versions import Version


def image(world: World, noise: str = "one") -> bytes:
    return Path(world.aci(files={"var/noise": noise + os.urandom(100_000).hex()})).read_bytes()


def leftovers(world: World) -> list[str]:
    return os.listdir(f"{world.paths.store}/tmp")


def break_off(world: World, match: str = r"ended after 50000 of \d+ bytes") -> None:
    with pytest.raises(FetchError, match=match):
        world.fetch(URL, insecure=["image"])


@pytest.mark.row("fetch/ResumedFetch")
@pytest.mark.parametrize(
    ("etag", "modified"),
    [
        ('"one"', None),
        (None, "Mon, 23 Nov 2026 08:00:00 GMT"),
        ('W/"weak"', "Mon, 23 Nov 2026 08:00:00 GMT"),
    ],
)
def test_the_next_fetch_goes_on(world: World, etag: str | None, modified: str | None) -> None:
    world.settings(retries=0)
    version = Version(image(world), etag, modified, cuts=[50_000])
    with world.site({"/a.aci": version}):
        break_off(world)
        assert world.store.images() == []
        assert len(leftovers(world)) == 1
        assert world.fetch(URL, insecure=["image"]).size == len(version.body)
    assert version.asked == [None, "bytes=50000-"]
    assert leftovers(world) == []


def test_a_broken_connection_is_made_again_at_once(world: World) -> None:
    version = Version(image(world), cuts=[50_000, 20_000, 1])
    with world.site({"/a.aci": version}):
        assert world.fetch(URL, insecure=["image"]).size == len(version.body)
    assert version.asked == [None, "bytes=50000-", "bytes=70000-", "bytes=70001-"]
    said = [line for line in world.said if "going on after" in line]
    assert said[0].startswith(f"{URL}: ended after 50000 of ")
    assert said[0].endswith("going on after 50000 bytes")
    assert leftovers(world) == []


def test_patience_with_broken_connections_ends(world: World) -> None:
    world.settings(retries=2, retry_delay=0.01)
    version = Version(image(world), cuts=[100] * 10)
    with world.site({"/a.aci": version}):
        break_off(world, r"ended after 100 of \d+ bytes")
    assert len(version.asked) == 3


def test_a_connection_that_brings_nothing_is_not_made_again(world: World) -> None:
    version = Version(image(world), cuts=[0] * 10)
    with world.site({"/a.aci": version}):
        break_off(world, r"ended after 0 of \d+ bytes")
    assert len(version.asked) == 1
    assert leftovers(world) == []


@pytest.mark.row("fetch/ResumedFetchInvalidCache")
def test_another_version_is_fetched_from_its_beginning(world: World) -> None:
    world.settings(retries=0)
    first = Version(image(world, "first"), '"one"', cuts=[50_000])
    second = Version(image(world, "second"), '"two"')
    content = {"/a.aci": first}
    with world.site(content):
        break_off(world)
        content["/a.aci"] = second
        assert world.fetch(URL, insecure=["image"]).size == len(second.body)
    assert second.asked == ["bytes=50000-"]
    archive = world.store.blob_path(world.store.images()[0].blobs[0])
    assert Path(archive).read_bytes() == second.body


def test_a_server_that_gives_the_wrong_part_is_asked_for_the_whole(world: World) -> None:
    """It ignores If-Range, or the part it gives begins elsewhere, or belongs to another version."""
    world.settings(retries=0)
    body = image(world)
    last = len(body) - 1
    for headers in (
        {"Content-Range": f"bytes 49999-{last}/{len(body)}", "ETag": '"one"'},
        {"Content-Range": f"bytes 50000-{last}/{len(body) + 1}", "ETag": '"one"'},
        {"Content-Range": f"bytes 50000-{last}/{len(body)}", "ETag": '"two"'},
        {"Content-Range": f"bytes 50000-50010/{len(body)}", "ETag": '"one"'},
        {"Content-Range": "nonsense"},
        {},
    ):
        version = Version(body, cuts=[50_000])

        def stubborn(
            request: Request, version: Version = version, headers: dict[str, str] = headers
        ) -> Answer:
            if "range" in request.headers:
                return Answer(b"x" * (len(body) - 50_000), status=206, headers=headers)
            return version(request)

        with world.site({"/a.aci": stubborn}) as site:
            break_off(world)
            world.fetch(URL, insecure=["image"], pull_policy="update")
            assert [request.headers.get("range") for request in site.requests][-2:] == [
                "bytes=50000-",
                None,
            ], headers
        world.store.remove(world.store.images()[0].id)


def test_the_rest_of_a_shorter_file(world: World) -> None:
    """416: what there is already is no shorter than the file."""
    world.settings(retries=0)
    version = Version(image(world), cuts=[50_000])
    content = {"/a.aci": version}
    with world.site(content):
        break_off(world)
        content["/a.aci"] = Version(image(world)[:40_000])
        with pytest.raises(BadInput, match=r"a\.aci"):
            world.fetch(URL, insecure=["image"])
    assert content["/a.aci"].asked == ["bytes=50000-", None]


@pytest.mark.parametrize(
    ("etag", "headers"),
    [
        (None, {}),
        ('W/"weak"', {}),
        ('"one"', {"Accept-Ranges": "none"}),
        # Changed in this very second: it may change again without another time.
        (None, {"Last-Modified": email.utils.formatdate(time.time() + 3600, usegmt=True)}),
        (None, {"Last-Modified": "yesterday"}),
    ],
)
def test_nothing_is_kept_of_files_without_versions(
    world: World, etag: str | None, headers: dict[str, str]
) -> None:
    version = Version(image(world), etag, headers=headers, cuts=[50_000])
    with world.site({"/a.aci": version}), world.store_unchanged():
        break_off(world)
    assert version.asked == [None]


def test_what_is_put_together_is_verified_as_a_whole(world: World) -> None:
    world.settings(retries=0)
    key, path = world.key(), world.aci(files={"var/noise": os.urandom(100_000).hex()})
    signature = Path(key.sign(path)).read_bytes()
    world.trust(key)
    body = Path(path).read_bytes()
    version = Version(body, cuts=[50_000])
    content: dict[str, Content] = {"/a.aci": version, "/a.aci.asc": signature}
    with world.site(content):
        with pytest.raises(FetchError, match="ended after"):
            world.fetch(URL)
        (place,) = leftovers(world)
        with open(f"{world.paths.store}/tmp/{place}/body", "r+b") as file:
            file.seek(100)
            file.write(b"tampered")
        with pytest.raises(TrustError, match="signature"):
            world.fetch(URL)
        assert leftovers(world) == []
        assert world.fetch(URL).verified_by == key.fingerprint.lower()
    assert version.asked == [None, "bytes=50000-", None]


def test_a_signed_file_is_heard_again_when_its_connection_breaks(world: World) -> None:
    world.settings(retry_delay=0.01)
    key, path = world.key(), world.aci(files={"var/noise": os.urandom(100_000).hex()})
    signature = Path(key.sign(path)).read_bytes()
    world.trust(key)
    version = Version(Path(path).read_bytes(), cuts=[50_000, 20_000])
    content: dict[str, Content] = {"/a.aci": version, "/a.aci.asc": signature}
    with world.site(content):
        assert world.fetch(URL).verified_by == key.fingerprint.lower()
    assert version.asked == [None, "bytes=50000-", "bytes=70000-"]


def test_a_collection_removes_what_nobody_went_on_with(world: World) -> None:
    world.settings(retries=0)
    site = world.site({"/a.aci": Version(image(world), cuts=[50_000])})
    with site, world.store_unchanged_but_layers():
        break_off(world)
        assert len(leftovers(world)) == 1


def test_two_fetches_of_one_file_at_once(world: World) -> None:
    """The second, and a collection, while the first is at it: neither takes anything away."""
    version = Version(image(world))
    done: list[bool] = []

    def busy(request: Request) -> Answer:
        if not done:
            done.append(True)
            with Store.open(world.paths.store) as other:
                other.collect()
            world.fetch(URL, insecure=["image"])
        return version(request)

    # The outer answer is held back until the inner fetch is through.
    with world.site({"/a.aci": busy}):
        world.fetch(URL, insecure=["image"], pull_policy="update")
    assert len(world.store.images()) == 1
    assert leftovers(world) == []


def test_a_full_disk_keeps_nothing(world: World) -> None:
    version = Version(image(world) * 4)
    syscalls.mount("tmpfs", f"{world.paths.store}/tmp", kind="tmpfs", data="size=200k")
    with (
        world.site({"/a.aci": version}),
        world.store_unchanged(),
        pytest.raises(StoreError, match="No space left"),
    ):
        world.fetch(URL, insecure=["image"])


def test_too_large_a_rest_keeps_nothing(world: World) -> None:
    world.settings(retries=0)
    version = Version(image(world), cuts=[50_000])
    with world.site({"/a.aci": version}), world.store_unchanged():
        break_off(world)
        limit = len(version.body) - 1
        with pytest.raises(FetchError, match="more than the limit"):
            world.fetch(URL, insecure=["image"], limit=limit)
