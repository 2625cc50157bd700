"""What the properties of units tell of pods and apps."""

from __future__ import annotations

from typing import Any

import pytest

from rktsd.pods.events import Event, Told, events_of, judged
from rktsd.systemd.names import app_unit, pod_and_app, pod_unit, unit_of_path

BEFORE = Told(100, 100)
APP, POD = app_unit("web@1", "one"), pod_unit("web@1")
UUID = "5bc0dc1e-6a8a-4a4b-9d2c-0a5d8d3ffb11"

# A clock that began at second 1.
EPOCH = 10**6


def unit(state: str, sub_state: str = "", /, **moments: int) -> dict[str, Any]:
    """The properties of a unit that was first tried at 110."""
    names = {
        "begins": "InactiveExit", "begun": "ActiveEnter", "ends": "ActiveExit",
        "ended": "InactiveEnter", "tried": "Condition", "exit": "ExecMainExit",
    }  # fmt: skip
    found: dict[str, Any] = {"ActiveState": state.encode(), "SubState": sub_state.encode()}
    for key, name in names.items():
        at = moments.get(key, 110 if key == "tried" else 0)
        found[f"{name}TimestampMonotonic"] = at
        found[f"{name}Timestamp"] = at + EPOCH if at else 0
    return found


def main(result: str, code: int = 0, status: int = 0, restarts: int = 0) -> dict[str, Any]:
    return {
        "Result": result.encode(), "ExecMainCode": code, "ExecMainStatus": status,
        "NRestarts": restarts,
    }  # fmt: skip


def at(moment: int) -> int:
    return (moment + EPOCH) * 1000


def test_the_life_of_a_pod_step_by_step() -> None:
    moments = {"begins": 111, "begun": 120, "ends": 130, "ended": 140}
    states = {"activating": "starting", "active": "started", "deactivating": "stopping"}
    kinds, told = [], BEFORE
    seen: dict[str, int] = {}
    for (name, moment), state in zip(moments.items(), [*states, "inactive"], strict=True):
        seen[name] = moment
        found, told = events_of(POD, unit(state, **seen) | main("success"), told)
        kinds += [(each.kind, each.time, each.pod, each.app) for each in found]
        # systemd tells more often than something happens.
        assert events_of(POD, unit(state, **seen) | main("success"), told) == ([], told)
    assert kinds == [
        ("starting", at(111), "web@1", None),
        ("started", at(120), "web@1", None),
        ("stopping", at(130), "web@1", None),
        ("ended", at(140), "web@1", None),
    ]


def test_one_signal_tells_of_several_steps_in_their_order() -> None:
    found, _ = events_of(
        POD,
        unit("active", begins=130, begun=130, ends=115, ended=120, tried=125) | main("success"),
        BEFORE,
    )
    assert [each.kind for each in found] == ["stopping", "ended", "starting", "started"]


def test_what_was_before_the_watch_is_no_event() -> None:
    found, _ = events_of(APP, unit("active", begins=90, begun=95) | main("success"), BEFORE)
    assert found == []


def test_a_pod_that_fails() -> None:
    found, _ = events_of(POD, unit("failed", begins=111, ended=140) | main("exit-code"), BEFORE)
    assert found == [
        Event(at(111), "web@1", None, "starting"),
        Event(at(140), "web@1", None, "failed", result="exit-code"),
    ]


@pytest.mark.parametrize(
    ("result", "code", "status", "kind", "exit_code"),
    [
        ("success", 1, 0, "exited", 0),
        ("success", 1, 143, "exited", 143),
        ("exit-code", 1, 3, "failed", 3),
        ("signal", 2, 9, "failed", 137),
        ("core-dump", 3, 6, "failed", 134),
        ("timeout", 2, 9, "failed", 137),
        ("oom-kill", 2, 9, "oom", 137),
        ("watchdog", 3, 6, "watchdog", 134),
    ],
)
def test_the_end_of_an_app(result: str, code: int, status: int, kind: str, exit_code: int) -> None:
    state = "inactive" if result == "success" else "failed"
    properties = unit(state, begins=111, begun=112, exit=120, ends=121, ended=125)
    # Its main process is over, and a command of its own runs still.
    _, told = events_of(
        APP, unit("deactivating", begins=111, begun=112, exit=120, ends=121), BEFORE
    )
    found, _ = events_of(APP, properties | main(result, code, status), told)
    assert found == [Event(at(125), "web@1", "one", kind, exit_code=exit_code, result=result)]


def test_an_app_that_systemd_restarts() -> None:
    ended = unit("activating", "auto-restart", begins=126, begun=112, exit=120, ends=121, ended=125)
    found, told = events_of(APP, ended | main("exit-code", 1, 4), BEFORE)
    assert [(each.kind, each.exit_code) for each in found] == [("started", None), ("failed", 4)]
    # The wait for the restart is over.
    waited = unit("inactive", begins=126, begun=112, exit=120, ends=121, ended=150)
    found, told = events_of(APP, waited | main("success", 1, 4), told)
    assert found == []
    again = unit("active", begins=151, begun=155, exit=0, ends=121, ended=150, tried=151)
    found, told = events_of(APP, again | main("success", restarts=1), told)
    assert found == [Event(at(155), "web@1", "one", "restarted", restarts=1)]
    # Both in one signal.
    found, _ = events_of(APP, again | main("success", restarts=1), Told(126, 125))
    assert [each.kind for each in found] == ["restarted"]
    # A watch that begins while it waits.
    assert events_of(APP, waited | main("success", 1, 4), Told(130, 130))[0] == []
    # It fails before its program is started: the exit status is none of this time.
    failed = unit("failed", begins=171, begun=155, exit=160, ends=161, ended=172, tried=170)
    found, _ = events_of(APP, failed | main("resources", 1, 7), Told(165, 165))
    assert found == [Event(at(172), "web@1", "one", "failed", result="resources")]


def test_an_end_that_a_new_start_has_overtaken() -> None:
    properties = unit("active", begins=130, begun=130, exit=0, ends=121, ended=125, tried=129)
    found, _ = events_of(APP, properties | main("success"), Told(112, 100))
    assert [(each.kind, each.result) for each in found] == [("exited", None), ("started", None)]


def test_what_was_recorded_knows_more() -> None:
    failed = Event(at(1), "web", "one", "failed", exit_code=1, result="exit-code")
    oom = failed._replace(kind="oom", exit_code=137, result="oom-kill")
    assert judged(failed, "oom-kill", 137) == oom
    ended = failed._replace(kind="exited", result="success")
    assert judged(ended, "unhealthy", 1) == ended._replace(kind="failed", result="unhealthy")
    never = failed._replace(exit_code=None)
    assert judged(never, "exit-code", 0) == never
    started = Event(at(1), "web", "one", "started")
    for event, recorded in ((started, "success"), (failed, None), (failed, "exit-code")):
        assert judged(event, recorded, 1) == event


def test_units_and_whose_they_are() -> None:
    assert pod_and_app(pod_unit("my-web@1")) == ("my-web@1", None)
    assert pod_and_app(app_unit("my-web@1", "one-two")) == ("my-web@1", "one-two")
    assert pod_and_app(app_unit(UUID, "one")) == (UUID, "one")
    for other in (
        "rkt-web._up.service", "rkt-web._pids.service", "rkt-web.one._health.service",
        "rkt-web.one.socket", "rkt-gc.service", "rkt-ended@web.service", "rkt-metadata.service",
        "rkt-metadata@web.service", "rkt-web.slice", "rkt.slice", "rkt-fetch@1.service",
        "nginx.one.service", "rkt@web.timer",
    ):  # fmt: skip
        assert pod_and_app(other) is None, other
        assert events_of(other, unit("active", begun=120), BEFORE)[0] == []
    units = "/org/freedesktop/systemd1/unit/"
    assert unit_of_path(f"{units}rkt_2dmy_2dweb_3a1_2eone_2eservice") == "rkt-my-web:1.one.service"
    assert unit_of_path(f"{units}rkt_40web_2eservice") == "rkt@web.service"
    assert unit_of_path("/org/freedesktop/systemd1/job/90") == ""
    assert unit_of_path(f"{units}a_zz") == ""
