"""A store of the test's own, and a door that remembers what the disk looked like before."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktsd.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store; unpacking changes owners, so root alone can."""
    if os.geteuid() != 0:
        pytest.fail("tests of the store need root", pytrace=False)
    with Store.open(str(tmp_path / "cas"), create=True) as opened:
        yield opened
