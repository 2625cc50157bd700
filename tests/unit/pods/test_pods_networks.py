"""What is kept of a pod's networks for rkt list and status."""

from pathlib import Path

from rktsd.net.ports import PortMapping
from rktsd.net.setup import Attachment
from rktsd.pods.networks import load, record


def test_members_as_rkt_names_them(tmp_path: Path) -> None:
    port = PortMapping(None, 8080, 80, "tcp")
    four = Attachment(
        "default", "eth0", "10.1.2.3", 20, "10.1.0.1", None, "02:00:00:00:00:01", ports=(port,)
    )
    six = Attachment("lab", "eth1", None, None, None, "fd00::2", None)
    record(str(tmp_path), [four, six])
    first, second = load(str(tmp_path))
    assert first == {
        "netName": "default",
        "ifName": "eth0",
        "ip": "10.1.2.3",
        "prefix": 20,
        "mask": "255.255.240.0",
        "hostIP": "10.1.0.1",
        "mac": "02:00:00:00:00:01",
        "ip6": None,
        "ports": [{"hostIP": None, "hostPort": 8080, "podPort": 80, "protocol": "tcp"}],
    }
    assert (second["ip"], second["ip6"], second["mask"]) == ("fd00::2", "fd00::2", None)
