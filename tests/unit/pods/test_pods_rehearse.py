"""Pod files looked at without a start: which file is meant, and what is hardly meant in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rktsd.errors import BadInput, NotFound, RktError, UsageError
from rktsd.paths import Paths
from rktsd.pods import rehearse
from rktsd.store.store import Store

TOML = '[[app]]\nname = "one"\nimage = "example.com/%s"\n'
MANIFEST = {
    "acKind": "PodManifest",
    "acVersion": "0.8.11",
    "colour": "red",
    "apps": [
        {
            "name": "one",
            "image": {"name": "example.com/one", "labels": [{"name": "os", "value": "linux"}]},
            "restart": "always",
            "app": {
                "exec": ["/bin/one"],
                "user": "0",
                "group": "0",
                "isolators": [
                    {"name": "resource/memory", "value": {"limit": "1G", "swap": "2G"}},
                ],
                "environment": [{"name": "A", "value": "b"}],
            },
        }
    ],
    "ports": [{"name": "http", "hostPort": 80, "podPort": {"name": "a", "protocol": "tcp",
                                                           "port": 1, "expose": True}}],
    "userLabels": {"any": "thing"},
}  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """With a directory of pod files."""
    found = Paths(data=f"{tmp_path}/data", local_config=str(tmp_path), run=f"{tmp_path}/run")
    Path(found.pod_files).mkdir()
    return found


def test_fields_that_appc_does_not_have(tmp_path: Path, paths: Paths) -> None:
    path = tmp_path / "web.json"
    path.write_text(json.dumps(MANIFEST))
    file = rehearse.read_pod_file(str(path), paths)
    assert rehearse.remarks(file) == [
        f"{path}: {place}: unknown field, ignored"
        for place in (
            "colour",
            "apps[0].restart",
            "apps[0].app.isolators[0].value.swap",
            "ports[0].podPort.expose",
        )
    ]


def test_a_name_means_the_pod_of_that_name(paths: Paths) -> None:
    Path(paths.pod_files, "web@.toml").write_text(TOML % "%i")
    file = rehearse.read_pod_file("web@blue", paths)
    assert (file.name, file.options.apps["one"].image) == ("web@blue", "example.com/blue")
    with pytest.raises(NotFound, match="pod other: neither"):
        rehearse.read_pod_file("other", paths)


@pytest.mark.parametrize(
    ("name", "instance", "pod", "image"),
    [
        ("web.toml", None, "web", "one"),
        ("web@.toml", None, "web@instance", "instance"),
        ("web@.toml", "7", "web@7", "7"),
        ("Web_1.toml", None, rehearse.UUID, "one"),
    ],
)
def test_a_path(
    tmp_path: Path, paths: Paths, name: str, instance: str | None, pod: str, image: str
) -> None:
    path = tmp_path / name
    path.write_text(TOML % ("%i" if "@" in name else "one"))
    file = rehearse.read_pod_file(str(path), paths, instance=instance)
    assert (file.name, file.options.apps["one"].image) == (pod, f"example.com/{image}")
    assert rehearse.remarks(file) == (
        [f"{path}: its name is not that of a pod: no unit can start it from there"]
        if pod == rehearse.UUID
        else []
    )


@pytest.mark.parametrize(
    ("word", "instance", "message"),
    [
        ("./web.yaml", None, "./web.yaml: pod files end in .toml or .json"),
        ("./web.toml", "1", "./web.toml: --instance is for templates, whose names end in @"),
        ("web", "1", "--instance is for the path of a template (write POD@INSTANCE)"),
    ],
)
def test_what_is_no_pod_file(paths: Paths, word: str, instance: str | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        rehearse.read_pod_file(word, paths, instance=instance)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "image",
    [
        "example.com/one",
        "/srv/one.aci",
        "https://example.com/one.aci",
        "docker://example.com/one:2",
        "oci:/srv/layout:tag",
        "docker-archive:/srv/one.tar:example.com/one:2",
    ],
)
def test_images_are_not_fetched(tmp_path: Path, paths: Paths, image: str) -> None:
    path = tmp_path / "web.toml"
    path.write_text(f'[[app]]\nname = "one"\nimage = "{image}"\n')
    Store.open(paths.store, create=True)
    before = sorted(Path(paths.data).rglob("*"))
    with pytest.raises(RktError, match="not in the store"):
        rehearse.reified(rehearse.read_pod_file(str(path), paths), paths)
    assert sorted(Path(paths.data).rglob("*")) == before


def test_a_fault_in_the_settings(tmp_path: Path, paths: Paths) -> None:
    from rktsd.pods.checks import check_pod_file

    path = tmp_path / "web.toml"
    path.write_text(TOML % "one" + "[app.systemd]\nMemoryMaxx = 1\n")
    file = rehearse.read_pod_file(str(path), paths)
    with pytest.raises(BadInput, match=f"{path}: app one: systemd.MemoryMaxx: "):
        check_pod_file(file)
