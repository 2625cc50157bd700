"""OCI images byte by byte, so that tests can say what no honest tool would write."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.material.servers import Answer, Content
from tests.unit.store.archives import diff_id

OCI = "application/vnd.oci.image"


class Written:
    """An image of ``layers`` (tar archives, lowest first) by hand: its blobs by digest."""

    def __init__(self, layers: Sequence[bytes], **config: Any) -> None:
        self.blobs: dict[str, bytes] = {}
        rootfs = {"type": "layers", "diff_ids": [diff_id(layer) for layer in layers]}
        self.document = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": self.add(
                json.dumps({"rootfs": rootfs, **config}).encode(), f"{OCI}.config.v1+json"
            ),
            "layers": [self.add(layer, f"{OCI}.layer.v1.tar") for layer in layers],
        }

    def add(self, data: bytes, kind: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def layout(self, path: Path) -> str:
        """Write it down; the reference that vouches for it."""
        top = self.add(json.dumps(self.document).encode(), f"{OCI}.manifest.v1+json")
        (path / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        for digest, data in self.blobs.items():
            (path / "blobs" / digest.replace(":", "/")).write_bytes(data)
        (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return f"oci:{path}@{top['digest']}"

    def served(self, **changes: Content) -> dict[str, Content]:
        """What a registry answers that has it as ``web:v1``; ``changes`` name parts of it."""
        kind = {"Content-Type": f"{OCI}.manifest.v1+json"}
        paths: dict[str, Content] = {
            f"/v2/web/blobs/{digest}": data for digest, data in self.blobs.items()
        }
        data = json.dumps(self.document).encode()
        paths["/v2/web/manifests/v1"] = changes.pop("manifest", Answer(data, headers=kind))
        for name, content in changes.items():
            found = self.document[name]
            each = found[-1] if isinstance(found, list) else found
            assert isinstance(each, dict)
            paths[f"/v2/web/blobs/{each['digest']}"] = content
        return paths
