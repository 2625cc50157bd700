"""Who may: polkit decides where it is there, and groups where it is not."""

from __future__ import annotations

import os
from typing import NamedTuple

from rktsd.api.connection import BUS, BUS_PATH
from rktsd.api.errors import ACCESS_DENIED, INTERACTION_REQUIRED, Refused, printable
from rktsd.api.interfaces import FETCH, IMAGES, LOGS, PODS, READ
from rktsd.api.values import Typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rktsd.api.connection import Call, Connection

GROUPS = {
    READ: ("rkt", "rkt-admin"),
    FETCH: ("rkt", "rkt-admin"),
    PODS: ("rkt-admin",),
    IMAGES: ("rkt-admin",),
    LOGS: ("rkt-admin", "systemd-journal", "adm"),
}
"""Who may do what without polkit, beside root; polkit's rules say the same (org.rktsd.rules)."""

_POLKIT = "org.freedesktop.PolicyKit1"
_AUTHORITY = "/org/freedesktop/PolicyKit1/Authority"
# Nobody is that, and nobody can be started to be it.
_ABSENT = tuple(
    f"org.freedesktop.DBus.Error.{name}" for name in ("ServiceUnknown", "NameHasNoOwner")
)
_ASK_USER = 1
_REMEMBERED = 256


class Caller(NamedTuple):
    """Who calls; ``groups`` are those of the process where the bus knows them, else None."""

    uid: int
    groups: tuple[int, ...] | None


class Access:
    """Asks the bus who calls, and polkit whether he may."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._callers: dict[str, Caller] = {}

    def forget(self, name: str) -> None:
        """Somebody has left the bus."""
        self._callers.pop(name, None)

    async def caller(self, name: str) -> Caller:
        """Who has a unique name. Raises Refused for somebody who has left."""
        known = self._callers.get(name)
        if known is not None:
            return known
        method = "GetConnectionCredentials"
        answer = await self._connection.call(BUS, BUS_PATH, BUS, method, "s", name)
        found: Mapping[str, Typed] = {} if answer.error else answer.body[0]
        if "UnixUserID" not in found:
            raise Refused(ACCESS_DENIED, "the bus does not know who calls")
        groups = found.get("UnixGroupIDs")
        caller = Caller(
            int(found["UnixUserID"].value), None if groups is None else tuple(groups.value)
        )
        if len(self._callers) >= _REMEMBERED:
            del self._callers[next(iter(self._callers))]
        self._callers[name] = caller
        return caller

    async def check(
        self, caller: Caller, action: str, call: Call, details: Mapping[str, str]
    ) -> None:
        """Raises Refused for who may not do ``action``; ``details`` are what polkit is told."""
        if caller.uid == 0:
            return
        answer = await self._connection.call(
            _POLKIT, _AUTHORITY, f"{_POLKIT}.Authority", "CheckAuthorization", "(sa{sv})sa{ss}us",
            ("system-bus-name", {"name": Typed("s", call.sender)}), action, dict(details),
            _ASK_USER if call.interactive else 0, "",
        )  # fmt: skip
        if answer.error in _ABSENT:
            if not is_member(caller, GROUPS[action]):
                wanted = ", ".join(GROUPS[action])
                message = f"{action}: root only, and members of the groups {wanted}"
                raise Refused(ACCESS_DENIED, message)
            return
        if answer.error:
            reason = printable(str(answer.body[0]) if answer.body else answer.error)
            raise Refused(ACCESS_DENIED, f"{action}: polkit cannot be asked: {reason}")
        allowed, challenge, _ = answer.body[0]
        if not allowed:
            if challenge and not call.interactive:
                raise Refused(INTERACTION_REQUIRED, f"{action}: polkit wants to ask somebody first")
            raise Refused(ACCESS_DENIED, f"{action}: polkit does not allow that")


def is_member(caller: Caller, names: tuple[str, ...]) -> bool:
    """Whether somebody is in one of the groups."""
    import grp
    import pwd

    groups = caller.groups
    if groups is None:
        try:
            user = pwd.getpwuid(caller.uid)
        except KeyError:
            return False
        groups = tuple(os.getgrouplist(user.pw_name, user.pw_gid))
    for name in names:
        try:
            if grp.getgrnam(name).gr_gid in groups:
                return True
        except KeyError:
            continue
    return False
