"""Fuzz the parsers for as long as you like.

::

    /usr/bin/python3 -m tests.fuzz --list
    /usr/bin/python3 -m tests.fuzz --seconds 600 tar image-manifest     # or no name: all in turn
    /usr/bin/python3 -m tests.fuzz --corpus DIR tar                      # every file of it, once
    pip install atheris && python -m tests.fuzz --atheris tar CORPUS -max_total_time=3600

Without atheris the inputs are those of hypothesis, made from honest ones, with a new seed each
time; the suite runs the same targets for a moment with a fixed seed. With atheris
(https://pypi.org/project/atheris, a Python that it has wheels for, with requests installed) the
coverage of the parsers guides the search; what stands behind the target is for libFuzzer. An input
that breaks a promise is kept: atheris writes it to crash-*, otherwise it is printed.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path


def replay(name: str, corpus: str) -> None:
    from tests.fuzz.targets import TARGETS

    for path in sorted(Path(corpus).rglob("*")):
        if path.is_file():
            TARGETS[name].run(path.read_bytes())


def wander(name: str, seconds: float) -> int:
    """Run a target on inputs of hypothesis; how many there were."""
    from hypothesis import HealthCheck, given, seed, settings

    from tests.fuzz.inputs import altered
    from tests.fuzz.targets import TARGETS

    target, count = TARGETS[name], 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:

        @seed(int.from_bytes(os.urandom(8), "big"))
        @settings(
            max_examples=1000,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(altered(target.seeds))
        def run(data: bytes) -> None:
            nonlocal count
            count += 1
            target.run(data)

        run()
    return count


def atheris(name: str, arguments: list[str]) -> None:
    import importlib

    engine = importlib.import_module("atheris")

    with engine.instrument_imports(include=["rktsd", "html"]):
        from tests.fuzz.targets import TARGETS

    corpus = tempfile.mkdtemp(prefix=f"fuzz-{name}-")
    for number, data in enumerate(TARGETS[name].seeds):
        Path(corpus, str(number)).write_bytes(data)
    run = TARGETS[name].run
    engine.Setup([sys.argv[0], *arguments, corpus], lambda data: run(data) and None)
    engine.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m tests.fuzz")
    parser.add_argument("--list", action="store_true", help="names of the targets")
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default 60)")
    parser.add_argument("--corpus", help="a directory of inputs to run")
    parser.add_argument("--atheris", action="store_true", help="let atheris search")
    parser.add_argument("targets", nargs="*")
    given, rest = parser.parse_known_args()
    if given.atheris:
        # It instruments what is imported, so that nothing may be as yet.
        name, *corpora = given.targets
        atheris(name, [*rest, *corpora])
        return
    from tests.fuzz.targets import TARGETS

    if given.list:
        sys.stdout.write("".join(f"{name}\n" for name in TARGETS))
    else:
        for name in given.targets or TARGETS:
            if given.corpus:
                replay(name, given.corpus)
            else:
                sys.stdout.write(f"{name}: {wander(name, given.seconds)} inputs\n")
                sys.stdout.flush()


main()
