"""Every test here has a machine and a store to itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.world import World, private_machine
from tests.material.registry import RegistryServer


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with private_machine():
        made = World(tmp_path)
        yield made
        made.store.close()


@pytest.fixture
def registry(world: World) -> Iterator[RegistryServer]:
    """A registry that the world trusts, at registry.example:5000."""
    world.trust_ca("registry.example:5000")
    with RegistryServer(world.directory / "registry", world.certificate, port=5000) as server:
        yield server


@pytest.fixture
def home(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and runtime directory, so that nothing of this machine is found."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", f"{world.directory}/home")
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{world.directory}/run")
    return world.directory / "home"
