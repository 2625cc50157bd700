"""What units call. Each module has a ``main``, which says in the journal why it failed."""

import sys

from rktsd.errors import RktError


def failed(error: RktError | OSError, where: str = "") -> int:
    """Say after ``where`` what went wrong. Returns the exit status for the unit."""
    text = str(error)
    if isinstance(error, OSError):
        path = f"{error.filename}: " if error.filename else ""
        text = f"{path}{error.strerror or error}"
    # sd-daemon(3): the journal reads the priority off the line.
    sys.stderr.write(f"<3>{where}{text}\n")
    return RktError.exit_code if isinstance(error, OSError) else error.exit_code
