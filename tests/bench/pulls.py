"""What fetching costs beside peers: wall and processor time, memory, and images that are there."""

import contextlib
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from rktsd.store import publish
from rktsd.store.records import ImageRecord
from rktsd.store.store import Store
from tests.bench import pullimage
from tests.bench.report import ratios, table
from tests.bench.scene import (
    CPU,
    DISK,
    SITE,
    TMPFS,
    WALL,
    PullError,
    Scene,
    check,
    open_scene,
    run,
    started,
    work_in,
)  # fmt: skip

ROW, REFETCH, LIST = "pull", "refetch", "list"
ROWS = (ROW, REFETCH, LIST)
MOST_ROUNDS = 5
MOST_MEMORY = 150


class Tool(NamedTuple):
    """``commands`` are shell, in a new directory that is the current one; the last one is timed."""

    name: str
    commands: tuple[str, ...]


class Judged(NamedTuple):
    """What times of ``ours`` may be at most of those of ``peer``, by place and measure."""

    ours: str
    peer: str
    targets: Mapping[tuple[str, str], float]


class Table(NamedTuple):
    """What is printed of a row, and every number in it, in ``unit``."""

    row: str
    text: str
    unit: str
    numbers: Mapping[str, Mapping[str, Sequence[float]]]


Times = dict[str, dict[tuple[str, str], list[float]]]
"""Seconds of each round by tool, then by place and measure."""

OCI, ACI, SHARED = "rkt fetch", "rkt fetch of the ACI, signed", "rkt fetch, one layer new"
PODMAN, UMOCI = "podman pull", "skopeo copy, umoci unpack"
_EVERYWHERE = [(place, measure) for place in (DISK, TMPFS) for measure in (WALL, CPU)]
_CPU = {(DISK, CPU): 0.5, (TMPFS, CPU): 0.5}
JUDGED = (
    Judged(OCI, PODMAN, {(DISK, WALL): 0.8, (TMPFS, WALL): 0.5, **_CPU}),
    Judged(OCI, UMOCI, {(DISK, WALL): 0.4, (TMPFS, WALL): 0.4}),
    Judged(ACI, OCI, {(DISK, WALL): 1.0, (TMPFS, WALL): 1.0}),
    Judged(SHARED, OCI, {(DISK, WALL): 0.2, (TMPFS, WALL): 0.2}),
)


def tools(scene: Scene) -> list[Tool]:
    """What is compared; peers that are not installed are left out."""
    rkt = f"{scene.rkt} --dir=data --local-config={pullimage.PLACE}/etc"
    fetch = f"{rkt} --insecure-options=image,http fetch docker://{scene.host}/large"
    found = [
        Tool(OCI, (f"{fetch}:v1",)),
        Tool(SHARED, (f"{fetch}:v1", f"{fetch}:v2")),
        Tool(
            ACI,
            (f"{rkt} --insecure-options=http fetch http://127.0.0.1:{SITE}/large.aci",),
        ),
    ]
    if shutil.which("podman"):
        podman = "podman --root=$PWD/root --runroot=$PWD/run --storage-driver=overlay"
        found.append(Tool(PODMAN, (f"{podman} pull --tls-verify=false {scene.host}/large:v1",)))
    if shutil.which("umoci") and shutil.which("skopeo"):
        copy = f"skopeo copy --src-tls-verify=false docker://{scene.host}/large:v1 oci:oci:v1"
        found.append(Tool(UMOCI, (f"{copy} && umoci unpack --image oci:v1 bundle",)))
    return found


def measure(deb: str, rows: Sequence[str], rounds: int) -> Iterator[Table]:
    """Tables of ``rows``, each when it is complete.

    Raises PullError, RuntimeError, OSError, CalledProcessError.
    """
    material = pullimage.make()
    with open_scene(deb, material) as scene:
        if ROW in rows:
            times = _pulls(scene, min(rounds, MOST_ROUNDS))
            title = f"Pull and unpack {material.size / 1e6:.0f} MB in 5 layers, {material.files}"
            text = f"{title} files [{ROW}], s\n{pull_table(times)}"
            numbers = {
                tool: {" ".join(key): values for key, values in found.items()}
                for tool, found in times.items()
            }
            yield Table(ROW, text, "s", numbers)
            yield _memory(scene)
        if REFETCH in rows:
            yield _refetch(scene, rounds)
        if LIST in rows:
            yield _list(scene, rounds)


def pull_table(times: Times) -> str:
    """A line for each tool, place and measure; a ratio over its target is marked."""
    lines: list[tuple[str, ...]] = [("", "", "median", "min", "")]
    for tool, found in times.items():
        for number, key in enumerate(_EVERYWHERE):
            name = "" if number else tool
            values = found[key]
            lines.append((name, " ".join(key), f"{median(values):.2f}", f"{min(values):.2f}", ""))
    absent = [name for name in (PODMAN, UMOCI) if name not in times]
    notes = [f"{name}: not installed, left out" for name in absent]
    judged = [("", "", "ratio", "of mins", "target")]
    for ours, peer, targets in JUDGED:
        if ours not in times or peer not in times:
            continue
        for number, key in enumerate(_EVERYWHERE):
            of_medians, of_minima = ratios(times[ours][key], times[peer][key])
            target = targets.get(key)
            said = (
                "" if target is None else f"{target:.2f} {'OVER' if of_medians > target else 'ok'}"
            )
            name = "" if number else f"{ours} / {peer}"
            judged.append((name, " ".join(key), f"{of_medians:.2f}", f"{of_minima:.2f}", said))
    return "\n".join([table(lines), table(judged), *notes])


def _pulls(scene: Scene, rounds: int) -> Times:
    """Round by round, every tool in turn and another one first."""
    times: Times = defaultdict(lambda: defaultdict(list))
    turns = [(tool, place) for place in (DISK, TMPFS) for tool in tools(scene)]
    for number in range(rounds):
        start = number * 3 % len(turns)
        for tool, place in turns[start:] + turns[:start]:
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[Kround {number + 1} of {rounds}: {tool.name}, {place}\r")
            with work_in(scene.scratch[place]) as directory:
                for command in tool.commands[:-1]:
                    run(command, directory)
                os.sync()
                found = zip((WALL, CPU), run(tool.commands[-1], directory), strict=True)
                for name, value in found:
                    times[tool.name][place, name].append(value)
                if tool.name == SHARED:
                    _check_moved(directory)
    return {tool.name: times[tool.name] for tool in tools(scene)}


def _check_moved(directory: str) -> None:
    """Raises PullError when more was downloaded than the layer that is new."""
    with open(f"{directory}/output", encoding="utf-8") as file:
        moved = [line for line in file if "downloading layer" in line]
    if len(moved) != 1:
        raise PullError(f"{SHARED}: {len(moved)} layers were downloaded")


def _memory(scene: Scene) -> Table:
    """The most memory that all processes of a pull have at a time, shared pages once."""
    lines: list[tuple[str, ...]] = [("", "", "MB", "target")]
    numbers = {}
    for tool in tools(scene):
        if tool.name in (OCI, ACI):
            found = _most_memory(tool.commands[-1], scene) / 1e6
            said = f"{MOST_MEMORY} {'OVER' if found > MOST_MEMORY else 'ok'}"
            lines.append((tool.name, "", f"{found:.0f}", said))
            numbers[tool.name] = {"PSS": [found]}
    return Table(ROW, f"Most memory while pulling [{ROW}]\n{table(lines)}", "MB", numbers)


def _most_memory(command: str, scene: Scene) -> int:
    most = 0
    with work_in(scene.scratch[TMPFS]) as directory:
        with started(f"exec {command}", directory) as process:
            while process.poll() is None:
                most = max(most, sum(map(_proportional, _family(process.pid))))
                time.sleep(0.02)
        check(process, command, directory)
    return most


def _family(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children", encoding="ascii") as file:
                    found += map(int, file.read().split())
    return found


def _proportional(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def _refetch(scene: Scene, rounds: int) -> Table:
    """What has not changed is one question, and hardly more than a start of the program."""
    fetches = {tool.name: tool.commands[-1] for tool in tools(scene) if tool.name in (OCI, ACI)}
    with work_in(scene.scratch[TMPFS]) as directory:
        for command in fetches.values():
            run(command, directory)
        commands = {"rkt version": f"{scene.rkt} version", **fetches}
        times = _in_turn(commands, directory, rounds)
    return _compared("Fetch of what has not changed", REFETCH, times, 1.5)


def _list(scene: Scene, rounds: int) -> Table:
    with work_in(scene.scratch[TMPFS]) as directory:
        commands = {}
        for count in (10, 1000):
            _fill(f"{directory}/{count}/cas", count)
            commands[f"{count:,} images"] = f"{scene.rkt} --dir={count} image list"
        times = _in_turn(commands, directory, rounds)
    return _compared("rkt image list", LIST, times, 2.0)


def _in_turn(
    commands: Mapping[str, str], directory: str, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each command by WALL and CPU, after one round to warm up."""
    times: dict[str, dict[str, list[float]]] = {name: {WALL: [], CPU: []} for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            for key, value in zip((WALL, CPU), run(f"exec {command}", directory), strict=True):
                if number:
                    times[name][key].append(1000 * value)
    return times


def _compared(
    title: str, row: str, times: Mapping[str, Mapping[str, Sequence[float]]], target: float
) -> Table:
    """The commands behind the first one beside it."""
    lines: list[tuple[str, ...]] = [("", "", "median", "min", "ratio", "of mins", "target")]
    first = next(iter(times.values()))
    for name, found in times.items():
        for key, values in found.items():
            shown = "" if key == CPU else name
            line = shown, key, f"{median(values):.1f}", f"{min(values):.1f}"
            compared: tuple[str, ...] = ()
            if found is not first:
                of_medians, of_minima = ratios(values, first[key])
                compared = f"{of_medians:.2f}", f"{of_minima:.2f}"
                if key == WALL:
                    compared += (f"{target:.2f} {'OVER' if of_medians > target else 'ok'}",)
            lines.append((*line, *compared))
    return Table(row, f"{title} [{row}], ms\n{table(lines)}", "ms", times)


def _fill(root: str, count: int) -> None:
    with Store.open(root, create=True) as store:
        for number in range(count):
            record = ImageRecord(
                id=f"sha512-{number:064x}",
                name=f"bench.example/{number}",
                labels=(),
                kind="oci",
                layers=(),
                size=number,
                import_time=0,
                last_used=0,
                source=f"bench:{number}",
                verified_by="insecure",
            )
            publish.add_image(store, record, b"{}")
