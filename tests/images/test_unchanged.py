"""A second fetch of what has not changed: one question to the registry, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktsd.errors import TrustError
from tests.images.world import World
from tests.material.layered import LayeredImage
from tests.material.registry import RegistryServer
from tests.material.servers import Answer, Content, HttpsSite, Request

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


def rkt(world: World, *more: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    options = [f"--dir={world.paths.data}", f"--local-config={world.paths.local_config}"]
    command = [sys.executable, str(RKT), *options, "--insecure-options=image", "fetch", *more]
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
    options = [f"--dir={world.paths.data}", f"--local-config={world.paths.local_config}"]
    command = [sys.executable, str(RKT), *options, "fetch", NAME]
    environment = {**os.environ, "PYTHONPATH": str(RKT.parents[1])}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
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
