"""OCI images of as many layers as a test wants, made in memory."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from tests.material.images import architecture
from tests.material.servers import Answer, Content

_OCI = "application/vnd.oci.image"
_GOARCH = {"aarch64": "arm64", "i386": "386"}


class LayeredImage:
    """One image: a layer for each of ``layers``, which map paths to contents.

    ``blobs`` are its parts by digest, ``archives`` the digests of its layers, ``digest`` is that of
    its manifest.
    """

    def __init__(self, layers: Sequence[Mapping[str, bytes]]) -> None:
        self.blobs: dict[str, bytes] = {}
        tars = [_tar(files) for files in layers]
        entries = [
            self._add(f"{_OCI}.layer.v1.tar+gzip", gzip.compress(tar, 1, mtime=0)) for tar in tars
        ]
        self.archives = [str(entry["digest"]) for entry in entries]
        config = {
            "architecture": _GOARCH.get(architecture(), architecture()),
            "os": "linux",
            "config": {"Cmd": ["/bin/app"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(tar) for tar in tars]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": self._add(f"{_OCI}.config.v1+json", json.dumps(config).encode()),
            "layers": entries,
        }
        self.descriptor = self._add(f"{_OCI}.manifest.v1+json", json.dumps(manifest).encode())
        self.digest = str(self.descriptor["digest"])

    def _add(self, kind: str, data: bytes) -> dict[str, Any]:
        self.blobs[_digest(data)] = data
        return {"mediaType": kind, "digest": _digest(data), "size": len(data)}

    def paths(self, repository: str, *tags: str) -> dict[str, Content]:
        """What a registry answers for the image, by path."""
        found: dict[str, Content] = {
            f"/v2/{repository}/blobs/{digest}": data for digest, data in self.blobs.items()
        }
        headers = {
            "Content-Type": f"{_OCI}.manifest.v1+json",
            "Docker-Content-Digest": self.digest,
        }
        for name in (*tags, self.digest):
            answer = Answer(self.blobs[self.digest], headers=headers)
            found[f"/v2/{repository}/manifests/{name}"] = answer
        return found

    def layout(self, directory: str | os.PathLike[str], tag: str) -> str:
        """Write it as an OCI layout, which must not exist; what skopeo calls it."""
        os.makedirs(f"{directory}/blobs/sha256")
        for digest, data in self.blobs.items():
            with open(f"{directory}/blobs/{digest.replace(':', '/')}", "wb") as file:
                file.write(data)
        named = {**self.descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
        for name, document in (
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
            ("index.json", {"schemaVersion": 2, "manifests": [named]}),
        ):
            with open(f"{directory}/{name}", "w", encoding="ascii") as output:
                json.dump(document, output)
        return f"oci:{os.fspath(directory)}:{tag}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()
