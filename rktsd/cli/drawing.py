"""What hangs on what, drawn: a tree of text, or the language of Graphviz. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rktsd.cli.context import one_line

# What stands before a child, before the last one, and before what hangs on each of these.
_LINES = ("├─ ", "└─ ", "│  ", "   ")
_ASCII = ("|- ", "`- ", "|  ", "   ")


class Node(NamedTuple):
    """Nodes with the same ``key`` are one thing, which Graphviz draws once."""

    key: str
    text: str
    branches: tuple[Branch, ...] = ()


class Branch(NamedTuple):
    """All ``nodes`` that are to another one what ``name`` says; without any it is not drawn."""

    name: str
    nodes: Sequence[Node]


def has_lines(environment: Mapping[str, str]) -> bool:
    """Whether the locale is one of UTF-8, as locale(7) finds it; none at all is taken for one."""
    first = next(filter(None, map(environment.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "UTF-8")
    if not environment.get("LC_ALL") and environment.get("LANG") in ("C", "POSIX"):
        # Where Python finds C it has set LC_CTYPE=C.UTF-8 before we could look (PEP 538).
        return first not in ("C", "POSIX", "C.UTF-8")
    return first.lower().replace("-", "").endswith("utf8")


def tree(roots: Sequence[Node], *, lines: bool) -> str:
    """Every root with what hangs on it, an empty line between two; ASCII unless ``lines``."""
    marks = _LINES if lines else _ASCII
    return "\n".join("".join(f"{line}\n" for line in _node(root, marks)) for root in roots)


def _node(node: Node, marks: tuple[str, str, str, str]) -> Iterator[str]:
    yield one_line(node.text)
    branches = [branch for branch in node.branches if branch.nodes]
    for branch in branches:
        yield from _hung(_branch(branch, marks), marks, last=branch is branches[-1])


def _branch(branch: Branch, marks: tuple[str, str, str, str]) -> Iterator[str]:
    yield one_line(branch.name)
    for number, node in enumerate(branch.nodes, 1):
        yield from _hung(_node(node, marks), marks, last=number == len(branch.nodes))


def _hung(texts: Iterator[str], marks: tuple[str, str, str, str], *, last: bool) -> Iterator[str]:
    yield (marks[1] if last else marks[0]) + next(texts)
    for text in texts:
        yield (marks[3] if last else marks[2]) + text


def dot(roots: Sequence[Node], *, name: str) -> str:
    """A directed graph as dot(1) reads it; its edges are called as the branches are."""
    nodes: dict[str, str] = {}
    edges: dict[tuple[str, str, str], None] = {}
    waiting = list(reversed(roots))
    while waiting:
        node = waiting.pop()
        if node.key not in nodes or node.branches:
            # Where all is told of it, not where it is only mentioned.
            nodes[node.key] = node.text
        for branch in node.branches:
            edges.update(dict.fromkeys((node.key, x.key, branch.name) for x in branch.nodes))
        waiting += [x for branch in reversed(node.branches) for x in reversed(branch.nodes)]
    lines = [f"digraph {_quoted(name)} {{", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f"  {_quoted(key)} [label={_label(text)}];" for key, text in nodes.items()]
    lines += [
        f"  {_quoted(start)} -> {_quoted(end)} [label={_label(text)}];"
        for start, end, text in edges
    ]
    return "".join(f"{line}\n" for line in (*lines, "}"))


def _quoted(text: str) -> str:
    escaped = one_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _label(text: str) -> str:
    """In labels dot(1) replaces HTML entities as well."""
    return _quoted(text.replace("&", "&amp;"))
