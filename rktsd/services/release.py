"""Release the network of a pod that ended: called by its reaper, again and again until it works."""

from __future__ import annotations

from rktsd.errors import RktError
from rktsd.net.setup import tear_down
from rktsd.paths import Paths
from rktsd.pods.names import withdraw
from rktsd.services import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Release what the pod named by the only argument holds. Returns an exit status."""
    (pod,) = arguments
    run_directory = Paths().pod_run(pod)
    try:
        # Before its addresses can become those of another pod.
        withdraw(run_directory)
        tear_down(f"{run_directory}/network")
    except (RktError, OSError) as error:
        return failed(error, f"pod {pod}: ")
    return 0
