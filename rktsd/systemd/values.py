"""Values as unit files write them: systemd.syntax(7), systemd.time(7)."""

from __future__ import annotations

import re

from rktsd.appc.cursor import shown
from rktsd.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INFINITY = 2**64 - 1

_POWERS = {"": 0, "B": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_MICROSECONDS = {
    "us": 1, "usec": 1, "µs": 1, "ms": 10**3, "msec": 10**3, "": 10**6, "s": 10**6, "sec": 10**6,
    "second": 10**6, "seconds": 10**6, "m": 60 * 10**6, "min": 60 * 10**6, "minute": 60 * 10**6,
    "minutes": 60 * 10**6, "h": 3600 * 10**6, "hr": 3600 * 10**6, "hour": 3600 * 10**6,
    "hours": 3600 * 10**6, "d": 86400 * 10**6, "day": 86400 * 10**6, "days": 86400 * 10**6,
    "w": 7 * 86400 * 10**6, "week": 7 * 86400 * 10**6, "weeks": 7 * 86400 * 10**6,
    "M": 2629800 * 10**6, "month": 2629800 * 10**6, "months": 2629800 * 10**6,
    "y": 31557600 * 10**6, "year": 31557600 * 10**6, "years": 31557600 * 10**6,
}  # fmt: skip
_BOOLEANS = {
    "yes": True, "true": True, "on": True, "1": True, "y": True, "t": True,
    "no": False, "false": False, "off": False, "0": False, "n": False, "f": False,
}  # fmt: skip
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([BKMGTPE]?)\s*")
_TIMESPAN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zµM]*)")
_PERCENT = re.compile(r"([0-9]+)(?:\.([0-9]{1,2}))?%")
_MAX_DIGITS = 20

# sysexits.h and the Linux Standard Base, as systemd.exec(5) lists them.
EXIT_STATUSES = {
    "SUCCESS": 0, "FAILURE": 1, "INVALIDARGUMENT": 2, "NOTIMPLEMENTED": 3, "NOPERMISSION": 4,
    "NOTINSTALLED": 5, "NOTCONFIGURED": 6, "NOTRUNNING": 7, "USAGE": 64, "DATAERR": 65,
    "NOINPUT": 66, "NOUSER": 67, "NOHOST": 68, "UNAVAILABLE": 69, "SOFTWARE": 70, "OSERR": 71,
    "OSFILE": 72, "CANTCREAT": 73, "IOERR": 74, "TEMPFAIL": 75, "PROTOCOL": 76, "NOPERM": 77,
    "CONFIG": 78,
}  # fmt: skip


def text(value: object, where: str) -> str:
    """A string. Raises BadInput."""
    if not isinstance(value, str):
        raise BadInput(f"{where}: {shown(value)} is not a string")
    return value


def words(value: object, where: str) -> list[str]:
    """The words of a string, or a list of strings. Raises BadInput."""
    found = value.split() if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise BadInput(f"{where}: {shown(value)} is not a list of strings")
    return found


def entries(value: object, where: str) -> list[str]:
    """A list of strings, or one string, none of which is split. Raises BadInput."""
    return words([value] if isinstance(value, str) else value, where)


def size(value: object, where: str, *, base: int = 1024) -> int:
    """Bytes: ``512M``, ``1.5G``, ``1G 500M``, ``infinity``. Raises BadInput."""
    if type(value) is int and value >= 0:
        return value
    if value == "infinity":
        return INFINITY
    total, position, text = 0.0, 0, value.strip() if isinstance(value, str) else ""
    while position < len(text):
        match = _SIZE.match(text, position)
        if match is None:
            break
        total += _whole(match[1]) * base ** _POWERS[match[2]]
        position = match.end()
    if not text or position < len(text) or total >= INFINITY:
        raise BadInput(f'{where}: {shown(value)} is not a size such as "512M"')
    return int(total)


def timespan(value: object, where: str) -> int:
    """Microseconds of ``5``, ``1.5``, ``1min 30s``, ``infinity``. Raises BadInput."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return int(value * 10**6)
    if value == "infinity":
        return INFINITY
    total, position = 0.0, 0
    text = value.rstrip() if isinstance(value, str) else ""
    while position < len(text):
        match = _TIMESPAN.match(text, position)
        if match is None or match[2] not in _MICROSECONDS:
            break
        total += _whole(match[1]) * _MICROSECONDS[match[2]]
        position = match.end()
    if not text or position < len(text) or total >= INFINITY:
        raise BadInput(f'{where}: {shown(value)} is not a time span such as "1min 30s"')
    return int(total)


def _whole(digits: str) -> int | float:
    # A float has no room for the last digits of a large number.
    digits = digits[:_MAX_DIGITS]
    return float(digits) if "." in digits else int(digits)


def permyriad(value: object) -> int | None:
    """Ten-thousandths of ``50%`` or ``12.5%``; None for what is no percentage up to 100."""
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None or len(match[1]) > 3:
        return None
    found = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))
    return found if found <= 10000 else None


def scaled(share: int) -> int:
    """Ten-thousandths as the fraction of 2^32 - 1 that systemd takes for relative values."""
    return -(-share * (2**32 - 1) // 10000)


def boolean(value: object, where: str) -> bool:
    """yes or no in one of their spellings. Raises BadInput."""
    truth = value if isinstance(value, bool) else _BOOLEANS.get(str(value).lower())
    if truth is None:
        raise BadInput(f"{where}: {shown(value)} is not yes or no")
    return truth


def integer(value: object, where: str, *, low: int = -(2**31), high: int = 2**31 - 1) -> int:
    """A whole number, also as a string. Raises BadInput."""
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?[0-9]{1,20}", str(value)):
        raise BadInput(f"{where}: {shown(value)} is not a whole number")
    if not low <= int(str(value)) <= high:
        raise BadInput(f"{where}: {shown(value)} is not a number of {low} to {high}")
    return int(str(value))


def count(value: object, where: str) -> int:
    """A whole number of 0 or more, or ``infinity``. Raises BadInput."""
    if value == "infinity":
        return INFINITY
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,20}", value) else value
    if type(number) is not int or not 0 <= number <= INFINITY:
        raise BadInput(f"{where}: {shown(value)} is not a whole number of 0 or more")
    return number


def one_of(value: object, where: str, choices: Mapping[str, int]) -> int:
    """The number of a word, or that number itself. Raises BadInput naming the words."""
    if isinstance(value, str) and value in choices:
        return choices[value]
    if str(value).isdecimal() and not isinstance(value, bool) and int(str(value)) < 24:
        return int(str(value))
    raise BadInput(f"{where}: {shown(value)} is not one of {', '.join(choices)}")


def signal(value: object, where: str) -> int:
    """The number of a signal by name, with or without SIG, or by number. Raises BadInput."""
    import signal as signals

    name = str(value).upper()
    for candidate in (name, f"SIG{name}"):
        if candidate in signals.Signals.__members__:
            return signals.Signals[candidate].value
    if isinstance(value, bool) or not name.isdecimal() or not 0 < int(name) <= signals.SIGRTMAX:
        raise BadInput(f"{where}: {shown(value)} is not a signal such as SIGTERM")
    return int(name)


def numbers(value: object, where: str, *, most: int = 8192) -> list[int]:
    """The bits of ``0-3,5 7`` as bytes, the lowest first. Raises BadInput."""
    if type(value) is int:
        value = str(value)
    mask = 0
    for word in ",".join(words(value, where)).split(","):
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", word)
        if match is None:
            if word:
                raise BadInput(f'{where}: {shown(value)} is not a list of numbers such as "0-3,5"')
            continue
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high or high >= most:
            raise BadInput(f"{where}: {shown(word)} is not a range below {most}")
        mask |= ((1 << (high - low + 1)) - 1) << low
    return list(mask.to_bytes((mask.bit_length() + 7) // 8, "little"))


def allow_or_deny(value: object, where: str) -> tuple[bool, list[str]]:
    """The words of a list that is turned into its opposite by a ``~`` in front."""
    found = words(value, where)
    if found and found[0].startswith("~"):
        first = [found[0][1:]] if found[0] != "~" else []
        return False, [*first, *found[1:]]
    return True, found


def assignments(value: object, where: str) -> Sequence[str]:
    """The words of a string as systemd splits them, with quotes; or a list as it is."""
    if not isinstance(value, str):
        return words(value, where)
    import shlex

    try:
        return shlex.split(value)
    except ValueError as error:
        raise BadInput(f"{where}: {shown(value)} cannot be split into words") from error
