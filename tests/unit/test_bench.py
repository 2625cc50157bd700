"""What `make bench` prints is computed right; that it measures right, only a run can show."""

import importlib

import pytest

from tests.bench import breakdown, commands, leak, metadata, pulls, resident, scene, trace
from tests.bench.agent import Answer
from tests.bench.lab import times
from tests.bench.report import phase_table, ratios, row_table
from tests.bench.rows import BOTH, FIRST, RETURNED, ROWS, Contender, Peer, Row

ROW = Row(
    "walk",
    "A walk",
    Contender("us", ("a",), ("one",)),
    (
        Peer(Contender("slow", ("b",), ("one",)), 0.5, ours=FIRST, theirs=FIRST),
        Peer(Contender("fast", ("c",)), 1.5, ours=FIRST),
    ),
)
TIMES = {
    "us": {RETURNED: [8.0, 10.0, 90.0], FIRST: [6.0, 9.0, 80.0]},
    "slow": {RETURNED: [20.0, 40.0, 30.0], FIRST: [24.0, 18.0, 12.0]},
    "fast": {RETURNED: [5.0, 5.5, 4.0]},
}


def test_ratios_are_of_medians_and_of_minima() -> None:
    assert ratios([1.0, 2.0, 9.0], [4.0, 8.0, 100.0]) == (0.25, 0.25)
    assert ratios([3.0, 6.0], [9.0, 1.0]) == (0.9, 3.0)


def test_row_table_judges_what_the_target_is_about() -> None:
    assert row_table(ROW, TIMES).splitlines() == [
        "A walk [walk], ms",
        "      until              median   min  ratio  of mins     target",
        "us    command returns      10.0   8.0",
        "      first instruction     9.0   6.0",
        "slow  command returns      30.0  20.0   0.33     0.40",
        "      first instruction    18.0  12.0   0.50     0.50    0.50 ok",
        "fast  command returns       5.0   4.0   1.80     1.50  1.50 OVER",
    ]


def test_phase_table() -> None:
    looks = [{"a phase": 3.0, "b": 10.0}, {"a phase": 1.0, "b": 30.0}, {"a phase": 1.5, "b": 20.0}]
    assert phase_table("Phases", looks).splitlines() == [
        "Phases, ms",
        "           median   min",
        "a phase       1.5   1.0",
        "b            20.0  10.0",
    ]


@pytest.mark.parametrize(
    ("slow", "verdict"), [(20, "within 2.0   100 ok"), (21, "within 101.0   100 OVER")]
)
def test_answers_that_take_too_long(slow: int, verdict: str) -> None:
    asked = metadata.Asked([50.0, 40.0, 90.0], [2.0] * (2000 - slow) + [101.0] * slow)
    lines = metadata.text(asked).splitlines()
    assert lines[1] == f"median 2.0   99 % {verdict}"
    assert lines[2] == "first one, which starts it: median 50.0   min 40.0"


def test_the_last_of_several_apps_counts() -> None:
    answer = Answer(started=1_000_000, returned=4_000_000, stamps=[3_000_000, 6_500_000])
    assert times(answer) == {RETURNED: 3.0, FIRST: 5.5, BOTH: 5.5}
    assert times(Answer(started=0, returned=2_500_000, stamps=[])) == {RETURNED: 2.5}


def test_phases_follow_each_other_and_fill_the_whole_start() -> None:
    moments = {phase: 5_000_000 + at * 1_000_000 for at, phase in enumerate(trace.CALLS)}
    moments["barrier, JobRemoved"] = 30_000_000
    marks = {"interpreter": 3_000_000, "imports": 4_000_000, **moments}
    pod = "ExecMainStartTimestampMonotonic=2000\nExecMainExitTimestampMonotonic=33000\n"
    app = "ExecMainStartTimestampMonotonic=14000\nActiveEnterTimestampMonotonic=25000\n"
    printed = "".join(f"{moment} {phase}\n" for phase, moment in marks.items())
    found = breakdown.phases(
        Answer(
            started=1_000_000, returned=34_000_000, stamps=[26_000_000], probes=[pod, app, printed]
        )
    )
    assert list(found) == [
        "systemctl, job, fork",
        "interpreter",
        "imports",
        *list(trace.CALLS)[:-1],
        "systemd forks the app",
        "nspawn until READY",
        "barrier, JobRemoved",
        "exit",
        "systemctl returns",
        "in all",
        "fork of the app to its first instruction",
    ]
    assert found["systemctl, job, fork"] == 1.0
    assert found["systemd forks the app"] == 4.0
    assert found["nspawn until READY"] == 11.0
    assert found["barrier, JobRemoved"] == 5.0
    assert found["exit"] == 3.0
    assert found["fork of the app to its first instruction"] == 12.0
    assert sum(list(found.values())[:-2]) == pytest.approx(found["in all"])


@pytest.mark.parametrize(("module", "path"), trace.CALLS.values())
def test_what_the_breakdown_traces_is_there(module: str, path: str) -> None:
    traced = importlib.import_module(module)
    for name in path.split("."):
        traced = getattr(traced, name)
    assert callable(traced)


def test_every_target_is_about_times_that_are_taken() -> None:
    for row in (*ROWS, *commands.ROWS):
        for peer in row.peers:
            assert peer.ours in row.ours.measures
            assert peer.theirs in peer.contender.measures


def test_no_two_rows_have_one_name() -> None:
    names = [*(row.name for row in (*ROWS, *commands.ROWS)), *pulls.ROWS]
    names += [resident.ROW, leak.ROW, metadata.ROW]
    assert len(set(names)) == len(names)


def test_pull_table_judges_wall_and_processor_time() -> None:
    def found(wall: float, processor: float) -> dict[tuple[str, str], list[float]]:
        return {
            (place, name): [value, value * 2, value]
            for place in (scene.DISK, scene.TMPFS)
            for name, value in ((scene.WALL, wall), (scene.CPU, processor))
        }

    times = {pulls.OCI: found(6.0, 4.0), pulls.PODMAN: found(10.0, 16.0)}
    lines = pulls.pull_table(times).splitlines()
    assert [line.split() for line in lines[1:5]] == [
        ["rkt", "fetch", "disk", "wall", "6.00", "6.00"],
        ["disk", "processor", "4.00", "4.00"],
        ["tmpfs", "wall", "6.00", "6.00"],
        ["tmpfs", "processor", "4.00", "4.00"],
    ]
    judged = [line.split()[-4:] for line in lines[-5:-1]]
    assert judged == [
        ["0.60", "0.60", "0.80", "ok"],
        ["0.25", "0.25", "0.50", "ok"],
        ["0.60", "0.60", "0.50", "OVER"],
        ["0.25", "0.25", "0.50", "ok"],
    ]
    assert lines[-1] == "skopeo copy, umoci unpack: not installed, left out"


def test_memory_is_that_of_what_came_with_the_pod_but_not_the_apps() -> None:
    before, apps = "900000000 5000 systemd\n", "2100000000 7 stamp\n"
    probe = f"{before}2000000000 300 conmon\n1995000000 40 a (b)\n{apps}"
    answer = Answer(started=2_000_000_000, returned=0, stamps=[], probes=[probe])
    assert resident.sizes(answer) == (340.0, "a (b), conmon")
    answer["probes"] = [before + apps]
    assert resident.sizes(answer) == (0.0, "nothing")
