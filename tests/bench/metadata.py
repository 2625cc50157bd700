"""The metadata service of one pod: its answers under load, and the first one, which starts it."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from tests.bench.agent import DIRECTORY
from tests.bench.lab import Lab, pod_file
from tests.bench.rows import PODS

ROW = "metadata"
RATE, SECONDS, TARGET = 500, 4, 100.0
"""Requests a second; appc has its clients wait 100 ms for an answer."""

_POD = "asks"


class Asked(NamedTuple):
    """Milliseconds of every answer: ``first`` when nothing ran before, ``rest`` under load."""

    first: list[float]
    rest: list[float]


def measure(lab: Lab, rounds: int) -> Asked:
    """Start a pod that asks for the service, and ask in its network."""
    (app,) = PODS["single"]
    lab.box.write(f"/etc/rkt/pods/{_POD}.toml", f"metadata = true\n{pod_file([app])}")
    lab.box.run(["systemctl", "start", f"rkt@{_POD}"], check=True)
    try:
        first = []
        for _ in range(rounds):
            lab.box.shell(f"systemctl --quiet stop rkt-metadata@{_POD}.service 2>/dev/null")
            first += _ask(lab, 1)
        return Asked(first, _ask(lab, RATE * SECONDS))
    finally:
        lab.box.run(["systemctl", "stop", f"rkt@{_POD}"])


def _ask(lab: Lab, number: int) -> list[float]:
    config = f"/run/rkt/pods/{_POD}/apps/*/config.json"
    script = (
        f"url=$(grep -o 'http://127[^\"]*' {config});"
        f" exec nsenter --net=/run/rkt/pods/{_POD}/netns"
        f" python3 -IS {DIRECTORY}/asking.py $url {number} {RATE}"
    )
    return [float(line) for line in lab.box.shell(script).splitlines()]


def text(asked: Asked) -> str:
    """For people."""
    worst = _share(asked.rest, 0.99)
    verdict = "OVER" if worst > TARGET else "ok"
    return (
        f"Metadata service, {RATE} requests a second: answers [{ROW}], ms\n"
        f"median {median(asked.rest):.1f}   99 % within {worst:.1f}   {TARGET:.0f} {verdict}\n"
        f"first one, which starts it: median {median(asked.first):.1f}   min {min(asked.first):.1f}"
    )


def _share(values: Sequence[float], share: float) -> float:
    """What that share of the values does not exceed."""
    return sorted(values)[max(0, round(len(values) * share) - 1)]
