"""Layers as buildah writes them: what the layers show together is what was committed."""

import json
import subprocess
from pathlib import Path

from rktsd.store import publish
from rktsd.store.rootview import RootView
from rktsd.store.store import Store

SCRIPT = """
set -e
b() { buildah --root "$HERE/storage" --runroot "$HERE/run" --storage-driver vfs "$@"; }
one=$(b from scratch)
root=$(b mount "$one")
mkdir -p "$root/etc" "$root/data/old"
echo root:x:0:0::/root:/bin/sh > "$root/etc/passwd"
echo old > "$root/data/old/file"; echo gone > "$root/gone"
ln "$root/gone" "$root/hard"; ln -s /etc/passwd "$root/link"
b commit -q "$one" one >/dev/null
two=$(b from localhost/one)
root=$(b mount "$two")
rm "$root/gone"; rm -r "$root/data"; mkdir "$root/data"; echo new > "$root/data/new"
b commit -q --squash=false "$two" "oci:$HERE/layout:two" >/dev/null
b rm --all >/dev/null
b rmi --all --force >/dev/null
"""


def test_layers_of_buildah(tmp_path: Path, store: Store) -> None:
    subprocess.run(
        ["sh", "-c", SCRIPT], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HERE": str(tmp_path)},
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    blobs = tmp_path / "layout" / "blobs" / "sha256"

    def blob(digest: str) -> Path:
        return blobs / digest.removeprefix("sha256:")

    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
    config = json.loads(blob(manifest["config"]["digest"]).read_text())
    layers = []
    for layer, diff in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        publish.import_layer(store, str(blob(layer["digest"])), diff_id=diff)
        layers.append(store.layer_path(diff))
    assert len(layers) == 2
    view = RootView(layers[::-1])
    assert view.read("/link", 100) == b"root:x:0:0::/root:/bin/sh\n"
    assert view.read("/hard", 100) == b"gone\n"
    assert view.read("/data/new", 100) == b"new\n"
    assert view.resolve("/gone") is None
    assert view.resolve("/data/old") is None
