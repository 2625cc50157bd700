"""The boxes that system tests run in, with the package that ``make deb`` builds installed."""

import glob
import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.box import Box, BoxError, syscalls

_REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_JOURNAL_LINES = "80"
_BOXES = pytest.StashKey[list[Box]]()

BoxFactory = Callable[..., Box]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--deb", metavar="FILE", help="package that boxes install ($RKTSD_DEB; newest of dist/)"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not _root_is_a_mount():
        # A plain chroot: ip-netns(8) and buildah, for two, want to change the mount of the root.
        syscalls.leave_chroot()
    config.stash[_BOXES] = []


def _root_is_a_mount() -> bool:
    with open("/proc/self/mountinfo") as mounts:
        return any(line.split()[4] == "/" for line in mounts)


@pytest.fixture(scope="session")
def deb(pytestconfig: pytest.Config) -> str:
    """The project's package file."""
    named = pytestconfig.getoption("deb") or os.environ.get("RKTSD_DEB")
    if named:
        if not os.path.isfile(named):
            pytest.fail(f"{named}: no such package file", pytrace=False)
        return str(named)
    found = glob.glob(os.path.join(_REPOSITORY, "dist", "rktsd_*.deb"))
    if not found:
        pytest.fail("no package in dist/: make deb first", pytrace=False)
    return max(found, key=os.path.getmtime)


@pytest.fixture(scope="session")
def box(pytestconfig: pytest.Config, deb: str) -> Iterator[Box]:
    """The box that all tests of a session share; leave it as you found it."""
    with Box(debs=[deb]) as shared:
        pytestconfig.stash[_BOXES].append(shared)
        yield shared
        pytestconfig.stash[_BOXES].remove(shared)


@pytest.fixture
def bare_box(pytestconfig: pytest.Config) -> Iterator[BoxFactory]:
    """Makes boxes of a test's own: ``bare_box(**what Box takes)``; nothing of ours is in them."""
    boxes = pytestconfig.stash[_BOXES]
    before = list(boxes)
    with ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> Box:
            made = stack.enter_context(Box(*arguments, **options))
            boxes.append(made)
            return made

        yield make
    boxes[:] = before


@pytest.fixture
def make_box(bare_box: BoxFactory, deb: str) -> BoxFactory:
    """Makes boxes of a test's own with the package installed, to switch off or break."""
    return lambda *arguments, **options: bare_box(*arguments, **{"debs": [deb], **options})


@pytest.fixture(scope="session")
def debian13() -> str:
    """A Debian 13 tree (systemd 257) to boot; made once, kept in $RKTSD_CACHE or tests/.cache."""
    cache = os.environ.get("RKTSD_CACHE") or os.path.join(_REPOSITORY, "tests", ".cache")
    root = os.path.join(cache, "trixie")
    script = os.path.join(_REPOSITORY, "tests", "box", "debian-root")
    done = subprocess.run(["sh", script, "trixie", root], capture_output=True, text=True)
    if done.returncode != 0:
        lines = f"{done.stdout}{done.stderr}".splitlines()
        pytest.fail("debian-root: " + "\n".join(lines[-20:]), pytrace=False)
    return root


@pytest.hookimpl(hookwrapper=True)  # type: ignore[untyped-decorator]  # pluggy 1.0 has no types
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    boxes = item.config.stash[_BOXES]
    for number, running in enumerate(boxes):
        try:
            tail = running.journal("-n", _JOURNAL_LINES, "-o", "short-precise")
        except BoxError as error:
            tail = str(error)
        report.sections.append((f"journal of box {number}", tail))
