"""``rkt image build`` and ``import``: a plain root becomes an image that rkt's own fetch takes."""

import contextlib
import gzip
import io
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

from rktsd.images.build import build
from rktsd.store.pack import Packing
from rktsd.store.records import Limits
from rktsd.store.verify import differences
from tests.images.rkt import Said, rkt
from tests.images.world import World
from tests.material.images import architecture, image_manifest, oci_layout

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def make_root(root: Path, *, devices: bool = False) -> Path:
    """One of everything that a root may hold; times are whole seconds, as tar writes them."""
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc" / "motd").write_text("hello")
    os.link(root / "etc" / "motd", root / "etc" / "motd.again")
    os.symlink("/etc/motd", root / "etc" / "issue")
    (root / "bin" / "tool").write_bytes(b"#!/bin/sh\n")
    os.chown(root / "bin" / "tool", 33, 44)
    os.chmod(root / "bin" / "tool", 0o4755)
    (root / "bin" / "ping").write_bytes(b"ping")
    os.setxattr(root / "bin" / "ping", "security.capability", CAPABILITY)
    os.setxattr(root / "etc", "user.note", b"\xff\0binary")
    with open(root / "sparse", "wb") as file:
        file.seek(5 << 20)
        file.write(b"data")
        file.truncate(20 << 20)
    os.mkfifo(root / "etc" / "fifo", 0o620)
    (root / os.fsdecode(b"latin-\xe9")).write_text("no UTF-8")
    (root / ("deep/" * 60)).mkdir(parents=True)
    if devices:
        (root / "dev").mkdir()
        os.mknod(root / "dev" / "null", 0o020666, os.makedev(1, 3))
    for directory, _, names in os.walk(root, topdown=False):
        for path in [*(f"{directory}/{name}" for name in names), directory]:
            os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    return root


def command(world: World, *arguments: str | Path, **how: Any) -> Said:
    environment = {"GNUPGHOME": f"{world.directory}/gnupg", **how.pop("environment", {})}
    return rkt(world.paths, *map(str, arguments), environment=environment, **how)


def good(said: Said) -> Said:
    assert said.status == 0, said.err
    return said


def test_signed_image_is_fetched_with_verification(world: World) -> None:
    key = world.key()
    world.trust(key)
    root = make_root(world.directory / "root")
    target = world.directory / "web.aci"
    good(
        command(
            world, "image", "build", root, target, "--name=example.com/web:1.0", "--exec=/bin/tool",
            f"--sign-by={key.fingerprint}", "--", "--port", "80",
        )
    )  # fmt: skip
    record = world.fetch(str(target))
    assert record.verified_by == key.fingerprint.lower() or record.verified_by == key.fingerprint
    assert differences(world.store.layer_path(record.layers[0]), str(root)) == ()
    assert os.stat(f"{world.store.layer_path(record.layers[0])}/sparse").st_blocks < 1000
    manifest = json.loads(world.store.manifest_bytes(record.id))
    assert manifest["app"]["exec"] == ["/bin/tool", "--port", "80"]
    assert (manifest["app"]["user"], manifest["app"]["group"]) == ("0", "0")
    labels = {each["name"]: each["value"] for each in manifest["labels"]}
    assert labels == {"version": "1.0", "os": "linux", "arch": architecture()}


def test_usual_key_signs(world: World) -> None:
    world.trust(world.key())
    root = make_root(world.directory / "root")
    target = world.directory / "a.aci"
    good(command(world, "image", "build", root, target, "--name=example.com/a", "--sign"))
    assert world.fetch(str(target)).name == "example.com/a"


@pytest.mark.parametrize("flag", ["-cf", "-czf", "-cjf", "-cJf"])
def test_archive_makes_the_same_image_as_its_directory(world: World, flag: str) -> None:
    root = make_root(world.directory / "root", devices=True)
    archive = world.directory / "root.tar"
    tar = [
        "tar",
        "--xattrs",
        "--xattrs-include=*",
        "--sparse",
        "--format=posix",
        flag,
        str(archive),
    ]
    subprocess.run([*tar, "-C", root, "."], check=True)
    made = []
    for number, source in enumerate((root, archive)):
        target = world.directory / f"{number}.aci"
        good(command(world, "image", "build", source, target, "--name=example.com/a"))
        made.append(target.read_bytes())
    assert made[0] == made[1]
    with tarfile.open(world.directory / "1.aci") as members:
        null = members.getmember("rootfs/dev/null")
        assert (null.type, null.devmajor, null.devminor) == (tarfile.CHRTYPE, 1, 3)
        assert members.getmember("rootfs/etc/motd.again").linkname == "rootfs/etc/motd"


def test_standard_input_and_owner(world: World) -> None:
    root = make_root(world.directory / "root")
    done = subprocess.run(["tar", "-C", root, "-cz", "etc"], capture_output=True, check=True)
    said = good(
        command(
            world, "image", "import", "-", "--name=example.com/a", "--owner=7:8", "--full",
            stdin=done.stdout,
        )
    )  # fmt: skip
    record = world.store.image(said.out.strip())
    status = os.stat(f"{world.store.layer_path(record.layers[0])}/etc/motd")
    assert (status.st_uid, status.st_gid, status.st_nlink) == (7, 8, 2)
    assert record.verified_by == "import"


def test_builds_are_reproducible(world: World) -> None:
    made = []
    for number in range(2):
        root = make_root(world.directory / f"root{number}")
        names = ["z", "a", "m"]
        for name in names if number else reversed(names):
            (root / name).write_text(name)
            os.utime(root / name, (2_000_000_000 + number, 2_000_000_000 + number))
        target = world.directory / f"{number}.aci"
        good(
            command(
                world, "image", "build", root, target, "--name=example.com/a",
                environment={"SOURCE_DATE_EPOCH": "1700000000"},
            )
        )  # fmt: skip
        made.append(target.read_bytes())
    assert made[0] == made[1]
    with tarfile.open(world.directory / "0.aci") as members:
        assert members.getmember("rootfs/z").mtime == 1_700_000_000
        assert members.getmember("rootfs/etc/motd").mtime == 1_600_000_000


def test_manifest_file_with_changes(world: World) -> None:
    base = image_manifest("example.com/base", ["/bin/tool"], user="33")
    base["app"]["environment"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    base["extra"] = {"kept": True}
    path = world.directory / "manifest.json"
    path.write_text(json.dumps(base))
    root = make_root(world.directory / "root")
    said = good(
        command(
            world, "image", "import", root, f"--manifest={path}", "--name=example.com/new",
            "--env=B=3", "--port=http:80", "--port=dns,port=53,protocol=udp",
            "--mount=data:/srv:ro",
            "--label=version=9", "--annotation=authors=me", "--memory=64Mi", "--full",
            "--working-directory=/srv", "--caps-retain=CAP_CHOWN",
        )
    )  # fmt: skip
    manifest = json.loads(world.store.manifest_bytes(said.out.strip()))
    app = manifest["app"]
    assert (manifest["name"], manifest["extra"]) == ("example.com/new", {"kept": True})
    assert manifest["labels"][0] == {"name": "version", "value": "9"}
    assert (app["exec"], app["user"], app["workingDirectory"]) == (["/bin/tool"], "33", "/srv")
    assert {each["name"]: each["value"] for each in app["environment"]} == {"A": "1", "B": "3"}
    assert [(port["name"], port["port"], port["protocol"]) for port in app["ports"]] == [
        ("http", 80, "tcp"),
        ("dns", 53, "udp"),
    ]
    assert app["mountPoints"] == [{"name": "data", "path": "/srv", "readOnly": True}]
    assert {each["name"] for each in app["isolators"]} == {
        "resource/memory",
        "os/linux/capabilities-retain-set",
    }


def test_image_directory_brings_its_manifest(world: World) -> None:
    record = world.fetch(world.aci(), insecure=["image"])
    layout = world.directory / "layout"
    good(command(world, "image", "extract", record.id, layout))
    said = good(command(world, "image", "import", layout, "--full"))
    assert world.store.image(said.out.strip()).name == "example.com/app"


def test_dependencies_lie_below(world: World) -> None:
    base = world.fetch(world.aci("example.com/base"), insecure=["image"])
    root = make_root(world.directory / "own")
    said = good(
        command(
            world, "image", "import", root, "--name=example.com/top", "--full",
            "--dependency=example.com/base:1.0.0", "--pull-policy=never",
        )
    )  # fmt: skip
    assert world.store.image(said.out.strip()).layers[1:] == base.layers


def refused(world: World, *arguments: str | Path, **how: Any) -> str:
    """What is said; nothing new lies anywhere."""
    before = sorted(map(str, world.directory.rglob("*.aci*")))
    said = command(world, *arguments, **how)
    assert said.status == 254
    assert "Traceback" not in said.err
    assert sorted(map(str, world.directory.rglob("*.aci*"))) == before
    return said.err


def test_refusals(world: World) -> None:
    root = make_root(world.directory / "root")
    target = world.directory / "out.aci"
    named = "--name=example.com/a"
    build = ("image", "build")
    assert "an image needs a name" in refused(world, *build, root, target)
    assert "an app needs a command" in refused(world, *build, root, target, named, "--user=3")
    assert "no such file" in refused(world, *build, "/no/such", target, named).lower()
    assert "neither a directory nor" in refused(world, *build, "/dev/null", target, named)
    assert "lies in the root" in refused(world, *build, root, root / "x.aci", named)
    text = refused(world, *build, root, target, named, "--sign-by=nobody@example.com")
    assert "gpg" in text
    assert "xyz" in refused(world, *build, root, target, named, "--compression=xyz")
    assert "is not a port" in refused(
        world, *build, root, target, named, "--exec=/x", "--port=http:70000"
    )
    assert "SOURCE_DATE_EPOCH" in refused(
        world, *build, root, target, named, environment={"SOURCE_DATE_EPOCH": "now"}
    )
    target.write_text("there already")
    assert "--overwrite" in refused(world, *build, root, target, named)
    assert target.read_text() == "there already"
    os.mknod(root / "etc" / "disk", 0o020660, 0)
    text = refused(world, *build, root, world.directory / "dev.aci", named)
    assert "/etc/disk: device 0:0 would be a whiteout" in text


def test_archives_of_images_are_refused(world: World) -> None:
    target = world.directory / "out.aci"
    named = "--name=example.com/a"
    aci = world.aci()
    assert "an ACI" in refused(world, "image", "build", aci, target, named)
    root = make_root(world.directory / "plain")
    layout = oci_layout(str(root), world.directory / "o.oci", "v1")
    archive = world.directory / "o.tar"
    subprocess.run(
        ["skopeo", "copy", "-q", "--insecure-policy", layout, f"oci-archive:{archive}:v1"],
        check=True,
    )
    assert "rkt fetch oci-archive:" in refused(world, "image", "build", archive, target, named)


@pytest.mark.parametrize(
    ("member", "reason"),
    [("../up", '".."'), ("/abs", "absolute"), ("link/x", "has files below it")],
)
def test_hostile_archives_are_refused(world: World, member: str, reason: str) -> None:
    archive = world.directory / "bad.tar"
    with tarfile.open(archive, "w") as members:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        members.addfile(link)
        members.addfile(tarfile.TarInfo(member))
    with world.store_unchanged():
        assert reason in refused(world, "image", "import", archive, "--name=example.com/a")


@pytest.mark.parametrize(
    ("setting", "limit"), [("maximum_unpacked", 1 << 20), ("maximum_entries", 50)]
)
@pytest.mark.parametrize("piped", [False, True])
def test_limits_hold_for_archives_of_roots(
    world: World, setting: str, limit: int, piped: bool
) -> None:
    """While they are read, and not when their contents have filled the disk already."""
    archive = world.directory / "large.tar.gz"
    with tarfile.open(archive, "w:gz") as members:
        for number in range(100):
            member = tarfile.TarInfo(str(number))
            member.size = 100_000
            members.addfile(member, io.BytesIO(bytes(member.size)))
    world.settings(**{setting: limit})
    source, stdin = ("-", archive.read_bytes()) if piped else (archive, b"")
    for command_line in (
        ("image", "import", source, "--name=example.com/a"),
        ("image", "build", source, world.directory / "a.aci", "--name=example.com/a"),
    ):
        with world.store_unchanged():
            said = refused(world, *command_line, stdin=stdin)
        assert f"{setting.replace('_', '-')} in rktsd.toml" in said
    assert not (world.directory / "a.aci").exists()


def test_a_root_that_grows_too_much(world: World) -> None:
    archive = world.directory / "bomb.tar.gz"
    archive.write_bytes(gzip.compress(bytes(64 << 20)) * 17)
    world.settings(maximum_expansion=100)
    with world.store_unchanged():
        said = refused(world, "image", "import", archive, "--name=example.com/a")
    assert "maximum-expansion in rktsd.toml" in said


def test_truncated_archive_leaves_nothing(world: World) -> None:
    root = make_root(world.directory / "root")
    whole = subprocess.run(["tar", "-cz", "-C", root, "."], capture_output=True, check=True).stdout
    with world.store_unchanged():
        text = refused(
            world, "image", "import", "-", "--name=a.b/c", stdin=whole[: len(whole) // 2]
        )
    assert "truncated" in text


def test_later_members_win_and_links_keep_their_file(world: World) -> None:
    archive = world.directory / "twice.tar"
    work = world.directory / "work"
    work.mkdir()
    (work / "a").write_text("first")
    os.link(work / "a", work / "b")
    subprocess.run(["tar", "-C", work, "-cf", archive, "a", "b"], check=True)
    os.unlink(work / "a")
    (work / "a").write_text("second")
    subprocess.run(["tar", "-C", work, "-rf", archive, "a"], check=True)
    said = good(command(world, "image", "import", archive, "--name=example.com/a", "--full"))
    layer = Path(world.store.layer_path(world.store.image(said.out.strip()).layers[0]))
    assert ((layer / "a").read_text(), (layer / "b").read_text()) == ("second", "first")


def test_overwriting_drops_a_signature_that_does_not_hold(world: World) -> None:
    world.key()
    root = make_root(world.directory / "root")
    target = world.directory / "a.aci"
    arguments = ("image", "build", root, target, "--name=example.com/a")
    good(command(world, *arguments, "--sign"))
    assert Path(f"{target}.asc").exists()
    good(command(world, *arguments, "--overwrite"))
    assert not Path(f"{target}.asc").exists()


def test_full_disk_leaves_nothing(world: World) -> None:
    root = make_root(world.directory / "root")
    (root / "big").write_bytes(os.urandom(3 << 20))
    small = world.directory / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        text = refused(world, "image", "build", root, small / "a.aci", "--name=example.com/a")
        assert "No space left" in text
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_ordinary_user_builds(world: World) -> None:
    """Nobody needs root to make an image of what can be read."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        os.mkdir(f"{place}/root", 0o755)
        Path(f"{place}/root/file").write_text("mine")
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                os.setgid(65534)
                os.setuid(65534)
                manifest = json.dumps(image_manifest("example.com/a")).encode()
                packing = Packing(None, (0, 0))
                build(f"{place}/root", manifest, f"{place}/a.aci", packing=packing, limits=Limits())
            os._exit(0)
        os.waitpid(child, 0)
        record = world.fetch(f"{place}/a.aci", insecure=["image"])
    assert os.stat(f"{world.store.layer_path(record.layers[0])}/file").st_uid == 0
