"""What an app's ``systemd`` table says of the app and not of its unit, as fields of the pod file.

Given to the unit, such a setting would hit systemd-nspawn: its user, its rights, its mounts.
"""

from __future__ import annotations

import re

from rktsd.appc.cursor import Cursor
from rktsd.systemd import values
from rktsd.systemd.settings import FIELDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# A field of the pod file and a setting that mean the same: only one of them can be right.
_SAME = {
    "MemoryMax": "memory",
    "CPUQuota": "cpu",
    "CPUWeight": "cpu-shares",
    "OOMScoreAdjust": "oom-score-adj",
    "TimeoutStopSec": "stop-timeout",
    "TimeoutSec": "stop-timeout",
    "TasksMax": "pids",
}


def check_contradictions(place: Cursor) -> None:
    """Refuse a field beside the setting that means the same. Raises BadInput."""
    for name, each in place.get("systemd").members():
        words = (_SAME.get(name) or FIELDS.get(name, "")).split(" or ")
        for field in words if name not in ("Environment", *_BINDS) else ():
            if field and place.get(field).given:
                raise each.problem(f"the field {field} says it as well", hint="write one of them")


def translated(place: Cursor) -> Cursor:
    """The app's table with such settings moved into fields.

    Raises BadInput, also for a field beside the setting that means the same.
    """
    check_contradictions(place)
    moved = {name: each for name, each in place.get("systemd").members() if name in FIELDS}
    if not moved:
        return place
    fields = {name: each.value for name, each in place.members()}
    rest = {name: each.value for name, each in place.get("systemd").members() if name not in moved}
    fields["systemd"] = rest
    for name, each in moved.items():
        if name in _BINDS:
            binds = [_bind(each, word, name) for word in values.entries(each.value, each.where)]
            fields["mounts"] = [*[old.value for old in place.get("mounts").elements()], *binds]
        elif name == "Environment":
            old = {key: member.value for key, member in place.get("environment").members()}
            fields["environment"] = _environment(each) | old
        elif name == "CapabilityBoundingSet":
            retain, names = values.allow_or_deny(each.value, each.where)
            fields["capabilities-retain" if retain else "capabilities-remove"] = names
        elif name == "SystemCallFilter":
            retain, names = values.allow_or_deny(each.value, each.where)
            # What systemd calls @mount, appc calls @systemd/mount.
            names = [re.sub("^@(?=[a-z-]+$)", "@systemd/", name) for name in names]
            fields["seccomp-retain" if retain else "seccomp-remove"] = names
        else:
            fields[FIELDS[name]] = _SIMPLE[name](each)
    return place._replace(value=fields)


def _as_it_is(place: Cursor) -> object:
    return place.value


def _gids(place: Cursor) -> object:
    return [values.integer(w, place.where) for w in values.words(place.value, place.where)]


def _truth(place: Cursor) -> object:
    return values.boolean(place.value, place.where)


_SIMPLE: dict[str, Callable[[Cursor], object]] = {
    "User": _as_it_is,
    "Group": _as_it_is,
    "WorkingDirectory": _as_it_is,
    "SystemCallErrorNumber": _as_it_is,
    "SELinuxContext": _as_it_is,
    "AppArmorProfile": _as_it_is,
    "KillSignal": _as_it_is,
    "SupplementaryGroups": _gids,
    "NoNewPrivileges": _truth,
}


def _environment(place: Cursor) -> dict[str, object]:
    found: dict[str, object] = {}
    for word in values.assignments(place.value, place.where):
        name, equals, value = word.partition("=")
        if not equals:
            raise place.problem("not a list of NAME=VALUE")
        found[name] = value
    return found


_BINDS = {"BindPaths": "rw", "BindReadOnlyPaths": "ro"}


def _bind(place: Cursor, word: str, name: str) -> str:
    """SOURCE[:TARGET[:rbind|norbind]] as the short form of a mount."""
    source, _, rest = word.partition(":")
    target, _, option = rest.partition(":")
    if not source.startswith("/") or option not in ("", "rbind", "norbind"):
        raise place.problem(f"{word!r} is not like /SOURCE:/TARGET, with rbind or norbind behind")
    return f"{source}:{target or source}:{_BINDS[name]},{option or 'rbind'}"
