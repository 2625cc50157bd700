"""kill -9 at any moment and a full disk: nothing is lost, nothing stays that collection misses."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rktsd.errors import RktError
from rktsd.store import publish
from rktsd.store.store import Store
from tests.unit.store.archives import aci, archive, diff_id, image_id, member, names, stored
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]


def start(code: str, *arguments: str, confined: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [*confined, sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


IMPORT = (
    "import sys; from rktsd.store import publish; from rktsd.store.store import Store\n"
    "s = Store.open(sys.argv[1])\n"
    "publish.import_aci(s, sys.argv[2], source='a', verified_by='insecure')\n"
)


def test_killed_at_any_moment(tmp_path: Path, store: Store) -> None:
    random.seed(3)
    (tmp_path / "old").write_bytes(aci(member("rootfs/old")))
    old = publish.import_aci(store, str(tmp_path / "old"), source="old", verified_by="insecure")
    store.close()
    data = aci(*[member(f"rootfs/{n % 50}/{n}", b"x" * 3000) for n in range(3000)])
    (tmp_path / "new").write_bytes(data)
    process = start(IMPORT, store.root, str(tmp_path / "new"))
    began = time.monotonic()
    assert process.wait(60) == 0
    whole = time.monotonic() - began
    store.remove(image_id(data))
    store.collect()
    clean = names(store.root)
    outcomes = set()
    for _ in range(25):
        process = start(IMPORT, store.root, str(tmp_path / "new"))
        time.sleep(random.uniform(0.05, whole * 1.1))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        kept = {found.id for found in store.images()}
        outcomes.add(len(kept))
        assert kept in ({old.id}, {old.id, image_id(data)})
        for layer in os.listdir(f"{store.root}/layers"):
            if layer != old.id:
                assert len(names(store.layer_path(layer))) == 3051
        if len(kept) == 2:
            store.remove(image_id(data))

        # The unpacking child dies with its parent, if not at the very same moment.
        def collected() -> bool:
            store.collect()
            return names(store.root) == clean

        eventually(collected, "only what was before is left")
    assert 1 in outcomes


FULL = (
    "import os, sys\n"
    "from rktsd.store import publish; from rktsd.store.store import Store\n"
    "from rktsd.errors import RktError\n"
    "os.system('mount -t tmpfs -o size=24m tmpfs ' + sys.argv[1])\n"
    "s = Store.open(sys.argv[1] + '/cas', create=True)\n"
    "publish.import_aci(s, sys.argv[2], source='a', verified_by='insecure')\n"
    "s.close(); s.collect()\n"
    "def tree():\n"
    "    return [w for w in os.walk(s.root)], s.generation(), s.images()\n"
    "before = tree()\n"
    "for kind in ('aci', 'layer', 'blob'):\n"
    "    try:\n"
    "        if kind == 'aci':\n"
    "            publish.import_aci(s, sys.argv[3], source='b', verified_by='insecure')\n"
    "        elif kind == 'layer':\n"
    "            publish.import_layer(s, sys.argv[4], diff_id=sys.argv[5])\n"
    "        else:\n"
    "            publish.add_blob(s, sys.argv[3], 'sha256:' + '0' * 64)\n"
    "        print(kind, 'NOT FULL')\n"
    "    except RktError as error:\n"
    "        print(kind, type(error).__name__, error)\n"
    "    s.close()\n"
    "    print(tree() == before)\n"
)


def test_a_full_disk(tmp_path: Path) -> None:
    """A tmpfs of 24 MiB in a mount namespace of its own."""
    place = tmp_path / "full"
    place.mkdir()
    small, large = aci(member("rootfs/a")), aci(member("rootfs/a", bytes(30 << 20)))
    layer = archive(member("a", bytes(30 << 20)))
    for name, data in (("small", small), ("large", large), ("layer", layer)):
        (tmp_path / name).write_bytes(data)
    files = [str(tmp_path / name) for name in ("small", "large", "layer")]
    process = start(FULL, str(place), *files, diff_id(layer), confined=("unshare", "-m"))
    shown, errors = process.communicate(timeout=60)
    assert errors == ""
    lines = shown.splitlines()
    assert lines[1::2] == ["True"] * 3
    for kind, line in zip(("aci", "layer", "blob"), lines[::2], strict=True):
        assert line.startswith(f"{kind} StoreError cannot ")
        assert line.endswith("No space left on device")
    assert str(place) in lines[0]


@pytest.mark.parametrize("size", ["2m", "200k", "60k"])
def test_a_disk_that_is_full_from_the_beginning(tmp_path: Path, size: str) -> None:
    """Wherever it is that space ends, database included: an error of ours, no traceback."""
    place = tmp_path / "full"
    place.mkdir()
    (tmp_path / "a").write_bytes(aci(member("rootfs/a", bytes(2 << 20))))
    code = FULL.replace("size=24m", f"size={size}").split("s.close(); s.collect()")[0]
    process = start(code, str(place), str(tmp_path / "a"), confined=("unshare", "-m"))
    _, errors = process.communicate(timeout=60)
    last = errors.strip().splitlines()[-1]
    assert last.startswith("rktsd.errors.StoreError: ")
    assert "full" in last or "No space left" in last


REMOVE = (
    "import os, sys\n"
    "from rktsd.store import publish; from rktsd.store.store import Store\n"
    "from rktsd.errors import RktError\n"
    "os.system('mount -t tmpfs -o ' + sys.argv[2] + ' tmpfs ' + sys.argv[1])\n"
    "s = Store.open(sys.argv[1] + '/cas', create=True)\n"
    "one, two = (publish.import_aci(s, a, source=a, verified_by='insecure')"
    " for a in sys.argv[3:])\n"
    "s.close()\n"
    "def fill():\n"
    "    try:\n"
    "        if 'size' in sys.argv[2]:\n"
    "            with open(sys.argv[1] + '/fill', 'ab', buffering=0) as file:\n"
    "                while file.write(bytes(4096)) == 4096: pass\n"
    "        else:\n"
    "            for n in range(100000): os.mknod(sys.argv[1] + f'/{n}.{os.urandom(4).hex()}')\n"
    "    except OSError as error: print(error.strerror)\n"
    "fill()\n"
    "for record in (one, two):\n"
    "    s.remove(record.id)\n"
    "    fill()\n"
    "print([r.id for r in s.images()], len(os.listdir(s.root + '/images')))\n"
    "freed = s.collect()\n"
    "print(len(freed.layers), len(freed.blobs), os.listdir(s.root + '/tmp'))\n"
    "print(sorted(os.listdir(s.root + '/reserve')))\n"
)


@pytest.mark.parametrize("scarce", ["size=2m", "nr_inodes=200"])
def test_a_full_disk_can_be_freed(tmp_path: Path, scarce: str) -> None:
    """Removing takes room as well, blocks and inodes: the store has laid some up."""
    place = tmp_path / "full"
    place.mkdir()
    for name in "ab":
        (tmp_path / name).write_bytes(aci(member("rootfs/a", name.encode() * 90_000)))
    archives = [str(tmp_path / name) for name in "ab"]
    process = start(REMOVE, str(place), scarce, *archives, confined=("unshare", "-m"))
    shown, errors = process.communicate(timeout=60)
    assert errors == ""
    assert shown.splitlines() == [
        *["No space left on device"] * 3,
        "[] 0",
        "2 2 []",
        "['0', '1', '2', '3']",
    ]


def test_what_a_fetch_brought_that_failed_is_taken_back(tmp_path: Path, store: Store) -> None:
    """Layers and blobs go, but not those that were there, nor those that others want by now."""
    layers = [archive(member(name)) for name in ("old", "new", "wanted")]
    for number, data in enumerate(layers):
        (tmp_path / str(number)).write_bytes(data)
    publish.import_layer(store, str(tmp_path / "0"), diff_id=diff_id(layers[0]))
    store.close()
    before = stored(store.root)
    with Store.open(store.root) as other, Store.open(store.root) as failing:
        for number, data in enumerate(layers):
            publish.import_layer(failing, str(tmp_path / str(number)), diff_id=diff_id(data))
        publish.add_blob(failing, str(tmp_path / "1"), diff_id(layers[1]))
        other.claim(diff_id(layers[2]))
        failing.abandon()
        assert [store.has_layer(diff_id(data)) for data in layers] == [True, False, True]
        assert os.listdir(f"{store.root}/blobs") == []
        other.abandon()
        assert store.has_layer(diff_id(layers[2]))
    publish.import_layer(failing, str(tmp_path / "1"), diff_id=diff_id(layers[1]))
    failing.abandon()
    store.close()
    assert set(stored(store.root)) - set(before) == {
        f"layers/{diff_id(layers[2]).replace(':', '-')}",
        f"layers/{diff_id(layers[2]).replace(':', '-')}/wanted",
    }


def test_errors_of_ours_only(tmp_path: Path, store: Store) -> None:
    """Whatever is handed over as an archive."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "d").mkdir()
    for name in ("fifo", "d", "missing", "missing/below"):
        with pytest.raises(RktError, match=str(tmp_path / name)):
            publish.import_aci(store, str(tmp_path / name), source="a", verified_by="insecure")
        with pytest.raises(RktError, match=str(tmp_path / name)):
            publish.import_layer(store, str(tmp_path / name), diff_id="sha256:" + "0" * 64)
