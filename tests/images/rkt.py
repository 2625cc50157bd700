"""``rkt`` itself on the directories of a test."""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

from rktsd.paths import Paths

PROGRAM = "import sys; from rktsd.cli.main import main; sys.exit(main())"
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Said(NamedTuple):
    """Exit status and both outputs."""

    status: int
    out: str
    err: str


def rkt(
    paths: Paths,
    *arguments: str,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> Said:
    """Run a command line in a process of its own, as a user would."""
    places = [
        f"--dir={paths.data}",
        f"--system-config={paths.system_config}",
        f"--local-config={paths.local_config}",
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *places, *arguments],
        input=stdin,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": TOP, **(environment or {})},
        check=False,
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())
