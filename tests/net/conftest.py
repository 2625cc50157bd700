"""Every test here has a host to itself; the real one's network is never touched."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.machines import Host, private_host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "net.d").mkdir()
    with private_host(str(tmp_path)) as made:
        yield made
