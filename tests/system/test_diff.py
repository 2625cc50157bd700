"""``rkt diff``: what an app changed in its root, while it runs and after."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from rktsd.paths import Paths
from rktsd.pods.changes import changes
from rktsd.pods.query import Place
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, SERVE, app

WORK = (
    "echo x >/made; rm /usr/bin/vi; echo y >>/etc/passwd; mkdir /dir; echo z >/dir/deep;"
    " ln -s /dir/deep '/dir/a\tb'; touch /gone; rm /gone; "
)


def test_what_an_app_changed(make_pod: MakePod) -> None:
    pod = make_pod("changes", NO_NETWORK + app("one", WORK + SERVE) + app("two", SERVE))
    pod.start()
    told = pod.box.run(["rkt", "diff", "--app=one", "changes"], check=True).stdout.splitlines()
    assert {"A /made", "D /usr/bin/vi", "C /usr/bin", "C /etc", "C /etc/passwd", "A /dir"} <= set(
        told
    )
    assert {"A /dir/deep", "A /dir/a b", "C /usr"} <= set(told)
    assert "D /gone" not in told
    pod.stop()
    after = pod.box.run(["rkt", "diff", "--app=one", "--format=json", "changes"], check=True)
    found = {each["path"]: each["change"] for each in json.loads(after.stdout)}
    assert (found["/made"], found["/usr/bin/vi"], found["/etc"]) == ("added", "deleted", "changed")
    assert found["/dir/a\tb"] == "added"
    two = pod.box.run(["rkt", "diff", "--app=two", "changes"], check=True).stdout
    assert "/made" not in two
    done = pod.box.run(["rkt", "diff", "changes"])
    assert done.stderr == ("diff: pod has multiple apps: one, two (say which one with --app)\n")


def test_a_pod_that_never_ran(make_pod: MakePod) -> None:
    pod = make_pod("unused", NO_NETWORK + app("one", SERVE))
    uuid = pod.box.run(["rkt", "prepare", "--quiet", "example.com/busybox"], check=True).stdout
    done = pod.box.run(["rkt", "diff", uuid.strip()])
    assert done.returncode == 254
    assert done.stderr.endswith(" has no root of its own: it never ran\n")
    pod.box.run(["rkt", "rm", uuid.strip()], check=True)


def test_a_directory_that_was_made_again(tmp_path: Path) -> None:
    """As the kernel leaves it: the new directory is opaque, and layers hide what is below them."""
    paths, place = Paths(data=str(tmp_path)), Place("u", "run", str(tmp_path / "pod"), None)
    top, bottom = tmp_path / "cas/layers/top", tmp_path / "cas/layers/bottom"
    upper = tmp_path / "pod/overlay/one"
    for directory in (top / "dir", bottom / "dir/sub", upper / "dir"):
        directory.mkdir(parents=True)
    (bottom / "dir/old").touch()
    (bottom / "dir/kept").touch()
    (bottom / "hidden").touch()
    os.mknod(top / "hidden", stat.S_IFCHR, 0)
    (upper / "hidden").touch()
    (upper / "dir/kept").touch()
    os.setxattr(upper / "dir", "trusted.overlay.opaque", b"y")
    (tmp_path / "pod/images").write_text('{"one": {"layers": ["top", "bottom"]}}')
    assert changes(paths, place, "one") == [
        ("/dir", "changed"),
        ("/dir/kept", "changed"),
        ("/dir/old", "deleted"),
        ("/dir/sub", "deleted"),
        ("/hidden", "added"),
    ]
