"""``rkt logs``: every view of what the apps wrote, also when their pod is gone."""

from __future__ import annotations

import json

import pytest

from tests.box import Box
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, Pod, app
from tests.waiting import eventually


def logs(box: Box, *words: str) -> list[str]:
    return box.run(["rkt", "logs", *words], check=True).stdout.splitlines()


@pytest.fixture
def three_runs(make_pod: MakePod) -> Pod:
    """A pod of two apps that ran three times and says each time which time it was."""
    name = "told"
    pod = make_pod(name, "")
    for number in ("first", "second", "third"):
        say = f"echo {number}; echo more"
        pod.write(NO_NETWORK + app("one", say) + app("two", say))
        pod.start()
        pod.wait_for("inactive")
    pod.box.run(["journalctl", "--sync"], check=True)
    return pod


def test_runs_apps_lines_and_formats(three_runs: Pod) -> None:
    box, plain = three_runs.box, ["--format=cat", "told"]
    assert sorted(logs(box, "--run=0", *plain)) == ["more", "more", "third", "third"]
    assert sorted(logs(box, "--run=-1", "--app=one", *plain)) == ["more", "second"]
    assert sorted(logs(box, "--run", "-2", "--app=one,two", *plain)) == [
        "first", "first", "more", "more",
    ]  # fmt: skip
    assert len(logs(box, "--tail=3", *plain)) == 3
    entry = json.loads(logs(box, "--format=json", "-n1", "--app=two", "told")[0])
    assert (entry["RKT_POD"], entry["RKT_APP"], entry["MESSAGE"]) == ("told", "two", "more")
    assert entry["RKT_POD_UUID"] == three_runs.last_run()
    assert logs(box, "--since=+1h", *plain) == []
    for words, message in (
        (["--run=-3", "told"], "pod told: the journal knows of 3 runs only"),
        (["--run=1", "told"], 'invalid argument "1" for --run: not 0, -1, -2 and so on'),
        (["--run=0", entry["RKT_POD_UUID"]], "--run: a UUID means one run, give the name of a pod"),
        (["--lines=1", "--tail=1", "told"], "--lines and --tail cannot be combined"),
        (["--format=xml", "told"], '--format: unknown format "xml", not one of short,'),
        (["--tail=x", "told"], 'invalid argument "x" for --tail: not a number'),
    ):
        done = box.run(["rkt", "logs", *words])
        assert done.returncode == 254
        assert done.stderr.startswith(f"logs: {message}")


def test_after_the_pod_is_gone(three_runs: Pod) -> None:
    box, uuid = three_runs.box, three_runs.last_run()
    three_runs.remove()
    box.run(["rkt", "gc", "--grace-period=0s"], check=True)
    eventually(lambda: uuid not in box.run(["rkt", "list", "--full"]).stdout, "it is removed")
    assert len(logs(box, "--format=cat", "told")) >= 12
    assert sorted(logs(box, "--format=cat", "--app=one", uuid[:8])) == ["more", "third"]
    done = box.run(["rkt", "logs", "--app=six", uuid])
    assert done.stderr == f'logs: pod {uuid} has no app "six", only one, two\n'
    done = box.run(["rkt", "logs", "never-there"])
    assert (done.returncode, done.stderr) == (254, 'logs: no matches found for "never-there"\n')


def test_the_uuid_from_a_file(three_runs: Pod) -> None:
    three_runs.box.write("/tmp/told.uuid", f"{three_runs.last_run()}\n")
    found = logs(three_runs.box, "--uuid-file=/tmp/told.uuid", "--format=cat", "--app=two")
    assert sorted(found) == ["more", "third"]
