"""Quantities as appc has them: whole numbers with a decimal or binary suffix; pairs as limits."""

import re

from rktsd.appc.cursor import Cursor, shown
from rktsd.errors import BadInput

# getrlimit(2)
RLIMIT_NAMES = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
    "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip
INFINITY = (1 << 64) - 1

_QUANTITY = re.compile(r"\+?([0-9]*)(?:\.([0-9]*))?(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]+))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
# Digits and exponents beyond these say nothing about a machine, but cost time and memory.
_MAX_DIGITS = 40
_MAX_EXPONENT = 60
_MAX_BYTES = (1 << 63) - 1
_MAX_MILLI = 10**9


def _scaled(text: str, where: str, *, factor: int, limit: int) -> int:
    """``text`` times ``factor``, rounded up as Kubernetes' Quantity does."""
    found = _QUANTITY.fullmatch(text)
    whole, fraction = (found[1] or "", found[2] or "") if found else ("", "")
    if not found or not whole + fraction:
        raise BadInput(f"{where}: {shown(text)} is not a quantity (like 512M, 1Gi, 500m or 2e3)")
    if len(whole + fraction) > _MAX_DIGITS or len(found[4] or "") > 4:
        raise BadInput(f"{where}: {shown(text)} is out of bounds")
    exponent = int(found[4]) if found[4] else _DECIMAL.get(found[3] or "", 0)
    if abs(exponent) > _MAX_EXPONENT:
        raise BadInput(f"{where}: {shown(text)} is out of bounds")
    exponent -= len(fraction)
    number = int(whole + fraction) * factor << _BINARY.get(found[3] or "", 0)
    power: int = 10 ** abs(exponent)
    number = number * power if exponent >= 0 else -(-number // power)
    if number > limit:
        raise BadInput(f"{where}: {shown(text)} is too large")
    return number


def parse_bytes(text: str, where: str) -> int:
    """A quantity (``1Gi``, ``512M``, ``2e3``, ``0.5k``) as whole units, a broken one rounded up."""
    return _scaled(text, where, factor=1, limit=_MAX_BYTES)


def parse_milli(text: str, where: str) -> int:
    """A quantity (``500m``, ``0.5``, ``2``) as whole thousandths, a broken one rounded up."""
    return _scaled(text, where, factor=1000, limit=_MAX_MILLI)


def quantity_at(place: Cursor) -> str:
    """The text of a quantity, which may stand there as a whole number. Raises BadInput."""
    # Some writers leave the quotes out of whole numbers, and the reference reader takes that.
    if type(place.value) is int:
        return str(place.value)
    if place.given and not isinstance(place.value, str):
        raise place.wrong("a whole number, or a string")
    return place.filled()


def rlimit_at(limit: Cursor) -> tuple[int, int]:
    """The soft and the hard limit of ``VALUE`` or ``SOFT:HARD``. Raises BadInput."""
    text = quantity_at(limit)
    soft, _, hard = text.partition(":")
    found = [
        INFINITY if each in ("infinity", "unlimited") else parse_bytes(each, limit.where)
        for each in (soft, hard or soft)
    ]
    if found[0] > found[1]:
        raise limit.problem(f"{shown(text)}: the soft limit is above the hard one")
    return found[0], found[1]
