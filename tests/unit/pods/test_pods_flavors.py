"""What a pod's flavor makes of its options, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from rktsd.appc.isolators import isolator
from rktsd.appc.types import App
from rktsd.errors import Unsupported
from rktsd.pods.flavors import freedoms, settled
from rktsd.pods.options import AppOptions, PodOptions
from rktsd.stage1.types import Launcher


def test_nspawn_leaves_everything_but_the_network_as_it_is() -> None:
    for options in (PodOptions(), PodOptions(stage1="nspawn", ipc="parent")):
        assert settled(options).networks == ("default",)
    assert settled(PodOptions(networks=("none",))).networks == ("none",)
    assert settled(PodOptions(ipc="auto")).ipc == "auto"


def test_fly_is_on_the_host() -> None:
    found = settled(PodOptions(stage1="fly"))
    assert (found.networks, found.ipc) == (("host",), "parent")
    given = settled(PodOptions(stage1="fly", networks=("host",), ipc="private", shm_size=4096))
    assert (given.networks, given.ipc) == (("host",), "private")
    # Twice is as good as once: a prepared pod is read back.
    assert settled(found) == found


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"networks": ("default",)}, "network"),
        ({"networks": ("host", "default")}, "network"),
        ({"hostname": "x"}, "hostname"),
        ({"register": True}, "register"),
        ({"private_users": True}, "private-users"),
        ({"pid": "shared"}, "pid"),
        ({"shm_size": 4096}, "shm-size"),
        ({"shm_size": 4096, "ipc": "parent"}, "shm-size"),
        ({"apps": {"web": AppOptions(output="tty")}}, "app web: output"),
    ],
)
def test_what_fly_is_not(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as caught:
        settled(PodOptions(stage1="fly", **changes))
    assert str(caught.value).startswith(f"{field}: with stage1 fly ")
    settled(PodOptions(**changes))


def test_an_app_of_fly_is_free_where_nothing_is_said() -> None:
    assert freedoms(App(exec=("/x",), user="0", group="0"), None) == {
        "paths",
        "capabilities",
        "seccomp",
    }
    value = {"set": ["CAP_CHOWN"]}
    kept = isolator("os/linux/capabilities-retain-set", value, "test")
    launcher = Launcher(b"", filters=True)
    assert freedoms(App(exec=("/x",), user="0", group="0", isolators=(kept,)), launcher) == {
        "paths"
    }
    assert "seccomp" in freedoms(
        App(exec=("/x",), user="0", group="0"), Launcher(b"", filters=False)
    )
