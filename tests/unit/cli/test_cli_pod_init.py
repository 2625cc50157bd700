"""``rkt pod init``: the file is one that ``rkt pod check`` takes, and nothing is overwritten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rktsd.cli.main import main
from rktsd.pods import podfile
from rktsd.store import publish
from rktsd.store.store import Store
from tests.material import images

Capture = pytest.CaptureFixture[str]


def rkt(capsys: Capture, top: Path, *words: str) -> tuple[int, str, str]:
    status = main([f"--dir={top}/data", f"--local-config={top}/etc", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_pod(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "etc/pods/web.toml"
    images = ["example.com/nginx:1.2", "docker://registry.example.com/team/my_app:v3"]
    assert rkt(capsys, tmp_path, "pod", "init", "web", *images) == (0, f"{path}\n", "")
    found = podfile.parse(path.read_bytes(), str(path), pod="web")
    assert [app.name for app in found.manifest.apps] == ["nginx", "my-app"]
    assert [found.options.apps[name].image for name in ("nginx", "my-app")] == images
    assert rkt(capsys, tmp_path, "pod", "check", "web") == (0, "", "")
    before = path.read_text()
    assert rkt(capsys, tmp_path, "pod", "init", "web", "example.com/other") == (
        254,
        "",
        f"init: {path}: exists (--overwrite replaces a .toml)\n",
    )
    assert path.read_text() == before
    assert rkt(capsys, tmp_path, "pod", "init", "--overwrite", "web", "example.com/other")[0] == 0
    assert "example.com/other" in path.read_text()


def test_a_file(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.aci").write_text("")
    status, out, _ = rkt(capsys, tmp_path, "pod", "init", "./one.toml", "my.aci")
    assert (status, out) == (0, f"{tmp_path}/one.toml\n")
    # The pod is started from elsewhere.
    assert f'image = "{tmp_path}/my.aci"' in Path("one.toml").read_text()
    assert rkt(capsys, tmp_path, "pod", "check", "./one.toml") == (0, "", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["web"], "must provide a pod or file and at least one image"),
        (["./x.json", "a"], "./x.json: the file is to be called POD.toml"),
        (["Web", "a"], 'pod: "Web" is not an AC Name (lower-case letters, digits, single inner'
         " dashes)"),
        (["web", "example.com/a", "example.org/a"],
         'two apps would be called "a" (give one image each)'),
        (["web", "not/an::image"],
         'PLACE/etc/pods/web.toml: app[0].image: image name "not/an::image": "not/an::image" has'
         " no single version after its colon"),
    ],
)  # fmt: skip
def test_mistakes(capsys: Capture, tmp_path: Path, words: list[str], message: str) -> None:
    assert rkt(capsys, tmp_path, "pod", "init", *words) == (
        254,
        "",
        f"init: {message}\n".replace("PLACE", str(tmp_path)),
    )
    assert not (tmp_path / "etc/pods/web.toml").exists()


def test_what_a_stored_image_offers_is_named(capsys: Capture, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    manifest = images.image_manifest("example.com/db", ["/bin/db"])
    manifest["app"] |= {
        "ports": [{"name": "sql", "protocol": "tcp", "port": 5432}],
        "mountPoints": [{"name": "data", "path": "/data"}],
    }
    archive = images.write_aci(root, manifest, tmp_path / "db.aci")
    with Store.open(f"{tmp_path}/data/cas", create=True) as store:
        publish.import_aci(store, archive, source="file:///db.aci", verified_by="insecure")
    assert rkt(capsys, tmp_path, "pod", "init", "db", "example.com/db")[0] == 0
    path = tmp_path / "etc/pods/db.toml"
    # All that is offered counts, once it is no comment any more.
    head, tail = path.read_text().split("# [[port]]")
    tail = re.sub("^# ", "", f"# [[port]]{tail}", flags=re.MULTILINE)
    found = podfile.parse(f"{head}{tail}".encode(), str(path), pod="db")
    assert [port.name for port in found.manifest.ports] == ["sql"]
    assert [volume.name for volume in found.manifest.volumes] == ["data"]
