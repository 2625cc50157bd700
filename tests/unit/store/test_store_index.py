"""The index of images where there is no room on the disk."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import contextlib, os, sys
from rktsd.errors import StoreError
from rktsd.store.index import Index
from rktsd.store.records import ImageRecord

disk = sys.argv[1]
assert os.system(f"mount -t tmpfs -o size=256k tmpfs {disk}") == 0
record = ImageRecord(
    id="sha512-" + "0" * 64, name="example.com/web", labels=(), kind="aci", layers=(), size=1,
    import_time=1, last_used=1, source="file:///web.aci", verified_by="insecure",
)
index = Index(f"{disk}/index")
index.create()
index.put(record)
with contextlib.suppress(OSError), open(f"{disk}/ballast", "wb", buffering=0) as file:
    while file.write(b"x" * 4096):
        pass
assert index.all() == [record]
assert index.by_name("example.com/web") == [record]
try:
    index.delete(record.id)
except StoreError as error:
    assert str(error) == f"index of images {disk}/index: No space left on device", error
else:
    raise AssertionError("deleted")
os.unlink(f"{disk}/ballast")
assert index.delete(record.id)
assert index.all() == []
"""


def test_images_are_listed_on_a_full_disk(tmp_path: Path) -> None:
    command = ["unshare", "-m", sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
