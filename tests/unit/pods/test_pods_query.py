"""What is told of pods on disk that do not run: states, exit codes, names, damage."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rktsd.errors import BadInput, NotFound
from rktsd.host.files import locked
from rktsd.paths import Paths
from rktsd.pods import directories, endings, query
from rktsd.pods.moments import forget_starts
from tests.unit.pods.disk import UUIDS, make_pod

A, B, C = UUIDS[:3]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(data=f"{tmp_path}/data", local_config=f"{tmp_path}/etc", run=f"{tmp_path}/run")


def _all(paths: Paths) -> tuple[list[query.PodStatus], list[str]]:
    warnings: list[str] = []
    return query.all_statuses(paths, warn=warnings.append), warnings


@pytest.mark.parametrize(
    ("stage", "idle", "busy"),
    [
        ("embryo", "embryo", "embryo"),
        ("prepare", "aborted prepare", "preparing"),
        ("prepared", "prepared", "prepared"),
        ("run", "exited", "exited"),
        ("exited-garbage", "exited garbage", "exited deleting"),
        ("garbage", "garbage", "deleting"),
    ],
)
def test_states_of_rkt(paths: Paths, stage: str, idle: str, busy: str) -> None:
    place = make_pod(paths, A, stage)
    assert query.state(place, query.Live()) == idle
    with locked(place.directory):
        assert query.state(place, query.Live()) == busy
    assert query.state(place, query.Live(frozenset({A}))) == ("running" if stage == "run" else idle)


def test_embryos_and_garbage_are_not_listed(paths: Paths) -> None:
    for uuid, stage in zip(UUIDS, directories.STAGES, strict=False):
        make_pod(paths, uuid, stage)
    statuses, warnings = _all(paths)
    stages = [status.place.stage for status in statuses]
    assert stages == ["prepare", "prepared", "run", "exited-garbage"]
    assert warnings == []


def test_pods_are_listed_by_uuid(paths: Paths) -> None:
    make_pod(paths, C, "prepared")
    make_pod(paths, A, "run")
    make_pod(paths, B, "exited-garbage")
    assert [status.place.uuid for status in _all(paths)[0]] == [A, B, C]


@pytest.mark.parametrize(
    ("text", "code", "failed"),
    [
        ("success exited 0\n", 0, False),
        ("exit-code exited 5\n", 5, True),
        ("success killed TERM\n", 143, False),
        ("signal killed KILL\n", 137, True),
        ("core-dump dumped SEGV\n", 139, True),
        ("signal killed NOSUCH\n", 255, True),
        ("garbage\n", None, True),
        ("", None, True),
    ],
)
def test_exit_codes(paths: Paths, text: str, code: int | None, failed: bool) -> None:
    place = make_pod(paths, A, "run", status={"one": text})
    assert endings.exit_code(place.directory, "one") == code
    assert endings.failed(place.directory, "one") is failed
    (app,) = query.status(place, query.Live()).apps
    assert (app.state, app.exit_code) == ("exited", code)


def test_times(paths: Paths) -> None:
    place = make_pod(paths, A, "run", status={"one": "success exited 0\n"}, started=True)
    for name, moment in (("pod", 1000), ("started", 2000), ("status/one", 3000)):
        os.utime(f"{place.directory}/{name}", ns=(moment, moment))
    status = query.status(place, query.Live())
    assert (status.created, status.started) == (1000, 2000)
    (app,) = status.apps
    assert (app.created, app.started, app.finished) == (1000, 2000, 3000)
    # Another app may still be starting when this one has ended already.
    os.utime(f"{place.directory}/started", ns=(4000, 4000))
    assert query.status(place, query.Live()).apps[0].started == 3000


def test_a_pod_that_never_started(paths: Paths) -> None:
    status = query.status(make_pod(paths, A, "prepared"), query.Live())
    assert (status.started, status.apps[0].state, status.apps[0].exit_code) == (
        None,
        "created",
        None,
    )


def test_an_app_that_came_to_a_running_pod_has_times_of_its_own(paths: Paths) -> None:
    place = make_pod(paths, A, "run", started=True)
    runs = query.Live(frozenset({A}))
    os.utime(f"{place.directory}/started", ns=(2000, 2000))
    own = Path(place.directory, "apps/one")
    own.mkdir(parents=True)

    def write(name: str, moment: int) -> None:
        (own / name).touch()
        os.utime(own / name, ns=(moment, moment))

    def seen(live: query.Live = runs) -> tuple[str, int, int | None, int | None]:
        (app,) = query.status(place, live).apps
        return app.state, app.created, app.started, app.finished

    write("added", 3000)
    assert seen() == ("created", 3000, None, None)
    assert seen(query.Live()) == ("created", 3000, None, None)
    write("started", 4000)
    assert seen() == ("running", 3000, 4000, None)
    Path(place.directory, "status/one").write_text("success exited 0\n")
    os.utime(f"{place.directory}/status/one", ns=(5000, 5000))
    assert seen() == ("exited", 3000, 4000, 5000)
    unit = f"rkt-{A}.one.service"
    assert seen(query.Live(frozenset({A}), frozenset({unit}))) == ("running", 3000, 4000, None)
    # A new run of the pod starts all of its apps.
    forget_starts(place.directory)
    os.unlink(f"{place.directory}/status/one")
    os.utime(f"{place.directory}/started", ns=(6000, 6000))
    assert seen() == ("running", 3000, 6000, None)


def test_image_names(paths: Paths) -> None:
    place = make_pod(paths, A, "prepared")
    assert query.status(place, query.Live()).apps[0].image_name == "example.com/web:1.0.0"
    for image, shown in (({"name": "a"}, "a"), ({}, None), ({"name": "a", "labels": None}, "a")):
        manifest = {"apps": [{"name": "x", "image": {"id": "sha512-00", **image}}]}
        Path(place.directory, "pod").write_text(json.dumps(manifest))
        assert query.status(place, query.Live()).apps[0].image_name == shown


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"apps": 5}', '{"apps": [{}]}', '{"apps": [{"name": "a"}]}', "\0"],
)
def test_a_damaged_pod_does_not_break_the_list(paths: Paths, text: str) -> None:
    damaged = make_pod(paths, A, "run")
    Path(damaged.directory, "pod").write_text(text)
    make_pod(paths, B, "run")
    statuses, warnings = _all(paths)
    assert [status.place.uuid for status in statuses] == [B]
    (warning,) = warnings
    assert warning.startswith(f"pod {A}: {damaged.directory}/pod: ")


def test_a_pod_without_a_manifest_does_not_break_the_list(paths: Paths) -> None:
    os.makedirs(f"{paths.pods}/run/{A}")
    Path(paths.pods, "run", A, "ended").touch()
    make_pod(paths, B, "run")
    statuses, warnings = _all(paths)
    assert [status.place.uuid for status in statuses] == [B]
    assert warnings == [f"pod {A}: cannot read {paths.pods}/run/{A}/pod: No such file or directory"]


def test_what_is_no_pod_is_passed_over(paths: Paths) -> None:
    os.makedirs(f"{paths.pods}/run/lost+found")
    Path(paths.pods, "run", "notes").touch()
    assert _all(paths) == ([], [])


def test_a_name_means_the_last_run(paths: Paths) -> None:
    old = make_pod(paths, C, "exited-garbage", name="web")
    new = make_pod(paths, A, "run", name="web")
    make_pod(paths, B, "run", name="other")
    os.utime(f"{old.directory}/pod", ns=(1000, 1000))
    assert query.find(paths, "web").uuid == new.uuid
    os.makedirs(paths.pod_run("web"))
    Path(paths.pod_run("web"), "uuid").write_text(f"{old.uuid}\n")
    assert query.find(paths, "web").uuid == old.uuid


def test_a_name_goes_before_the_beginning_of_a_uuid(paths: Paths) -> None:
    make_pod(paths, A, "run")
    named = make_pod(paths, B, "run", name=A[:3])
    assert query.find(paths, A[:3]).uuid == named.uuid
    assert query.find(paths, A[:4]).uuid == A


def test_beginnings_of_uuids(paths: Paths) -> None:
    make_pod(paths, A, "run")
    make_pod(paths, B, "prepared")
    assert query.find(paths, A[:8].upper()).uuid == A
    with pytest.raises(BadInput, match=r"^ambiguous uuid, 2 matches$"):
        query.find(paths, A[:1])
    with pytest.raises(NotFound, match=r'^no matches found for "zzz"$'):
        query.find(paths, "zzz")
    with pytest.raises(BadInput, match=r"^UUID cannot be empty$"):
        query.find(paths, "")


def test_a_pod_that_was_never_started(paths: Paths) -> None:
    os.makedirs(paths.pod_files)
    Path(paths.pod_files, "web.toml").touch()
    with pytest.raises(NotFound, match=r"^pod web was never started, or its runs are removed$"):
        query.find(paths, "web")


def test_volumes_that_appc_takes_for_empty_ones(paths: Paths) -> None:
    place = make_pod(paths, A, "run", name="web")
    volumes = [{"name": name, "kind": "empty"} for name in ("named", "memory", "empty")]
    manifest = {"apps": [], "volumes": volumes}
    Path(place.directory, "pod").write_text(json.dumps(manifest))
    kinds = {"named": {"kind": "named", "source": "goods"}, "memory": {"kind": "tmpfs"}}
    Path(place.directory, "options").write_text(json.dumps({"volumes": kinds}))
    assert query.status(place, query.Live()).volumes == {
        "named": f"{paths.data}/volumes/goods/data",
        "memory": "/run/rkt/pods/web/memory/memory",
    }
