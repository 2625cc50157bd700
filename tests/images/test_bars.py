"""``rkt fetch`` as people see it: bars on a terminal, plain lines in a file, an end by ^C."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.images.test_transport import URL
from tests.images.world import World
from tests.material.layered import LayeredImage
from tests.material.servers import Answer, Request
from tests.material.versions import Version

RKT = Path(__file__).parents[2] / "packaging" / "rkt"


def command(world: World) -> list[str]:
    paths = world.paths
    options = [
        f"--dir={paths.data}",
        f"--system-config={paths.system_config}",
        f"--local-config={paths.local_config}",
        "--insecure-options=image",
    ]
    return [sys.executable, str(RKT), *options, "fetch", URL]


def environment() -> dict[str, str]:
    return {**os.environ, "TERM": "xterm", "PYTHONPATH": str(RKT.parents[1])}


def slow(world: World) -> Version:
    """An image that comes in pieces, with a pause after each."""
    body = Path(world.aci(files={"var/noise": os.urandom(200_000).hex()})).read_bytes()
    world.settings(retry_delay=0.15, retries=2)
    return Version(body, cuts=[len(body) // 4, len(body) // 4])


def seen_on_a_terminal(arguments: list[str]) -> str:
    """What a command that fetches writes to one, with all that steers it."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        arguments, env=environment(), stdout=subprocess.PIPE, stderr=slave
    ) as fetching:
        os.close(slave)
        shown = b""
        try:
            while part := os.read(master, 65536):
                shown += part
        except OSError:
            pass  # How Linux says that a terminal's other side is closed.
        output, _ = fetching.communicate()
    os.close(master)
    assert fetching.returncode == 0, shown
    assert output.startswith(b"sha512-")
    return shown.decode().replace("\r\n", "\n").replace("\x1b[J", "\x1b[J\n")


def test_a_terminal_gets_bars_that_go_away(world: World) -> None:
    with world.site({"/a.aci": slow(world)}):
        text = seen_on_a_terminal(command(world))
    assert "a.aci" in text
    assert " 25% of " in text
    # The last thing done to a bar is to remove it.
    assert "%" not in text.rpartition("\x1b[J")[2]


def test_layers_have_bars_while_they_are_unpacked(world: World) -> None:
    image = LayeredImage([{"etc/noise": os.urandom(20_000_000)} for _ in range(3)])
    reference = image.layout(world.directory / "layout", "v1")
    text = seen_on_a_terminal([*command(world)[:-1], reference])
    found = set(re.findall(r"\nunpack ([0-9a-f]{12}) +\[#*\.*\] +\d+% of   19 MiB", text))
    assert found
    assert found <= {digest.partition(":")[2][:12] for digest in image.archives}
    assert "%" not in text.rpartition("\x1b[J")[2]


def test_an_aci_that_is_unpacked_has_a_bar(world: World) -> None:
    # What is over at once has no bar.
    path = world.aci(files={"var/noise": os.urandom(1000).hex() * 50_000})
    text = seen_on_a_terminal([*command(world)[:-1], path])
    assert re.search(rf"\nunpack {re.escape(os.path.basename(path))[:10]}", text)


def test_a_file_gets_lines(world: World) -> None:
    with world.site({"/a.aci": slow(world)}):
        done = subprocess.run(
            command(world), env=environment(), capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith("image: ") for line in lines)
    assert "\x1b" not in done.stderr
    assert sum("going on after" in line for line in lines) == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_fetch_that_was_killed_is_gone_on_with(world: World, number: signal.Signals) -> None:
    """Whatever ends it: what came is kept, nothing else is in the way, a collection removes all."""
    body = Path(world.aci(files={"var/noise": os.urandom(200_000).hex()})).read_bytes()
    version = Version(body, cuts=[100_000])
    stuck, go = threading.Event(), threading.Event()

    def stop(request: Request) -> Answer:
        if version.asked and not stuck.is_set():
            stuck.set()
            go.wait(30)
        return version(request)

    with world.site({"/a.aci": stop}):
        fetching = subprocess.Popen(
            command(world), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert stuck.wait(30)
        fetching.send_signal(number)
        _, complaint = fetching.communicate(timeout=30)
        go.set()
        assert fetching.returncode != 0
        assert b"Traceback" not in complaint
        version.asked.clear()
        done = subprocess.run(command(world), env=environment(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "bytes=100000-" in version.asked
    assert None not in version.asked
    world.store.collect()
    assert os.listdir(f"{world.paths.store}/tmp") == []
