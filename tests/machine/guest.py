"""Runs in the guest: pods that ask for more than their limits, and what became of them.

    guest.py DIRECTORY OUTPUT CHECK...

DIRECTORY has the package and the image. A line of JSON for each thing looked at goes to OUTPUT:
``[level, limit, wanted, found, whether it held]``, ``[]`` after the last one. What went wrong
instead comes as ``[null, text]``.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator

Row = tuple[str, str, str, str, bool]

_IMAGE = "example.com/busybox"
_CGROUPS = "/sys/fs/cgroup/rkt.slice"
_MEGABYTE = 1_000_000
# Seconds; an emulated machine is slow.
_PATIENCE = 300.0

_GREEDY = f"exec dd if=/dev/zero of=/dev/null bs={200 * _MEGABYTE} count=1"
_SERVE = "trap 'exit 0' TERM; echo ready; sleep 1000 & wait"
_FORKS = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait; echo all"
_CANNOT = "can't fork"
_SHARED = 'on-app-failure = "continue"\n'

_CLOCK = "now() { read a b </proc/uptime; a=${a%.*}${a#*.}; }; now; begin=$a;"

# Burns for ten seconds of the clock: hundredths of them, and of a processor's time that it got.
_BURN = (
    f"{_CLOCK} while now; [ $((a - begin)) -lt 1000 ]; do"
    " i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); done; done;"
    " set -- $(cat /proc/1/stat); echo burnt $((a - begin)) $((${14} + ${15}))"
)


def _run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


def _until(found: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not found():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {_PATIENCE:g} s: {what}")
        # To look costs the guest what the pods want to have.
        time.sleep(1)


def _app(name: str, script: str, extra: str = "") -> str:
    return (
        f'[[app]]\nname = "{name}"\nimage = "{_IMAGE}"\n'
        f"exec = ['/bin/sh', '-c', '''{script}''']\n{extra}\n"
    )


class _Pod:
    """A pod whose limits must all be applied for it to start."""

    def __init__(self, name: str, *apps: str, limits: str = "") -> None:
        self.name = name
        with open(f"/etc/rkt/pods/{name}.toml", "w", encoding="utf-8") as file:
            file.write(f'network = "none"\nstrict = true\n{limits}\n{"".join(apps)}')
        _run("systemctl", "start", f"rkt@{name}")

    def state(self, app: str) -> str:
        """The ActiveState of the unit of an app."""
        unit = f"rkt-{self.name}.{app}.service"
        return _run("systemctl", "show", "-PActiveState", unit).strip()

    def wait_ended(self, app: str) -> None:
        ended = ("inactive", "failed")
        _until(lambda: self.state(app) in ended, f"app {app} of pod {self.name} ends")

    def stop(self) -> dict[str, str]:
        """End it, if it did not by itself: what rkt status says then."""
        subprocess.run(["systemctl", "stop", f"rkt@{self.name}"], check=False)
        lines = _run("rkt", "status", self.name).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def said(self, app: str) -> list[str]:
        _run("journalctl", "--sync")
        match = [f"RKT_POD={self.name}", f"RKT_APP={app}", "_TRANSPORT=stdout"]
        return _run("journalctl", "--no-pager", "--output=cat", *match).splitlines()

    def wait_said(self, app: str, word: str) -> list[str]:
        """Wait for a line that has ``word``; the words of the first one."""
        _until(lambda: any(word in line for line in self.said(app)), f"{app} says {word}")
        return next(line for line in self.said(app) if word in line).split()

    def used(self, app: str) -> float:
        """Seconds of a processor that an app has had."""
        return int(self.group("cpu.stat", app).split()[1]) / 10**6

    def group(self, file: str, app: str | None = None) -> str:
        """What a file of the pod's control group says, or of an app's."""
        unit = f"/rkt-{self.name}.{app}.service" if app else ""
        with open(f"{_CGROUPS}/rkt-{self.name}.slice{unit}/{file}", encoding="ascii") as read:
            return " ".join(read.read().split())


def _files() -> Iterator[Row]:
    """The limits as the kernel has them."""
    limits = 'memory = "64M"\ncpu = "250m"\npids = 20\nblock-bandwidth = "1M"\nblock-iops = 100\n'
    shares = "cpu-shares = 2048\n"
    pod = _Pod("files", _app("one", _SERVE, limits + shares), limits=limits.replace("64M", "80M"))
    pod.wait_said("one", "ready")
    number = os.stat("/").st_dev
    disk = f"{os.major(number)}:{os.minor(number)} rbps=1000000 wbps=1000000 riops=100 wiops=100"
    for level, app in (("app", "one"), ("pod", None)):
        wanted = {
            "memory.max": str(64_000_000 // 4096 * 4096 if app else 80_000_000 // 4096 * 4096),
            "cpu.max": "25000 100000",
            "pids.max": "20",
            "io.max": disk,
        }
        if app:
            wanted["cpu.weight"] = "200"
        for file, value in wanted.items():
            found = pod.group(file, app)
            yield level, file, value, found, value in found
    pod.stop()


def _memory() -> Iterator[Row]:
    pod = _Pod("fits", _app("one", _GREEDY, 'memory = "300M"\n'))
    pod.wait_ended("one")
    status = pod.stop().get("app-one", "nothing")
    yield "app", "memory 300M", "200 MB fit: exit status 0", status, status == "0"
    small = 'memory = "64M"\n'
    for level, own, shared in (("app", small, ""), ("pod", "", small)):
        apps = [_app("greedy", _GREEDY, own), _app("modest", _SERVE)]
        pod = _Pod(f"greedy-{level}", *apps, limits=_SHARED + shared)
        pod.wait_said("modest", "ready")
        pod.wait_ended("greedy")
        state = pod.state("modest")
        yield level, "memory 64M", "the other app: active", state, state == "active"
        killed = pod.stop().get("app-greedy-result", "nothing")
        yield level, "memory 64M", "200 MB: rkt status says oom-kill", killed, killed == "oom-kill"


def _processor() -> Iterator[Row]:
    for level, own, shared, least, most in (
        ("none", "", "", 40, 101),
        ("app", "cpu = 0.2\n", "", 5, 30),
        ("pod", "", "cpu = 0.2\n", 5, 30),
    ):
        apps = [_app(name, _BURN, own) for name in (("one", "two") if shared else ("one",))]
        pod = _Pod(f"burn-{level}", *apps, limits=shared)
        got = 0.0
        for name in ("one", "two") if shared else ("one",):
            clock, processor = pod.wait_said(name, "burnt")[1:]
            got += 100 * int(processor) / int(clock)
        pod.stop()
        limit = "no limit" if level == "none" else "cpu 0.2"
        yield (
            level,
            limit,
            f"{least} to {most} % of a processor",
            f"{got:.0f} %",
            least < got < most,
        )
    names = ("light", "heavy")
    burn = "echo ready; while :; do :; done"
    apps = [_app("light", burn, "cpu-shares = 256\n"), _app("heavy", burn, "cpu-shares = 2048\n")]
    pod = _Pod("weights", *apps)
    for name in names:
        pod.wait_said(name, "ready")
    before = [pod.used(name) for name in names]
    time.sleep(10)
    light, heavy = (pod.used(name) - first for name, first in zip(names, before, strict=True))
    subprocess.run(["systemctl", "kill", "--signal=KILL", "rkt-weights.slice"], check=False)
    pod.stop()
    said = f"{light:.1f} s beside {heavy:.1f} s"
    yield "app", "cpu-shares 256", "less than half of 2048's time", said, 0 < light * 2 < heavy


def _processes() -> Iterator[Row]:
    limit = "pids = 7\n"
    for level, own, shared in (("none", "", ""), ("app", limit, ""), ("pod", "", limit)):
        pod = _Pod(f"forks-{level}", _app("one", _FORKS, own), limits=shared)
        if level == "none":
            said = pod.wait_said("one", "all")
            yield level, "no limit", "nine forks succeed", " ".join(said), said == ["all"]
        else:
            pod.wait_ended("one")
            failed = any(_CANNOT in line for line in pod.said("one"))
            yield level, "pids 7", "nine forks: one fails", _CANNOT if failed else "all", failed
        pod.stop()


def _disk() -> Iterator[Row]:
    size = "bs=256k count=16"
    write = (
        f"dd if=/dev/zero of=/file oflag=direct {size} 2>/dev/null && now && wrote=$((a - begin))"
    )
    read = f"now; begin=$a; dd if=/file of=/dev/null iflag=direct {size} 2>/dev/null && now"
    script = f"{_CLOCK} {write} && {read} && echo took $wrote $((a - begin)); sleep 1000"
    operations = script.replace(size, "bs=4k count=200")
    yield from _timed("bandwidth", script, 'block-bandwidth = "1M"\n', "4.2 MB at 1 MB/s")
    yield from _timed("iops", operations, "block-iops = 50\n", "200 operations at 50/s")


def _timed(kind: str, script: str, limit: str, what: str) -> Iterator[Row]:
    """Both ways of a disk must take at least three seconds with the limit, and less without."""
    for level, own, shared in (("none", "", ""), ("app", limit, ""), ("pod", "", limit)):
        pod = _Pod(f"{kind}-{level}", _app("one", script, own), limits=shared)
        took = [int(each) / 100 for each in pod.wait_said("one", "took")[1:]]
        pod.stop()
        for way, seconds in zip(("written", "read"), took, strict=True):
            held = seconds < 3 if level == "none" else seconds >= 3
            wanted = f"{what}, {way}: {'less than' if level == 'none' else 'at least'} 3 s"
            name = "no limit" if level == "none" else f"block-{kind}"
            yield level, name, wanted, f"{seconds:.1f} s", held


CHECKS: dict[str, Callable[[], Iterator[Row]]] = {
    "files": _files,
    "memory": _memory,
    "processes": _processes,
    "processor": _processor,
    "disk": _disk,
}


def main() -> None:
    """Make all checks, until one breaks."""
    directory, output, *names = sys.argv[1:]
    with open(output, "w", encoding="ascii") as channel:

        def tell(*row: object) -> None:
            channel.write(json.dumps(row) + "\n")
            channel.flush()

        try:
            # The command of the kernel's command line runs before the bus is up.
            _run("systemctl", "start", "basic.target")
            _run("dpkg", "-i", f"{directory}/rktsd.deb")
            _run("rkt", "--insecure-options=image", "fetch", f"{directory}/busybox.aci")
            os.makedirs("/etc/rkt/pods", exist_ok=True)
            for name in names:
                for row in CHECKS[name]():
                    tell(*row)
            tell()
        except Exception:
            command = ["journalctl", "--no-pager", "-n", "60"]
            journal = subprocess.run(command, capture_output=True, text=True, check=False)
            tell(None, f"{traceback.format_exc()}{journal.stdout}")


if __name__ == "__main__":
    main()
