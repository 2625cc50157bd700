"""Pod directories as a start leaves them, without a start."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rktsd.paths import Paths
from rktsd.pods import directories
from rktsd.pods.query import Place

UUIDS = tuple(f"1{digit}00{'0' * 4}-0000-4000-8000-{'0' * 12}" for digit in "abcdef")


def make_pod(
    paths: Paths,
    uuid: str,
    stage: str,
    *,
    name: str | None = None,
    status: Mapping[str, str] | None = None,
    started: bool = False,
    layers: Sequence[str] = (),
) -> Place:
    """An ended pod of one app called ``one``; ``status`` are files of its status directory."""
    image = {
        "id": "sha512-" + "0" * 64,
        "name": "example.com/web",
        "labels": [{"name": "version", "value": "1.0.0"}],
    }
    files = {
        "pod": json.dumps({"apps": [{"name": "one", "image": image}]}),
        "images": json.dumps({"one": {"layers": list(layers)}}),
    }
    if stage not in (directories.PREPARE, directories.PREPARED):
        files["ended"] = ""
    if name is not None:
        files["name"] = f"{name}\n"
    if started:
        files["started"] = ""
    # By way of a stage of its own: an embryo cannot become an embryo.
    directory = directories.create(paths, directories.RUN, uuid, files)
    for app, text in (status or {}).items():
        Path(directory, "status", app).write_text(text)
    if stage != directories.RUN:
        directory = directories.move(paths, uuid, directories.RUN, stage)
    return Place(uuid, stage, directory, name)
