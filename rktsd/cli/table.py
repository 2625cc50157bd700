"""Tables, times and sizes as rkt prints them, so that scripts written for it go on working."""

import time
from collections.abc import Sequence

_TAB = 8
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WEEK, _MONTH, _YEAR = 7 * _DAY, 30 * _DAY, 360 * _DAY
_LONG = 37 * _YEAR

# Below this many seconds: the words, and what the seconds are divided by.
_AGES = (
    (1, "now", 1),
    (2, "1 second {}", 1),
    (_MINUTE, "{n} seconds {}", 1),
    (2 * _MINUTE, "1 minute {}", 1),
    (_HOUR, "{n} minutes {}", _MINUTE),
    (2 * _HOUR, "1 hour {}", 1),
    (_DAY, "{n} hours {}", _HOUR),
    (2 * _DAY, "1 day {}", 1),
    (_WEEK, "{n} days {}", _DAY),
    (2 * _WEEK, "1 week {}", 1),
    (_MONTH, "{n} weeks {}", _WEEK),
    (2 * _MONTH, "1 month {}", 1),
    (_YEAR, "{n} months {}", _MONTH),
    (18 * _MONTH, "1 year {}", 1),
    (2 * _YEAR, "2 years {}", 1),
    (_LONG, "{n} years {}", _YEAR),
)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """``rows`` of equally many cells in columns padded by tabs.

    As Go's text/tabwriter with minwidth 0, tabwidth 8, padding 1 and padchar tab: a column is as
    wide as its widest cell and one more, rounded up to tab stops; the last cell is not padded.
    """
    if not rows:
        return ""
    count = len(rows[0])
    widths = [
        (max(len(row[column]) for row in rows) + 1 + _TAB - 1) // _TAB * _TAB
        for column in range(count - 1)
    ]
    lines = []
    for row in rows:
        padded = [
            cell + "\t" * ((width - len(cell) + _TAB - 1) // _TAB)
            for cell, width in zip(row, widths, strict=False)
        ]
        lines.append("".join((*padded, row[-1])))
    return "".join(f"{line}\n" for line in lines)


def ago(moment: int, *, now: int | None = None) -> str:
    """Nanoseconds since the epoch as ``2 minutes ago`` (the words and limits of go-humanize)."""
    difference = ((time.time_ns() if now is None else now) - moment) // 10**9
    label = "ago" if difference >= 0 else "from now"
    seconds = abs(difference)
    for limit, words, unit in _AGES:
        if seconds < limit:
            return words.format(label, n=seconds // unit)
    return f"a long while {label}"


def exactly(moment: int) -> str:
    """Nanoseconds since the epoch in rkt's layout ``2006-01-02 15:04:05.999 -0700 MST``."""
    local = time.localtime(moment // 10**9)
    milli = f"{moment // 10**6 % 1000:03d}".rstrip("0")
    fraction = f".{milli}" if milli else ""
    return time.strftime("%Y-%m-%d %H:%M:%S", local) + fraction + time.strftime(" %z %Z", local)


def size(count: int) -> str:
    """Bytes as ``5.1 MiB`` (go-humanize's IBytes: below ten with one decimal)."""
    if count < 10:
        return f"{count} B"
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    value = int(value * 10 + 0.5) / 10
    return f"{value:.1f} {units[0]}" if value < 10 else f"{value:.0f} {units[0]}"


def as_json(value: object, style: str) -> str:
    """``value`` as one line of JSON, or indented by tabs for json-pretty."""
    from rktsd.appc.write import dumps

    return dumps(value, pretty=style == "json-pretty") + "\n"
