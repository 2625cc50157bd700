"""The box in which rows are measured: the root in every form that contenders want it in."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.bench.agent import DIRECTORY, STAMPS, Answer
from tests.bench.rows import BOTH, FIRST, IMAGE, PODS, PORTS, RETURNED, ROOT, Contender
from tests.box import Box
from tests.material import images

_HERE = os.path.dirname(os.path.abspath(__file__))
_ACI = "/var/tmp/stamp.aci"


class BenchError(Exception):
    """A command that was to be timed failed."""


class Lab:
    """A box, and the agent in it that runs and times commands."""

    def __init__(self, box: Box, agent: "subprocess.Popen[str]") -> None:
        self.box = box
        self._agent = agent

    def run(self, contender: Contender) -> Answer:
        """Time a contender once. Raises BenchError with what the command that failed printed."""
        assert self._agent.stdin is not None
        assert self._agent.stdout is not None
        self._agent.stdin.write(json.dumps(contender._asdict()) + "\n")
        self._agent.stdin.flush()
        answer: Answer = json.loads(self._agent.stdout.readline() or '{"error": "no answer"}')
        if "error" in answer:
            raise BenchError(f"{contender.name}: {answer['error']}\n{self.box.journal('-n', '30')}")
        return answer

    def add_unit(self, path: str, text: str) -> None:
        self.box.write(f"/run/systemd/system/{path}", text)
        self.box.run(["systemctl", "daemon-reload"], check=True)


def times(answer: Answer) -> dict[str, float]:
    """Milliseconds by measure; of several apps the last one counts."""
    found = {RETURNED: (answer["returned"] - answer["started"]) / 1e6}
    if answer["stamps"]:
        found[FIRST] = (max(answer["stamps"]) - answer["started"]) / 1e6
        found[BOTH] = max(found.values())
    return found


@contextmanager
def open_lab(deb: str) -> Iterator[Lab]:
    """Boot a box with the package ``deb`` and all that ROWS name. Raises BoxError, CommandError."""
    with tempfile.TemporaryDirectory(prefix="bench-") as work, Box(debs=[deb]) as box:
        root = images.busybox_root(f"{work}/root")
        compiler = ["cc", "-O2", "-static", "-o", f"{root}/usr/bin/stamp", f"{_HERE}/stamp.c"]
        subprocess.run(compiler, check=True)
        box.push(root, ROOT)
        manifest = images.image_manifest(IMAGE, ["/bin/stamp"])
        box.push(images.write_aci(root, manifest, f"{work}/stamp.aci"), _ACI)
        for file in ("agent.py", "trace.py", "memory.py", "asking.py"):
            box.push(f"{_HERE}/{file}", f"{DIRECTORY}/{file}")
        for pod, apps in PODS.items():
            box.write(f"/etc/rkt/pods/{pod}.toml", pod_file(apps, port=PORTS.get(pod)))
        box.run(["rkt", "fetch", "--insecure-options=image", _ACI], check=True)
        box.shell(f"tar -C {ROOT} -c . | podman import -q - bench", timeout=300)
        command = ["/usr/bin/python3", f"{DIRECTORY}/agent.py"]
        with box.popen(command, stdin=subprocess.PIPE, stderr=None) as agent:
            lab = Lab(box, agent)
            lab.add_unit("rkt@.service.d/bench.conf", "[Unit]\nStartLimitIntervalSec=0\n")
            try:
                yield lab
            finally:
                agent.kill()


def pod_file(apps: Sequence[str], *, port: int | None = None) -> str:
    """A pod with these apps; with ``port`` on the default network, which publishes that port."""
    volume = f'[[volume]]\nname = "stamps"\nsource = "{STAMPS}"\n'
    tables = [
        f'[[app]]\nname = "{app}"\nimage = "{IMAGE}:1.0.0"\n'
        f'exec = ["/bin/stamp", "/stamps/{app}"]\n'
        'mounts = [{ volume = "stamps", path = "/stamps" }]\n'
        'ports = [{ name = "web", port = 80 }]\n'
        for app in apps
    ]
    network = 'network = ["none"]\n'
    if port is not None:
        network = f'[[port]]\nname = "web"\nhost-port = {port}\n'
    return f"{network}{volume}{''.join(tables)}"
