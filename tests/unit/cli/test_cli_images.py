"""The commands for stored images, on a store of the test's own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rktsd.cli.main import main
from rktsd.paths import Paths
from rktsd.store import publish
from rktsd.store.store import Store
from tests.material import images
from tests.unit.pods.disk import UUIDS, make_pod

Rkt = Callable[..., tuple[int, str, str]]
NAME = "example.com/app"


@pytest.fixture
def rkt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Rkt:
    """``rkt ARGUMENT...`` with a data directory of its own: status, output, errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main([f"--dir={tmp_path}/data", *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"{tmp_path}/data/cas", create=True)


def put(
    store: Store, directory: Path, name: str = NAME, *, version: str = "1.0.0", text: str = "root"
) -> str:
    """Import an ACI whose root has a file ``etc/motd``; its ID."""
    root = directory / "root" / "etc"
    root.mkdir(parents=True, exist_ok=True)
    (root / "motd").write_text(text)
    manifest = images.image_manifest(name, ["/bin/app"], version=version)
    path = images.write_aci(directory / "root", manifest, directory / "made.aci")
    source = f"file://{path}/{name}/{version}"
    with store:
        return publish.import_aci(store, path, source=source, verified_by="insecure").id


@pytest.mark.parametrize(
    ("source", "reference"),
    [
        ("docker://registry-1.docker.io/library/web:v1", "docker://web:v1"),
        ("oci:/srv/images:v1", "oci:/srv/images:v1"),
        ("https://example.com:8443/web.aci", "https://example.com:8443/web.aci"),
        ("file:///srv/web.aci", "/srv/web.aci"),
    ],
)
def test_images_are_known_by_what_they_were_fetched_by(
    tmp_path: Path, rkt: Rkt, store: Store, source: str, reference: str
) -> None:
    image = put(store, tmp_path)
    with store:
        publish.add_image(
            store, replace(store.image(image), source=source), store.manifest_bytes(image)
        )
    (found,) = json.loads(rkt("image", "inspect", "--format=json", reference)[1])
    assert found["id"] == image
    assert json.loads(rkt("image", "cat-manifest", reference)[1])["name"] == NAME
    for command, out in (("export", "a"), ("extract", "b"), ("render", "c")):
        assert rkt("image", command, reference, str(tmp_path / out)) == (0, "", "")
    assert rkt("image", "verify", reference)[0] == 0
    other = reference.replace("web", "none").replace("v1", "v2")
    said = f'image "{other}" is not in the store'
    assert rkt("image", "inspect", other) == (254, "", f"inspect: {said}\n")
    assert rkt("image", "rm", other)[2].startswith(f"rm: {said}\n")
    assert rkt("image", "rm", reference, reference)[0] == 0
    assert stored(rkt) == {}


@pytest.mark.row("image_export")
def test_export(tmp_path: Path, rkt: Rkt, store: Store) -> None:
    made = put(store, tmp_path)
    out = tmp_path / "out.aci"
    assert rkt("image", "export", NAME, str(out)) == (0, "", "")
    assert made == f"sha512-{hashlib.sha512(out.read_bytes()).hexdigest()[:64]}"
    out.write_text("mine")
    said = "export: output ACI file exists (try --overwrite)\n"
    assert rkt("image", "export", NAME, str(out)) == (254, "", said)
    assert out.read_text() == "mine"
    assert rkt("image", "export", "--overwrite", made[:20], str(out)) == (0, "", "")
    assert made == f"sha512-{hashlib.sha512(out.read_bytes()).hexdigest()[:64]}"
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.aci"]
    out.unlink()
    os.mkfifo(out)
    said = f"export: {out}: is not a regular file\n"
    assert rkt("image", "export", "--overwrite", NAME, str(out)) == (254, "", said)
    assert stat.S_ISFIFO(out.lstat().st_mode)


@pytest.mark.row("image_extract and image_render")
@pytest.mark.parametrize("command", ["extract", "render"])
def test_extract_and_render(tmp_path: Path, rkt: Rkt, store: Store, command: str) -> None:
    put(store, tmp_path)
    out = tmp_path / "out"
    assert rkt("image", command, NAME, str(out)) == (0, "", "")
    assert sorted(os.listdir(out)) == ["manifest", "rootfs"]
    assert json.loads((out / "manifest").read_text())["name"] == NAME
    assert (out / "rootfs/etc/motd").read_text() == "root"
    said = f"{command}: output directory exists (try --overwrite)\n"
    assert rkt("image", command, "--rootfs-only", NAME, str(out)) == (254, "", said)
    assert rkt("image", command, "--rootfs-only", "--overwrite", NAME, str(out))[0] == 0
    assert os.listdir(out) == ["etc"]
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out"]


@pytest.mark.parametrize("command", ["extract", "render"])
@pytest.mark.parametrize("place", ["/", "//", "/usr/..", "link"])
def test_the_root_of_the_machine_is_spared(
    tmp_path: Path, rkt: Rkt, store: Store, command: str, place: str
) -> None:
    put(store, tmp_path)
    if place == "link":
        place = f"{tmp_path}/link"
        os.symlink("/", place)
    before = os.listdir("/")
    assert rkt("image", command, "--rootfs-only", "--overwrite", NAME, place) == (
        254,
        "",
        f"{command}: this would delete your root filesystem. Refusing.\n",
    )
    assert os.listdir("/") == before


@pytest.mark.parametrize("command", ["export", "extract", "render"])
def test_out_of_what_and_where_to(tmp_path: Path, rkt: Rkt, store: Store, command: str) -> None:
    put(store, tmp_path)
    status, out, err = rkt("image", command, NAME)
    assert (status, out) == (254, "")
    assert err.startswith(f"{command}: must provide an image and an output ")
    said = f'{command}: image "example.com/none" is not in the store\n'
    assert rkt("image", command, "example.com/none", f"{tmp_path}/out") == (254, "", said)
    status, _, err = rkt("image", command, NAME, f"{tmp_path}/none/out")
    assert (status, err) == (
        254,
        f"{command}: cannot write {tmp_path}/none/out: No such file or directory\n",
    )


def stored(rkt: Rkt) -> dict[str, int]:
    """Name → size of what ``image list`` shows."""
    listed = json.loads(rkt("image", "list", "--format=json")[1]) or []
    return {each["name"]: each["size"] for each in listed}


def age(store: Store, image: str, hours: float) -> None:
    """Make an image seem to have been used so long ago."""
    moment = time.time() - hours * 3600
    os.utime(f"{store.root}/images/{image}/used", (moment, moment))


def pod_of(tmp_path: Path, image: str) -> None:
    """A prepared pod that was made from ``image``."""
    place = make_pod(Paths(data=f"{tmp_path}/data"), UUIDS[0], "prepared", name="web")
    used = {"one": {"id": image, "layers": [image]}}
    Path(place.directory, "images").write_text(json.dumps(used))


@pytest.mark.row("image_list/ImageSize")
def test_the_size_of_an_image_is_that_of_archive_and_tree(
    tmp_path: Path, rkt: Rkt, store: Store
) -> None:
    put(store, tmp_path, text="x" * 1_000_000)
    archive = (tmp_path / "made.aci").stat().st_size
    assert archive < 100_000
    assert stored(rkt) == {f"{NAME}:1.0.0": 1_000_000 + archive}


@pytest.mark.parametrize(
    ("verified_by", "short", "long"),
    [
        ("insecure", "nobody (--insecure-options=image)", "nobody (--insecure-options=image)"),
        ("policy", "nobody (trust.toml)", "nobody (trust.toml)"),
        ("digest", "its digest", "its digest"),
        ("ab" * 20, f"OpenPGP key {'AB' * 8}", f"OpenPGP key {'AB' * 20}"),
        (f"sigstore:{'01' * 32}", f"sigstore key {'01' * 8}", f"sigstore key {'01' * 32}"),
    ],
)
def test_who_vouched_is_shown(
    tmp_path: Path, rkt: Rkt, store: Store, verified_by: str, short: str, long: str
) -> None:
    record = store.image(put(store, tmp_path))
    manifest = store.manifest_bytes(record.id)
    publish.add_image(store, replace(record, verified_by=verified_by), manifest)
    fields = ("image", "list", "--fields=verifiedby", "--no-legend")
    assert rkt(*fields) == (0, f"{short}\n", "")
    assert rkt(*fields, "--full") == (0, f"{long}\n", "")
    (listed,) = json.loads(rkt("image", "list", "--format=json")[1])
    assert listed["verified_by"] == verified_by
    assert re.search(rf"^Verified by:\s+{re.escape(long)}$", rkt("image", "inspect", NAME)[1], re.M)
    assert "VERIFIED BY" not in rkt("image", "list")[1]


def test_gc_without_a_store_or_images(tmp_path: Path, rkt: Rkt) -> None:
    assert rkt("image", "gc") == (0, "", "")
    Store.open(f"{tmp_path}/data/cas", create=True)
    status, out, err = rkt("image", "gc")
    assert (status, out) == (0, "")
    assert err.startswith("gc: 0 image(s), 0 layer(s), 0 archive(s) and 0 leftover(s) removed")


@pytest.mark.row("image_gc/ImageGCTreeStore")
def test_gc_removes_what_was_not_used(tmp_path: Path, rkt: Rkt, store: Store) -> None:
    old = put(store, tmp_path, text="x" * 100_000)
    put(store, tmp_path, version="2.0.0", text="young")
    age(store, old, 25)
    status, out, err = rkt("image", "gc")
    assert (status, out) == (
        0,
        f'successfully removed aci for image: "{old}" ({NAME}:1.0.0)\n',
    )
    assert err.startswith("gc: 1 image(s), 1 layer(s), 1 archive(s) and 0 leftover(s) removed, ")
    assert err.endswith(" KiB freed\n")
    assert set(stored(rkt)) == {f"{NAME}:2.0.0"}
    assert not store.has_layer(old)
    assert rkt("image", "gc", "--grace-period=0s")[0] == 0
    assert stored(rkt) == {}
    assert os.listdir(f"{store.root}/blobs") == []


def test_gc_keeps_the_last_of_each_name(tmp_path: Path, rkt: Rkt, store: Store) -> None:
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        put(store, tmp_path, version=version, text=version)
    put(store, tmp_path, "example.com/other", text="other")
    assert rkt("image", "gc", "--keep=2")[0] == 0
    assert set(stored(rkt)) == {f"{NAME}:3.0.0", f"{NAME}:2.0.0", "example.com/other:1.0.0"}
    assert rkt("image", "gc", "--keep=1", "--grace-period=1h")[0] == 0
    assert len(stored(rkt)) == 3
    assert rkt("image", "gc", "--keep=-1") == (
        254,
        "",
        'gc: invalid argument "-1" for --keep: not a number\n',
    )


@pytest.mark.row("image_gc/ImageGCTreeStore")
def test_gc_leaves_what_pods_and_their_files_need(tmp_path: Path, rkt: Rkt, store: Store) -> None:
    prepared = put(store, tmp_path, "example.com/prepared", text="1")
    named = put(store, tmp_path, "example.com/named", text="2")
    gone = put(store, tmp_path, "example.com/gone", text="3")
    pod_of(tmp_path, prepared)
    pods = tmp_path / "etc" / "pods"
    pods.mkdir(parents=True)
    text = '[[app]]\nname = "a"\nimage = "example.com/named"\n'
    (pods / "web@.toml").write_text(text)
    (pods / "broken.toml").write_text("x")
    local = f"--local-config={tmp_path}/etc"
    status, out, err = rkt(local, "image", "gc", "--grace-period=0")
    assert status == 0
    assert out == f'successfully removed aci for image: "{gone}" (example.com/gone:1.0.0)\n'
    assert "broken.toml" in err
    assert "what it needs cannot be told" in err
    (used,) = json.loads(rkt(local, "image", "inspect", "--format=json", named)[1])
    assert used["used_by"] == [{"pod_file": "web@"}]
    (used,) = json.loads(rkt(local, "image", "inspect", "--format=json", prepared)[1])
    assert used["used_by"] == [{"pod": UUIDS[0], "name": "web"}]
    (tmp_path / "data/pods/prepared" / UUIDS[0] / "images").write_text("{")
    status, out, err = rkt("image", "gc", "--grace-period=0")
    assert (status, out) == (254, "")
    assert "cannot tell which layers the pod needs; nothing is freed" in err
    assert len(stored(rkt)) == 2


def test_inspect(tmp_path: Path, rkt: Rkt, store: Store) -> None:
    made = put(store, tmp_path, text="x" * 5000)
    pod_of(tmp_path, made)
    status, out, err = rkt("image", "inspect", NAME)
    assert (status, err) == (0, "")
    rows = [re.split(r":\t+", line, maxsplit=1) for line in out.splitlines()]
    known = dict(rows)
    assert known["ID"] == made
    assert known["Name"] == f"{NAME}:1.0.0"
    assert known["Verified by"] == "nobody (--insecure-options=image)"
    assert known["Layer"] == f"{made} (4.9 KiB)"
    assert known["Exec"] == "/bin/app"
    assert known["Used by"] == f"pod {UUIDS[0]} (web)"
    assert known["Archive"].startswith(f"{made}.aci (")
    (found,) = json.loads(rkt("image", "inspect", "--format=json", made)[1])
    assert found["manifest"]["name"] == NAME
    assert found["layers"] == [{"digest": made, "size": 5000}]
    assert found["oci_config"] is None
    assert found["size"] == 5000 + found["transferred"]
    assert rkt("image", "inspect")[0] == 254
    assert rkt("image", "inspect", "example.com/none")[2] == (
        'inspect: image "example.com/none" is not in the store\n'
    )


def test_verify(tmp_path: Path, rkt: Rkt, store: Store) -> None:
    made = put(store, tmp_path)
    verified = f'successfully verified checksum for image: "{NAME}" ("{made}")\n'
    assert rkt("image", "verify", NAME) == (0, verified, "")
    motd = Path(store.layer_path(made), "etc/motd")
    motd.write_text("evil")
    place = make_pod(Paths(data=f"{tmp_path}/data"), UUIDS[0], "run", name="web", layers=[made])
    status, out, err = rkt("image", "verify", NAME, "example.com/none")
    assert (status, out) == (254, verified)
    assert err.splitlines() == [
        f"verify: layer {made}: /etc/motd: the content differs",
        f"verify: layer {made}: tree cache verification failed; rebuilt",
        'verify: image "example.com/none" is not in the store',
        "verify: pods that run keep the old tree until they are started again: web",
    ]
    assert motd.read_text() == "root"
    assert len(os.listdir(f"{store.root}/retired")) == 1
    shutil.rmtree(place.directory)
    assert rkt("image", "gc")[0] == 0
    assert os.listdir(f"{store.root}/retired") == []
    os.unlink(store.blob_path(f"{made}.aci"))
    status, out, err = rkt("image", "verify", NAME)
    assert (status, out) == (254, "")
    assert err.splitlines()[:2] == [
        f"verify: archive {made}.aci: is not in the store",
        f"verify: layer {made}: cannot be checked, because what it was made of is not right",
    ]
    assert f"image {made} is not right: it came from" in err
