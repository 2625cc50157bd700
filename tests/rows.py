"""Which tests cover what the tests of rkt 1.30 assert: the table is made, not kept.

    /usr/bin/python3 -m tests.rows            all behaviours, each with its tests
    /usr/bin/python3 -m tests.rows --open     only those without a test, with the reason

The behaviours are in rows.toml: ``[rows]`` says what each is, ``[left-out]`` why it is none of
ours, ``[waiting]`` what has to be there first. A test says which it covers with
``@pytest.mark.row("FILE/TEST", …)``.
"""

from __future__ import annotations

import ast
import glob
import os
import sys
import tomllib
from collections.abc import Iterator
from typing import NamedTuple

_HERE = os.path.dirname(os.path.abspath(__file__))


class Rows(NamedTuple):
    """What rows.toml has, by the names of rows."""

    says: dict[str, str]
    left_out: dict[str, str]
    waiting: dict[str, str]


def rows() -> Rows:
    """The rows as they are listed."""
    with open(f"{_HERE}/rows.toml", "rb") as file:
        found = tomllib.load(file)
    return Rows(found["rows"], found["left-out"], found["waiting"])


def covering() -> dict[str, list[str]]:
    """The tests by the names of the rows that they are marked with."""
    found: dict[str, list[str]] = {}
    for path in sorted(glob.glob(f"{_HERE}/**/test_*.py", recursive=True)):
        with open(path) as file:
            tree = ast.parse(file.read(), path)
        place = os.path.relpath(path, os.path.dirname(_HERE))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                for row in _marked(node):
                    found.setdefault(row, []).append(f"{place}::{node.name}")
    return found


def _marked(function: ast.FunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.row":
            yield from (str(ast.literal_eval(each)) for each in decorator.args)


def table(*, open_only: bool = False) -> Iterator[str]:
    """The lines of the table, a row and below it what covers it or why nothing does."""
    listed, tests = rows(), covering()
    for name, says in listed.says.items():
        covered = tests.get(name, [])
        if covered and open_only:
            continue
        yield f"{name}: {says}"
        yield from (f"    {test}" for test in covered)
        if name in listed.waiting:
            yield f"    waiting: {listed.waiting[name]}"
        if name in listed.left_out:
            yield f"    left out: {listed.left_out[name]}"
    open_rows = [name for name in listed.says if name not in tests]
    yield (
        f"{len(listed.says)} rows: {len(listed.says) - len(open_rows)} covered,"
        f" {len(listed.waiting)} waiting, {len(listed.left_out)} left out"
    )


if __name__ == "__main__":
    for line in table(open_only="--open" in sys.argv[1:]):
        sys.stdout.write(f"{line}\n")
