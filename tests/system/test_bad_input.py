"""What a pod's start says of bad input: one line, an exit status, and nothing left behind."""

from __future__ import annotations

import pytest

from tests.box import Box
from tests.system.conftest import MakePod
from tests.system.pods import SERVE, Pod, app

GOOD = 'network = "none"\n' + app("one", SERVE)

BAD_FILES = {
    "syntax": ("network = \n", "line 1"),
    "unknown field": (GOOD + 'exce = "a"\n', "app[0].exce: unknown field"),
    "unknown field of the pod": ("colour = 1\n" + GOOD, "colour: unknown field"),
    "wrong type": (GOOD.replace('"none"', "5"), "network"),
    "no app": ('network = "none"\n', "pod must contain at least one application"),
    "two apps of one name": (GOOD + app("one", SERVE), "one"),
    "unknown user": (GOOD + 'user = "nosuch"\n', 'user "nosuch": no such user'),
    "unknown volume": (GOOD + 'mounts = [{volume = "v", path = "/v"}]\n', '"v"'),
    "relative mount": (
        GOOD + 'mounts=[{volume="v", path="v"}]\n[[volume]]\nname = "v"\nkind = "empty"\n',
        '"v"',
    ),
    "refused setting": (GOOD + '[app.systemd]\nPAMName = "login"\n', "app one: systemd.PAMName"),
    "unknown setting": (GOOD + '[app.systemd]\nColour = "red"\n', "app one: systemd.Colour"),
    "value that systemd refuses": (
        GOOD + '[app.systemd]\nRestart = "sometimes"\n',
        "pod wrong: systemd refuses its units",
    ),
    "memory": (GOOD + 'memory = "lots"\n', "lots"),
}


def _refused(pod: Pod) -> str:
    """The only line that the start of ``pod`` says; it must leave nothing."""
    before = pod.box.shell("ls /var/lib/rkt/pods/run 2>/dev/null || :")
    assert pod.systemctl("start").returncode == 1
    assert pod.show("ExecMainStatus") == "254"
    (error,) = pod.errors()
    assert "Traceback" not in pod.box.journal("-u", pod.unit)
    assert pod.leftovers() == ""
    assert pod.box.shell("ls /var/lib/rkt/pods/run 2>/dev/null || :") == before
    assert pod.box.shell("ls /var/lib/rkt/pods/embryo 2>/dev/null || :") == ""
    return error


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_pod_file(make_pod: MakePod, what: str) -> None:
    text, expected = BAD_FILES[what]
    pod = make_pod("wrong", text)
    # What other tests of this name said before does not count.
    pod.box.run(["journalctl", "--rotate", "--vacuum-time=1us"], check=True)
    assert expected in _refused(pod)


def test_unknown_pod(pod_box: Box) -> None:
    pod = Pod(pod_box, "nowhere", GOOD)
    pod.box.run(["rm", pod.file], check=True)
    expected = (
        "pod nowhere: neither /etc/rkt/pods/nowhere.toml nor /etc/rkt/pods/nowhere.json exists"
    )
    assert _refused(pod) == expected


def test_two_files_for_one_pod(make_pod: MakePod) -> None:
    make_pod("twice", "{}", form="json")
    assert "both /etc/rkt/pods/twice.toml and" in _refused(make_pod("twice", GOOD))


def test_bad_json(make_pod: MakePod) -> None:
    pod = make_pod("broken", '{"acKind": "PodManifest", ', form="json")
    assert "/etc/rkt/pods/broken.json" in _refused(pod)


def test_json_of_a_wrong_type(make_pod: MakePod) -> None:
    text = '{"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [{"name": 5}]}'
    assert "apps[0].name" in _refused(make_pod("typed", text, form="json"))


def test_a_full_disk(make_pod: MakePod) -> None:
    pod = make_pod("full", GOOD)
    pod.start()
    pod.stop()
    pod.box.shell(
        "mount -t tmpfs -o size=64k none /run/rkt/pods;"
        " head -c 60k /dev/zero >/run/rkt/pods/.fill || :"
    )
    try:
        assert pod.systemctl("start").returncode == 1
        (error,) = pod.errors()
        assert error.startswith("cannot write /run/rkt/pods/full/")
        assert error.endswith("No space left on device")
        assert pod.leftovers() == ""
    finally:
        pod.box.run(["umount", "/run/rkt/pods"], check=True)
    pod.start()
