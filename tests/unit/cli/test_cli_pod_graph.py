"""``rkt pod graph``: what is drawn of a pod that runs, and of one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rktsd.cli.drawing import dot, tree
from rktsd.cli.main import main
from rktsd.cli.podgraph import Living, drawn
from rktsd.paths import Paths
from rktsd.pods.directories import RUN
from rktsd.pods.query import AppStatus, Place, PodStatus
from tests.unit.pods.disk import UUIDS, make_pod

PLACE = Place(UUIDS[0], RUN, "/pods/run/x", "web")


def app(name: str, state: str) -> AppStatus:
    mounted = [{"volume": "site", "path": "/srv"}, {"volume": "own", "path": f"/var/{name}"}]
    image = f"example.com/{name}:1"
    return AppStatus(name, state, "sha512-0", image, 0, 0, None, None, {"mounts": mounted})


def status(state: str) -> PodStatus:
    port = {"hostIP": "127.0.0.1", "hostPort": 8080, "podPort": 80, "protocol": "tcp"}
    other = {"hostIP": None, "hostPort": 53, "podPort": 53, "protocol": "udp"}
    network = {"netName": "default", "ifName": "eth0", "ip": "172.16.28.2", "ip6": "fd00::2"}
    volumes = [
        {"name": "site", "kind": "host", "source": "/srv/site", "readOnly": True},
        {"name": "own", "kind": "empty"},
    ]
    return PodStatus(
        PLACE,
        state,
        0,
        0,
        [{**network, "ports": [port, other]}],
        (app("one", state), app("two", "exited")),
        {"volumes": volumes},
    )


LIVING = Living(
    {
        "rkt-web.one.service": "active",
        "rkt-web.two._health.timer": "active",
        "rkt-web.slice": "active",
        "rkt@web.service": "active",
    },
    {"one": ["net:[7]", "user:[1]"]},
    frozenset({"net:[2]", "user:[1]"}),
)
RUNNING = f"""\
web ({UUIDS[0]}, running)
|- unit
|  `- rkt@web.service (active)
|- slice
|  `- rkt-web.slice (active)
|     `- units
|        |- rkt-web.one.service (active)
|        |  `- runs
|        |     `- app one (example.com/one:1, running)
|        |        |- namespaces
|        |        |  |- net:[7]
|        |        |  `- user:[1], the host's
|        |        |- mount /srv, read-only
|        |        |  `- /srv/site
|        |        `- mount /var/one
|        |           `- volume own
|        `- rkt-web.two._health.timer (active)
|- apps
|  `- app two (example.com/two:1, exited)
|     |- mount /srv, read-only
|     |  `- /srv/site
|     `- mount /var/two
|        `- volume own
`- networks
   `- default (eth0, 172.16.28.2, fd00::2)
      `- ports
         |- 127.0.0.1:8080/tcp -> 80
         `- 53/udp -> 53
"""


def test_a_pod_that_runs() -> None:
    root = drawn(status("running"), LIVING)
    assert tree([root], lines=False) == RUNNING
    graph = dot([root], name="web").splitlines()
    assert graph.count('  "path /srv/site" [label="/srv/site"];') == 1
    for name in ("one", "two"):
        edge = f'"app {name}" -> "path /srv/site" [label="mount /srv, read-only"]'
        assert graph.count(f"  {edge};") == 1
    assert '  "unit rkt-web.slice" -> "unit rkt-web.one.service" [label="units"];' in graph


def test_a_pod_that_does_not_run() -> None:
    lines = tree([drawn(status("exited"), None)], lines=False).splitlines()
    assert lines[:3] == [
        f"web ({UUIDS[0]}, exited)",
        "|- apps",
        "|  |- app one (example.com/one:1, exited)",
    ]
    assert not any("unit" in line or "slice" in line or "namespace" in line for line in lines)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = Paths(data=str(tmp_path / "data"), local_config=str(tmp_path / "etc"))
    make_pod(paths, UUIDS[0], RUN, status={"one": "success exited 0"})
    places = [f"--dir={paths.data}", f"--local-config={paths.local_config}", "pod", "graph"]
    assert main([*places, "--format=dot", UUIDS[0][:8]]) == 0
    assert capsys.readouterr().out.startswith(f'digraph "{UUIDS[0]}" {{\n')
    for words, message in (
        ([], "exactly one pod has to be given"),
        (["none"], 'no matches found for "none"'),
        (["--format=svg", UUIDS[0]], '--format: unknown format "svg", not one of tree, dot'),
    ):
        assert main([*places, *words]) == 254
        said = capsys.readouterr()
        assert (said.out, said.err.removesuffix("\n").partition(": ")[2]) == ("", message)
