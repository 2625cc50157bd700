"""Unit file settings as bus properties: other names there, and typed values.

A pod file speaks as systemd's manual pages do (``MemoryMax = "512M"``, ``RestartSec = "5s"``).
Whether a value makes sense for a unit is systemd's own word, before anything starts.
"""

from __future__ import annotations

from rktsd.errors import BadInput
from rktsd.systemd import lists, values
from rktsd.systemd.settings import LIMITS, PASSED
from rktsd.systemd.values import INFINITY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rktsd.systemd.bus import Property

FORMS = {name: form for form, (_, names) in PASSED.items() for name in names.split()}
LIMIT_FORMS = {name: form for form, names in LIMITS.items() for name in names.split()}

_LEVELS = {
    "emerg": 0, "alert": 1, "crit": 2, "err": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7,
}  # fmt: skip
_FACILITIES = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7,
    "uucp": 8, "cron": 9, "authpriv": 10, "ftp": 11, "local0": 16, "local1": 17, "local2": 18,
    "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}  # fmt: skip
_WORDS = {
    "cpu-policy": {"other": 0, "fifo": 1, "rr": 2, "batch": 3, "idle": 5},
    "io-class": {"none": 0, "realtime": 1, "best-effort": 2, "idle": 3},
    "numa-policy": {"default": 0, "preferred": 1, "bind": 2, "interleave": 3, "local": 4},
    "log-level": _LEVELS,
    "log-facility": _FACILITIES,
}


def known(setting: str) -> bool:
    """Whether ``convert`` can read a setting of that name."""
    return setting in FORMS


def bus_name(setting: str) -> str:
    """What a setting is called on the bus."""
    if setting == "CPUQuota":
        return "CPUQuotaPerSecUSec"
    if setting.endswith("Sec") and not setting.endswith("NSec"):
        return f"{setting.removesuffix('Sec')}USec"
    return setting


def convert(setting: str, value: object, where: str) -> list[Property]:
    """The bus properties of one setting of a unit. Raises BadInput naming ``where``.

    ``setting`` is one of PASSED.
    """
    form, name = FORMS[setting], bus_name(setting)
    if form in _WORDS:
        return [(name, "i", values.one_of(value, where, _WORDS[form]))]
    if form == "timeouts":
        span = values.timespan(value, where)
        return [("TimeoutStartUSec", "t", span), ("TimeoutStopUSec", "t", span)]
    share = values.permyriad(value) if form in ("bytes", "tasks") else None
    if share is not None:
        return [(f"{name}Scale", "u", values.scaled(share))]
    if form == "numbers" and value == "numa" and setting == "CPUAffinity":
        return [("CPUAffinityFromNUMA", "b", True)]
    return [(name, PASSED[form][0], _READERS[form](value, where))]


def limit(setting: str, value: object, where: str) -> tuple[int, int]:
    """Soft and hard value of a Limit…= (``1024``, ``1024:4096``). Raises BadInput."""
    read = _LIMIT_READERS[LIMIT_FORMS[setting]]
    soft, _, hard = value.partition(":") if isinstance(value, str) else (value, "", "")
    return read(soft, where), read(hard or soft, where)


def _quota(value: object, where: str) -> int:
    text = value.removesuffix("%") if isinstance(value, str) and value.endswith("%") else ""
    try:
        share = int(float(text) * 10**4)
    except (ValueError, OverflowError):
        share = 0
    if share <= 0 or share >= 2**53:
        from rktsd.appc.cursor import shown

        raise BadInput(f'{where}: {shown(value)} is not a share such as "50%"')
    return share


def _cpu_weight(value: object, where: str) -> int:
    return 0 if value == "idle" else values.count(value, where)


def _unsigned(value: object, where: str) -> int:
    return values.integer(value, where, low=0, high=2**32 - 1)


def _pressure(value: object, where: str) -> int:
    share = values.permyriad(value)
    if share is None:
        from rktsd.appc.cursor import shown

        raise BadInput(f'{where}: {shown(value)} is not a share such as "60%"')
    return values.scaled(share)


def _nanoseconds(value: object, where: str) -> int:
    if isinstance(value, str) and value.endswith("ns"):
        return values.count(value.removesuffix("ns").rstrip(), where)
    if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
        return values.count(value, where)
    return values.timespan(value, where) * 1000


def _limit_nice(value: object, where: str) -> int:
    # "+5" and "-5" are nice levels, and the kernel counts from 20 down (getrlimit(2)).
    if isinstance(value, str) and value[:1] in ("+", "-"):
        return 20 - values.integer(value, where, low=-20, high=19)
    return values.count(value, where)


def _limit_seconds(value: object, where: str) -> int:
    span = values.timespan(value, where)
    return INFINITY if span == INFINITY else -(-span // 10**6)


def _limit_microseconds(value: object, where: str) -> int:
    if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
        return values.count(value, where)
    return values.timespan(value, where)


_LIMIT_READERS: dict[str, Callable[[object, str], int]] = {
    "limit-bytes": values.size,
    "limit": values.count,
    "limit-nice": _limit_nice,
    "limit-seconds": _limit_seconds,
    "limit-microseconds": _limit_microseconds,
}

_READERS: dict[str, Callable[[object, str], Any]] = {
    "bytes": values.size,
    "tasks": values.count,
    "weight": values.count,
    "cpu-weight": _cpu_weight,
    "quota": _quota,
    "timespan": values.timespan,
    "nanoseconds": _nanoseconds,
    "boolean": values.boolean,
    "string": values.text,
    "integer": values.integer,
    "unsigned": _unsigned,
    "signal": values.signal,
    "pressure": _pressure,
    "numbers": values.numbers,
    "words": values.words,
    "set": values.allow_or_deny,
    "coredump": lists.coredump_filter,
    "statuses": lists.statuses,
    "device": lists.devices,
    "device-weight": lists.device_weights,
    "device-rate": lists.device_rates,
    "device-time": lists.device_times,
    "addresses": lists.addresses,
    "bind": lists.binds,
    "pairs": lists.pairs,
    "secrets": lists.secrets,
    "encrypted-secrets": lists.encrypted_secrets,
    "nft-sets": lists.nft_sets,
    "patterns": lists.patterns,
    "fields": lists.fields,
    "files": lists.files,
}
