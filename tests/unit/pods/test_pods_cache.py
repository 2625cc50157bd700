"""Compiled forms of pods that are kept under /run."""

import os
from pathlib import Path

from rktsd.paths import Paths
from rktsd.pods.cache import forget_orphans


def test_forms_go_with_their_pod_files(tmp_path: Path) -> None:
    paths = Paths(local_config=f"{tmp_path}/etc", run=f"{tmp_path}/run")
    forget_orphans(paths)
    os.makedirs(paths.pod_files)
    plans = Path(paths.run, "plans")
    plans.mkdir(parents=True)
    for pod in ("kept", "gone", "shop@blue", "twice", "lost@red"):
        (plans / f"{pod}.json").touch()
    for file in ("kept.toml", "shop@.toml", "twice.toml", "twice.json"):
        Path(paths.pod_files, file).touch()
    forget_orphans(paths)
    assert sorted(os.listdir(plans)) == ["kept.json", "shop@blue.json", "twice.json"]
