"""Numbers to text: medians, minima, ratios. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median

from tests.bench.rows import RETURNED, Contender, Peer, Row

Times = Mapping[str, Sequence[float]]
"""Milliseconds of each round, by what they were taken until."""

_HEAD = ("", "until", "median", "min", "ratio", "of mins", "target")


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Of the medians, and of the minima: what load on the machine touches least."""
    return median(ours) / median(theirs), min(ours) / min(theirs)


def row_table(row: Row, times: Mapping[str, Times]) -> str:
    """The times of our contender and its peers by name; a ratio over its target is marked."""
    ours = times[row.ours.name]
    lines = [_HEAD, *(_line(row.ours, until, ours) for until in row.ours.measures)]
    for peer in row.peers:
        theirs = times[peer.contender.name]
        for until in peer.contender.measures:
            line = _line(peer.contender, until, theirs)
            lines.append((*line, *_comparison(peer, until, ours, theirs)))
    return f"{row.title} [{row.name}], ms\n{table(lines)}"


def _line(contender: Contender, until: str, times: Times) -> tuple[str, ...]:
    name = contender.name if until == RETURNED else ""
    return name, until, f"{median(times[until]):.1f}", f"{min(times[until]):.1f}"


def _comparison(peer: Peer, until: str, ours: Times, theirs: Times) -> tuple[str, ...]:
    judged = until == peer.theirs
    found = ratios(ours[peer.ours if judged else until], theirs[until])
    cells = (f"{found[0]:.2f}", f"{found[1]:.2f}")
    if not judged or peer.target is None:
        return cells
    return *cells, f"{peer.target:.2f} {'OVER' if found[0] > peer.target else 'ok'}"


def phase_table(title: str, rounds: Sequence[Mapping[str, float]]) -> str:
    """Median and minimum of each phase."""
    lines = [("", "", "median", "min")]
    for phase in rounds[0]:
        values = [each[phase] for each in rounds]
        lines.append((phase, "", f"{median(values):.1f}", f"{min(values):.1f}"))
    return f"{title}, ms\n{table(lines)}"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as need be, two of words and the others of numbers."""
    count = max(len(line) for line in lines)
    full = [[*line, *[""] * (count - len(line))] for line in lines]
    widths = [max(len(line[column]) for line in full) for column in range(count)]
    aligned = [
        f"{words[0]:{widths[0]}}  {words[1]:{widths[1]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(numbers, widths[2:], strict=True))
        for *words, numbers in ((line[0], line[1], line[2:]) for line in full)
    ]
    return "\n".join(line.rstrip() for line in aligned)
