"""Every test here has a machine and a store to itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.world import World, private_machine


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with private_machine():
        made = World(tmp_path)
        yield made
        made.store.close()
