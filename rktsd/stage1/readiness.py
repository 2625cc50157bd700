"""When an app counts as started, and how it may talk to systemd (sd_notify(3)). Pure.

By default it is started when systemd-nspawn has its namespaces up. With ``Type = "notify"`` the app
says so. systemd-nspawn hands on READY=1 and STATUS= of the app's first process only. For the rest,
WATCHDOG=1 above all, the app needs the socket of the host's systemd itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rktsd.appc.cursor import shown
from rktsd.errors import BadInput
from rktsd.systemd import values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rktsd.stage1.types import AppFacts
    from rktsd.systemd.bus import Property

MANAGER_SOCKET = "/run/systemd/notify"

_TYPES = ("exec", "simple", "notify", "oneshot")
_ACCESS = ("none", "main", "exec", "all")
_SIGTERM = 15


class Readiness(NamedTuple):
    """``unit_type`` is Type= of the unit; ``by_app``: the app itself says when it is started.

    ``direct``: it has the manager's socket. ``watchdog`` is in microseconds, 0 for none.
    """

    unit_type: str
    by_app: bool
    direct: bool
    watchdog: int

    def properties(self) -> list[Property]:
        """What of it the unit is told."""
        found: list[Property] = [("Type", "s", self.unit_type)]
        if self.direct:
            found.append(("NotifyAccess", "s", "all"))
        if self.watchdog:
            found += [
                ("WatchdogUSec", "t", self.watchdog),
                # SIGABRT, the default, would end systemd-nspawn and not reach the app.
                ("WatchdogSignal", "i", _SIGTERM),
            ]
        return found

    def environment(self) -> dict[str, str]:
        """What of it the app is told."""
        found = {"NOTIFY_SOCKET": MANAGER_SOCKET} if self.direct else {}
        if self.watchdog:
            found["WATCHDOG_USEC"] = str(self.watchdog)
        return found


def readiness(facts: AppFacts) -> Readiness:
    """What Type=, NotifyAccess= and WatchdogSec= of an app come to. Raises BadInput."""
    table, where = facts.systemd or {}, f"app {facts.runtime.name}: systemd"
    kind, access, watchdog = check(table, where)
    if watchdog and facts.uid == 0 and access not in ("exec", "all"):
        raise BadInput(
            f"{where}.WatchdogSec: an app of user 0 could tell systemd of a main process that is"
            " not its own, and have it killed",
            hint='give it another user, or trust it: NotifyAccess = "all"',
        )
    return Readiness(
        unit_type="oneshot" if kind == "oneshot" else "notify",
        by_app=kind == "notify",
        direct=bool(watchdog) or access in ("exec", "all"),
        watchdog=watchdog,
    )


def check(table: Mapping[str, object], where: str) -> tuple[str, str, int]:
    """Type, access and watchdog in µs as they are given. Raises BadInput."""
    kind, access = table.get("Type", "exec"), table.get("NotifyAccess", "none")
    if kind not in _TYPES:
        raise BadInput(f"{where}.Type: {shown(kind)} is not one of {', '.join(_TYPES)}")
    if access not in _ACCESS:
        raise BadInput(f"{where}.NotifyAccess: {shown(access)} is not one of {', '.join(_ACCESS)}")
    watchdog = values.timespan(table.get("WatchdogSec", 0), f"{where}.WatchdogSec")
    if watchdog == values.INFINITY:
        watchdog = 0
    if kind == "oneshot" and (watchdog or access in ("exec", "all")):
        raise BadInput(f'{where}.Type: "oneshot" apps do not talk to systemd')
    if watchdog and table.get("NotifyAccess") in ("none", "main"):
        raise BadInput(f"{where}.NotifyAccess: the watchdog needs exec or all")
    return str(kind), str(access), watchdog
