"""Everything that can go wrong for the user, as one small tree.

    RktError            254   rkt's exit status for every failure of its own
    ├── UsageError            the command line contradicts itself
    ├── BadInput              a file, manifest or archive that is not what it claims to be
    ├── NotFound              a pod, image, network or file that is not there
    ├── TrustError            a signature or digest that does not hold, or no trusted key
    ├── FetchError            a server or registry that did not give what was asked for
    │   └── Absent                because it does not have it
    ├── StoreError            the store or pod directory could not be read or written
    ├── NetworkError          a network or published port could not be set up
    ├── SystemdError          systemd refused or failed what was asked of it
    ├── CommandFailed         a program that we ran failed
    └── Unsupported           known, but not done by this version or this machine

Messages are one line, name the file, field and value at fault, and need no traceback.
Only the command line and the unit entry points print them.
"""

from typing import ClassVar


class RktError(Exception):
    """A failure with a message for the user. ``hint`` says what to do about it, where we know."""

    exit_code: ClassVar[int] = 254

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = str(self.args[0])
        return f"{message} ({self.hint})" if self.hint else message


class UsageError(RktError):
    """The command line contradicts itself or names something malformed."""


class BadInput(RktError):
    """Input that is not what it claims to be; the message names file, field and value."""


class NotFound(RktError):
    """What was asked for does not exist."""


class TrustError(RktError):
    """A signature or digest that does not hold, or nobody trusted vouches for the image."""


class FetchError(RktError):
    """A server did not give what was asked for."""


class Absent(FetchError):
    """A server, or the place beside a file, does not have what was asked for."""


class StoreError(RktError):
    """The disk under the store or a pod's directory failed us."""


class NetworkError(RktError):
    """A pod's network or published port could not be set up."""


class SystemdError(RktError):
    """systemd refused a call, or a unit did not start."""


class CommandFailed(RktError):
    """A program that we ran exited with an error; ``status`` is its exit status."""

    def __init__(self, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Unsupported(RktError):
    """Known to the specification or to rkt, but not done here; refused instead of ignored."""
