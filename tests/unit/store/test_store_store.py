"""The store's door: import, find, remove, collect; several processes at once."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rktsd.appc.types import NameValue
from rktsd.errors import BadInput, NotFound, RktError, StoreError, TrustError, Unsupported
from rktsd.store import publish
from rktsd.store.match import host_labels
from rktsd.store.records import ImageRecord
from rktsd.store.store import Store
from tests.unit.store.archives import (
    aci,
    archive,
    diff_id,
    image_id,
    member,
    names,
    stored,
)

MANIFEST = b'{"acKind":"ImageManifest"}'


def put(store: Store, path: Path, content: bytes = b"", *, source: str = "file:a") -> ImageRecord:
    """Import an ACI that ``content`` makes different from others."""
    path.write_bytes(aci(member("rootfs/f", content)))
    return publish.import_aci(store, str(path), source=source, verified_by="insecure")


def record(image: str, **changes: object) -> ImageRecord:
    values: dict[str, object] = {
        "id": image, "name": "example.com/app", "labels": (), "kind": "oci", "layers": (),
        "size": 1, "import_time": 0, "last_used": 0, "source": f"docker://{image}",
        "verified_by": "digest",
    }  # fmt: skip
    return ImageRecord(**{**values, **changes})  # type: ignore[arg-type]  # a table of any field


def an_id(start: str) -> str:
    return "sha512-" + start.ljust(64, "0")


def labels(**values: str) -> tuple[NameValue, ...]:
    return tuple(NameValue(name, value) for name, value in values.items())


def test_there_is_no_store_until_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no image store in"):
        Store.open(str(tmp_path / "cas"))
    assert not (tmp_path / "cas").exists()
    Store.open(str(tmp_path / "cas"), create=True)
    assert Store.open(str(tmp_path / "cas")).images() == []
    assert Store.open(str(tmp_path / "cas")).generation() == ""


def test_a_store_that_cannot_be_seen_is_no_empty_one(tmp_path: Path) -> None:
    Store.open(str(tmp_path / "cas"), create=True)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file/cas/index: Not a directory"):
        Store.open(f"{tmp_path}/file/cas")
    os.chmod(tmp_path, 0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match="cas/index: Permission denied"):
            Store.open(str(tmp_path / "cas"))
    finally:
        os.seteuid(0)


def test_layers_are_not_for_other_users(store: Store) -> None:
    for name in ("layers", "tmp"):
        assert os.stat(f"{store.root}/{name}").st_mode & 0o077 == 0


def test_an_aci_and_all_that_is_known_of_it(tmp_path: Path, store: Store) -> None:
    before = time.time_ns()
    found = put(store, tmp_path / "a.aci", b"content", source="https://example.com/app.aci")
    data = (tmp_path / "a.aci").read_bytes()
    assert found.id == image_id(data)
    assert found.layers == (found.id,)
    assert found.size == len(data)
    assert before <= found.import_time == found.last_used <= time.time_ns()
    assert found.labels == labels(version="1.0")
    assert store.image(found.id) == store.find_source("https://example.com/app.aci") == found
    assert store.images() == [found]
    assert Path(store.blob_path(found.blobs[0])).read_bytes() == data
    assert b"example.com/app" in store.manifest_bytes(found.id)
    assert names(store.layer_path(found.layers[0])) == {".", "f"}
    assert os.listdir(f"{store.root}/layers") == [found.id]
    assert (tmp_path / "a.aci").exists()


def test_the_same_again(tmp_path: Path, store: Store) -> None:
    first = put(store, tmp_path / "a.aci", source="file:a")
    tree = names(store.root)
    second = put(store, tmp_path / "a.aci", source="file:b")
    assert second.id == first.id
    assert [found.id for found in store.images()] == [first.id]
    assert names(store.root) == tree
    assert store.find_source("file:a") == store.find_source("file:b") == second


def test_an_archive_in_the_stores_own_scratch_is_not_copied(tmp_path: Path, store: Store) -> None:
    with store.temporary("download.aci") as path:
        Path(path).write_bytes(aci())
        inode = os.stat(path).st_ino
        found = publish.import_aci(store, path, source="x", verified_by="insecure")
        assert os.stat(store.blob_path(found.blobs[0])).st_ino == inode


def test_ids(store: Store) -> None:
    for start in ("aabb", "aacc", "dd"):
        publish.add_image(store, record(an_id(start)), MANIFEST)
    assert store.find("sha512-aabb").id == an_id("aabb")
    assert store.find("sha512-dd").id == an_id("dd")
    assert store.find(an_id("aacc") + "0" * 64).id == an_id("aacc")
    for reference, kind, message in (
        ("sha512-a", BadInput, '"sha512-a": image ID too short'),
        ("sha512-", BadInput, "image ID too short"),
        ("sha512-aa", BadInput, '"sha512-aa": ambiguous image ID'),
        ("sha512-ee", NotFound, '"sha512-ee": no image IDs found'),
        ("sha512-AABB", BadInput, "bad image ID"),
        ("sha512-../../x", BadInput, "bad image ID"),
    ):
        with pytest.raises(kind, match=message):
            store.find(reference)


def test_names(store: Store) -> None:
    host = host_labels()
    images = {
        "01": labels(version="1"),
        "02": labels(version="2", **host),
        "03": labels(version="3", os="freebsd"),
        "04": labels(version="2", arch="pdp11"),
        "05": labels(version="2", channel="beta", **host),
    }
    for when, (start, given) in enumerate(images.items(), 1):
        publish.add_image(store, record(an_id(start), labels=given, import_time=when), MANIFEST)
    publish.add_image(
        store, record(an_id("aa"), name="example.com/other", import_time=99), MANIFEST
    )

    def find(reference: str) -> str:
        return store.find(reference).id[7:9]

    assert find("example.com/app") == "05"
    assert find("example.com/app:1") == "01"
    assert find("example.com/app:2") == "05"
    assert find("example.com/app,channel=beta") == "05"
    assert find("example.com/app:2,arch=pdp11") == "04"
    assert find("example.com/app,os=freebsd") == "03"
    assert find("example.com/other") == "aa"
    for missing in ("example.com/app:3", "example.com/app,channel=x", "example.com/none"):
        with pytest.raises(NotFound, match=f'image "{missing}" is not in the store'):
            store.find(missing)
    with pytest.raises(BadInput):
        store.find("example.com/UPPER")


def test_a_source_gives_its_newest_image(store: Store) -> None:
    one, two = an_id("01"), an_id("02")
    publish.add_image(store, record(one, source="docker://r/a:latest"), MANIFEST)
    publish.add_image(store, record(two, source="docker://r/a:latest"), MANIFEST)
    found = store.find_source("docker://r/a:latest")
    assert found is not None
    assert found.id == two
    publish.add_image(store, record(one, source="docker://r/a:latest"), MANIFEST)
    found = store.find_source("docker://r/a:latest")
    assert found is not None
    assert found.id == one
    store.remove(one)
    assert store.find_source("docker://r/a:latest") is None


def test_layers_and_what_is_kept_beside_the_manifest(tmp_path: Path, store: Store) -> None:
    tar = archive(member("a", b"x"))
    (tmp_path / "l").write_bytes(tar)
    publish.import_layer(store, str(tmp_path / "l"), diff_id=diff_id(tar))
    layer = diff_id(tar).replace(":", "-")
    assert store.has_layer(diff_id(tar))
    extra = {"oci-manifest": b"{1}", "oci-config": b"{2}"}
    publish.add_image(store, record(an_id("01"), layers=(layer,)), MANIFEST, extra=extra)
    assert store.manifest_bytes(an_id("01")) == MANIFEST
    assert store.manifest_bytes(an_id("01"), extra="oci-config") == b"{2}"
    with pytest.raises(NotFound):
        store.manifest_bytes(an_id("02"))
    with pytest.raises(StoreError, match=r"layer sha256-0+ is not in the store"):
        publish.add_image(store, record(an_id("02"), layers=("sha256-" + "0" * 64,)), MANIFEST)
    with pytest.raises(StoreError, match=r"blob sha256:0+ is not in the store"):
        publish.add_image(store, record(an_id("02"), blobs=("sha256:" + "0" * 64,)), MANIFEST)
    for name in ("../evil", "manifest", "used", "a/b", ""):
        with pytest.raises(BadInput, match="cannot be kept"):
            publish.add_image(store, record(an_id("02")), MANIFEST, extra={name: b""})
    with pytest.raises(BadInput, match="bad image ID"):
        publish.add_image(store, record("sha512-../../../x"), MANIFEST)
    assert [found.id for found in store.images()] == [an_id("01")]


@pytest.mark.parametrize("bad", ["sha256:xyz", "md5:" + "0" * 32, "sha256-../../etc", "", "a:b"])
def test_malformed_digests(store: Store, bad: str) -> None:
    for call in (store.layer_path, store.has_layer, store.blob_path):
        with pytest.raises(BadInput):
            call(bad)


def test_blobs_are_verified_while_they_move_in(tmp_path: Path, store: Store) -> None:
    digest = "sha256:" + hashlib.sha256(b"blob").hexdigest()
    before = stored(store.root)
    (tmp_path / "bad").write_bytes(b"other")
    with pytest.raises(TrustError, match=r"digest is sha256:.*, not sha256:"):
        publish.add_blob(store, str(tmp_path / "bad"), digest)
    assert stored(store.root) == before
    with store.temporary() as path:
        Path(path).write_bytes(b"blob")
        assert publish.add_blob(store, path, digest) == store.blob_path(digest)
        assert not os.path.exists(path)
    assert Path(store.blob_path(digest)).read_bytes() == b"blob"


def test_collection_takes_what_nobody_needs(tmp_path: Path, store: Store) -> None:
    kept = put(store, tmp_path / "a", b"kept")
    gone = put(store, tmp_path / "b", b"gone" * 10_000)
    running = put(store, tmp_path / "c", b"running")
    blob = tmp_path / "blob"
    blob.write_bytes(b"blob")
    digest = "sha256:" + hashlib.sha256(b"blob").hexdigest()
    publish.add_blob(store, str(blob), digest)
    store.close()
    store.remove(gone.id)
    store.remove(running.id)
    with pytest.raises(NotFound):
        store.remove(gone.id)
    os.mkdir(f"{store.root}/tmp/999-left")
    Path(f"{store.root}/.generation.1.tmp").write_text("")
    freed = store.collect(running.layers)
    assert freed.layers == gone.layers
    assert set(freed.blobs) == {*gone.blobs, *running.blobs, digest.replace(":", "-")}
    assert freed.temporaries == 1
    assert freed.size > 40_000
    assert sorted(os.listdir(f"{store.root}/layers")) == sorted(kept.layers + running.layers)
    assert os.listdir(f"{store.root}/images") == [kept.id]
    assert os.listdir(f"{store.root}/tmp") == []
    assert store.collect(running.layers).size == 0
    assert store.find(kept.id) == kept


def test_claims_outlast_collections_by_others(tmp_path: Path, store: Store) -> None:
    tar = archive(member("a"))
    (tmp_path / "l").write_bytes(tar)
    other = Store.open(store.root)
    publish.import_layer(store, str(tmp_path / "l"), diff_id=diff_id(tar))
    other.collect()
    assert store.claim(diff_id(tar))
    store.close()
    assert other.claim(diff_id(tar))
    store.collect()
    assert other.has_layer(diff_id(tar))
    other.close()
    assert len(store.collect().layers) == 1
    assert not other.claim(diff_id(tar))
    other.close()


def test_a_scratch_path_lives_as_long_as_its_owner(store: Store) -> None:
    with store.temporary("file") as path:
        Path(path).write_text("x")
        Store.open(store.root).collect()
        assert Path(path).read_text() == "x"
    assert os.listdir(f"{store.root}/tmp") == []


def test_generations(tmp_path: Path, store: Store) -> None:
    seen = [store.generation()]
    first = put(store, tmp_path / "a", b"1")
    seen.append(store.generation())
    put(store, tmp_path / "b", b"2")
    seen.append(store.generation())
    store.touch(first.id)
    store.images()
    store.collect()
    assert store.generation() == seen[-1]
    store.remove(first.id)
    seen.append(store.generation())
    assert len(set(seen)) == 4
    with pytest.raises(RktError):
        store.remove(first.id)
    assert store.generation() == seen[-1]


def test_use_is_noted(tmp_path: Path, store: Store) -> None:
    found = put(store, tmp_path / "a")
    store.touch(found.id)
    later = store.image(found.id)
    assert later.last_used > found.last_used
    assert later.import_time == found.import_time
    store.touch(an_id("ff"))


def test_the_hot_path_needs_no_database(store: Store) -> None:
    code = (
        "import sys; from rktsd.store.store import Store; s = Store.open(sys.argv[1]);"
        "s.generation(); s.has_layer('sha256-' + '0' * 64); s.touch('sha512-00')\n"
        "with s.shared(): pass\n"
        "import rktsd.store.rootview, rktsd.store.users, rktsd.store.executables\n"
        "heavy = {'sqlite3', 'ctypes', 'subprocess', 'json', 'hashlib', 'tarfile', 'shutil'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", code, store.root]
    shown = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"


def blocked(work: Callable[[], object]) -> bool:
    """Whether ``work`` waits; it is let end afterwards by the caller."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(0.3)
    return thread.is_alive()


def hold(root: str, how: str) -> None:
    with getattr(Store.open(root), how)():
        pass


def test_locks(store: Store) -> None:
    with store.shared():
        assert not blocked(lambda: hold(store.root, "shared"))
        assert blocked(lambda: hold(store.root, "exclusive"))
        with store.shared():
            pass
        with pytest.raises(StoreError, match="cannot become exclusive"), store.exclusive():
            pass
    with store.exclusive():
        assert blocked(lambda: hold(store.root, "shared"))
        with store.exclusive(), store.shared():
            pass
    with store.exclusive():
        pass


def test_an_older_schema_is_read_and_brought_up_to_date(tmp_path: Path, store: Store) -> None:
    import sqlite3

    first = put(store, tmp_path / "a.aci", b"one")
    connection = sqlite3.connect(f"{store.root}/index")
    connection.execute("DROP TABLE layers")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    assert [found.id for found in store.images()] == [first.id]
    assert store.layer_sizes() == {}
    second = put(store, tmp_path / "a.aci", b"three")
    assert store.layer_sizes() == {second.id: 5}
    store.close()
    store.remove(second.id)
    store.collect()
    assert store.layer_sizes() == {}
    assert [found.id for found in store.images()] == [first.id]


def test_a_newer_schema_is_left_alone(store: Store) -> None:
    import sqlite3

    connection = sqlite3.connect(f"{store.root}/index")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Unsupported, match="newer version of rktsd"):
        store.images()


def test_a_damaged_index_is_an_error_in_words(store: Store) -> None:
    Path(f"{store.root}/index").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match=f"index of images {store.root}/index"):
        store.images()


def test_many_at_once(tmp_path: Path, store: Store) -> None:
    """Twelve imports of four images, and collections in between: all are there, nothing else."""
    code = (
        "import sys; from rktsd.store import publish; from rktsd.store.store import Store\n"
        "s = Store.open(sys.argv[1], create=True)\n"
        "if sys.argv[2] == 'collect':\n"
        "    for _ in range(10): s.collect()\n"
        "else:\n"
        "    publish.import_aci(s, sys.argv[2], source=sys.argv[3], verified_by='insecure')\n"
    )
    root = Path(__file__).parents[3]
    ids = set()
    for number in range(4):
        data = aci(*[member(f"rootfs/{number}-{n}", os.urandom(100)) for n in range(50)])
        (tmp_path / str(number)).write_bytes(data)
        ids.add(image_id(data))
    works = [(str(tmp_path / str(n % 4)), str(n)) for n in range(12)] + [("collect", "")] * 2
    running = [
        subprocess.Popen([sys.executable, "-c", code, store.root, *work], cwd=root)
        for work in works
    ]
    assert [process.wait(60) for process in running] == [0] * len(works)
    assert {found.id for found in store.images()} == ids
    assert len({found.source for found in store.images()}) == 4
    assert set(os.listdir(f"{store.root}/layers")) == ids
    assert os.listdir(f"{store.root}/tmp") == []
    assert store.collect().size == 0
