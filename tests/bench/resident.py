"""What a pod keeps in memory beside its apps: supervisors, monitors, pause processes.

The row is ours beside podman's pods. Its numbers are proportional set sizes (PSS) in KiB, of every
process that came with the pod, without the app's own.
"""

from collections.abc import Mapping, Sequence
from statistics import median

from tests.bench.agent import DIRECTORY, Answer
from tests.bench.report import ratios, table
from tests.bench.rows import PAIR, PODMAN, PODMAN_PAIR, START, Contender

ROW = "pss"
APP = "stamp"
_PROBE = (f"/usr/bin/python3 -IS {DIRECTORY}/memory.py",)
# The clock of processes has no finer ticks.
_TICK = 10_000_000

_ONE = START._replace(name="rkt@POD, 1 app", probes=_PROBE)
_TWO = PAIR._replace(name="rkt@POD, 2 apps", probes=_PROBE)
_PODMAN_ALONE = PODMAN._replace(name="podman, no pod, 1 app", probes=_PROBE)
_PODMAN_ONE = PODMAN._replace(
    name="podman pod, 1 app",
    timed=PODMAN_PAIR.timed[:2],
    after=PODMAN_PAIR.after,
    probes=_PROBE,
)
_PODMAN_TWO = PODMAN_PAIR._replace(name="podman pod, 2 apps", probes=_PROBE)
CONTENDERS: tuple[tuple[Contender, Contender | None], ...] = (
    (_ONE, None), (_PODMAN_ALONE, _ONE), (_PODMAN_ONE, _ONE), (_TWO, None), (_PODMAN_TWO, _TWO),
)  # fmt: skip
"""Who is measured, and ours where it is a peer."""


def sizes(answer: Answer) -> tuple[float, str]:
    """KiB of what came with the pod, and of which processes."""
    total, names = 0, []
    for line in answer["probes"][0].splitlines():
        started, size, name = line.split(" ", 2)
        if int(started) >= answer["started"] - _TICK and name != APP:
            total += int(size)
            names.append(name)
    return float(total), ", ".join(sorted(names)) or "nothing"


def resident_table(
    found: Mapping[str, Sequence[float]], names: Mapping[str, str], *, rounds: int
) -> str:
    """A line for each contender with what it is made of; ratios of ours to each peer."""
    lines: list[tuple[str, ...]] = [("", "", "median", "min", "ratio", "of mins")]
    for (name, *_), ours in CONTENDERS:
        values = found[name]
        line = name, names[name], f"{median(values):.0f}", f"{min(values):.0f}"
        both = ratios(found[ours.name], values) if ours else ()
        lines.append((*line, *(f"{each:.2f}" for each in both)))
    return f"Memory beside the apps, PSS, {rounds} rounds [{ROW}], KiB\n{table(lines)}"
