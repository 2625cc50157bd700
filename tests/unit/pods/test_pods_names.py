"""Who finds whom in /etc/hosts."""

import os
from pathlib import Path

from rktsd.net.files import PEERS, hosts
from rktsd.pods.names import Entry, peers, refresh, withdraw

ENTRIES = {
    "db": [Entry("lab", "10.0.0.2", "db", "db"), Entry("lab", "fd00::2", "db", "db")],
    "web@1": [
        Entry("lab", "10.0.0.3", "web-1", "www"),
        Entry("default", "172.16.28.3", "web-1", "www"),
    ],
    "1-2-3": [Entry("default", "172.16.28.4", "-", "rkt-1-2-3")],
    "thief": [
        Entry("lab", "10.0.0.6", "thief", "DB"),
        Entry("lab", "fd00::6", "thief", "localhost"),
    ],
    "localhost": [Entry("lab", "10.0.0.7", "localhost", "localhost")],
}
NAMES = frozenset(("db", "web-1", "-", "thief", "localhost"))


def test_pods_see_those_on_their_networks() -> None:
    assert peers(ENTRIES, "db", names=NAMES) == (
        "10.0.0.6 thief\nfd00::6 thief\n10.0.0.3 web-1 www\n"
    )
    assert peers(ENTRIES, "1-2-3", names=NAMES) == "172.16.28.3 web-1 www\n"


def test_a_host_name_is_enough_for_a_pod_without_a_name_but_takes_no_other_pods_name() -> None:
    assert "172.16.28.4 rkt-1-2-3\n" in peers(ENTRIES, "web@1", names=NAMES)
    assert peers(ENTRIES, "web@1", names=NAMES).count("db") == 2


def test_files_keep_their_inode_and_their_own_part(tmp_path: Path) -> None:
    for pod, entries in ENTRIES.items():
        (tmp_path / pod).mkdir()
        text = "".join(" ".join(entry) + "\n" for entry in entries)
        (tmp_path / pod / "addresses").write_text(text)
    mine = tmp_path / "db" / "hosts"
    mine.write_text(hosts("db", peers=True))
    copied = tmp_path / "thief" / "hosts"
    copied.write_text("192.0.2.1 host\n")
    before = os.stat(mine).st_ino
    refresh(str(tmp_path))
    assert mine.read_text() == hosts("db", peers=True) + peers(ENTRIES, "db", names=NAMES)
    assert copied.read_text() == "192.0.2.1 host\n"
    withdraw(str(tmp_path / "thief"))
    assert "thief" not in mine.read_text()
    assert mine.read_text().startswith(hosts("db", peers=True))
    withdraw(str(tmp_path / "thief"))
    withdraw(str(tmp_path / "web@1"))
    assert mine.read_text() == hosts("db", peers=True)
    assert PEERS in mine.read_text()
    assert os.stat(mine).st_ino == before


def test_no_pods_at_all_is_fine(tmp_path: Path) -> None:
    refresh(str(tmp_path / "missing"))
    withdraw(str(tmp_path / "missing" / "pod"))
