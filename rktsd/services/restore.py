"""ExecStart= and ExecReload= of rkt-net-restore: running pods get back what a firewall removed."""

from __future__ import annotations

import sys

from rktsd.errors import RktError
from rktsd.paths import Paths


def main() -> int:
    """Restore the rules of all running pods. Returns an exit status."""
    from rktsd.pods.tending import restore

    try:
        problems = restore(Paths(), say=lambda line: _say("", line))
    except RktError as error:
        problems = [error]
    for problem in problems:
        _say("<3>", str(problem))
    return problems[0].exit_code if problems else 0


def _say(priority: str, line: str) -> None:
    # sd-daemon(3): the journal reads the priority off the line.
    sys.stderr.write(f"{priority}{line}\n")
