"""Removal of pods that do not run, and of what the store keeps for nobody."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import os
from pathlib import Path

import pytest

from rktsd.errors import BadInput
from rktsd.paths import Paths
from rktsd.pods import directories, query, remove, usage
from rktsd.pods.remove import Ages
from rktsd.store import publish
from rktsd.store.records import ImageRecord
from rktsd.store.store import Store
from tests.material import images
from tests.unit.pods.disk import UUIDS, make_pod

A, B, C, D, E, F = UUIDS
LAYER = "sha512-" + "1" * 64


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(data=f"{tmp_path}/data", local_config=f"{tmp_path}/etc", run=f"{tmp_path}/run")


def _on_disk(paths: Paths) -> dict[str, str]:
    return {uuid: stage for stage, uuid in directories.all_pods(paths)}


def _collect(paths: Paths, ages: Ages, *, mark_only: bool = False) -> list[str]:
    said: list[str] = []
    assert remove.collect(paths, ages, mark_only=mark_only, say=said.append) == []
    return said


def test_rm(paths: Paths) -> None:
    for uuid, stage in ((A, "run"), (B, "prepared"), (C, "exited-garbage"), (D, "garbage")):
        remove.remove(paths, make_pod(paths, uuid, stage), live=query.Live())
    assert _on_disk(paths) == {}


@pytest.mark.parametrize(
    ("stage", "live", "message"),
    [
        ("run", {A}, f"pod {A} is running (stop it first)"),
        ("prepare", set(), f"pod {A} is being prepared"),
        ("embryo", set(), f"pod {A} is being prepared"),
    ],
)
def test_rm_refused(paths: Paths, stage: str, live: set[str], message: str) -> None:
    place = make_pod(paths, A, stage)
    with pytest.raises(BadInput) as caught:
        remove.remove(paths, place, live=query.Live(frozenset(live)))
    assert str(caught.value) == message
    assert os.path.exists(f"{place.directory}/pod")


def test_marking(paths: Paths) -> None:
    for uuid, stage in ((A, "run"), (B, "prepare"), (C, "prepared"), (D, "garbage")):
        make_pod(paths, uuid, stage)
    assert _collect(paths, Ages(0, 0), mark_only=True) == []
    assert _on_disk(paths) == {A: "exited-garbage", B: "garbage", C: "prepared", D: "garbage"}


def test_the_grace_period(paths: Paths) -> None:
    make_pod(paths, A, "run")
    make_pod(paths, B, "prepared")
    make_pod(paths, C, "garbage")
    assert _collect(paths, Ages()) == [f'Garbage collecting pod "{C}"']
    assert _on_disk(paths) == {A: "exited-garbage", B: "prepared"}
    assert _collect(paths, Ages(grace=0)) == [f'Garbage collecting pod "{A}"']
    assert _collect(paths, Ages(prepared=0)) == [f'Garbage collecting pod "{B}"']
    assert _on_disk(paths) == {}


def test_of_a_named_pod_the_last_runs_are_kept(paths: Paths) -> None:
    for uuid in UUIDS[:5]:
        place = make_pod(paths, uuid, "run", name="web")
        # The order of their making is read off the inode, whose time nobody can set.
        os.utime(f"{place.directory}/pod")
    make_pod(paths, F, "run")
    _collect(paths, Ages())
    assert sorted(_on_disk(paths)) == [C, D, E, F]
    _collect(paths, Ages(grace=0))
    assert _on_disk(paths) == {}


def test_a_damaged_pod_goes_like_any_other(paths: Paths) -> None:
    place = make_pod(paths, A, "run")
    for name in ("pod", "images"):
        os.unlink(f"{place.directory}/{name}")
    _collect(paths, Ages(grace=0))
    assert _on_disk(paths) == {}


def test_what_is_no_pod_stays(paths: Paths) -> None:
    os.makedirs(f"{paths.pods}/run/lost+found")
    _collect(paths, Ages(0, 0))
    assert os.path.isdir(f"{paths.pods}/run/lost+found")


def test_the_word_where_a_pod_lies_goes_with_it(paths: Paths) -> None:
    os.makedirs(f"{paths.run}/data")
    Path(paths.run, "data", A).touch()
    remove.remove(paths, make_pod(paths, A, "run"), live=query.Live())
    assert os.listdir(f"{paths.run}/data") == []


def _collect_all(paths: Paths, barrier: multiprocessing.synchronize.Barrier) -> None:
    barrier.wait()
    problems = remove.collect(paths, Ages(0, 0), mark_only=False, say=lambda line: None)
    os._exit(len(problems))


def test_many_collectors_are_as_good_as_one(paths: Paths) -> None:
    for number in range(200):
        uuid = f"{number:08x}-0000-4000-8000-{'0' * 12}"
        make_pod(paths, uuid, ("run", "prepared", "exited-garbage", "garbage")[number % 4])
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    workers = [context.Process(target=_collect_all, args=(paths, barrier)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    _collect(paths, Ages(0, 0))
    assert _on_disk(paths) == {}


def test_layers_of_pods(paths: Paths) -> None:
    make_pod(paths, A, "run", layers=["sha512-a"])
    make_pod(paths, B, "prepared", layers=["sha512-b", "sha256-c"])
    make_pod(paths, C, "garbage", layers=["sha512-d"])
    uses = usage.of_pods(paths)
    assert {layer for use in uses for layer in use.layers} == {"sha512-a", "sha512-b", "sha256-c"}
    assert set(usage.layers_since(uses)) == {"sha512-a"}


def test_nothing_is_freed_while_the_needs_of_a_pod_are_unknown(
    paths: Paths, tmp_path: Path
) -> None:
    archive = images.write_aci(None, images.image_manifest("example.com/a"), tmp_path / "a.aci")
    with Store.open(paths.store, create=True) as store:
        record = publish.import_aci(store, archive, source=archive, verified_by="insecure")
        store.close()
        store.remove(record.id)
        place = make_pod(paths, A, "run")
        Path(place.directory, "images").write_text("{")
        warnings: list[str] = []
        remove.free_images(paths, store, warn=warnings.append)
        assert store.has_layer(record.id)
        assert warnings == [
            f"{place.directory}/images: cannot tell which layers the pod needs; nothing is freed"
        ]
        Path(place.directory, "images").write_text(f'{{"one": {{"layers": ["{record.id}"]}}}}')
        remove.free_images(paths, store, warn=warnings.append)
        assert store.has_layer(record.id)
        remove.remove(paths, query.find(paths, A), live=query.Live())
        remove.free_images(paths, store, warn=warnings.append)
        assert not store.has_layer(record.id)
        assert len(warnings) == 1


def _image(name: str, imported: int, used: int, *layers: str) -> ImageRecord:
    """An image that was imported and used at these seconds."""
    return ImageRecord(
        id=f"sha512-{name}{imported}", name=name, labels=(), kind="aci", layers=layers, size=1,
        import_time=imported * 10**9, last_used=used * 10**9, source="", verified_by="digest",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("grace", "keep", "needed", "gone"),
    [
        (100, None, set(), ["a1"]),  # a3 depends on b1
        (45, None, set(), ["a3", "a1", "b1"]),
        (1000, None, set(), []),
        (0, None, set(), ["a3", "a2", "a1", "b1"]),
        (None, 1, set(), ["a2", "a1"]),
        (None, 2, set(), ["a1"]),
        (None, 0, set(), ["a3", "a2", "a1", "b1"]),
        (100, 1, set(), ["a1"]),
        (None, 0, {"sha512-a1"}, ["a3", "a2", "b1"]),
        (None, 0, {"sha512-a3"}, ["a2", "a1"]),
    ],
)
def test_which_images_go(
    grace: float | None, keep: int | None, needed: set[str], gone: list[str]
) -> None:
    records = [
        _image("a", 3, 950, "sha512-a3", "sha512-b1"),
        _image("a", 2, 960),
        _image("a", 1, 100),
        _image("b", 1, 500),
    ]
    found = remove.old_images(records, needed, grace=grace, keep=keep, now=1000)
    assert [f"sha512-{name}" for name in gone] == [record.id for record in found]


def test_what_is_no_pod_is_told_and_left_alone(paths: Paths) -> None:
    pod = make_pod(paths, A, "run")
    runs = f"{paths.run}/pods"
    os.makedirs(f"{runs}/No_Pod")
    files = [f"{paths.pods}/run/{B}", f"{paths.pods}/run/notes", f"{runs}/.x.swp", f"{runs}/x"]
    for path in files:
        Path(path).touch()
    link = f"{paths.pods}/run/{C}"
    os.symlink(pod.directory, link)
    strays = sorted([*files, link, f"{runs}/No_Pod"])
    assert sorted(_collect(paths, Ages(), mark_only=True)) == [
        f"{path}: is no pod, and left alone" for path in strays
    ]
    assert _on_disk(paths) == {A: "exited-garbage"}
    assert query.all_statuses(paths, warn=pytest.fail)[0].place.uuid == A
    assert all(os.path.lexists(path) for path in strays)
