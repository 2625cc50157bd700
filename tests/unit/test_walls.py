"""The walls of the house: packages import downwards only, and the start path imports little."""

from __future__ import annotations

import ast
import glob
import os
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Topmost first (man/rktsd-hacking.7.rst). A package may import itself and what stands below it.
FLOORS = (
    "cli", "api", "generate", "services", "pods", "stage1", "images", "store", "net", "systemd",
    "config",
    "appc", "host", "paths", "errors",
)  # fmt: skip
ABOVE_ALL = {"rktsd.__main__"}
ANYWHERE = {"rktsd"}

# What these do not reach, and must not: the planner is a function of data.
PURE = (
    "appc",
    "stage1/plan.py",
    "stage1/attachment.py",
    "stage1/bundle.py",
    "stage1/flavors.py",
    "stage1/fly.py",
    "stage1/processes.py",
    "stage1/mounts.py",
    "stage1/syscalls.py",
    "stage1/health.py",
    "stage1/joining.py",
    "stage1/order.py",
    "stage1/readiness.py",
    "stage1/settings.py",
    "stage1/sockets.py",
    "stage1/show.py",
    "pods/events.py",
)
EFFECTS = {"os", "subprocess", "socket", "time", "random", "shutil", "sqlite3", "requests"}

# What `systemctl start` of an unchanged pod must not import.
HEAVY = {
    "argparse", "asyncio", "ast", "dataclasses", "dbus_next", "email", "gnupg", "hashlib", "http",
    "inspect", "lxml", "pathlib", "requests", "shutil", "sqlite3", "ssl", "subprocess", "tempfile",
    "toml", "tomllib", "urllib", "uuid",
}  # fmt: skip


def _modules() -> list[str]:
    return sorted(glob.glob("rktsd/**/*.py", root_dir=ROOT, recursive=True))


def _imports(path: str) -> set[str]:
    with open(os.path.join(ROOT, path)) as file:
        tree = ast.parse(file.read())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found.add(module)
            if module in ("rktsd", *(f"rktsd.{floor}" for floor in FLOORS)):
                found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def _floor(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("path", _modules())
def test_imports_go_downwards(path: str) -> None:
    name = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    if name in ABOVE_ALL or name in ANYWHERE:
        return
    height = FLOORS.index(_floor(name))
    for imported in _imports(path):
        if not imported.startswith("rktsd.") or imported == "rktsd.__version__":
            continue
        assert FLOORS.index(_floor(imported)) >= height, f"{path} imports {imported}"


@pytest.mark.parametrize("path", _modules())
def test_pure_modules_have_no_effects(path: str) -> None:
    if not path.startswith(tuple(f"rktsd/{pure}" for pure in PURE)):
        return
    reached = {module.split(".")[0] for module in _imports(path)} & EFFECTS
    # names.py asks the kernel what machine this is.
    assert reached <= ({"os"} if path == "rktsd/appc/names.py" else set()), f"{path}: {reached}"


def test_the_start_path_imports_little() -> None:
    script = (
        "import sys; sys.path[:0] = [sys.argv[1]];"
        "import rktsd.services.start, rktsd.net.setup, rktsd.net.config;"
        "print(*sorted(sys.modules), sep='\\n')"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", "-c", script, ROOT], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.splitlines())
