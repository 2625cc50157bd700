"""Pod files whose images cannot be had, or whose settings systemd is not to be told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rktsd.errors import RktError
from rktsd.paths import Paths
from rktsd.pods.named import compile_named
from tests.material.images import image_manifest, write_aci

MISSING = "sha512-" + "0" * 64


def refusal(top: Path, text: str, *, form: str = "toml") -> str:
    """What the start of a pod with this file says, without the name of the file."""
    paths = Paths(
        data=f"{top}/data",
        run=f"{top}/run",
        local_config=f"{top}/etc",
        system_config=f"{top}/usr",
    )
    os.makedirs(paths.pod_files)
    file = f"{paths.pod_files}/web.{form}"
    Path(file).write_text(text)
    said: list[str] = []
    with pytest.raises(RktError) as caught:
        compile_named("web", paths, report=said.append)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


def app(image: str) -> str:
    return f'network = "none"\n[[app]]\nname = "front"\nimage = "{image}"\n'


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (MISSING, f'app front: "{MISSING}": no image IDs found'),
        ("/srv/none.aci", "app front: cannot read /srv/none.aci: no such file"),
        ("http://example.com/a.aci", "app front: http://example.com/a.aci: error opening"),
    ],
)
def test_file_and_app_are_named(tmp_path: Path, image: str, message: str) -> None:
    assert refusal(tmp_path, app(image)).startswith(message)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("docker://registry.example/web", '"image"'),
        ("http://registry.example/web.aci", '"http"'),
    ],
)
def test_what_to_write_is_told_instead_of_what_to_type(
    tmp_path: Path, image: str, words: str
) -> None:
    message = refusal(tmp_path, app(image))
    assert f"insecure = [{words}]" in message
    assert "--insecure-options" not in message


def test_unsigned_files_too(tmp_path: Path) -> None:
    path = write_aci(None, image_manifest("example.com/web", ["/bin/web"]), tmp_path / "web.aci")
    assert 'insecure = ["image"] takes unsigned images' in refusal(tmp_path, app(path))


@pytest.mark.parametrize(
    ("where", "table", "message"),
    [
        (
            "app",
            'PAMName = "www"',
            "app front: systemd.PAMName: not for an app (use the field user)",
        ),
        ("app", "Colour = 1", "app front: systemd.Colour: no setting of a unit"),
        ("app", 'RestartSec = "soon"', 'app front: systemd.RestartSec: "soon" is not a time span'),
        ("app", "LimitNOFILE = true", "app front: systemd.LimitNOFILE: true is not a whole number"),
        ("pod", "Nice = 5", "systemd.Nice: not a setting of a slice"),
    ],
)
def test_settings_are_judged_before_images_are_fetched(
    tmp_path: Path, where: str, table: str, message: str
) -> None:
    text = app("/srv/none.aci")
    if where == "app":
        text += f"[app.systemd]\n{table}\n"
    else:
        text = f"[systemd]\n{table}\n".join(text.partition("[[app]]")[::2]).replace(
            table, f"{table}\n[[app]]"
        )
    assert refusal(tmp_path, text).startswith(message)
