"""Removed pods are heard of, whoever removed them and wherever they were moved before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rktsd.paths import Paths
from rktsd.pods import query, remove
from rktsd.pods.removals import Removals
from tests.unit.pods.disk import UUIDS, make_pod

A, B, C = UUIDS[:3]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(data=f"{tmp_path}/data", local_config=f"{tmp_path}/etc", run=f"{tmp_path}/run")
    os.makedirs(made.pods)
    return made


@pytest.fixture
def removals(paths: Paths) -> Iterator[Removals]:
    make_pod(paths, A, "run", name="web")
    with closing(Removals(paths)) as found:
        yield found


def rm(paths: Paths, uuid: str) -> None:
    remove.remove(paths, query.find(paths, uuid), live=query.Live())


def told(removals: Removals) -> list[tuple[str, str | None]]:
    return [(place.uuid, place.name) for place in removals.read()]


def test_what_was_there_before_and_what_comes(paths: Paths, removals: Removals) -> None:
    assert told(removals) == []
    make_pod(paths, B, "prepared", name="db")
    assert told(removals) == []
    rm(paths, A)
    assert told(removals) == [(A, "web")]
    rm(paths, B)
    assert told(removals) == [(B, "db")]
    # The first of its stage.
    make_pod(paths, C, "prepare")
    assert told(removals) == []
    shutil.rmtree(f"{paths.pods}/prepare")
    assert told(removals) == [(C, None)]


def test_what_goes_on_is_not_removed(paths: Paths, removals: Removals) -> None:
    make_pod(paths, B, "prepared")
    assert told(removals) == []
    os.rename(f"{paths.pods}/prepared/{B}", f"{paths.pods}/run/{B}")
    assert told(removals) == []
    os.makedirs(f"{paths.pods}/garbage")
    os.rename(f"{paths.pods}/run/{B}", f"{paths.pods}/garbage/{B}")
    assert told(removals) == []
    shutil.rmtree(f"{paths.pods}/garbage/{B}")
    assert told(removals) == [(B, None)]
