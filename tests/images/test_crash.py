"""kill -9 at any moment, everything at once, a full disk: what is known is whole, no more stays."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from rktsd.store.records import blob_name
from rktsd.store.store import Store
from rktsd.store.verify import verify
from tests.box import syscalls
from tests.images.world import World
from tests.images.written import Written
from tests.unit.store.archives import archive, member
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
MAIN = "import sys; from rktsd.cli.main import main; sys.exit(main())"
BASE = archive(*[member(f"{n % 40}/{n}", os.urandom(500)) for n in range(600)])


def start(world: World, *arguments: str, data: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAIN, f"--dir={data or world.paths.data}", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def images(world: World, count: int) -> list[str]:
    """References of images that share their lowest layer."""
    return [
        Written([BASE, archive(member(f"own{n}", os.urandom(50_000)))]).layout(
            world.directory / f"layout{n}"
        )
        for n in range(count)
    ]


def check_known(store: Store) -> None:
    """Every image that is known has all that it needs."""
    for record in store.images():
        assert store.manifest_bytes(record.id)
        assert all(map(store.has_layer, record.layers))
        assert all(os.path.exists(store.blob_path(blob)) for blob in record.blobs)


def check_collected(world: World) -> None:
    """A collection leaves what images need and nothing else, and that is as it came."""

    # Children of who was killed end with him, if not at the very same moment.
    def collected() -> bool:
        world.store.collect()
        return not os.listdir(f"{world.paths.store}/tmp")

    eventually(collected, "all that is half-written is gone")
    records = world.store.images()
    wanted = {
        "layers": {layer for record in records for layer in record.layers},
        "blobs": {blob_name(blob) for record in records for blob in record.blobs},
        "images": {record.id for record in records},
        "tmp": set(),
    }
    for name, needed in wanted.items():
        assert set(os.listdir(f"{world.paths.store}/{name}")) == needed
    for record in records:
        assert all(not verdict.differences for verdict in verify(world.store, record))
    world.store.close()


def test_killed_at_any_moment(world: World) -> None:
    random.seed(5)
    one, two = images(world, 2)
    began = time.monotonic()
    fetched = start(world, "fetch", one)
    identity = fetched.communicate(timeout=60)[0].strip()
    assert fetched.returncode == 0
    whole = time.monotonic() - began
    commands = [
        ("fetch", one), ("fetch", two), ("image", "gc", "--grace-period=0s"),
        ("image", "rm", identity), ("fetch", one, two),
    ]  # fmt: skip
    known = set()
    for step in range(15):
        process = start(world, *commands[step % len(commands)])
        time.sleep(random.uniform(0.1, whole * 1.1))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        check_known(world.store)
        known.add(len(world.store.images()))
        if step % 5 == 4:
            check_collected(world)
    assert len(known) > 1
    for reference in (one, two):
        assert start(world, "fetch", reference).wait(60) == 0
    assert len(world.store.images()) == 2
    check_collected(world)


def test_everything_at_once(world: World) -> None:
    """Fetches of images that share a layer, removals and collections, side by side."""
    references = images(world, 3)
    works: list[tuple[str, ...]] = [("fetch", reference) for reference in references * 3]
    works += [("image", "gc", "--grace-period=0s")] * 3 + [("image", "verify")] * 2
    works += [("image", "rm", "web"), ("image", "list"), ("fetch", *references)]
    random.seed(6)
    random.shuffle(works)
    running = [(work, start(world, *work)) for work in works]
    for work, process in running:
        _, errors = process.communicate(timeout=240)
        assert "Traceback" not in errors
        if work[0] == "fetch" or work[1] in ("gc", "list"):
            assert (work, process.returncode, errors[-300:] if process.returncode else "") == (
                work, 0, "",
            )  # fmt: skip
    check_known(world.store)
    check_collected(world)


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_full_disk(world: World) -> None:
    """A fetch that fails leaves nothing, its complete layers included; what is there can go."""
    place = world.directory / "full"
    place.mkdir()
    syscalls.mount("tmpfs", str(place), kind="tmpfs", data="size=12m")
    store = place / "cas"

    def run(*arguments: str, status: int = 0) -> tuple[str, str]:
        process = start(world, *arguments, data=str(place))
        shown, errors = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in errors) == (status, False), errors
        return shown.strip(), errors

    def kept() -> list[list[str]]:
        return [sorted(os.listdir(store / name)) for name in ("layers", "blobs", "images", "tmp")]

    one, two = [run("fetch", reference)[0] for reference in images(world, 2)]
    before = kept()
    small, large = archive(member("s", b"s" * 100_000)), archive(member("l", bytes(20 << 20)))
    _, errors = run("fetch", Written([small, large]).layout(world.directory / "big"), status=254)
    assert "No space left on device" in errors
    assert kept() == before
    fill(place / "fill")
    assert one in run("image", "rm", one)[0]
    fill(place / "fill")
    assert two in run("image", "gc", "--grace-period=0s")[0]
    assert kept() == [[], [], [], []]
    assert len(run("image", "list")[0].splitlines()) == 1
