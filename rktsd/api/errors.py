"""What goes wrong, by names that programs can tell apart."""

from __future__ import annotations

from rktsd import errors
from rktsd.errors import RktError

PREFIX = "org.rktsd.Error"
_FREEDESKTOP = "org.freedesktop.DBus.Error"
ACCESS_DENIED = f"{_FREEDESKTOP}.AccessDenied"
INTERACTION_REQUIRED = f"{_FREEDESKTOP}.InteractiveAuthorizationRequired"
INVALID_ARGUMENTS = f"{_FREEDESKTOP}.InvalidArgs"
LIMITS_EXCEEDED = f"{_FREEDESKTOP}.LimitsExceeded"
READ_ONLY = f"{_FREEDESKTOP}.PropertyReadOnly"
UNKNOWN_INTERFACE = f"{_FREEDESKTOP}.UnknownInterface"
UNKNOWN_METHOD = f"{_FREEDESKTOP}.UnknownMethod"
UNKNOWN_OBJECT = f"{_FREEDESKTOP}.UnknownObject"
UNKNOWN_PROPERTY = f"{_FREEDESKTOP}.UnknownProperty"
FAILED = f"{PREFIX}.Failed"
NO_SUCH_POD = f"{PREFIX}.NoSuchPod"
NO_SUCH_IMAGE = f"{PREFIX}.NoSuchImage"

# The first that fits.
_NAMES = (
    (errors.NotFound, f"{PREFIX}.NotFound"),
    (errors.TrustError, f"{PREFIX}.Untrusted"),
    (errors.FetchError, f"{PREFIX}.FetchFailed"),
    (errors.StoreError, f"{PREFIX}.StoreFailed"),
    (errors.NetworkError, f"{PREFIX}.NetworkFailed"),
    (errors.SystemdError, f"{PREFIX}.SystemdFailed"),
    (errors.Unsupported, f"{PREFIX}.Unsupported"),
    (errors.UsageError, f"{PREFIX}.Refused"),
    (errors.BadInput, f"{PREFIX}.Refused"),
)
_LENGTH = 4096


class Refused(RktError):
    """An error with its name on the bus."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def named(error: RktError) -> tuple[str, str]:
    """The name on the bus of what went wrong, and what to say in one line."""
    name = FAILED
    if isinstance(error, Refused):
        name = error.name
    else:
        name = next((each for kind, each in _NAMES if isinstance(error, kind)), FAILED)
    return name, printable(str(error))


def printable(text: str) -> str:
    """``text`` as one line that steers no terminal, and no longer than people read."""
    return "".join(c if c.isprintable() else " " for c in text)[:_LENGTH]
