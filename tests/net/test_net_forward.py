"""A host that drops what it forwards: the rules of rktsd-networking(7) let its pods through."""

import re
import subprocess
from pathlib import Path

from tests.net.machines import HOST, OTHER, Host, caller, listen, published

MANUAL = Path(__file__).parents[2] / "man" / "rktsd-networking.7.rst"


def test_rules_of_the_manual_let_pods_through(host: Host) -> None:
    subprocess.run(["iptables", "-P", "FORWARD", "DROP"], check=True)
    host.start("a", ports=(published(8080),))
    with listen(host.other, 80) as server:
        assert caller(server, OTHER, 80, via=host.namespace("a")) is None
    rules = re.findall(r"^    # (iptables -I FORWARD .*)$", MANUAL.read_text(), re.MULTILINE)
    assert len(rules) == 2
    for rule in rules:
        subprocess.run(rule.split(), check=True)
    with listen(host.other, 80) as server:
        assert caller(server, OTHER, 80, via=host.namespace("a")) == HOST
    with listen(host.namespace("a"), 80) as server:
        assert caller(server, HOST, 8080, via=host.other) == OTHER
        assert caller(server, "172.16.28.2", 80, via=host.other) is None
