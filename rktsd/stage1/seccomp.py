"""What the seccomp isolators of an app mean (appc spec 0.8.11, rkt's wildcards). Pure."""

from __future__ import annotations

import errno as numbers
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rktsd.appc import isolators
from rktsd.appc.types import Isolator
from rktsd.errors import BadInput, Unsupported
from rktsd.stage1 import syscallsets
from rktsd.stage1.syscalls import DEFAULT

ERRNO_NUMBERS = {name: number for number, name in numbers.errorcode.items()} | {
    "ENOTSUP": numbers.EOPNOTSUPP,
    "EWOULDBLOCK": numbers.EAGAIN,
    "EDEADLOCK": numbers.EDEADLK,
}

# Without these an app could not even become one.
_NEEDED = frozenset({"execve"})


class Rules(NamedTuple):
    """``default`` answers what is not among ``names``, for which ``action`` is the answer.

    An answer is ``allow``, ``kill``, or the number of an error.
    """

    default: str | int
    action: str | int
    names: tuple[str, ...]


def own_rules(values: Iterable[Isolator], *, app: str) -> Rules | None | bool:
    """The filter that an app asks for: rules, None for the default one, False for none at all.

    As in rkt, ``@appc.io/all`` among those to retain means no filter, and ``@appc.io/empty`` among
    those to remove the default one. Raises BadInput for a set or an error that nobody knows,
    Unsupported where an app could not be started.
    """
    values = tuple(values)
    asked = isolators.seccomp(values)
    if asked is None:
        return None
    if asked.mode == "retain" and syscallsets.ALL in asked.names:
        return False
    if asked.mode == "remove" and syscallsets.EMPTY in asked.names:
        return None
    said = any(each.name == isolators.NO_NEW_PRIVILEGES for each in values)
    if said and not isolators.no_new_privileges(values):
        raise Unsupported(
            f"app {app}: a seccomp set needs no-new-privileges",
            hint="leave out one of the two, or retain @appc.io/all",
        )
    names = expanded(asked.names, app=app)
    refused = _answer(asked.errno, app=app)
    if asked.mode == "retain":
        return Rules(refused, "allow", tuple(sorted({*names, *syscallsets.ALWAYS})))
    for name in sorted(_NEEDED.intersection(names)):
        raise Unsupported(f"app {app}: without the system call {name} nothing can be executed")
    return Rules("allow", refused, tuple(sorted(names)))


def expanded(words: Sequence[str], *, app: str) -> set[str]:
    """System calls, with those of the ``@`` sets in their place. Raises BadInput."""
    found: set[str] = set()
    for word in words:
        if not word.startswith("@"):
            found.add(word)
        elif word in syscallsets.SETS:
            found.update(syscallsets.SETS[word])
        elif word not in (syscallsets.ALL, syscallsets.EMPTY):
            raise BadInput(f"app {app}: {word}: no such set of system calls")
    return found


def _answer(errno: str | None, *, app: str) -> str | int:
    if errno is None:
        return "kill"
    if errno not in ERRNO_NUMBERS:
        raise BadInput(f"app {app}: seccomp: {errno}: no such error on Linux")
    return ERRNO_NUMBERS[errno]


def narrows(asked: isolators.SeccompFilter, *, app: str) -> bool:
    """Whether a set to retain allows nothing that the default filter forbids."""
    if syscallsets.ALL in asked.names:
        return False
    return expanded(asked.names, app=app) <= {*DEFAULT, *syscallsets.ALWAYS}


def with_blacklist(values: Iterable[Isolator]) -> tuple[Isolator, ...]:
    """The isolators of an image, its set to remove augmented by the default one of those.

    The appc specification leaves that to us (ace.md, os/linux/seccomp-remove-set).
    """
    found = []
    for each in values:
        value = each.value
        if each.name == isolators.SECCOMP_REMOVE and isinstance(value, dict):
            names = [*value["set"], syscallsets.DEFAULT_BLACKLIST]
            each = Isolator(each.name, {**value, "set": list(dict.fromkeys(names))})
        found.append(each)
    return tuple(found)
