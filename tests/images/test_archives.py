"""Images in archives: OCI layouts as skopeo packs them, and what docker save writes."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rktsd.errors import BadInput, NotFound, RktError, TrustError
from tests.images.world import World
from tests.material.images import oci_layout

Member = bytes | str
NAME = "example.com:5000/team/web:v1"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout of two layers, and archives that skopeo made of it."""
    made = tmp_path_factory.mktemp("archives")
    roots = []
    for name in ("base", "web"):
        (made / name / "etc").mkdir(parents=True)
        (made / name / "etc" / name).write_text(name)
        roots.append(str(made / name))
    oci_layout(roots, made / "web.oci", "v1", config={"cmd": "/bin/web"})
    for target in (f"oci-archive:{made}/oci.tar:v1", f"docker-archive:{made}/docker.tar:{NAME}"):
        command = ["skopeo", "copy", "--quiet", "--insecure-policy", f"oci:{made}/web.oci:v1"]
        subprocess.run([*command, target], check=True)
    for name in ("oci", "docker"):
        (made / f"{name}.tar.gz").write_bytes(gzip.compress((made / f"{name}.tar").read_bytes()))
    return made


def check(world: World, reference: str, **options: Any) -> Any:
    record = world.fetch(reference, **(options or {"insecure": ["image"]}))
    top, bottom = map(world.store.layer_path, record.layers)
    assert Path(top, "etc/web").read_text() == "web"
    assert Path(bottom, "etc/base").read_text() == "base"
    assert os.listdir(f"{world.paths.store}/tmp") == []
    return record


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_an_oci_archive(world: World, directory: Path, suffix: str) -> None:
    path = f"{directory}/oci.{suffix}"
    with world.store_unchanged(), pytest.raises(TrustError, match="nothing vouches") as caught:
        world.fetch(f"oci-archive:{path}:v1")
    assert f"oci-archive:{path}@sha256:" in str(caught.value)
    record = check(world, f"oci-archive:{path}:v1")
    assert (record.name, record.label("version")) == (f"oci.{suffix}", "v1")
    assert record.id == check(world, f"oci-archive:{path}").id
    assert record.id == check(world, f"oci:{directory}/web.oci:v1").id
    data = world.store.manifest_bytes(record.id, extra="oci-manifest")
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert check(world, f"oci-archive:{path}@{digest}", insecure=[]).verified_by == "digest"
    with world.store_unchanged(), pytest.raises(NotFound, match="there are: v1"):
        world.fetch(f"oci-archive:{path}:v2", insecure=["image"])


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_docker_archive(world: World, directory: Path, suffix: str) -> None:
    path = f"{directory}/docker.{suffix}"
    with world.store_unchanged(), pytest.raises(TrustError, match="nothing vouches"):
        world.fetch(f"docker-archive:{path}")
    record = check(world, f"docker-archive:{path}:{NAME}")
    assert (record.name, record.label("version")) == ("example.com_5000/team/web", "v1")
    assert check(world, f"docker-archive:{path}").id == record.id
    config = world.store.manifest_bytes(record.id, extra="oci-config")
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    pinned = check(world, f"docker-archive:{path}@{digest}", insecure=[])
    assert (pinned.id, pinned.verified_by) == (record.id, "digest")
    for selector, message in (
        (":example.com/other", f"there are: {NAME}"),
        (f"@sha256:{'0' * 64}", f"there are: {NAME}"),
    ):
        with world.store_unchanged(), pytest.raises(NotFound, match=message):
            world.fetch(f"docker-archive:{path}{selector}", insecure=["image"])


def members_of(path: Path | str) -> dict[str, Member]:
    """Contents by name, targets of symbolic links as text."""
    found: dict[str, Member] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file:
                found[member.name] = file.read()
            elif member.issym():
                found[member.name] = member.linkname
    return found


def pack(path: Path, members: Mapping[str, Member]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return str(path)


def entry(members: Mapping[str, Member]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(members["manifest.json"])[0]
    return found


def test_docker_save_as_docker_wrote_it(world: World, directory: Path, tmp_path: Path) -> None:
    """Layers in directories, one of them a link, one compressed; two images in an archive."""
    members = members_of(directory / "docker.tar")
    first = entry(members)
    bottom, top = (members[name] for name in first["Layers"])
    assert isinstance(top, bytes)
    config = members[first["Config"]]
    made: dict[str, Member] = {
        "aa/layer.tar": "../bb/layer.tar",
        "bb/layer.tar": bottom,
        "cc/layer.tar": gzip.compress(top),
        "image.json": config,
    }
    layers = ["aa/layer.tar", "cc/layer.tar"]
    one = {"Config": "image.json", "RepoTags": ["web:v1", "web:v2"], "Layers": layers}
    other = {"Config": first["Config"], "RepoTags": None, "Layers": first["Layers"]}
    made["manifest.json"] = json.dumps([one]).encode()
    path = pack(tmp_path / "one.tar", made)
    record = check(world, f"docker-archive:{path}")
    assert record.name == "registry-1.docker.io/library/web"
    assert check(world, f"docker-archive:{path}:web:v2").label("version") == "v2"
    assert isinstance(config, bytes)
    changed = {**members, **made, first["Config"]: config + b"\n"}
    changed["manifest.json"] = json.dumps([one, other]).encode()
    path = pack(tmp_path / "two.tar", changed)
    with pytest.raises(BadInput, match="2 images, choose one by its name"):
        world.fetch(f"docker-archive:{path}", insecure=["image"])
    assert check(world, f"docker-archive:{path}:docker.io/library/web:v1").id == record.id


def without(name: str) -> Callable[[dict[str, Member]], None]:
    def apply(members: dict[str, Member]) -> None:
        del members[name]

    return apply


def listing(**change: Any) -> Callable[[dict[str, Member]], None]:
    def apply(members: dict[str, Member]) -> None:
        members["manifest.json"] = json.dumps([{**entry(members), **change}]).encode()

    return apply


def flipped(members: dict[str, Member]) -> None:
    name = entry(members)["Layers"][0]
    data = members[name]
    assert isinstance(data, bytes)
    members[name] = data.replace(b"base", b"evil")


def test_what_is_listed_often_is_read_once(world: World, directory: Path, tmp_path: Path) -> None:
    """A listing of many megabytes that names one file of many megabytes, again and again."""
    members = members_of(directory / "docker.tar")
    members["large"] = bytes(64 << 20)
    images = [
        {"Config": "large", "Layers": [], "RepoTags": [f"web:{number}"]} for number in range(10_000)
    ]
    members["manifest.json"] = json.dumps(images).encode()
    path = pack(tmp_path / "many.tar", members)
    with world.store_unchanged(), pytest.raises(NotFound, match=r"no image .*:1, .*, …") as caught:
        world.fetch(f"docker-archive:{path}@sha256:{'0' * 64}", insecure=["image"])
    assert len(str(caught.value)) < 2000


def circle(members: dict[str, Member]) -> None:
    members |= {"x": "y", "y": "x"}
    listing(Config="x")(members)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (without("manifest.json"), NotFound, "has no file manifest.json"),
        (listing(Config="nothing"), NotFound, "has no file nothing"),
        (listing(Config="../../etc/passwd"), NotFound, "has no file"),
        (listing(Config="/etc/passwd"), NotFound, "has no file"),
        (circle, NotFound, "has no file"),
        (listing(Layers=[]), BadInput, "2 diff_ids for 0 layers"),
        (listing(Layers="x"), BadInput, "not a list"),
        (listing(RepoTags=["UPPER/X"]), BadInput, "not the name of a repository"),
        (flipped, TrustError, "content has digest"),
        (listing(Layers=["x"] * 501), BadInput, "501 layers are more than 500"),
    ],
)
def test_docker_archives_that_are_none(
    world: World, directory: Path, tmp_path: Path, change: Any, error: type[RktError], message: str
) -> None:
    members = members_of(directory / "docker.tar")
    change(members)
    path = pack(tmp_path / "bad.tar", members)
    with world.store_unchanged(), pytest.raises(error, match=message) as caught:
        world.fetch(f"docker-archive:{path}", insecure=["image"])
    assert str(caught.value).startswith((path, f"docker image name {'UPPER/X'!r}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_archives_cannot_reach_out_or_be_endless(
    world: World, directory: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "bad.tar"
    whole = (directory / f"{kind.removesuffix('-archive')}.tar").read_bytes()
    for content in (b"", b"nothing", whole[:-3000], gzip.compress(whole)[:-20]):
        path.write_bytes(content)
        with world.store_unchanged(), pytest.raises(RktError) as caught:
            world.fetch(f"{kind}:{path}", insecure=["image"])
        assert str(path) in str(caught.value)
    for members in ({"../x": b"x"}, {"/etc/x": b"x"}, {"manifest.json": "/etc/passwd"}):
        pack(path, members)
        with world.store_unchanged(), pytest.raises(RktError):
            world.fetch(f"{kind}:{path}", insecure=["image"])
    path.write_bytes(gzip.compress(whole))
    with world.store_unchanged(), pytest.raises(BadInput, match="maximum-archive"):
        world.fetch(f"{kind}:{path}", insecure=["image"], limit=1000)
    os.unlink(path)
    os.mkfifo(tmp_path / "fifo")
    for reference in (str(path), str(tmp_path), f"{tmp_path}/fifo", "/dev/zero"):
        with world.store_unchanged(), pytest.raises(RktError, match=str(reference)):
            world.fetch(f"{kind}:{reference}", insecure=["image"])
