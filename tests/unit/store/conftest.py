"""A store of the test's own, and a door that remembers what the disk looked like before."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktsd.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store; unpacking changes owners, so root alone can."""
    if os.geteuid() != 0:
        pytest.fail("tests of the store need root", pytrace=False)
    with Store.open(str(tmp_path / "cas"), create=True) as opened:
        yield opened


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """All that an archive can hold."""
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "empty").mkdir(mode=0o1777)
    (root / "empty").chmod(0o1777)
    (root / "setgid").mkdir()
    os.chown(root / "setgid", 5, 6)
    (root / "setgid").chmod(0o2750)
    (root / "setgid" / "file").write_bytes(b"x")
    (root / "closed").mkdir()
    (root / "closed" / "file").write_bytes(b"inside")
    (root / "closed").chmod(0)
    (root / "big").write_bytes(os.urandom(5 << 20))
    os.link(root / "big", root / "etc" / "big2")
    (root / "suid").write_bytes(b"s")
    os.chown(root / "suid", 1000, 1001)
    (root / "suid").chmod(0o6711)
    (root / "link").symlink_to("/etc/passwd")
    os.chown(root / "link", 7, 8, follow_symlinks=False)
    os.link(root / "link", root / "link2", follow_symlinks=False)
    os.mkfifo(root / "fifo", 0o620)
    os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(8, 1))
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with (root / "sparse").open("wb") as sparse:
        sparse.seek(3 << 20)
        sparse.write(b"end")
        sparse.truncate(9 << 20)
    (root / "attr").write_bytes(b"")
    os.setxattr(root / "attr", "user.key", b"\0value")
    # v2 file capability: cap_net_bind_service, effective and permitted.
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(root / "attr", "security.capability", capability)
    (root / ("n" * 200)).mkdir()
    (root / ("n" * 200) / ("m" * 200)).write_bytes(b"long")
    (root / "weird\n\x01 ü").write_bytes(b"")
    (root / os.fsdecode(b"\xff\xfe")).write_bytes(b"not utf-8")
    for place, directories, files in os.walk(root, topdown=False):
        for number, name in enumerate([*files, *directories]):
            when = 1_000_000_000_000_000_000 + number * 1_000_000_123
            os.utime(os.path.join(place, name), ns=(when, when), follow_symlinks=False)
    os.utime(root, ns=(0, 1_234_567_890_123_456_789))
    return root
