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
from rktsd.store.store import Store
from tests.unit.store.archives import aci, archive, diff_id, image_id, member, names

ROOT = Path(__file__).parents[3]


def start(code: str, *arguments: str, confined: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [*confined, sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


IMPORT = (
    "import sys; from rktsd.store.store import Store\n"
    "s = Store.open(sys.argv[1])\n"
    "s.import_aci(sys.argv[2], source='a', verified_by='insecure')\n"
)


def test_killed_at_any_moment(tmp_path: Path, store: Store) -> None:
    random.seed(3)
    (tmp_path / "old").write_bytes(aci(member("rootfs/old")))
    old = store.import_aci(str(tmp_path / "old"), source="old", verified_by="insecure")
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
        deadline = time.monotonic() + 10
        while names(store.root) != clean and time.monotonic() < deadline:
            store.collect()
        assert names(store.root) == clean
    assert 1 in outcomes


FULL = (
    "import os, sys\n"
    "from rktsd.store.store import Store\n"
    "from rktsd.errors import RktError\n"
    "os.system('mount -t tmpfs -o size=24m tmpfs ' + sys.argv[1])\n"
    "s = Store.open(sys.argv[1] + '/cas', create=True)\n"
    "s.import_aci(sys.argv[2], source='a', verified_by='insecure')\n"
    "s.close(); s.collect()\n"
    "def tree():\n"
    "    return [w for w in os.walk(s.root)], s.generation(), s.images()\n"
    "before = tree()\n"
    "for kind in ('aci', 'layer', 'blob'):\n"
    "    try:\n"
    "        if kind == 'aci':\n"
    "            s.import_aci(sys.argv[3], source='b', verified_by='insecure')\n"
    "        elif kind == 'layer':\n"
    "            s.import_layer(sys.argv[4], diff_id=sys.argv[5])\n"
    "        else:\n"
    "            s.add_blob(sys.argv[3], 'sha256:' + '0' * 64)\n"
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


def test_errors_of_ours_only(tmp_path: Path, store: Store) -> None:
    """Whatever is handed over as an archive."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "d").mkdir()
    for name in ("fifo", "d", "missing", "missing/below"):
        with pytest.raises(RktError, match=str(tmp_path / name)):
            store.import_aci(str(tmp_path / name), source="a", verified_by="insecure")
        with pytest.raises(RktError, match=str(tmp_path / name)):
            store.import_layer(str(tmp_path / name), diff_id="sha256:" + "0" * 64)
