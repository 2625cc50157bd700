"""Runs in the box: a contender per line comes in, an answer per line goes out, both JSON.

Only the standard library: the box has no checkout.
"""

import json
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

DIRECTORY = "/run/bench"
STAMPS = f"{DIRECTORY}/stamps"
_PATIENCE = 20.0


class Answer(TypedDict, total=False):
    """Nanoseconds of the monotonic clock and what the probes printed, or what went wrong."""

    started: int
    returned: int
    stamps: list[int]
    probes: list[str]
    error: str


def execute(command: str) -> str:
    """What it prints. By way of a file, for what podman leaves running would hold a pipe."""
    output, words = f"{DIRECTORY}/output", shlex.split(command)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [(os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=actions)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with open(output, errors="replace") as file:
        printed = file.read()
    if status:
        raise RuntimeError(f"{command}: exit status {status}\n{printed}")
    return printed


def wait(stamps: Sequence[str]) -> list[int]:
    deadline = time.monotonic() + _PATIENCE
    found: list[int] = []
    while len(found) < len(stamps):
        try:
            with open(f"{STAMPS}/{stamps[len(found)]}") as file:
                found.append(int(file.read()))
        except (FileNotFoundError, ValueError):
            if time.monotonic() > deadline:
                raise RuntimeError(f"app {stamps[len(found)]} does not start") from None
            time.sleep(0.001)
    return found


def contend(contender: Mapping[str, Any]) -> Answer:
    for name in os.listdir(STAMPS):
        os.unlink(f"{STAMPS}/{name}")
    for command in contender["before"]:
        execute(command)
    wait(contender["running"])
    time.sleep(contender["settle"])
    started = time.monotonic_ns()
    for command in contender["timed"]:
        execute(command)
    returned = time.monotonic_ns()
    stamps = wait(contender["stamps"])
    probes = [execute(command) for command in contender["probes"]]
    for command in contender["after"]:
        execute(command)
    time.sleep(contender["settle"])
    return Answer(started=started, returned=returned, stamps=stamps, probes=probes)


def main() -> None:
    os.makedirs(STAMPS, exist_ok=True)
    for line in sys.stdin:
        try:
            answer = contend(json.loads(line))
        except (OSError, RuntimeError) as error:
            answer = Answer(error=str(error))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
