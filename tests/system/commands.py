"""The command in a box, as a person or a script uses it."""

from __future__ import annotations

import json
import re
import subprocess

from tests.box import Box
from tests.waiting import eventually

IMAGE = "example.com/busybox"
OUTPUT = "/tmp/run.out"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Done = subprocess.CompletedProcess[str]


def rkt(box: Box, *arguments: str, timeout: float = 60) -> Done:
    return box.run(["rkt", *arguments], timeout=timeout)


def good(box: Box, *arguments: str) -> str:
    """What a command prints that has to succeed."""
    return box.run(["rkt", *arguments], check=True).stdout


def run(box: Box, script: str, *flags: str) -> Done:
    """``rkt run`` of a shell script without a network."""
    return rkt(box, "run", "--net=none", *flags, IMAGE, "--", "-c", script)


def begun(launcher: str, script: str) -> str:
    """Words of a shell: run the script in an app, until it says ready; the command is $pid."""
    # What an earlier one left in the file is not to be taken for this one's.
    return (
        f'rm -f {OUTPUT}; {launcher} rkt run --net=none {IMAGE} -- -c "{script}" >{OUTPUT} 2>&1 &'
        f" pid=$!; until grep -q ready {OUTPUT} 2>/dev/null; do sleep 0.05; done;"
    )


def prepare(box: Box, *words: str) -> str:
    uuid = good(box, "prepare", "--quiet", *words).strip()
    assert UUID.fullmatch(uuid)
    return uuid


def states(box: Box) -> dict[str, str]:
    return {pod["name"]: pod["state"] for pod in json.loads(good(box, "list", "--format=json"))}


def lines(text: str) -> dict[str, str]:
    """KEY=VALUE lines."""
    return dict(line.split("=", 1) for line in text.splitlines())


def said(box: Box, uuid: str) -> list[str]:
    """The lines that the apps of a run have printed."""
    box.run(["journalctl", "--sync"], check=True)
    match = [f"RKT_POD_UUID={uuid}", "_TRANSPORT=stdout"]
    return box.run(["journalctl", "--output=cat", *match]).stdout.splitlines()


def ready(box: Box, uuid: str, times: int) -> None:
    """Wait until apps of a run have said so: before its trap one is deaf to SIGTERM."""
    eventually(lambda: said(box, uuid).count("ready") >= times, f"{uuid} is ready {times} times")


def drop(box: Box, pod: str) -> None:
    """Stop a pod by force and remove it."""
    rkt(box, "stop", "--force", pod)
    good(box, "rm", pod)
