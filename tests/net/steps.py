"""python3 -m tests.net.steps start|release CONFIG STEP POD [PORT]...

Set up or release the network of a pod, and be killed before step number STEP (0: not at all). A
step is what leaves a trace: a file written, renamed or removed, a program, a system call by ctypes.
"""

import os
import signal
import sys

import rktsd.net.conntrack
import rktsd.net.links
import rktsd.net.openings
import rktsd.net.rules  # noqa: F401  # so that what is loaded late is no step
from rktsd.net.setup import tear_down
from rktsd.paths import Paths
from tests.net.machines import Host, published

_TRACES = {
    "os.rename", "os.mkdir", "os.symlink", "os.remove", "os.rmdir", "subprocess.Popen",
    "ctypes.dlsym",
}  # fmt: skip


def kill_before(step: int) -> None:
    left = step

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        flags = arguments[2] if event == "open" else 0
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        if event in _TRACES or writes:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def main() -> None:
    verb, config, step, pod, *ports = sys.argv[1:]
    host = Host(Paths(local_config=config), "")
    if int(step):
        kill_before(int(step))
    if verb == "start":
        host.start(pod, ports=tuple(published(int(port)) for port in ports))
    else:
        tear_down(host.state(pod))


if __name__ == "__main__":
    main()
