"""python3 -m tests.bench [--rounds N] [--row NAME]... [--json FILE] [--deb FILE]

Exit status 0 whatever the times are: they are for people to judge, beside each other.
"""

import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from tests.bench import breakdown, commands, leak, metadata, pulls, resident
from tests.bench.lab import BenchError, Lab, open_lab, times
from tests.bench.report import phase_table, row_table
from tests.bench.rows import RETURNED, ROWS, Contender, Row
from tests.bench.scene import PullError
from tests.box import BoxError, CommandError

_REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_BREAKDOWN = "breakdown"
_QUIET = 1.0
_MOST_LOOKS = 5

FAILURES = (
    BenchError, BoxError, CommandError, OSError, RuntimeError, PullError,
    subprocess.CalledProcessError,
)  # fmt: skip
# What contenders are, and the Debian package that has it.
_PEERS = {"podman": "podman", "skopeo": "skopeo", "umoci": "umoci"}
# Row (or breakdown), contender, measure: a number per round.
Results = dict[str, dict[str, dict[str, list[float]]]]


def _arguments() -> argparse.Namespace:
    names = [
        *(row.name for row in (*ROWS, *commands.ROWS)),
        _BREAKDOWN,
        resident.ROW,
        leak.ROW,
        metadata.ROW,
    ]
    names += pulls.ROWS
    parser = argparse.ArgumentParser(prog="bench", description="Pods beside their peers.")
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    parser.add_argument("--row", action="append", choices=names, help="only this (repeatable)")
    parser.add_argument("--json", metavar="FILE", help="write every single time there")
    parser.add_argument("--deb", metavar="FILE", help="package to measure (newest of dist/)")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    found = glob.glob(f"{_REPOSITORY}/dist/rktsd_*.deb")
    arguments.deb = arguments.deb or max(found, key=os.path.getmtime, default=None)
    if arguments.deb is None:
        parser.error("no package in dist/: make deb first")
    arguments.row = arguments.row or names
    return arguments


def _measure(lab: Lab, rows: Sequence[Row], rounds: int) -> Results:
    """Round by round, every contender in turn and another one first; one more round to warm up."""
    turns: list[tuple[str, Contender]] = []
    for row in rows:
        turns += [(row.name, each) for each in (row.ours, *(peer.contender for peer in row.peers))]
    results: Results = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for round in range(rounds + 1 if turns else 0):
        if sys.stderr.isatty():
            sys.stderr.write(f"\rround {round} of {rounds}\r")
        start = round % len(turns)
        for row_name, contender in turns[start:] + turns[:start]:
            answer = lab.run(contender)
            for measure, value in times(answer).items():
                if round:
                    results[row_name][contender.name][measure].append(value)
    return results


def _look_into(lab: Lab, rounds: int) -> list[dict[str, float]]:
    lab.add_unit(breakdown.DROP_IN, breakdown.TRACED)
    answers = [lab.run(breakdown.TRACED_START) for _ in range(rounds + 1)]
    return [breakdown.phases(answer) for answer in answers[1:]]


def _rest(lab: Lab, rounds: int) -> tuple[str, dict[str, dict[str, list[float]]]]:
    """The table of what stays in memory, and its numbers."""
    found: dict[str, list[float]] = defaultdict(list)
    names: dict[str, str] = {}
    for _ in range(rounds):
        for contender, _ in resident.CONTENDERS:
            size, names[contender.name] = resident.sizes(lab.run(contender))
            found[contender.name].append(size)
    text = resident.resident_table(found, names, rounds=rounds)
    return text, {name: {"PSS": values} for name, values in found.items()}


def _bench(arguments: argparse.Namespace, say: Callable[[str], object]) -> None:
    missing = [package for program, package in _PEERS.items() if not shutil.which(program)]
    if missing:
        say(f"Missing, so left out or failing: {' '.join(missing)}: apt-get install them\n")
    if os.getloadavg()[0] > _QUIET:
        say(f"Warning: load average {os.getloadavg()[0]:.1f}: trust minima and ratios, not times\n")
    numbers: dict[str, Mapping[str, object]] = {}
    if set(arguments.row) - set(pulls.ROWS):
        numbers |= _bench_pods(arguments, say)
    if set(arguments.row) & set(pulls.ROWS):
        for table in pulls.measure(arguments.deb, arguments.row, arguments.rounds):
            say(f"\n{table.text}\n")
            numbers[table.unit] = {**numbers.get(table.unit, {}), table.row: table.numbers}
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"rounds": arguments.rounds, **numbers}, file, indent=1)


def _bench_pods(
    arguments: argparse.Namespace, say: Callable[[str], object]
) -> dict[str, Mapping[str, object]]:
    """Numbers by unit."""
    memory: dict[str, object] = {}
    rows = [row for row in ROWS if row.name in arguments.row]
    with open_lab(arguments.deb) as lab:
        results = _measure(lab, rows, arguments.rounds)
        looking = [row for row in commands.ROWS if row.name in arguments.row]
        if looking:
            # Not before: so many containers may be in the way of who starts one.
            commands.populate(lab)
            results |= _measure(lab, looking, arguments.rounds)
        for row in (*rows, *looking):
            say(f"\n{row_table(row, results[row.name])}\n")
        if _BREAKDOWN in arguments.row:
            looks = _look_into(lab, arguments.rounds)
            say(f"\n{phase_table(f'Where the time of one start goes [{_BREAKDOWN}]', looks)}\n")
            phases = {phase: [look[phase] for look in looks] for phase in looks[0]}
            results[_BREAKDOWN] = {breakdown.TRACED_START.name: phases}
        if resident.ROW in arguments.row:
            text, memory[resident.ROW] = _rest(lab, min(arguments.rounds, _MOST_LOOKS))
            say(f"\n{text}\n")
        if metadata.ROW in arguments.row:
            asked = metadata.measure(lab, arguments.rounds)
            say(f"\n{metadata.text(asked)}\n")
            results[metadata.ROW] = {"answers": asked._asdict()}
        if leak.ROW in arguments.row:
            found = leak.measure(lab)
            say(f"\n{leak.text(found)}\n")
            results[leak.ROW] = {"systemctl start rkt@POD": {RETURNED: found.starts}}
    return {"ms": results, "KiB": memory}


def main() -> int:
    try:
        _bench(_arguments(), sys.stdout.write)
    except FAILURES as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
