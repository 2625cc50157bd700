"""A place to work in that leaves nothing behind."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rktsd.errors import StoreError
from rktsd.store.store import Store


@contextmanager
def scratch(store: Store) -> Iterator[str]:
    """A directory that is gone afterwards, on the store's disk. Raises StoreError."""
    with store.temporary("fetch") as place:
        try:
            os.mkdir(place, 0o700)
        except OSError as error:
            raise StoreError(f"cannot write {place}: {error.strerror}") from error
        yield place
