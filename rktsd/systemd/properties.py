"""Unit file settings as bus properties: names, D-Bus signatures, and how their values are written.

A pod file speaks as systemd's manual pages do (``MemoryMax = "512M"``, ``RestartSec = "5s"``); the
bus wants other names and typed values. Which settings there are is data here; whether a value makes
sense for a unit is systemd's own word, before anything starts.
"""

from __future__ import annotations

import re

from rktsd.appc.cursor import shown
from rktsd.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rktsd.systemd.bus import Property

INFINITY = 2**64 - 1

_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_MICROSECONDS = {
    "us": 1, "ms": 10**3, "": 10**6, "s": 10**6, "sec": 10**6, "m": 60 * 10**6, "min": 60 * 10**6,
    "h": 3600 * 10**6, "hr": 3600 * 10**6, "d": 86400 * 10**6, "w": 7 * 86400 * 10**6,
}  # fmt: skip
_BOOLEANS = {
    "yes": True, "true": True, "on": True, "1": True,
    "no": False, "false": False, "off": False, "0": False,
}  # fmt: skip
_TIMESPAN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")

# What may be said of an app's unit and of the pod's slice, by the form of the value.
FORMS = {
    "bytes": "MemoryMin MemoryLow MemoryHigh MemoryMax MemorySwapMax",
    "limit-bytes": "LimitCORE LimitFSIZE LimitDATA LimitSTACK LimitRSS LimitMEMLOCK LimitAS"
    " LimitMSGQUEUE",
    "limit": "LimitNOFILE LimitNPROC LimitLOCKS LimitSIGPENDING",
    "count": "TasksMax CPUWeight StartupCPUWeight IOWeight StartupIOWeight",
    "quota": "CPUQuota",
    "timespan": "RestartSec TimeoutStartSec TimeoutStopSec RuntimeMaxSec"
    " StartLimitIntervalSec LogRateLimitIntervalSec",
    "string": "Restart OOMPolicy Description",
    "boolean": "CPUAccounting MemoryAccounting TasksAccounting IOAccounting IPAccounting"
    " SyslogLevelPrefix",
    "integer": "OOMScoreAdjust Nice",
    "unsigned": "StartLimitBurst LogRateLimitBurst",
    "strings": "Documentation",
}

LIMITS = frozenset((FORMS["limit-bytes"] + " " + FORMS["limit"]).split())

# Settings of a service that a slice does not have.
SERVICE_ONLY = frozenset(
    name
    for form in ("limit-bytes", "limit", "timespan", "integer", "unsigned")
    for name in FORMS[form].split()
) | {"Restart", "OOMPolicy", "SyslogLevelPrefix"}

# What systemd calls otherwise on the bus.
_BUS_NAMES = {
    "CPUQuota": "CPUQuotaPerSecUSec",
    "RestartSec": "RestartUSec",
    "TimeoutStartSec": "TimeoutStartUSec",
    "TimeoutStopSec": "TimeoutStopUSec",
    "RuntimeMaxSec": "RuntimeMaxUSec",
    "StartLimitIntervalSec": "StartLimitIntervalUSec",
    "LogRateLimitIntervalSec": "LogRateLimitIntervalUSec",
}


def known(setting: str) -> bool:
    """Whether ``convert`` can read a setting of that name."""
    return any(setting in names.split() for names in FORMS.values())


def convert(setting: str, value: object, where: str) -> list[Property]:
    """The bus properties of one setting of a unit. Raises BadInput naming ``where``.

    ``setting`` is one of FORMS. A Limit…= becomes two properties, the hard and the soft one.
    """
    form = next(form for form, names in FORMS.items() if setting in names.split())
    name = _BUS_NAMES.get(setting, setting)
    return _READERS[form](name, value, where)


def parse_bytes(value: object, where: str) -> int:
    """Bytes as systemd writes them: ``512M``, ``infinity``. Raises BadInput."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if value == "infinity":
        return INFINITY
    match = re.fullmatch(r"([0-9]+)([KMGTP]?)", value) if isinstance(value, str) else None
    if match is None:
        raise BadInput(f'{where}: {shown(value)} is not a size such as "512M"')
    return int(match[1]) * _BYTES[match[2]]


def parse_timespan(value: object, where: str) -> int:
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
        total += float(match[1]) * _MICROSECONDS[match[2]]
        position = match.end()
    if not text or position < len(text):
        raise BadInput(f'{where}: {shown(value)} is not a time span such as "1min 30s"')
    return int(total)


def _bytes(name: str, value: object, where: str) -> list[Property]:
    percent = re.fullmatch(r"([0-9]{1,3})%", value) if isinstance(value, str) else None
    if percent and int(percent[1]) <= 100:
        # A fraction of 2^32 - 1, as systemd takes relative sizes.
        return [(f"{name}Scale", "u", int(percent[1]) * (2**32 - 1) // 100)]
    return [(name, "t", parse_bytes(value, where))]


def _both_limits(name: str, value: object, where: str, read: Callable[..., int]) -> list[Property]:
    soft, _, hard = value.partition(":") if isinstance(value, str) else (value, "", "")
    return [
        (name, "t", read(hard or soft, where)),
        (f"{name}Soft", "t", read(soft, where)),
    ]


def _count_value(value: object, where: str) -> int:
    if value == "infinity":
        return INFINITY
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise BadInput(f"{where}: {shown(value)} is not a whole number of 0 or more")
    return number


def _limit_bytes(name: str, value: object, where: str) -> list[Property]:
    return _both_limits(name, value, where, parse_bytes)


def _limit(name: str, value: object, where: str) -> list[Property]:
    return _both_limits(name, value, where, _count_value)


def _count(name: str, value: object, where: str) -> list[Property]:
    return [(name, "t", _count_value(value, where))]


def _quota(name: str, value: object, where: str) -> list[Property]:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", value) if isinstance(value, str) else None
    if match is None or not float(match[1]):
        raise BadInput(f'{where}: {shown(value)} is not a share such as "50%"')
    return [(name, "t", int(float(match[1]) * 10**4))]


def _timespan(name: str, value: object, where: str) -> list[Property]:
    return [(name, "t", parse_timespan(value, where))]


def _string(name: str, value: object, where: str) -> list[Property]:
    if not isinstance(value, str):
        raise BadInput(f"{where}: {shown(value)} is not a string")
    return [(name, "s", value)]


def _boolean(name: str, value: object, where: str) -> list[Property]:
    truth = value if isinstance(value, bool) else _BOOLEANS.get(str(value).lower())
    if truth is None:
        raise BadInput(f"{where}: {shown(value)} is not yes or no")
    return [(name, "b", truth)]


def _integer(name: str, value: object, where: str) -> list[Property]:
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise BadInput(f"{where}: {shown(value)} is not a whole number")
    return [(name, "i", int(text))]


def _unsigned(name: str, value: object, where: str) -> list[Property]:
    number = _count_value(value, where)
    if number >= 2**32:
        raise BadInput(f"{where}: {shown(value)} is too large")
    return [(name, "u", number)]


def _strings(name: str, value: object, where: str) -> list[Property]:
    words: Any = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadInput(f"{where}: {shown(value)} is not a list of strings")
    return [(name, "as", words)]


_READERS: dict[str, Callable[[str, object, str], list[Property]]] = {
    "bytes": _bytes,
    "limit-bytes": _limit_bytes,
    "limit": _limit,
    "count": _count,
    "quota": _quota,
    "timespan": _timespan,
    "string": _string,
    "boolean": _boolean,
    "integer": _integer,
    "unsigned": _unsigned,
    "strings": _strings,
}
