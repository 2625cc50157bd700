"""Which range of users a pod gets, and how long it has it."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from rktsd.errors import StoreError
from rktsd.paths import USER_RANGE, Paths
from rktsd.pods import directories, userranges
from rktsd.pods.userranges import allocate, recorded, release_unused
from tests.unit.pods.disk import UUIDS, make_pod

A, B = UUIDS[:2]


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Of a machine where nobody else has a range."""
    empty = f"{tmp_path}/empty"
    os.makedirs(f"{tmp_path}/data/cas")
    os.makedirs(f"{tmp_path}/etc/pods")
    for name in ("_NSPAWNS", "_MACHINES"):
        monkeypatch.setattr(userranges, name, empty)
    for name in ("_SUBORDINATES", "_NUMBERED"):
        monkeypatch.setattr(userranges, name, (empty,))
    return Paths(
        data=f"{tmp_path}/data",
        local_config=f"{tmp_path}/etc",
        run=f"{tmp_path}/run",
        users=f"{tmp_path}/users",
    )


def _usual(paths: Paths, pod: str) -> int:
    """What the pod gets where nothing is in its way."""
    return allocate(paths._replace(users=f"{paths.users}-usual"), pod)


def test_each_pod_has_its_own(paths: Paths) -> None:
    pods = [f"pod-{number}" for number in range(100)]
    firsts = {pod: allocate(paths, pod) for pod in pods}
    assert len(set(firsts.values())) == 100
    for first in firsts.values():
        assert first % USER_RANGE == 0
        assert 0x80000 <= first <= 0x6FFF0000
    assert {pod: allocate(paths, pod) for pod in pods} == firsts
    assert {pod: recorded(paths, pod) for pod in pods} == firsts
    assert recorded(paths, "another") is None
    # The same name elsewhere on the machine is another pod.
    assert allocate(paths._replace(data="/srv/rkt"), "pod-1") not in firsts.values()


def _allocate_many(paths: Paths, pods: list[str]) -> None:
    for pod in pods:
        allocate(paths, pod)


def test_at_the_same_time(paths: Paths) -> None:
    pods = [f"pod-{number}" for number in range(20)]
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_allocate_many, args=(paths, pods[n:])) for n in (0, 5, 10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len({recorded(paths, pod) for pod in pods}) == len(os.listdir(paths.users)) == 20


@pytest.mark.parametrize("where", ["subordinate", "number", "tree", "nspawn", "record"])
@pytest.mark.parametrize("last", [False, True])
def test_what_others_have_is_passed_over(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, last: bool
) -> None:
    usual = _usual(paths, "web")
    file = tmp_path / "file"
    number = usual + USER_RANGE - 1 if last else usual
    if where == "subordinate":
        begin = number - 99 if not last else number
        file.write_text(f"# odd\nuser:{begin}:100\nuser:x:y\n::\n\n")
        monkeypatch.setattr(userranges, "_SUBORDINATES", (str(file),))
    elif where == "number":
        file.write_bytes(b"\xff:x\nodd:x:y:\nuser:x:%d:0::/:/bin/sh\n" % number)
        monkeypatch.setattr(userranges, "_NUMBERED", (str(file),))
    elif where == "tree":
        if os.geteuid() != 0:
            pytest.skip("only root gives files away")
        os.makedirs(tmp_path / "machines/web")
        os.chown(tmp_path / "machines/web", number, number)
        monkeypatch.setattr(userranges, "_MACHINES", str(tmp_path / "machines"))
    elif where == "nspawn":
        os.makedirs(tmp_path / "locks")
        (tmp_path / f"locks/{usual}").touch()
        monkeypatch.setattr(userranges, "_NSPAWNS", str(tmp_path / "locks"))
    else:
        # Nobody can tell whose it is, so it is somebody's.
        os.makedirs(paths.users)
        (Path(paths.users) / str(usual)).write_bytes(b"\xff\0damaged" if last else b"")
        (Path(paths.users) / "odd").write_text("web\n")
    found = allocate(paths, "web")
    assert found != usual
    assert not found <= number < found + USER_RANGE
    assert allocate(paths, "web") == found


def test_when_none_is_left(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "subuid"
    file.write_text("all:1:4294967295\n")
    monkeypatch.setattr(userranges, "_SUBORDINATES", (str(file),))
    with pytest.raises(StoreError) as caught:
        allocate(paths, "web")
    assert str(caught.value) == "no range of users is left for another pod (rkt gc frees some)"


def test_a_pod_keeps_its_range_as_long_as_it_is_there(paths: Paths) -> None:
    kept = {
        A: make_pod(paths, A, "run"),
        "web": make_pod(paths, B, "exited-garbage", name="web"),
    }
    Path(f"{paths.pod_files}/filed.toml").touch()
    Path(f"{paths.pod_files}/many@.toml").touch()
    pods = [*kept, "filed", "many@1", "gone", UUIDS[2]]
    for pod in pods:
        allocate(paths, pod)
    elsewhere = paths._replace(data="/srv/rkt")
    allocate(elsewhere, "gone")
    release_unused(paths)
    assert [pod for pod in pods if recorded(paths, pod)] == [A, "web", "filed"]
    assert recorded(elsewhere, "gone") is not None
    os.unlink(f"{paths.pod_files}/filed.toml")
    directories.move(paths, A, "run", "exited-garbage")
    release_unused(paths)
    assert [pod for pod in pods if recorded(paths, pod)] == [A, "web"]


def test_nothing_is_released_while_pods_are_started(paths: Paths) -> None:
    from rktsd.host.files import locked

    allocate(paths, "web")
    with locked(paths.store, shared=True):
        release_unused(paths, blocking=False)
    assert recorded(paths, "web") is not None
    release_unused(paths, blocking=False)
    assert recorded(paths, "web") is None
