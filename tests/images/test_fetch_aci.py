"""App container images by file, URL and name: what is believed, and what is refused."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rktsd.errors import BadInput, FetchError, NotFound, RktError, TrustError
from rktsd.images.keystore import add_key
from rktsd.images.trust import Key
from tests.images.world import World, discovery_site
from tests.material.images import architecture, image_manifest
from tests.material.servers import Answer, Request

VERSIONED = f"example.com/app-1.0.0-linux-{architecture()}"


@pytest.mark.row("fetch/FromFile")
def test_a_signed_file_is_imported(world: World) -> None:
    key, path = world.key(), world.aci()
    key.sign(path)
    world.trust(key)
    record = world.fetch(path)
    assert (record.name, record.kind) == ("example.com/app", "aci")
    assert record.verified_by == key.fingerprint.lower()
    assert record.source == f"file://{path}"
    assert any("signature verified:" in line and "Builder" in line for line in world.said)
    assert world.store.images() == [record]
    motd = f"{world.store.layer_path(record.layers[0])}/etc/motd"
    assert Path(motd).read_text() == "example.com/app"


@pytest.mark.row("fetch/FromFile")
def test_a_file_is_always_imported_and_a_relative_one_found(world: World) -> None:
    path = world.aci()
    os.chdir(os.path.dirname(path))
    first = world.fetch(os.path.basename(path), insecure=["image"])
    again = world.fetch(f"file://{path}", pull_policy="never", insecure=["image"])
    assert first.id == again.id
    assert again.import_time > first.import_time
    assert again.verified_by == "insecure"


@pytest.mark.parametrize("armor", [True, False])
def test_the_signature_may_lie_elsewhere(world: World, armor: bool) -> None:
    key, path = world.key(), world.aci()
    elsewhere = f"{world.directory}/elsewhere.sig"
    os.rename(key.sign(path, armor=armor), elsewhere)
    world.trust(key)
    with pytest.raises(TrustError, match="error opening signature file"):
        world.fetch(path)
    record = world.fetch(path, signature=elsewhere)
    assert record.name == "example.com/app"
    for other in (record.name, record.id, "https://example.com/app.aci", "oci-archive:app.tar"):
        refused = re.escape(f"{other}: --signature is for local files only")
        with pytest.raises(BadInput, match=refused):
            world.fetch(other, signature=elsewhere)


@pytest.mark.row("trust/Trust")
def test_a_key_may_be_trusted_for_everything_and_sign_by_a_subkey(world: World) -> None:
    key, path = world.key(signing_subkey=True), world.aci()
    key.sign(path)
    world.trust(key, prefix=None)
    assert world.fetch(path).verified_by == key.fingerprint.lower()


def unsigned(world: World, path: str) -> None:
    pass


def by_stranger(world: World, path: str) -> None:
    world.key("Stranger").sign(path)


def other_prefix(world: World, path: str) -> None:
    key = world.key("Other")
    world.trust(key, prefix="example.com/other")
    key.sign(path)


def weak(algorithm: str) -> Callable[[World, str], None]:
    def prepare(world: World, path: str) -> None:
        key = world.key()
        world.trust(key)
        flags = ("--allow-weak-digest-algos", "--digest-algo", algorithm)
        signature = key.message(Path(path).read_bytes(), *flags, mode="--detach-sign")
        Path(f"{path}.asc").write_bytes(signature)

    return prepare


def tampered(world: World, path: str) -> None:
    key = world.key("Careless")
    world.trust(key)
    key.sign(path)
    with open(path, "ab") as file:
        file.write(b"\0")


def expired_key(world: World, path: str) -> None:
    key = world.key("Old", expires="1y", when="20200101T000000")
    world.trust(key)
    key.sign(path, when="20200201T000000")


def expired_signature(world: World, path: str) -> None:
    key = world.key("Brief", when="20200101T000000")
    world.trust(key)
    key.sign(path, when="20200201T000000", expires="1d")


def revoked_key(world: World, path: str) -> None:
    key = world.key("Lost")
    key.sign(path)
    where = world.trust(key)
    Path(where).write_text(key.revoked())


def no_signature(world: World, path: str) -> None:
    world.trust(world.key())
    Path(f"{path}.asc").write_text("<html>not found</html>")


def signature_of_something_else(world: World, path: str) -> None:
    key = world.key()
    world.trust(key)
    other = world.directory / "message"
    other.write_text("hello")
    os.rename(key.sign(other), f"{path}.asc")


def two_signatures(world: World, path: str) -> None:
    signatures = b""
    for name in ("One", "Two"):
        key = world.key(name)
        world.trust(key)
        signatures += Path(key.sign(path, armor=False)).read_bytes()
        os.unlink(f"{path}.asc")
    Path(f"{path}.asc").write_bytes(signatures)


def masked_key(world: World, path: str) -> None:
    key = world.key()
    system = world.paths._replace(local_config=world.paths.system_config)
    place = f"trustedkeys/prefix.d/example.com/{key.fingerprint.lower()}"
    add_key(system, key.public, fingerprint=key.fingerprint, prefix="example.com")
    mask = Path(world.paths.local_config, place)
    mask.parent.mkdir(parents=True)
    mask.touch()
    key.sign(path)


def misnamed_key(world: World, path: str) -> None:
    key, other = world.key(), world.key("Other")
    where = world.trust(other)
    Path(where).write_text(key.public)
    key.sign(path)


@pytest.mark.row("trust/Trust")
@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (unsigned, "error opening signature file"),
        (by_stranger, r"made by unknown entity: key [0-9A-F]{16} \(rkt trust --prefix"),
        (
            other_prefix,
            r"openpgp: signature made by unknown entity: key [0-9A-F]{40}, which is trusted for "
            r"example\.com/other alone \(rkt trust --prefix",
        ),
        (weak("MD5"), "openpgp: the signature uses a broken digest algorithm"),
        (weak("SHA1"), "openpgp: the signature uses a broken digest algorithm"),
        (masked_key, "openpgp: signature made by unknown entity"),
        (tampered, "openpgp: invalid signature"),
        (signature_of_something_else, "openpgp: invalid signature"),
        (expired_key, "openpgp: the key that made the signature has expired"),
        (expired_signature, "openpgp: the signature has expired"),
        (revoked_key, "openpgp: the key that made the signature is revoked"),
        (no_signature, "openpgp: the signature file holds no OpenPGP signature"),
        (two_signatures, "2 valid signatures where one is needed"),
        (misnamed_key, "not the one it is named by"),
    ],
)
def test_what_nobody_trusted_vouches_for_is_refused(
    world: World, prepare: Any, message: str
) -> None:
    path = world.aci()
    prepare(world, path)
    with world.store_unchanged(), pytest.raises(TrustError, match=message) as caught:
        world.fetch(path)
    assert "\n" not in str(caught.value)


def test_a_key_for_another_prefix_is_told_before_the_archive_is_downloaded(world: World) -> None:
    other, path = world.key("Other", signing_subkey=True), world.aci()
    world.trust(world.key())
    for prefix in ("example.com/other", "other.example"):
        world.trust(other, prefix=prefix)
    other.sign(path)
    content = discovery_site({f"{VERSIONED}.aci": path, f"{VERSIONED}.aci.asc": f"{path}.asc"})
    told = r"key [0-9A-F]{16}, which is trusted for example\.com/other and other\.example alone"
    with world.site(content) as site:
        with world.store_unchanged(), pytest.raises(TrustError, match=told):
            world.fetch("example.com/app:1.0.0")
        assert not [request for request in site.requests if request.path.endswith(".aci")]


def test_bad_archives_are_refused_although_signed(world: World) -> None:
    key, path = world.key(), world.aci()
    world.trust(key)
    content = Path(path).read_bytes()
    for bad in (content[:-20], b"", b"not an archive", content[:100]):
        Path(path).write_bytes(bad)
        key.sign(path)
        with world.store_unchanged(), pytest.raises(BadInput) as caught:
            world.fetch(path)
        assert str(caught.value).startswith(path)


def test_what_is_not_there_is_not_found(world: World) -> None:
    for reference, error in (
        ("/nowhere.aci", NotFound),
        ("sha512-abcdef", NotFound),
        (str(world.directory), RktError),
    ):
        with world.store_unchanged(), pytest.raises(error):
            world.fetch(reference)


def test_what_is_no_file_is_not_called_missing(world: World) -> None:
    world.trust(world.key())
    directory = world.directory / "dir.aci"
    directory.mkdir()
    fifo = world.directory / "fifo.aci"
    os.mkfifo(fifo)
    for path in (directory, fifo):
        for insecure in ((), ("image",)):
            with world.store_unchanged(), pytest.raises(RktError) as caught:
                world.fetch(str(path), insecure=insecure)
            assert str(caught.value) == f"cannot read {path}: not a regular file"


def test_unsigned_images_are_spoken_of_only_where_a_signature_is_absent(world: World) -> None:
    content: dict[str, Any] = {"/b.aci.asc": Answer(b"", status=403)}
    hint = "--insecure-options=image"
    with world.site(content):
        for url, absent in (
            ("https://example.com/a.aci", True),
            ("https://example.com/b.aci", False),
            ("https://example.com:444/a.aci", False),
            ("http://example.com/a.aci", False),
        ):
            with pytest.raises(TrustError, match="error opening signature file") as caught:
                world.fetch(url)
            assert (hint in str(caught.value).split("signature file", 1)[1]) == absent
            assert str(caught.value).count("--insecure-options=") == (absent or url[:5] == "http:")


@pytest.mark.row("fetch/Any")
def test_by_url(world: World) -> None:
    key, path = world.key(), world.aci()
    key.sign(path)
    world.trust(key)
    content = {"/a.aci": Path(path).read_bytes(), "/a.aci.asc": Path(f"{path}.asc").read_bytes()}
    with world.site(content) as site:
        record = world.fetch("https://example.com/a.aci")
        assert [request.path for request in site.requests] == ["/a.aci.asc", "/a.aci"]
        headers = site.requests[0].headers
        assert re.fullmatch(r"rkt/[0-9.]+", headers["user-agent"])
        assert headers["accept-encoding"] == "identity"
        assert record.source == "https://example.com/a.aci"
        assert world.fetch("https://example.com/a.aci").id == record.id
        assert len(site.requests) == 2
        assert "using image from local store for url https://example.com/a.aci" in world.said
        world.fetch("https://example.com/a.aci", pull_policy="update")
        assert len(site.requests) == 4
    assert "remote fetching from URL 'https://example.com/a.aci'" in world.said
    assert world.fetch("https://example.com/a.aci", pull_policy="never").id == record.id
    assert world.fetch(record.id[:20]).id == record.id


def test_an_unknown_signer_is_told_before_the_archive_is_downloaded(world: World) -> None:
    path = world.aci()
    world.key().sign(path)
    content = {"/a.aci": Path(path).read_bytes(), "/a.aci.asc": Path(f"{path}.asc").read_bytes()}
    with world.site(content) as site, world.store_unchanged():
        with pytest.raises(TrustError, match="signature made by unknown entity"):
            world.fetch("https://example.com/a.aci")
        assert [request.path for request in site.requests] == ["/a.aci.asc"]


@pytest.mark.row("fetch/Any")
def test_never_does_not_touch_the_network(world: World) -> None:
    with world.site({}) as site, world.store_unchanged():
        for reference in (
            "https://example.com/a.aci",
            "example.com/app",
            "docker://example.com/app",
        ):
            with pytest.raises(NotFound, match="the pull policy is never"):
                world.fetch(reference, pull_policy="never", insecure=["image"])
        assert site.requests == []


@pytest.mark.row("fetch/Any")
def test_by_name(world: World) -> None:
    key, path = world.key(), world.aci()
    key.sign(path)
    world.trust(key)
    content = discovery_site({f"{VERSIONED}.aci": path, f"{VERSIONED}.aci.asc": f"{path}.asc"})
    with world.site(content) as site:
        record = world.fetch("example.com/app:1.0.0")
        asked = [(request.path, request.query) for request in site.requests]
        # The page of the name itself is a 404, the host's has what is needed.
        assert asked[:2] == [("/app", "ac-discovery=1"), ("/", "ac-discovery=1")]
        assert world.fetch("example.com/app").id == record.id
        assert world.fetch("example.com/app:1.0.0,os=linux").id == record.id
        assert len(site.requests) == len(asked)
    assert "using image from local store for image name example.com/app" in world.said


def test_a_name_without_a_version_goes_on_meaning_the_latest(world: World) -> None:
    """rkt: the image that came without a version comes before others that came later."""
    arch = architecture()
    content: dict[str, Any] = {}
    found = {}
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        path = world.aci(
            labels=image_manifest("x", version=version)["labels"], files={"version": version}
        )
        place = f"/images/example.com/app-{version}-linux-{arch}.aci"
        content |= discovery_site({}) | {place: Path(path).read_bytes()}
        found[version] = content[place]
    latest = f"/images/example.com/app-latest-linux-{arch}.aci"
    content[latest] = found["2.0.0"]

    def meant(reference: str = "example.com/app") -> str | None:
        return world.store.find(reference).label("version")

    with world.site(content):
        world.fetch("example.com/app:1.0.0", insecure=["image"])
        assert meant() == "1.0.0"
        world.fetch("example.com/app", insecure=["image"], pull_policy="update")
        world.fetch("example.com/app:1.0.0", insecure=["image"], pull_policy="update")
        assert meant() == "2.0.0"
        world.fetch("example.com/app:3.0.0", insecure=["image"])
        assert meant() == "2.0.0"
        assert (meant("example.com/app:3.0.0"), meant("example.com/app,os=linux")) == (
            "3.0.0",
            "2.0.0",
        )
        content[latest] = found["3.0.0"]
    with world.site(content):
        world.fetch("example.com/app", insecure=["image"], pull_policy="update")
        assert meant() == "3.0.0"
    world.store.remove(world.store.find("example.com/app").id)
    assert meant() in ("1.0.0", "2.0.0")


@pytest.mark.row("fetch/DifferentDiscoveryLabels")
@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "example.com/app:2.0",
            'requested value for label "version": "2.0" differs from fetched aci label value: '
            '"1.0.0"',
        ),
        (
            "example.com/app:1.0.0,channel=beta",
            'requested label "channel" not provided by the image manifest',
        ),
        (
            "example.com/app:1.0.0,arch=s390x",
            f'requested value for label "arch": "s390x" differs from fetched aci label value: '
            f'"{architecture()}"',
        ),
        ("example.com/web", 'image name "example.com/web" expected but "example.com/app" found'),
    ],
)
def test_an_image_must_be_what_was_asked_for(world: World, reference: str, message: str) -> None:
    key, path = world.key(), world.aci()
    key.sign(path)
    world.trust(key)

    def anything(request: Request) -> Answer:
        suffix = ".asc" if request.path.endswith(".asc") else ""
        return Answer(Path(f"{path}{suffix}").read_bytes())

    page = discovery_site({})["/"]
    name = reference.partition("/")[2].partition(":")[0]
    version = "2.0" if ":2.0" in reference else "1.0.0" if ":" in reference else "latest"
    arch = "s390x" if "s390x" in reference else architecture()
    base = f"/images/example.com/{name}-{version}-linux-{arch}.aci"
    content = {"/": page, base: anything, f"{base}.asc": anything}
    with world.site(content), world.store_unchanged(), pytest.raises(BadInput) as caught:
        world.fetch(reference)
    assert message in str(caught.value)


def test_keys_come_by_discovery_when_the_user_lets_them(world: World) -> None:
    key, path = world.key(), world.aci()
    key.sign(path)
    content = discovery_site({f"{VERSIONED}.aci": path, f"{VERSIONED}.aci.asc": f"{path}.asc"})
    content["/keys.asc"] = key.public.encode()
    with world.site(content):
        with world.store_unchanged(), pytest.raises(TrustError, match="no trusted keys") as caught:
            world.fetch("example.com/app:1.0.0")
        assert "rkt trust --prefix=example.com/app" in str(caught.value)
        shown: list[Key] = []

        def decline(key: Key) -> bool:
            shown.append(key)
            return False

        with world.store_unchanged(), pytest.raises(TrustError, match="unknown entity"):
            world.fetch("example.com/app:1.0.0", confirm=decline)
        assert [each.fingerprint for each in shown] == [key.fingerprint.lower()]
        record = world.fetch("example.com/app:1.0.0", trust_keys_from_https=True)
    assert record.verified_by == key.fingerprint.lower()
    place = f"trustedkeys/prefix.d/example.com/app/{key.fingerprint.lower()}"
    assert os.path.isfile(f"{world.paths.local_config}/{place}")


def test_the_next_endpoint_is_tried_when_one_fails(world: World) -> None:
    path = world.aci()
    page = (
        b"<meta name=ac-discovery content='example.com https://example.com/gone.{ext}'>"
        b"<meta name=ac-discovery content='example.com https://other.example/app.{ext}'>"
    )
    content = {"/": page, "/app.aci": Path(path).read_bytes()}
    with world.site(content):
        record = world.fetch("example.com/app", insecure=["image"])
    assert record.source == "https://other.example/app.aci"


def with_dependencies(world: World, name: str, *others: str, **fields: Any) -> str:
    motd = {f"etc/{name.rpartition('/')[2]}": "here"}
    wanted = [{"imageName": each} for each in others]
    return world.aci(name, files=motd, dependencies=wanted, **fields)


def serve(world: World, *paths: str) -> dict[str, Any]:
    arch = architecture()
    names = {f"{Path(p).stem.replace('_', '/')}-latest-linux-{arch}.aci": p for p in paths}
    return discovery_site(names)


@pytest.mark.row("image_dependencies/ImageDependencies")
def test_dependencies_are_fetched_and_laid_below(world: World) -> None:
    paths = [
        with_dependencies(world, "example.com/base"),
        with_dependencies(world, "example.com/left", "example.com/base"),
        with_dependencies(world, "example.com/right", "example.com/base"),
        with_dependencies(world, "example.com/top", "example.com/left", "example.com/right"),
    ]
    with world.site(serve(world, *paths)) as site:
        record = world.fetch("example.com/top", insecure=["image"])
        aci = [r.path.rpartition("/")[2].partition("-")[0] for r in site.requests if "-" in r.path]
    assert sorted(aci) == ["base", "left", "right", "top"]
    ids = {image.name: image.id for image in world.store.images()}
    order = ("top", "right", "base", "left")
    assert record.layers == tuple(ids[f"example.com/{name}"] for name in order)
    assert world.store.image(record.id).layers == record.layers


@pytest.mark.row("image_dependencies/ImageDependencies")
@pytest.mark.parametrize("listed", [False, True])
def test_ways_to_a_dependency_do_not_multiply(world: World, listed: bool) -> None:
    """Five diamonds on top of each other: dozens of ways, and every image is asked for once."""
    more = {"pathWhitelist": ["/etc/motd"]} if listed else {}
    paths = [with_dependencies(world, f"example.com/{side}5") for side in ("left", "right")]
    for level in range(4, 0, -1):
        below = [f"example.com/{side}{level + 1}" for side in ("left", "right")]
        paths += [
            with_dependencies(world, f"example.com/{side}{level}", *below, **more)
            for side in ("left", "right")
        ]
    top = with_dependencies(
        world, "example.com/top", "example.com/left1", "example.com/right1", **more
    )
    with world.site(serve(world, top, *paths)) as site:
        for _ in range(2):
            world.fetch("example.com/top", insecure=["image"], pull_policy="update")
            assert len([each for each in site.requests if each.path.endswith(".aci")]) == 11
            site.requests.clear()


@pytest.mark.parametrize("listed", [False, True])
def test_dependencies_without_end_are_refused(world: World, listed: bool) -> None:
    """Before the first of them is asked for."""
    more = {"pathWhitelist": ["/etc/motd"]} if listed else {}
    names = [f"example.com/below{number}" for number in range(501)]
    wide = with_dependencies(world, "example.com/wide", *names, **more)
    many = with_dependencies(world, "example.com/many", *names[:500], **more)
    with world.site(serve(world, wide, many)) as site:
        with world.store_unchanged(), pytest.raises(BadInput, match="more than 500 images lie"):
            world.fetch("example.com/wide", insecure=["image"])
        assert not any("below" in request.path for request in site.requests)
        with world.store_unchanged(), pytest.raises(FetchError, match=r"/below[0-9]+-.*404"):
            world.fetch("example.com/many", insecure=["image"])


def test_a_dependency_must_be_there_and_be_the_one(world: World) -> None:
    wrong = [{"imageName": "example.com/base", "imageID": f"sha512-{'ab' * 32}"}]
    paths = [
        world.aci("example.com/base"),
        world.aci("example.com/pinned", dependencies=wrong),
        with_dependencies(world, "example.com/lonely", "example.com/missing"),
        with_dependencies(world, "example.com/circle", "example.com/circle"),
    ]
    with world.site(serve(world, *paths)):
        for name, error, message in (
            ("pinned", TrustError, r"dependency example.com/base of example.com/pinned: image ID"),
            ("lonely", FetchError, "missing"),
            ("circle", BadInput, "do not end: example.com/circle -> example.com/circle"),
        ):
            with pytest.raises(error, match=message):
                world.fetch(f"example.com/{name}", insecure=["image"])
    assert [image.name for image in world.store.images()] == ["example.com/base"]


def test_a_dependency_is_verified_like_everything(world: World) -> None:
    key = world.key()
    world.trust(key)
    paths = [
        world.aci("example.com/base"),
        with_dependencies(world, "example.com/top", "example.com/base"),
    ]
    key.sign(paths[1])
    content = serve(world, *paths)
    signature = Path(f"{paths[1]}.asc").read_bytes()
    content[f"/images/example.com/top-latest-linux-{architecture()}.aci.asc"] = signature
    refused = pytest.raises(TrustError, match=r"base.*error opening signature file")
    with world.site(content), world.store_unchanged(), refused:
        world.fetch("example.com/top")
