"""What carrying out a plan finds out before anything is started."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from rktsd.errors import Unsupported
from rktsd.stage1 import apply
from rktsd.stage1.types import PodPlan

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))


def _plan(directory: Path) -> PodPlan:
    """Of a pod with private users, and nothing else."""
    plan: PodPlan = {
        "pod": "web",
        "uuid": "",
        "directory": str(directory),
        "run_directory": str(directory),
        "apps": [],
        "barrier": {"name": "", "properties": []},
        "units": [],
        "bundles": [],
        "directories": [],
        "files": [],
        "links": [],
        "fills": [],
        "mounts": [],
        "programs": [],
        "bandwidth": None,
        "sysctl": {},
        "metadata": None,
        "unapplied": [],
        "users": {"first": 1 << 20, "sources": [], "owned": []},
    }
    return plan


def test_a_kernel_that_gives_no_user_namespaces(tmp_path: Path) -> None:
    """The limit is set for a user namespace of the test's own."""
    script = (
        "echo 0 >/proc/sys/user/max_user_namespaces && exec /usr/bin/python3 -c 'import json, sys;"
        ' from rktsd.stage1 import apply; apply.write_bundles(json.loads(sys.argv[1]))\' "$1"'
    )
    plan = json.dumps(_plan(tmp_path))
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", plan]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    said = "pod web: private users: the kernel gives none: No space left on device"
    assert done.stderr.splitlines()[-1] == f"rktsd.errors.Unsupported: {said}"


def test_a_kernel_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = os.uname_result(("Linux", "host", "5.10.0-28-amd64", "#1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: old)
    with pytest.raises(Unsupported) as caught:
        apply.write_bundles(_plan(tmp_path))
    assert str(caught.value) == (
        "pod web: private users: this kernel (5.10.0-28-amd64) cannot id-map layers, Linux 5.19 can"
    )
