"""``rkt version``."""

import os
import sys

from rktsd import __version__
from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed

# appc.names.SPEC_VERSION, whose import would cost more than all the rest of this command.
APPC = "0.8.11"
FEATURES = "-TPM +SDJOURNAL +OCI"
_MACHINES = {"x86_64": "amd64", "i686": "i386"}


def version(context: Context, parsed: Parsed) -> int:
    """Lines as rkt's, with Python in the place of Go."""
    from rktsd.cli.arguments import none

    none(parsed)
    python = ".".join(str(part) for part in sys.version_info[:3])
    system, machine = os.uname().sysname.lower(), os.uname().machine
    machine = _MACHINES.get(machine, machine)
    sys.stdout.write(
        f"rkt Version: {__version__}\n"
        f"appc Version: {APPC}\n"
        f"Python Version: {python}\n"
        f"Python OS/Arch: {system}/{machine}\n"
        f"Features: {FEATURES}\n"
    )
    return 0
