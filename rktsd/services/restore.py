"""ExecStart= and ExecReload= of rkt-net-restore: running pods get back what a firewall removed."""

from __future__ import annotations

import sys

from rktsd.errors import RktError
from rktsd.paths import Paths
from rktsd.services import failed


def main() -> int:
    """Restore the rules of all running pods. Returns an exit status."""
    from rktsd.pods.tending import restore

    try:
        problems = restore(Paths(), say=_say)
    except RktError as error:
        problems = [error]
    statuses = [failed(problem) for problem in problems]
    return statuses[0] if statuses else 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
