"""The start of a pod waits for these imports."""

import subprocess
import sys

SCRIPT = """
import sys
before = set(sys.modules)
import rktsd.net.config, rktsd.net.setup
print(*sorted(set(sys.modules) - before))
"""


def test_a_pod_without_networks_imports_next_to_nothing() -> None:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    heavy = {"dataclasses", "hashlib", "inspect", "ipaddress", "json", "socket", "subprocess"}
    assert heavy & set(done.stdout.split()) == set()
