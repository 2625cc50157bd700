"""What fetching costs beside peers: wall and processor time, memory, and images that are there.

All in network and mounts of our own, from Debian's docker-registry on the loopback, into new
directories on the disk and on a tmpfs. Processor time is that of all processes of a command.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from rktsd.images.keystore import add_key
from rktsd.paths import Paths
from rktsd.store.records import ImageRecord
from rktsd.store.store import Store
from tests.bench import pullimage
from tests.bench.report import ratios, table
from tests.box import syscalls
from tests.images.world import private_machine
from tests.material.registry import RegistryServer

ROW, REFETCH, LIST = "pull", "refetch", "list"
ROWS = (ROW, REFETCH, LIST)
MOST_ROUNDS = 5
_SITE = 5080
_LAUNCHER = """\
#!/usr/bin/python3 -IS
import sys

sys.path.append("/usr/lib/python3/dist-packages")
sys.path.insert(0, {path!r})

from rktsd.cli.main import main

sys.exit(main())
"""
WALL, CPU = "wall", "processor"
DISK, TMPFS = "disk", "tmpfs"


class PullError(Exception):
    """A command that was to be timed failed, and what it said."""


class Tool(NamedTuple):
    """``commands`` are shell, in a new directory that is the current one; the last one is timed."""

    name: str
    commands: tuple[str, ...]


class Judged(NamedTuple):
    """What times of ``ours`` may be at most of those of ``peer``, by place and measure."""

    ours: str
    peer: str
    targets: Mapping[tuple[str, str], float]


class Scene(NamedTuple):
    """Where all is: the package unpacked, the registry, scratch by place."""

    rkt: str
    host: str
    scratch: Mapping[str, str]


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
    Judged(SHARED, OCI, {}),
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
            (f"{rkt} --insecure-options=http fetch http://127.0.0.1:{_SITE}/large.aci",),
        ),
    ]
    if shutil.which("podman"):
        podman = "podman --root=$PWD/root --runroot=$PWD/run --storage-driver=overlay"
        found.append(Tool(PODMAN, (f"{podman} pull --tls-verify=false {scene.host}/large:v1",)))
    if shutil.which("umoci") and shutil.which("skopeo"):
        copy = f"skopeo copy --src-tls-verify=false docker://{scene.host}/large:v1 oci:oci:v1"
        found.append(Tool(UMOCI, (f"{copy} && umoci unpack --image oci:v1 bundle",)))
    return found


def measure(deb: str, rows: Sequence[str], rounds: int) -> list[str]:
    """Tables of ``rows``. Raises PullError, RuntimeError, OSError, CalledProcessError."""
    material = pullimage.make()
    texts = []
    with _scene(deb, material) as scene:
        if ROW in rows:
            times = _pulls(scene, min(rounds, MOST_ROUNDS))
            texts.append(
                f"Pull and unpack {material.size / 1e6:.0f} MB in 5 layers, {material.files} files"
                f" [{ROW}], s\n{pull_table(times)}"
            )
            texts.append(f"Memory while pulling: {_memory(scene) / 1e6:.0f} MB at most (150)")
        if REFETCH in rows:
            texts.append(_refetch(scene, rounds))
        if LIST in rows:
            texts.append(_list(scene, rounds))
    return texts


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
            with _directory(scene.scratch[place]) as directory:
                for command in tool.commands[:-1]:
                    _run(command, directory)
                os.sync()
                for name, value in zip(
                    (WALL, CPU), _run(tool.commands[-1], directory), strict=True
                ):
                    times[tool.name][place, name].append(value)
    return {tool.name: times[tool.name] for tool in tools(scene)}


def _run(command: str, directory: str) -> tuple[float, float]:
    """Seconds on the clock, and of processors by all that it started."""
    start = time.monotonic()
    with _started(command, directory) as process:
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    _check(process, command, directory)
    return wall, used.ru_utime + used.ru_stime


def _started(command: str, directory: str) -> "subprocess.Popen[bytes]":
    with open(f"{directory}/output", "wb") as output:
        return subprocess.Popen(["sh", "-ec", command], cwd=directory, stdout=output, stderr=output)


def _check(process: "subprocess.Popen[bytes]", command: str, directory: str) -> None:
    if process.returncode != 0:
        with open(f"{directory}/output", encoding="utf-8", errors="replace") as file:
            raise PullError(f"{command}: {file.read()[-2000:]}")


def _memory(scene: Scene) -> int:
    """The most memory that all processes of a pull have at a time, shared pages once, in bytes."""
    most = 0
    with _directory(scene.scratch[TMPFS]) as directory:
        command = tools(scene)[0].commands[-1]
        with _started(f"exec {command}", directory) as process:
            while process.poll() is None:
                most = max(most, sum(map(_proportional, _family(process.pid))))
                time.sleep(0.02)
        _check(process, command, directory)
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


def _refetch(scene: Scene, rounds: int) -> str:
    """What has not changed is one question, and hardly more than a start of the program."""
    with _directory(scene.scratch[TMPFS]) as directory:
        fetch = tools(scene)[0].commands[-1]
        _run(fetch, directory)
        version, again = [], []
        for _ in range(rounds + 1):
            version.append(1000 * _run(f"exec {scene.rkt} version", directory)[0])
            again.append(1000 * _run(f"exec {fetch}", directory)[0])
    return _pair("Fetch of what has not changed", REFETCH, ("rkt fetch", again), 1.5,
                 ("rkt version", version))  # fmt: skip


def _list(scene: Scene, rounds: int) -> str:
    found = {}
    for count in (10, 1000):
        with _directory(scene.scratch[TMPFS]) as directory:
            _fill(f"{directory}/data/cas", count)
            command = f"exec {scene.rkt} --dir=data image list"
            found[count] = [1000 * _run(command, directory)[0] for _ in range(rounds + 1)]
    return _pair("rkt image list", LIST, ("1,000 images", found[1000]), 2.0,
                 ("10 images", found[10]))  # fmt: skip


def _pair(
    title: str,
    row: str,
    ours: tuple[str, list[float]],
    target: float,
    peer: tuple[str, list[float]],
) -> str:
    """Milliseconds of two commands, without the first of each, and how they compare."""
    lines = [("", "", "median", "min", "ratio", "of mins", "target")]
    mine, other = ours[1][1:], peer[1][1:]
    of_medians, of_minima = ratios(mine, other)
    said = f"{target:.2f} {'OVER' if of_medians > target else 'ok'}"
    lines.append((ours[0], "", f"{median(mine):.1f}", f"{min(mine):.1f}", "", "", ""))
    numbers = f"{median(other):.1f}", f"{min(other):.1f}", f"{of_medians:.2f}", f"{of_minima:.2f}"
    lines.append((peer[0], "", *numbers, said))
    return f"{title} [{row}], ms\n{table(lines)}"


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
            store.add_image(record, b"{}")


@contextlib.contextmanager
def _scene(deb: str, material: pullimage.Material) -> Iterator[Scene]:
    place = pullimage.PLACE
    shutil.rmtree(f"{place}/package", ignore_errors=True)
    subprocess.run(["dpkg-deb", "-x", deb, f"{place}/package"], check=True)
    modules = f"{place}/package/usr/lib/python3/dist-packages"
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", modules], check=True)
    with open(f"{place}/rkt", "w", encoding="utf-8") as file:
        file.write(_LAUNCHER.format(path=modules))
    os.chmod(f"{place}/rkt", 0o755)
    shutil.rmtree(f"{place}/etc", ignore_errors=True)
    paths = Paths(local_config=f"{place}/etc", system_config=f"{place}/usr")
    key = material.key
    add_key(paths, key.public, fingerprint=key.fingerprint, prefix="bench.example")
    with private_machine(), RegistryServer(f"{place}/registry") as registry:
        for tag in ("v1", "v2"):
            registry.push(f"oci:{material.layout}:{tag}", f"large:{tag}")
        site = ["/usr/bin/python3", "-m", "http.server", str(_SITE), "--bind", "127.0.0.1"]
        with subprocess.Popen(
            [*site, "--directory", material.archives], stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        ) as server:  # fmt: skip
            try:
                scratch = {each: f"{place}/scratch-{each}" for each in (DISK, TMPFS)}
                for each in scratch.values():
                    os.makedirs(each, exist_ok=True)
                syscalls.mount("tmpfs", scratch[TMPFS], kind="tmpfs")
                yield Scene(f"{place}/rkt", registry.host, scratch)
            finally:
                server.terminate()


@contextlib.contextmanager
def _directory(parent: str) -> Iterator[str]:
    """An empty directory that is gone afterwards, with what is mounted in it."""
    made = f"{parent}/work"
    _remove(made)
    os.mkdir(made)
    try:
        yield made
    finally:
        _remove(made)


def _remove(directory: str) -> None:
    # podman mounts its storage onto itself.
    subprocess.run(["umount", "-R", f"{directory}/root/overlay"], check=False, capture_output=True)
    subprocess.run(["rm", "-rf", directory], check=True)
