"""A plan as text for readers: what ``rkt pod units`` prints and golden files hold. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rktsd.stage1 import syscalls

if TYPE_CHECKING:
    from rktsd.stage1.types import PodPlan


def render(plan: PodPlan) -> str:
    """A line for every property, the default system call filter by its name."""
    lines = [f"pod {plan['pod']}: {' '.join(plan['apps'])}"]
    for unit in (plan["barrier"], *plan["units"]):
        lines += ["", f"[{unit['name']}]"]
        lines += [
            f"{name} ({signature}) = {json.dumps(value, ensure_ascii=False)}"
            for name, signature, value in unit["properties"]
        ]
    for path, mode, uid, gid in plan["directories"]:
        lines += ["", f"[directory {path}] {mode:04o} {uid}:{gid}"]
    for path, text in plan["files"]:
        lines += ["", f"[file {path}]", text.rstrip("\n")]
    for path, target in plan["links"]:
        lines += ["", f"[link {path}] {target}"]
    for fill in plan["fills"]:
        lines += ["", f"[fill {fill['directory']}]"]
        lines += [f"{key} = {value}" for key, value in fill.items() if key != "directory"]
    for path, options in plan["mounts"]:
        lines += ["", f"[tmpfs {path}] {options}"]
    for path, digits in plan["programs"]:
        lines += ["", f"[program {path}] {len(digits) // 2} bytes"]
    if plan["bandwidth"] is not None:
        lines += ["", f"bandwidth of each interface: {plan['bandwidth']} bytes a second"]
    if plan["sysctl"]:
        lines += ["", "[sysctl of the network namespace]"]
        lines += [f"{name} = {value}" for name, value in plan["sysctl"].items()]
    if plan["users"] is not None:
        lines += ["", f"[users from {plan['users']['first']}]"]
        lines += [f"owns {path}" for path in plan["users"]["owned"]]
    if plan["metadata"] is not None:
        lines += ["", f"metadata service: {plan['metadata']}"]
    if plan["unapplied"]:
        lines += ["", "[not applied]", *plan["unapplied"]]
    for bundle in plan["bundles"]:
        config = _with_named_filter(bundle["config"])
        shown = json.dumps(config, indent=1, ensure_ascii=False)
        lines += ["", f"[bundle {bundle['directory']}]", shown]
        lines += [bundle["run"].rstrip("\n").replace(" --", " \\\n  --")]
    return "\n".join(lines) + "\n"


def _with_named_filter(config: Mapping[str, Any]) -> dict[str, Any]:
    if "linux" not in config:
        return dict(config)
    linux = dict(config["linux"])
    capabilities = config["process"]["capabilities"]["bounding"]
    default = {"names": list(syscalls.allowed(capabilities)), "action": "SCMP_ACT_ALLOW"}
    if linux.get("seccomp", {}).get("syscalls") == [default]:
        linux["seccomp"] = {**linux["seccomp"], "syscalls": "the default ones"}
    return {**config, "linux": linux}
