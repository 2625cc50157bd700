"""Which table of trust.toml is for which image: the narrowest, however the image is written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rktsd.images.fetch import FetchOptions, Job
from rktsd.images.references import parse_docker_name
from rktsd.images.vouching import rule_of_file, rule_of_registry
from rktsd.paths import Paths
from rktsd.store.store import Store

Write = Callable[..., Job]


@pytest.fixture
def policy(tmp_path: Path) -> Write:
    """Writes trust.toml with tables that can be told apart by their scopes."""

    def write(*tables: str) -> Job:
        text = "".join(f'[{table}]\nrequire = "digest"\n' for table in tables)
        (tmp_path / "trust.toml").write_text(text)
        paths = Paths(local_config=str(tmp_path), system_config=f"{tmp_path}/none")
        store = Store.open(f"{tmp_path}/cas", create=True)
        return Job(store, paths, FetchOptions(), lambda line: None)

    return write


DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("image", "scope"),
    [
        ("example.com/team/web:1", "example.com/team/web:1"),
        ("example.com/team/web:2", "example.com/team/web"),
        ("example.com/team/webs:1", "example.com/team"),
        (f"example.com/team/web@{DIGEST}", f"example.com/team/web@{DIGEST}"),
        (f"example.com/team/web@sha256:{'1' * 64}", "example.com/team/web"),
        ("example.com/teams/web:1", "example.com"),
        ("EXAMPLE.com/teams/web:1", "example.com"),
        ("example.com:443/team/other:1", "example.com/team"),
        ("example.com:5000/team/web:1", "*.com"),
        ("a.b.example.com/team:1", "*.b.example.com"),
        ("b.example.com/team:1", "*.example.com"),
        ("b.example.com:5000/team:1", "*.example.com"),
        ("debian:12", "docker.io/library/debian"),
        ("index.docker.io/library/debian:12", "docker.io/library/debian"),
        ("registry-1.docker.io/library/debian", "docker.io/library/debian"),
        ("someone/web", "docker.io"),
        ("Docker.io/someone/web", "docker.io"),
        ("localhost/web", ""),
        ("example.org/web", ""),
    ],
)
def test_the_narrowest_table_counts(policy: Write, image: str, scope: str) -> None:
    tables = [
        "example.com", "example.com/team", "example.com/team/web", "example.com/team/web:1",
        f"example.com/team/web@{DIGEST}", "*.com", "*.example.com", "*.b.example.com",
        "docker.io", "docker.io/library/debian",
    ]  # fmt: skip
    job = policy(*(f'docker."{each}"' for each in tables))
    assert rule_of_registry(job, parse_docker_name(image)).scope == scope


def test_tables_for_files(policy: Write, tmp_path: Path) -> None:
    (tmp_path / "images" / "team").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "images")
    tables = [f'oci."{tmp_path}/link"', f'oci."{tmp_path}/images/team"', 'oci-archive."/"']
    job = policy(*tables)
    for transport, path, scope in (
        ("oci", f"{tmp_path}/images/a", f"{tmp_path}/link"),
        ("oci", f"{tmp_path}/images", f"{tmp_path}/link"),
        ("oci", f"{tmp_path}/link/team/a", f"{tmp_path}/images/team"),
        ("oci", f"{tmp_path}/images-2/a", ""),
        ("oci", f"{tmp_path}/images/../a", ""),
        ("docker-archive", f"{tmp_path}/images/a", ""),
        ("oci-archive", "/a", "/"),
    ):
        assert rule_of_file(job, transport, path).scope == scope
