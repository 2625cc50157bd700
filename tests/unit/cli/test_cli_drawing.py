"""Trees and graphs as text: what is drawn of nodes."""

from __future__ import annotations

import re

import pytest

from rktsd.cli.drawing import Branch, Node, dot, has_lines, tree

LEAF = Node("leaf", "the leaf")
BIRD = Node("bird", 'a "bird" \\N &lt;\n\x1b[31m')
ROOTS = (
    Node(
        "root",
        "the root",
        (
            Branch("bears", (Node("twig", "a twig", (Branch("bears", (LEAF,)),)), LEAF)),
            Branch("lacks", ()),
            Branch("feeds", (BIRD,)),
        ),
    ),
    Node("other", "another one"),
)
LINES = """\
the root
├─ bears
│  ├─ a twig
│  │  └─ bears
│  │     └─ the leaf
│  └─ the leaf
└─ feeds
   └─ a "bird" \\N &lt;  [31m

another one
"""
ASCII = """\
the root
|- bears
|  |- a twig
|  |  `- bears
|  |     `- the leaf
|  `- the leaf
`- feeds
   `- a "bird" \\N &lt;  [31m

another one
"""
DOT = """\
digraph "a\\"b" {
  rankdir=LR;
  node [shape=box];
  "root" [label="the root"];
  "twig" [label="a twig"];
  "leaf" [label="the leaf"];
  "bird" [label="a \\"bird\\" \\\\N &amp;lt;  [31m"];
  "other" [label="another one"];
  "root" -> "twig" [label="bears"];
  "root" -> "leaf" [label="bears"];
  "root" -> "bird" [label="feeds"];
  "twig" -> "leaf" [label="bears"];
}
"""


def test_a_tree() -> None:
    assert tree(ROOTS, lines=True) == LINES
    assert tree(ROOTS, lines=False) == ASCII
    assert tree((), lines=True) == ""


def test_a_graph_has_everything_once() -> None:
    assert dot(ROOTS, name='a"b') == DOT
    assert dot((*ROOTS, *ROOTS), name='a"b') == DOT
    mentioned = Node("root", "the root, see above")
    assert dot((*ROOTS, mentioned), name='a"b') == dot((mentioned, *ROOTS), name='a"b') == DOT


def test_nothing_ends_a_name_before_its_end() -> None:
    """Quoted strings of the language: a backslash and what it stands before, or anything else."""
    for text in ('"', "\\", '\\"', '"]; x [label="', "a\nb", "<b>"):
        graph = dot((Node(text, text, (Branch(text, (Node("x", "x"),)),)),), name=text)
        string = r'"(?:[^"\\\n]|\\["\\])*"'
        line = re.compile(rf"  {string}( -> {string})? \[label={string}\];")
        assert re.fullmatch(rf"digraph {string} {{", graph.splitlines()[0])
        assert [each for each in graph.splitlines()[3:-1] if not line.fullmatch(each)] == []
        assert len(graph.splitlines()) == 7


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "de_DE.utf8"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ({"LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "C", "LC_CTYPE": "en_GB.UTF-8"}, True),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, True),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": ""}, True),
        ({"LANG": "POSIX"}, False),
    ],
)
def test_lines_are_drawn_where_the_locale_has_them(
    environment: dict[str, str], expected: bool
) -> None:
    assert has_lines(environment) == expected
