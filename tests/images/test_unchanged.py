"""A second fetch of what has not changed: one question to the registry, and nothing else."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktsd.errors import TrustError
from tests.images.world import World
from tests.material.keys import SigningKey
from tests.material.layered import LayeredImage
from tests.material.registry import RegistryServer
from tests.material.servers import Answer, Content, HttpsSite, Request
from tests.material.versions import Version

HOST = "registry.example:5000"
NAME = f"docker://{HOST}/web:v1"
RKT = Path(__file__).parents[2] / "packaging" / "rkt"
HEAVY = {"dataclasses", "hashlib", "http", "json", "requests", "sqlite3", "subprocess", "tomllib"}


@pytest.fixture
def image() -> LayeredImage:
    return LayeredImage([{f"etc/{number}": os.urandom(100)} for number in range(2)])


@pytest.fixture
def site(world: World, image: LayeredImage) -> Iterator[HttpsSite]:
    world.trust_ca(HOST)
    with world.site(image.paths("web", "v1"), port=5000) as opened:
        yield opened


def rkt(
    world: World, *more: str, insecure: str = "image", **environment: str
) -> "subprocess.CompletedProcess[str]":
    options = [f"--dir={world.paths.data}", f"--local-config={world.paths.local_config}"]
    options += [f"--insecure-options={insecure}"] if insecure else []
    command = [sys.executable, str(RKT), *options, "fetch", *more]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(RKT.parents[1]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def asked(site: HttpsSite) -> list[tuple[str, str]]:
    """What was asked since the last call."""
    found = [(request.method, request.path) for request in site.requests]
    site.requests.clear()
    return found


def content(site: HttpsSite) -> dict[str, Content]:
    assert isinstance(site.content, dict)
    return site.content


HEAD = [("HEAD", "/v2/web/manifests/v1")]


def test_one_question(world: World, site: HttpsSite) -> None:
    first = rkt(world, NAME)
    assert first.returncode == 0, first.stderr
    assert len(asked(site)) == 4
    record = world.store.images()[0]
    again = rkt(world, NAME)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert again.stderr == f"image: image from {NAME} has not changed\n"
    assert asked(site) == HEAD
    assert world.store.images()[0].last_used > record.last_used
    assert rkt(world, "--full", NAME).stdout == f"{record.id}\n"


def test_next_to_nothing_is_imported_for_it(world: World, site: HttpsSite) -> None:
    rkt(world, NAME)
    done = rkt(world, NAME, PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rktsd.images.unchanged" in imported
    assert HEAVY & imported == set()


def test_what_changed_is_fetched(world: World, site: HttpsSite) -> None:
    rkt(world, NAME)
    other = LayeredImage([{"etc/other": b"other"}])
    content(site).update(other.paths("web", "v1"))
    asked(site)
    assert rkt(world, NAME).returncode == 0
    assert len(world.store.images()) == 2
    asked(site)
    rkt(world, NAME)
    assert asked(site) == HEAD


def test_an_index_is_what_did_not_change(world: World, image: LayeredImage, tmp_path: Path) -> None:
    """By a real registry, over http."""
    name = "docker://registry.example:5001/web:v1"
    Path(world.paths.local_config, "registries.toml").write_text(
        '[[registry]]\nlocation = "registry.example:5001"\ninsecure = true\n'
    )
    with RegistryServer(tmp_path / "registry", port=5001) as server:
        server.push(image.layout(tmp_path / "layout", "v1"), "web:v1")
        assert rkt(world, name).returncode == 0
        assert "has not changed" in rkt(world, name).stderr
        other = LayeredImage([{"etc/other": b"other"}])
        server.push(other.layout(tmp_path / "other", "v1"), "web:v1")
        assert "downloading layer" in rkt(world, name).stderr


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(status=302, headers={"Location": "https://registry.example:5000/other"}), 254),
        (Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}), 254),
        (Answer(status=404), 254),
        (Answer(b"x" * 100_000, headers={"Docker-Content-Digest": f"sha256:{'0' * 64}"}), 254),
        (Answer(headers={"X": "y" * 100_000}), 254),
    ],
)
def test_what_is_no_plain_yes_is_asked_properly(
    world: World, site: HttpsSite, answer: Answer, status: int
) -> None:
    rkt(world, NAME)
    before = content(site)["/v2/web/manifests/v1"]
    content(site)["/v2/web/manifests/v1"] = answer
    asked(site)
    done = rkt(world, NAME)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert ("GET", "/v2/web/manifests/v1") in asked(site)
    content(site)["/v2/web/manifests/v1"] = before
    assert rkt(world, NAME).returncode == 0


def test_a_registry_without_a_digest_header(
    world: World, image: LayeredImage, site: HttpsSite
) -> None:
    """Then its manifest tells, and nothing else is asked for."""
    path = "/v2/web/manifests/v1"
    kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    content(site)[path] = Answer(image.blobs[image.digest], headers=kind)
    rkt(world, NAME)
    asked(site)
    done = rkt(world, NAME)
    assert "has not changed" in done.stderr
    assert asked(site) == [("HEAD", path), ("GET", path)]


def test_nobody_is_believed_who_was_not_before(world: World, site: HttpsSite) -> None:
    assert rkt(world, NAME).returncode == 0
    refused = rkt(world, NAME, insecure="")
    assert refused.returncode == 254
    assert "nothing vouches" in refused.stderr
    asked(site)
    # An authority that is not trusted any more cannot say that nothing has changed.
    os.unlink(f"{world.paths.local_config}/certs.d/{HOST}/ca.crt")
    done = rkt(world, NAME)
    assert done.returncode == 254
    assert "certificate not accepted" in done.stderr
    assert asked(site) == []


def test_other_configuration_is_another_question(world: World, site: HttpsSite) -> None:
    rkt(world, NAME)
    registries = Path(world.paths.local_config, "registries.toml")
    registries.write_text(f'[[registry]]\nlocation = "{HOST}"\nblocked = true\n')
    done = rkt(world, NAME)
    assert done.returncode == 254
    assert "blocks" in done.stderr
    registries.unlink()
    policy = Path(world.paths.local_config, "trust.toml")
    policy.write_text('[default]\nrequire = "reject"\n')
    done = rkt(world, NAME)
    assert done.returncode == 254
    assert "rejects it" in done.stderr
    policy.unlink()
    assert "has not changed" in rkt(world, NAME).stderr


def test_a_proxy_is_not_gone_around(world: World, site: HttpsSite) -> None:
    rkt(world, NAME)
    asked(site)
    done = rkt(world, NAME, https_proxy="http://127.0.0.1:1")
    assert done.returncode == 254
    assert asked(site) == []


def test_an_image_that_was_removed_is_fetched(world: World, site: HttpsSite) -> None:
    rkt(world, NAME)
    (record,) = world.store.images()
    world.store.remove(record.id)
    assert "downloading" not in rkt(world, NAME).stderr
    (record,) = world.store.images()
    world.store.remove(record.id)
    world.store.collect()
    assert os.listdir(f"{world.paths.store}/seen") == []
    assert "downloading" in rkt(world, NAME).stderr


def test_a_digest_that_is_not_the_one_asked_for(
    world: World, image: LayeredImage, site: HttpsSite
) -> None:
    """What is pinned is never taken by the registry's word."""
    pinned = f"docker://{HOST}/web@{image.digest}"
    assert rkt(world, pinned).returncode == 0
    answer = Answer(b"{}", headers={"Docker-Content-Digest": image.digest})
    content(site)[f"/v2/web/manifests/{image.digest}"] = answer
    with pytest.raises(TrustError, match=r"were promised|content has digest"):
        world.fetch(pinned, pull_policy="update")


def test_the_registry_sees_what_it_is_asked_for(world: World, site: HttpsSite) -> None:
    """The same kinds of manifests both times, or its answers would not be the same."""
    seen: list[Request] = []
    before = content(site)["/v2/web/manifests/v1"]
    assert isinstance(before, Answer)

    def remember(request: Request) -> Answer:
        seen.append(request)
        assert isinstance(before, Answer)
        return before

    content(site)["/v2/web/manifests/v1"] = remember
    rkt(world, NAME)
    rkt(world, NAME)
    assert [each.method for each in seen] == ["GET", "HEAD"]
    assert seen[0].headers["accept"] == seen[1].headers["accept"]
    assert seen[0].headers["user-agent"] == seen[1].headers["user-agent"]


def policy(world: World, require: str, **settings: str) -> Path:
    path = Path(world.paths.local_config, "trust.toml")
    lines = [f'{name} = "{value}"' for name, value in settings.items()]
    path.write_text("\n".join([f'[docker."{HOST}"]', f'require = "{require}"', *lines, ""]))
    return path


def seen(world: World) -> Path:
    (path,) = Path(world.paths.store, "seen").iterdir()
    return path


def sign(world: World, image: LayeredImage, key: SigningKey) -> str:
    """A signature in a lookaside directory; the URL of that."""
    claim = {
        "critical": {
            "type": "atomic container signature",
            "image": {"docker-manifest-digest": image.digest},
            "identity": {"docker-reference": f"{HOST}/web:v1"},
        },
        "optional": {},
    }
    place = world.directory / "lookaside" / f"web@{image.digest.replace(':', '=')}"
    place.mkdir(parents=True)
    (place / "signature-1").write_bytes(key.message(json.dumps(claim).encode()))
    return f"file://{place.parent}"


def test_what_was_verified_is_one_question_as_well(
    world: World, image: LayeredImage, site: HttpsSite
) -> None:
    key = world.key()
    trusted = world.trust(key, prefix=None)
    policy(world, "gpg", lookaside=sign(world, image, key))
    first = rkt(world, NAME, insecure="")
    assert "signature verified" in first.stderr, first.stderr
    asked(site)
    again = rkt(world, NAME, insecure="")
    assert again.stderr == f"image: image from {NAME} has not changed\n"
    assert again.stdout == first.stdout
    assert asked(site) == HEAD
    # Who vouched for it is asked for when the keys are not what they were.
    world.trust(world.key("Other <other@example.com>"))
    assert "signature verified" in rkt(world, NAME, insecure="").stderr
    assert "has not changed" in rkt(world, NAME, insecure="").stderr
    os.unlink(trusted)
    refused = rkt(world, NAME, insecure="")
    assert refused.returncode == 254
    assert "trusted keys" in refused.stderr or "unknown entity" in refused.stderr


def test_a_key_that_trust_toml_names(world: World, image: LayeredImage, site: HttpsSite) -> None:
    key, file = world.key(), world.directory / "key.asc"
    file.write_text(key.public)
    written = policy(world, "gpg", lookaside=sign(world, image, key))
    written.write_text(f'{written.read_text()}keys = ["{file}"]\n')
    assert rkt(world, NAME, insecure="").returncode == 0
    assert "has not changed" in rkt(world, NAME, insecure="").stderr
    file.write_text(world.key("Other <other@example.com>").public)
    assert "unknown entity" in rkt(world, NAME, insecure="").stderr


def test_a_signature_holds_no_longer_than_its_key(
    world: World, image: LayeredImage, site: HttpsSite
) -> None:
    key = world.key(expires="1d")
    world.trust(key, prefix=None)
    policy(world, "gpg", lookaside=sign(world, image, key))
    rkt(world, NAME, insecure="")
    lines = seen(world).read_text().split("\n")
    (end,) = [line for line in lines if line.isdigit() and line != "0"]
    assert 0 < int(end) - time.time() <= 86400
    seen(world).write_text("\n".join("1" if line == end else line for line in lines))
    assert "signature verified" in rkt(world, NAME, insecure="").stderr


def test_what_the_policy_takes_as_it_is(world: World, site: HttpsSite) -> None:
    policy(world, "insecure-accept")
    assert rkt(world, NAME, insecure="").returncode == 0
    asked(site)
    assert "has not changed" in rkt(world, NAME, insecure="").stderr
    assert asked(site) == HEAD
    policy(world, "reject")
    assert "rejects it" in rkt(world, NAME, insecure="").stderr


def test_what_is_pinned_cannot_change(world: World, image: LayeredImage, site: HttpsSite) -> None:
    pinned = f"docker://{HOST}/web@{image.digest}"
    assert rkt(world, pinned, insecure="").returncode == 0
    asked(site)
    assert "has not changed" in rkt(world, pinned, insecure="").stderr
    assert asked(site) == []


@pytest.mark.parametrize(
    ("etag", "modified"), [('"one"', None), (None, "Mon, 23 Nov 2026 08:00:00 GMT")]
)
def test_a_signed_aci(world: World, etag: str | None, modified: str | None) -> None:
    key, path = world.key(), world.aci()
    trusted = world.trust(key)
    signature = Path(key.sign(path)).read_bytes()
    version = Version(Path(path).read_bytes(), etag, modified)
    url = "https://example.com/a.aci"
    with world.site({"/a.aci": version, "/a.aci.asc": signature}) as site:
        first = rkt(world, url, insecure="")
        assert "signature verified" in first.stderr, first.stderr
        asked(site)
        done = rkt(world, url, insecure="", PYTHONPROFILEIMPORTTIME="1")
        assert done.stdout == first.stdout
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert HEAVY & imported == set()
        assert asked(site) == [("HEAD", "/a.aci")]
        # Another key is of no matter to who vouched for this one, and costs one question more.
        world.trust(world.key("Other <other@example.com>"))
        assert "has not changed" in rkt(world, url, insecure="").stderr
        asked(site)
        assert "has not changed" in rkt(world, url, insecure="").stderr
        assert asked(site) == [("HEAD", "/a.aci")]
        version.etag, version.modified = '"two"', "Mon, 23 Nov 2026 09:00:00 GMT"
        assert "signature verified" in rkt(world, url, insecure="").stderr
        os.unlink(trusted)
        assert "unknown entity" in rkt(world, url, insecure="").stderr


def test_an_aci_that_is_fresh_is_not_asked_for(world: World) -> None:
    version = Version(Path(world.aci()).read_bytes(), headers={"Cache-Control": "max-age=86400"})
    url = "https://example.com/a.aci"
    with world.site({"/a.aci": version}) as site:
        rkt(world, url)
        asked(site)
        lines = seen(world).read_text().split("\n")
        begin, end = (line for line in lines if line.isdigit() and line != "0")
        assert int(end) - int(begin) in (86399, 86400)
        # Its span begins with the next second.
        later = "\n".join(str(int(begin) - 1) if line == begin else line for line in lines)
        seen(world).write_text(later)
        assert "has not changed" in rkt(world, url).stderr
        assert asked(site) == []
        # A clock that went back tells nothing.
        future = {begin: str(int(begin) + 9000), end: str(int(end) + 9000)}
        seen(world).write_text("\n".join(future.get(line, line) for line in lines))
        assert "has not changed" in rkt(world, url).stderr
        assert asked(site) == [("HEAD", "/a.aci")]
