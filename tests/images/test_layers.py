"""Layers of an image: several at once, kept as they came, and nothing left when one fails."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rktsd.errors import BadInput, FetchError, TrustError
from rktsd.store.verify import verify
from tests.images.world import World
from tests.material.layered import LayeredImage
from tests.material.registry import RegistryServer
from tests.material.servers import Answer, Content, Request
from tests.waiting import eventually

HOST = "registry.example:5000"
NAME = f"docker://{HOST}/web:v1"
RKT = Path(__file__).parents[2] / "packaging" / "rkt"


def noise(count: int, *, size: int = 1000) -> list[dict[str, bytes]]:
    return [{f"etc/{number}": os.urandom(size)} for number in range(count)]


def blobs(world: World) -> set[str]:
    return {name.replace("-", ":", 1) for name in os.listdir(f"{world.paths.store}/blobs")}


def changed(content: dict[str, Content], digest: str, answer: Callable[[bytes], Content]) -> None:
    """Answer a request for a blob with something else."""
    path = f"/v2/web/blobs/{digest}"
    data = content[path]
    assert isinstance(data, bytes)
    content[path] = answer(data)


def tallest(events: list[int]) -> int:
    return max(sum(events[: end + 1]) for end in range(len(events)))


def test_four_downloads_at_once_and_no_more(world: World) -> None:
    world.trust_ca(HOST)
    image = LayeredImage(noise(9))
    content = image.paths("web", "v1")
    events: list[int] = []
    together = threading.Barrier(4)

    def slow(data: bytes) -> Callable[[Request], Answer]:
        def answer(request: Request) -> Answer:
            events.append(1)
            if len(events) <= 4:
                # None of the first four is answered before all of them are asked for.
                together.wait(30)
            time.sleep(0.05)
            events.append(-1)
            return Answer(data)

        return answer

    for digest in image.archives:
        changed(content, digest, slow)
    with world.site(content, port=5000):
        record = world.fetch(NAME, insecure=["image"])
    assert tallest(events) == 4
    assert len(record.layers) == 9
    for number, layer in enumerate(reversed(record.layers)):
        assert os.listdir(f"{world.store.layer_path(layer)}/etc") == [str(number)]
    assert os.listdir(f"{world.paths.store}/tmp") == []


def test_what_has_come_is_unpacked_while_others_come(world: World) -> None:
    world.trust_ca(HOST)
    image = LayeredImage(noise(3))
    content = image.paths("web", "v1")
    stored = f"{world.paths.store}/layers"

    def last(data: bytes) -> Callable[[Request], Answer]:
        def answer(request: Request) -> Answer:
            eventually(lambda: len(os.listdir(stored)) == 2, "two layers are unpacked")
            return Answer(data)

        return answer

    changed(content, image.archives[1], last)
    with world.site(content, port=5000):
        assert len(world.fetch(NAME, insecure=["image"]).layers) == 3


def test_archives_are_kept_and_freed_with_their_image(
    world: World, registry: RegistryServer
) -> None:
    shared = noise(2)
    first, second = LayeredImage([*shared, *noise(1)]), LayeredImage([*shared, *noise(1)])
    registry.push(first.layout(world.directory / "one", "v1"), "web:v1")
    registry.push(second.layout(world.directory / "two", "v1"), "web:v2")
    one = world.fetch(NAME, insecure=["image"])
    assert set(one.blobs) == blobs(world) == set(first.archives)
    for digest in first.archives:
        assert Path(world.store.blob_path(digest)).read_bytes() == first.blobs[digest]
    world.said.clear()
    two = world.fetch(f"docker://{HOST}/web:v2", insecure=["image"])
    moved = [line for line in world.said if "downloading layer" in line]
    assert len(moved) == 1
    assert second.archives[-1] in moved[0]
    world.store.close()
    world.store.remove(one.id)
    assert world.store.collect().blobs == (first.archives[-1].replace(":", "-"),)
    assert blobs(world) == set(second.archives)
    world.store.remove(two.id)
    world.store.collect()
    assert blobs(world) == set()


def test_a_changed_file_is_found_and_put_right_without_the_registry(
    world: World, registry: RegistryServer
) -> None:
    image = LayeredImage(noise(2))
    registry.push(image.layout(world.directory / "one", "v1"), "web:v1")
    record = world.fetch(NAME, insecure=["image"])
    registry.stop()
    path = Path(world.store.layer_path(record.layers[0]), "etc/1")
    before, times = path.read_bytes(), path.stat()
    path.write_bytes(b"?" + before[1:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    found = list(verify(world.store, record))
    assert [each.differences for each in found] == [("/etc/1: the content differs",), ()]
    assert path.read_bytes() == before


def test_a_missing_archive_comes_again_alone(world: World, registry: RegistryServer) -> None:
    image = LayeredImage(noise(3))
    registry.push(image.layout(world.directory / "one", "v1"), "web:v1")
    record = world.fetch(NAME, insecure=["image"])
    os.unlink(world.store.blob_path(image.archives[1]))
    world.said.clear()
    assert world.fetch(NAME, insecure=["image"], pull_policy="update").id == record.id
    moved = [line for line in world.said if "downloading layer" in line]
    assert len(moved) == 1
    assert image.archives[1] in moved[0]
    assert blobs(world) == set(image.archives)


def test_one_layer_twice_is_fetched_once(world: World, registry: RegistryServer) -> None:
    (same,) = noise(1)
    image = LayeredImage([same, *noise(1), same])
    registry.push(image.layout(world.directory / "one", "v1"), "web:v1")
    record = world.fetch(NAME, insecure=["image"])
    assert sum("downloading layer" in line for line in world.said) == 2
    assert len(record.layers) == 2


def test_when_one_fails_the_others_end(world: World) -> None:
    """At once, though they would have taken minutes, and however they would have ended."""
    world.trust_ca(HOST)
    # The largest is asked for first, and not all at once.
    image = LayeredImage([*noise(1, size=400_000), *noise(5, size=300_000)])
    content = image.paths("web", "v1")
    go = threading.Event()
    answered = []

    def stuck(data: bytes) -> Callable[[Request], Answer]:
        def answer(request: Request) -> Answer:
            go.wait(60)
            answered.append(request)
            return Answer(data)

        return answer

    for digest in image.archives[1:]:
        changed(content, digest, stuck)
    changed(content, image.archives[0], lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    try:
        with world.site(content, port=5000), world.store_unchanged():
            with pytest.raises(TrustError, match="content has digest"):
                world.fetch(NAME, insecure=["image"])
            assert not answered
            go.set()
            eventually(lambda: threading.active_count() <= 2, "nobody is answered any more")
    finally:
        go.set()


def test_a_layer_that_cannot_be_unpacked_ends_it(world: World, registry: RegistryServer) -> None:
    image = LayeredImage([*noise(3), {"../outside": b"x"}])
    registry.push(image.layout(world.directory / "one", "v1"), "web:v1")
    with (
        world.store_unchanged(),
        pytest.raises(BadInput, match=f"layer {image.archives[3]}: .*outside"),
    ):
        world.fetch(NAME, insecure=["image"])


def test_layers_that_were_complete_do_not_come_again(world: World) -> None:
    world.trust_ca(HOST)
    world.settings(retries=0)
    image = LayeredImage(noise(3))
    content = image.paths("web", "v1")
    good = dict(content)
    stored = f"{world.paths.store}/layers"

    def broken(data: bytes) -> Callable[[Request], Answer]:
        def answer(request: Request) -> Answer:
            eventually(lambda: len(os.listdir(stored)) == 2, "two layers are unpacked")
            return Answer(data[:-5], length=len(data))

        return answer

    changed(content, image.archives[1], broken)
    with world.site(content, port=5000) as site:
        with pytest.raises(FetchError, match="ended after"):
            world.fetch(NAME, insecure=["image"])
        content.update(good)
        site.requests.clear()
        world.fetch(NAME, insecure=["image"])
        asked = {request.path for request in site.requests}
    assert {each for each in image.archives if f"/v2/web/blobs/{each}" in asked} == {
        image.archives[1]
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_fetch_ends_when_it_is_told_to(world: World, number: signal.Signals) -> None:
    """Though servers are silent and an archive is being unpacked."""
    world.trust_ca(HOST)
    zeros = {"etc/zeros": bytes(64 << 20)}
    image = LayeredImage([*noise(2), *({**zeros, f"etc/{each}": b""} for each in range(2))])
    content = image.paths("web", "v1")
    asked, go = threading.Event(), threading.Event()

    def stuck(data: bytes) -> Callable[[Request], Answer]:
        def answer(request: Request) -> Answer:
            asked.set()
            go.wait(60)
            return Answer(data)

        return answer

    changed(content, image.archives[0], stuck)
    paths = world.paths
    options = [f"--dir={paths.data}", f"--local-config={paths.local_config}"]
    command = [str(RKT), *options, "--insecure-options=image", "fetch", NAME]
    environment = {**os.environ, "PYTHONPATH": str(RKT.parents[1])}
    with world.site(content, port=5000):
        fetching = subprocess.Popen(
            [sys.executable, *command], env=environment, stderr=subprocess.PIPE
        )
        assert asked.wait(30)
        time.sleep(0.3)
        fetching.send_signal(number)
        _, complaint = fetching.communicate(timeout=30)
        go.set()
    assert fetching.returncode != 0
    assert b"Traceback" not in complaint
    world.store.collect()
    assert os.listdir(f"{paths.store}/tmp") == []
    assert os.listdir(f"{paths.store}/layers") == []
    assert blobs(world) == set()


def test_layers_of_a_layout_and_their_archives(world: World) -> None:
    image = LayeredImage(noise(5))
    directory = world.directory / "local"
    record = world.fetch(image.layout(directory, "v1"), insecure=["image"])
    shutil.rmtree(directory)
    assert blobs(world) == set(image.archives)
    assert all(not each.differences for each in verify(world.store, record))
