"""``rkt events``: what systemd tells of pods and apps, as it happens."""

from __future__ import annotations

import json
import signal

from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, SERVE, Pod, app
from tests.waiting import eventually


def fails(code: int) -> str:
    """Ends well when told to stop, and with ``code`` at SIGUSR1."""
    return f"trap 'exit {code}' USR1; {SERVE}"


def tell(pod: Pod, app: str) -> None:
    pod.box.run(["rkt", "kill", "--signal=USR1", f"--app={app}", pod.name], check=True)


def test_the_life_of_a_pod(make_pod: MakePod) -> None:
    pod = make_pod(
        "eventful",
        NO_NETWORK
        + app("one", SERVE)
        + app("again", fails(4), extra='systemd = { Restart = "on-failure" }')
        + app("bad", fails(3)),
    )
    process = pod.box.popen(["rkt", "events", "eventful"])
    assert process.stdout is not None
    # From here on it listens.
    assert process.stdout.readline().split() == ["TIME", "POD", "APP", "EVENT"]
    seen: list[tuple[str, str]] = []

    def see(app: str, event: str) -> None:
        while (app, event) not in seen:
            line = process.stdout.readline() if process.stdout is not None else ""
            assert line, f"{app} {event} was not told, only {seen}"
            _, name, *rest = line.split(maxsplit=3)
            assert name == "eventful"
            seen.append((rest[0], rest[1].rstrip()))

    pod.start()
    see("-", "started")
    assert seen[0] == ("-", "starting")
    assert sorted(seen[1:-1]) == [("again", "started"), ("bad", "started"), ("one", "started")]
    tell(pod, "again")
    see("again", "restarted, 1 so far")
    assert seen[5:] == [("again", "failed, exit code 4"), ("again", "restarted, 1 so far")]
    eventually(lambda: pod.messages("RKT_POD=eventful").count("ready") == 4, "it is ready again")
    tell(pod, "bad")
    see("-", "failed")
    assert seen[7] == ("bad", "failed, exit code 3")
    assert sorted(seen[8:]) == [
        ("-", "failed"), ("-", "stopping"),
        ("again", "exited, exit code 0"), ("one", "exited, exit code 0"),
    ]  # fmt: skip
    uuid = pod.last_run()
    pod.box.run(["rkt", "rm", "eventful"], check=True)
    see("-", "removed")
    assert len(seen) == 13
    assert uuid not in pod.box.run(["rkt", "list", "--full"]).stdout
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait() == 130


def test_json_of_one_app_until_enough(make_pod: MakePod) -> None:
    pod = make_pod("brief", NO_NETWORK + app("one", "exit 0") + app("two", "exit 0"))
    command = ["rkt", "events", "--format=json", "--app=one", "-n2", "brief"]
    process = pod.box.popen(command)

    def has_ended() -> bool:
        # Nothing says when it listens: the pod runs until it has heard of it.
        pod.systemctl("start")
        pod.wait_for("inactive")
        return process.poll() is not None

    eventually(has_ended, "two events are told")
    assert process.stdout is not None
    assert process.returncode == 0
    told = [json.loads(line) for line in process.stdout]
    for each in told:
        assert (each["pod_name"], each["app"], len(each["pod"])) == ("brief", "one", 36)
        assert each["time"] > 10**18
    assert {each["event"] for each in told} == {"started", "exited"}
    end = next(each for each in told if each["event"] == "exited")
    assert (end["exit_code"], end["result"]) == (0, "success")
