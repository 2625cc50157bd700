"""The image that is pulled: Debian packages in five gzip layers, one of which is half of it.

It is made once, which takes minutes, and kept in /var/tmp; so is an ACI of the same files.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.material.images import architecture, image_manifest, write_aci
from tests.material.keys import SigningKey
from tests.material.roots import debian_root

PLACE = "/var/tmp/rktsd-bench"
NAME = "bench.example/large"
PACKAGES = (
    "g++", "gcc", "git", "golang-1.19-go", "golang-1.19-src", "libboost1.74-dev", "perl", "python3",
    "python3-django", "python3-scipy", "python3-sympy",
)  # fmt: skip
LEAST_BYTES, LEAST_FILES = 300_000_000, 40_000
_SHARES = (0.5, 0.625, 0.75, 0.875, 1.0)
_OCI = "application/vnd.oci.image"
_GOARCH = {"aarch64": "arm64", "i386": "386"}


class Material(NamedTuple):
    """``layout`` has the image ``v1``, and ``v2`` with one small layer more; ``archives`` has
    large.aci with its signature by ``key``."""

    layout: str
    archives: str
    key: SigningKey
    size: int
    files: int


def make() -> Material:
    """Make what is not there yet. Raises RuntimeError."""
    root = debian_root(f"{PLACE}/root", PACKAGES)
    paths = _paths(root)
    layout, archives = f"{PLACE}/oci", f"{PLACE}/aci"
    if not os.path.exists(layout):
        shutil.rmtree(f"{layout}.new", ignore_errors=True)
        _layout(root, paths, f"{layout}.new")
        os.rename(f"{layout}.new", layout)
    shutil.rmtree(f"{PLACE}/gnupg", ignore_errors=True)
    key = SigningKey.create(f"{PLACE}/gnupg", "Bench <bench@example.com>")
    if not os.path.exists(archives):
        shutil.rmtree(f"{archives}.new", ignore_errors=True)
        os.mkdir(f"{archives}.new")
        write_aci(root, image_manifest(NAME, ["/usr/bin/python3"]), f"{archives}.new/large.aci")
        os.rename(f"{archives}.new", archives)
    key.sign(f"{archives}/large.aci")
    size = sum(entry.stat().st_size for entry in os.scandir(f"{layout}/blobs/sha256"))
    if size < LEAST_BYTES or len(paths) < LEAST_FILES:
        raise RuntimeError(f"{root}: {size} bytes of layers and {len(paths)} files are too few")
    return Material(layout, archives, key, size, len(paths))


def _paths(root: str) -> list[tuple[str, int]]:
    """Everything below ``root`` with its size, whole directories in an order of no meaning."""
    found = []
    for directory, directories, files in os.walk(root):
        links = [name for name in directories if os.path.islink(f"{directory}/{name}")]
        for name in [".", *sorted([*files, *links])]:
            path = os.path.normpath(f"{directory}/{name}")
            found.append((os.path.relpath(path, root), os.lstat(path).st_size))
    return sorted(found, key=lambda each: hashlib.sha1(os.path.dirname(each[0]).encode()).digest())


def _layout(root: str, paths: Sequence[tuple[str, int]], layout: str) -> None:
    os.makedirs(f"{layout}/blobs/sha256")
    total, before = sum(size for _, size in paths), 0
    parts: list[list[str]] = [[] for _ in _SHARES]
    for path, size in paths:
        parts[next(n for n, share in enumerate(_SHARES) if before <= share * total)].append(path)
        before += size
    layers = [_layer(root, sorted(part), layout) for part in parts]
    os.makedirs(f"{layout}.more/etc")
    with open(f"{layout}.more/etc/bench", "w", encoding="ascii") as file:
        file.write("one more\n")
    more = _layer(f"{layout}.more", ["etc", "etc/bench"], layout)
    shutil.rmtree(f"{layout}.more")
    entries = [
        _image(layout, found, tag) for tag, found in (("v1", layers), ("v2", [*layers, more]))
    ]
    for name, document in (
        ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ("index.json", {"schemaVersion": 2, "manifests": entries}),
    ):
        with open(f"{layout}/{name}", "w", encoding="ascii") as file:
            json.dump(document, file)


def _layer(root: str, paths: Sequence[str], layout: str) -> tuple[dict[str, Any], str]:
    """Its descriptor and the digest of the tar in it."""
    plain, packed = f"{layout}/layer.tar", f"{layout}/layer.tar.gz"
    command = ["tar", "-C", root, "--numeric-owner", "--no-recursion", "--null", "-T-", "-cf"]
    subprocess.run([*command, plain], input="\0".join(paths).encode(), check=True)
    with open(packed, "wb") as output:
        subprocess.run(["gzip", "-6nc", plain], stdout=output, check=True)
    with open(plain, "rb") as file:
        diff_id = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    os.unlink(plain)
    with open(packed, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    os.rename(packed, f"{layout}/blobs/sha256/{digest}")
    return _descriptor(layout, digest, "layer.v1.tar+gzip"), diff_id


def _image(layout: str, layers: Sequence[tuple[dict[str, Any], str]], tag: str) -> dict[str, Any]:
    config = {
        "architecture": _GOARCH.get(architecture(), architecture()),
        "os": "linux",
        "config": {"Cmd": ["/usr/bin/python3"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _document(layout, config, "config.v1+json"),
        "layers": [descriptor for descriptor, _ in layers],
    }
    name = {"org.opencontainers.image.ref.name": tag}
    return {**_document(layout, manifest, "manifest.v1+json"), "annotations": name}


def _document(layout: str, document: Any, kind: str) -> dict[str, Any]:
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{layout}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return _descriptor(layout, digest, kind)


def _descriptor(layout: str, digest: str, kind: str) -> dict[str, Any]:
    size = os.stat(f"{layout}/blobs/sha256/{digest}").st_size
    return {"mediaType": f"{_OCI}.{kind}", "digest": f"sha256:{digest}", "size": size}
