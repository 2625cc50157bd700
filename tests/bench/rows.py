"""What is compared. A row is our command, those of peers, and the ratios that are to be kept.

All run the same root, with the program of stamp.c in it.
"""

from typing import NamedTuple

from tests.bench.agent import STAMPS

RETURNED, FIRST, BOTH = "command returns", "first instruction", "both"
"""Until when the time is taken; of several apps the last one counts."""

ROOT, IMAGE = "/var/lib/machines/bench", "bench.example/stamp"
PODS = {"single": ("one",), "pair": ("one", "two"), "published": ("one",)}
"""Pods in the box, with their apps; app A writes the stamp A."""
PORTS = {"published": 18080}
"""Of those that are on the default network, the port of the host that they publish."""


class Contender(NamedTuple):
    """``timed`` is what is measured, until it has returned and until the ``stamps`` are there.

    ``before`` it come commands and the stamps of apps that are to be ``running``; then ``probes``,
    whose output is kept, and ``after`` that commands that clean up. All without a shell. ``settle``
    is a pause in seconds before and after.
    """

    name: str
    timed: tuple[str, ...]
    stamps: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    settle: float = 0.3

    @property
    def measures(self) -> tuple[str, ...]:
        return (RETURNED, FIRST, BOTH)[: min(len(self.stamps), 2) + 1]


class Peer(NamedTuple):
    """Our time until ``ours`` is to be at most ``target`` times the peer's until ``theirs``."""

    contender: Contender
    target: float | None = None
    ours: str = RETURNED
    theirs: str = RETURNED


class Row(NamedTuple):
    name: str
    title: str
    ours: Contender
    peers: tuple[Peer, ...]


_NSPAWN = f"systemd-nspawn -q -D {ROOT} --register=no --keep-unit --console=pipe"
_SERVICE = "systemd-run -q --unit=bench -p Type=notify -p KillMode=mixed"
_PODMAN = f"podman run -d --volume={STAMPS}:/stamps"
_PODMAN_ONE = f"{_PODMAN} --network=none --name=one bench /bin/stamp /stamps/one"
_PODMAN_PAIR = (
    "podman pod create --name=pair --network=none",
    f"{_PODMAN} --pod=pair bench /bin/stamp /stamps/one",
    f"{_PODMAN} --pod=pair bench /bin/stamp /stamps/two",
)
_START, _STOP = ("systemctl start rkt@single",), ("systemctl stop rkt@single",)
_BOUND = f"--kill-signal=SIGTERM --bind={STAMPS}:/stamps /bin/stamp /stamps/one"

START = Contender("systemctl start rkt@POD", _START, ("one",), after=_STOP)
PAIR = Contender(
    "systemctl start rkt@POD",
    ("systemctl start rkt@pair",),
    ("one", "two"),
    after=("systemctl stop rkt@pair",),
)
STOP = Contender("systemctl stop rkt@POD", _STOP, before=_START, running=("one",))

PUBLISHED = Contender(
    "systemctl start rkt@POD",
    ("systemctl start rkt@published",),
    ("one",),
    after=("systemctl stop rkt@published",),
)

NSPAWN_TRUE = Contender("nspawn true, to its end", (f"systemd-run -q --wait {_NSPAWN} /bin/true",))
NSPAWN = Contender(
    "nspawn, notify",
    (f"{_SERVICE} {_NSPAWN} {_BOUND}",),
    ("one",),
    after=("systemctl stop bench",),
)
PODMAN = Contender("podman run -d", (_PODMAN_ONE,), ("one",), after=("podman rm -f one",))
PODMAN_PAIR = Contender(
    "podman pod create, run -d x 2", _PODMAN_PAIR, ("one", "two"), after=("podman pod rm -f pair",)
)
PODMAN_STOP = Contender(
    "podman stop",
    ("podman stop one",),
    before=(_PODMAN_ONE,),
    running=("one",),
    after=("podman rm -f one",),
)

PODMAN_PUBLISHED = Contender(
    "podman run -d -p",
    (f"{_PODMAN} -p=18081:80 --name=one bench /bin/stamp /stamps/one",),
    ("one",),
    after=("podman rm -f one",),
)

ROWS = (
    Row(
        "start",
        "One app, no network, image stored: start",
        START,
        (
            Peer(NSPAWN_TRUE, 1.5, ours=FIRST),
            Peer(NSPAWN),
            Peer(PODMAN, 0.85, ours=FIRST, theirs=FIRST),
        ),
    ),
    Row(
        "pair",
        "Two apps in one pod, no network: start, until both run",
        PAIR,
        (Peer(PODMAN_PAIR, 0.35, ours=BOTH, theirs=BOTH),),
    ),
    Row("stop", "Stop of an app that ends on SIGTERM", STOP, (Peer(PODMAN_STOP, 0.5),)),
    Row(
        "ports",
        "One app, default network, a published port: start",
        PUBLISHED,
        (Peer(PODMAN_PUBLISHED, 0.5, theirs=RETURNED),),
    ),
)
