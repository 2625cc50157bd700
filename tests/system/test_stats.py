"""``rkt stats`` and ``top``: what systemd counts of pods and apps."""

from __future__ import annotations

import json
import signal

from tests.conftest import BoxFactory
from tests.system.conftest import MakePod, store_image
from tests.system.pods import NO_NETWORK, SERVE, Pod, app

COUNTED = 'memory = "64Mi"\n[app.systemd]\nCPUAccounting = true\n'
BUSY = "echo ready; while :; do :; done"


def test_once(make_pod: MakePod) -> None:
    pod = make_pod("used", NO_NETWORK + app("one", BUSY, extra=COUNTED) + app("two", SERVE))
    pod.start()
    told = pod.box.run(["rkt", "stats", "used"], check=True).stdout.splitlines()
    assert told[0].split("\t")[0] == "POD"
    rows = [[cell for cell in line.split("\t") if cell] for line in told[1:]]
    assert [row[:2] for row in rows] == [["used", "-"], ["used", "one"], ["used", "two"]]
    whole, one, _ = json.loads(
        pod.box.run(["rkt", "stats", "--format=json", "used"], check=True).stdout
    )
    assert whole["pod"] == one["pod"] == pod.last_run()
    assert "app" not in whole
    assert (one["app"], one["pod_name"], one["memory_limit"]) == ("one", "used", 64 << 20)
    assert 0 < one["memory"] <= 64 << 20
    # The app, and systemd-nspawn which waits for it.
    assert one["tasks"] == 2
    everything = pod.box.run(["rkt", "stats", "--no-legend"], check=True).stdout
    assert everything.count("used") == 3
    pod.stop()
    done = pod.box.run(["rkt", "stats", "used"])
    assert (done.returncode, done.stderr) == (
        254,
        f'stats: pod "{pod.last_run()}" isn\'t currently running\n',
    )


def test_again_and_again(make_box: BoxFactory, busybox_aci: str) -> None:
    # Where processor time is counted for every unit.
    box = make_box(cgroup="unified")
    store_image(box, busybox_aci)
    pod = Pod(box, "busy", NO_NETWORK + app("one", BUSY, extra=COUNTED))
    pod.start()
    command = ["rkt", "top", "--count=2", "--interval=500ms", "--format=json", "busy"]
    first, second = pod.box.run(command, check=True).stdout.splitlines()
    assert "cpu_share" not in json.loads(first)[1]
    assert 0.05 < json.loads(second)[1]["cpu_share"] < 1.5
    process = pod.box.popen(["rkt", "top", "--interval=100ms", "busy"])
    assert process.stdout is not None
    seen = ""
    while "%" not in seen:
        seen = process.stdout.readline()
        assert seen
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    process.wait()
    for words in (["--interval=0s"], ["--interval=x"], ["--count=x"]):
        assert pod.box.run(["rkt", "top", *words]).returncode == 254
