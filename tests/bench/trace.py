"""pod-start with a clock: runs in the box in its stead, when phases are looked at.

Leaves in MARKS a line "NANOSECONDS PHASE" for the end of each phase, on the monotonic clock. It
imports nothing that pod-start does not, lest it take over the time of an import.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MARKS = "/run/bench/marks"
CALLS = {
    "pod file, plan": ("rktsd.pods.cache", "load"),
    "run directories": ("rktsd.pods.runs", "begin"),
    "network": ("rktsd.services.start", "_set_up_network"),
    "bundles": ("rktsd.stage1.apply", "write_unit_list"),
    "pystemd, bus": ("rktsd.systemd.bus", "Bus.__enter__"),
    "StartTransientUnit": ("rktsd.systemd.bus", "Bus.start_transient"),
    "barrier, JobRemoved": ("rktsd.systemd.bus", "Bus.wait"),
}
"""The functions whose return ends a phase; the order is that of the calls."""


def main() -> int:
    marks = [("interpreter", time.monotonic_ns())]
    sys.path.append("/usr/lib/python3/dist-packages")
    from rktsd.services import start

    marks.append(("imports", time.monotonic_ns()))

    def marked(phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any, **keywords: Any) -> Any:
            try:
                return call(*arguments, **keywords)
            finally:
                marks.append((phase, time.monotonic_ns()))

        return measured

    for phase, (module, path) in CALLS.items():
        *owners, name = path.split(".")
        owner: Any = sys.modules[module]
        for each in owners:
            owner = getattr(owner, each)
        setattr(owner, name, marked(phase, getattr(owner, name)))
    status = start.main(sys.argv[1:])
    with open(MARKS, "w") as file:
        file.writelines(f"{moment} {phase}\n" for phase, moment in marks)
    return status


if __name__ == "__main__":
    sys.exit(main())
