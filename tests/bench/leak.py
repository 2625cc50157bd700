"""Many pods at once on the default network, each with a published port: what the last start takes
beside the first, and what is left when all have ended."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from tests.bench.lab import Lab, pod_file, times
from tests.bench.rows import RETURNED, Contender
from tests.box.traces import network_traces

ROW = "leak"
PODS, FIRST_PORT, TARGET = 200, 20000, 1.3
_FEW = 5


class Leak(NamedTuple):
    """Milliseconds of every start, in turn, and what is there at the end that was not before."""

    starts: list[float]
    left: list[str]


def measure(lab: Lab) -> Leak:
    """Start all pods one after the other, then stop them."""
    names = [f"many-{number}" for number in range(PODS + 1)]
    for number, name in enumerate(names):
        lab.box.write(f"/etc/rkt/pods/{name}.toml", pod_file([name], port=FIRST_PORT + number))
    # One before, for what is made but once; and so that every plan is at hand.
    _start(lab, names[0])
    _stop(lab, names[:1])
    before = network_traces(lab.box)
    starts = [_start(lab, name) for name in names[1:]]
    _stop(lab, names[1:])
    left = [line for line in network_traces(lab.box) if line not in before]
    return Leak(starts, left)


def _start(lab: Lab, name: str) -> float:
    unit = f"systemctl start rkt@{name}"
    return times(lab.run(Contender(unit, (unit,), (name,), settle=0)))[RETURNED]


def _stop(lab: Lab, names: Sequence[str]) -> None:
    units = [f"rkt@{name}" for name in names]
    lab.box.run(["systemctl", "stop", *units], timeout=300, check=True)


def text(leak: Leak) -> str:
    """For people. Of the first and the last starts the medians of a few count: one is chance."""
    first, last = median(leak.starts[:_FEW]), median(leak.starts[-_FEW:])
    verdict = "OVER" if last > TARGET * first else "ok"
    left = "nothing" if not leak.left else "\n".join(["", *leak.left])
    return (
        f"{len(leak.starts)} pods at once, default network, a published port: start [{ROW}], ms\n"
        f"first {first:.1f}   last {last:.1f}   ratio {last / first:.2f}   {TARGET:.2f} {verdict}\n"
        f"left when all have ended: {left}"
    )
