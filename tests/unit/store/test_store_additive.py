"""A store for those who may add images and change nothing."""

import os
from dataclasses import replace
from pathlib import Path

from rktsd.store import publish
from rktsd.store.store import Store
from tests.unit.store.archives import aci, member


def test_an_additive_store_changes_nothing_that_is_there(tmp_path: Path, store: Store) -> None:
    """Images, what names and sources lead to, and archives stay; what is new is added."""
    made = []
    for version in ("2", "1", "3"):
        path = tmp_path / f"{version}.aci"
        path.write_bytes(aci(member(f"rootfs/v{version}", b"x")))
        made.append(str(path))
    first = publish.import_aci(store, made[0], source="s", verified_by="digest")
    blob = os.stat(store.blob_path(first.blobs[0])).st_ino
    with Store.open(store.root, additive=True) as adding:
        again = publish.import_aci(adding, made[0], source="other", verified_by="insecure")
        assert again == replace(first, last_used=again.last_used)
        older = publish.import_aci(adding, made[1], source="s", verified_by="insecure")
        newer = publish.import_aci(adding, made[2], source="new", verified_by="insecure")
        adding.note_latest(newer, {})
    assert os.stat(store.blob_path(first.blobs[0])).st_ino == blob
    assert store.find(first.name).id == first.id
    assert len({first.id, older.id, newer.id}) == 3
    store.note_latest(newer, {})
    assert store.find(first.name).id == newer.id
    sources = {name: store.find_source(name) for name in ("s", "other", "new")}
    assert {name: found and found.id for name, found in sources.items()} == {
        "s": first.id,
        "other": None,
        "new": newer.id,
    }
