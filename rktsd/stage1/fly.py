"""The bundle of an app of the flavor fly: a plain service with a root of its own. Pure.

As with rkt's fly, everything but its root it shares with the host. ``stage1.flight`` reads the
bundle and becomes the app: nothing else of it stays.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable, Sequence
from typing import Any

from rktsd import paths
from rktsd.appc.isolators import CAPABILITIES_BY_NUMBER
from rktsd.stage1 import bundle
from rktsd.stage1.mounts import BindMount
from rktsd.stage1.readiness import MANAGER_SOCKET, readiness
from rktsd.stage1.types import AppFacts, PodFacts

_FOREVER = 2**63


def config(
    pod: PodFacts,
    facts: AppFacts,
    directory: str,
    binds: Sequence[BindMount],
    *,
    handler: bool = False,
) -> dict[str, Any]:
    """config.json, with what ``flight`` is to do in the member "fly". Raises BadInput.

    "process" is as with systemd-nspawn, so that ``rkt enter`` finds there what it looks for.
    """
    process = bundle.config(pod, facts)["process"]
    name, targets = facts.runtime.name, {bind.target for bind in binds}
    memory = [("/run", "mode=0755")] if "/run" not in targets else []
    if facts.runtime.read_only_root_fs and "/tmp" not in targets:
        memory.append(("/tmp", "mode=1777"))
    wanted = readiness(facts)
    sets = process["capabilities"]
    return {
        "ociVersion": "1.0.0",
        "process": process,
        "root": {"path": "rootfs"},
        "fly": {
            "layers": list(facts.layers),
            "upper": f"{pod.directory}/overlay/{name}",
            "work": work_directory(pod, name),
            "read-only": facts.runtime.read_only_root_fs,
            "memory": memory,
            "mounts": _mounts(pod, facts, directory, binds),
            "inaccessible": list(facts.inaccessible),
            "capabilities": {kind: _numbers(names) for kind, names in sets.items()},
            "limits": [
                (getattr(resource, each["type"]), [_limit(each["soft"]), _limit(each["hard"])])
                for each in process["rlimits"]
            ],
            "ready": wanted.unit_type == "notify" and not wanted.by_app and not handler,
            "notify": MANAGER_SOCKET if wanted.by_app and not handler else None,
            # Executed by a descriptor: it needs no place in the root.
            "launcher": None if facts.launcher is None else bundle.launcher_path(pod, facts),
        },
    }


def command(directory: str) -> list[str]:
    """What the script of the bundle in ``directory`` becomes."""
    return [f"{paths.LIBEXEC}/fly", directory]


def work_directory(pod: PodFacts, app: str) -> str:
    """Where the kernel prepares what it writes to the app's own layer, on the same file system."""
    return f"{pod.directory}/work/{app}"


def _mounts(
    pod: PodFacts, facts: AppFacts, directory: str, binds: Sequence[BindMount]
) -> list[tuple[str, str, bool, bool, bool]]:
    """(source, target, read-only, recursive, shared) in the order of mounting.

    What is mounted in a ``shared`` one later is seen on both sides, as in rkt. None is that holds
    another mount, which would appear on the host.
    """
    found = [*_own(pod, facts, directory), *(each for each in binds if each.source != "/dev/shm")]
    targets = [bind.target for bind in found]
    mounts = [(place, place, False, True, False) for place in ("/dev", "/proc", "/sys")]
    for bind in sorted(found, key=lambda each: each.target):
        of_pod = bind.source.startswith((f"{pod.directory}/", f"{pod.run_directory}/"))
        holds = any(target.startswith(f"{bind.target}/") for target in targets)
        shared = not of_pod and not holds
        mounts.append((bind.source, bind.target, bind.read_only, bind.recursive, shared))
    return mounts


def _own(pod: PodFacts, facts: AppFacts, directory: str) -> Iterable[BindMount]:
    wanted = readiness(facts)
    if wanted.by_app or wanted.direct:
        yield BindMount(MANAGER_SOCKET, MANAGER_SOCKET, False, False)
    if bundle.has_credentials(facts):
        yield BindMount(f"{directory}/credentials", bundle.CREDENTIALS, True, False)


def _numbers(names: Sequence[str]) -> list[int]:
    return [CAPABILITIES_BY_NUMBER.index(name) for name in names]


def _limit(value: int) -> int:
    return -1 if value >= _FOREVER else value
