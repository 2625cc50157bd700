"""Where the time of one start goes: systemd's own timestamps, and trace.py in pod-start's place."""

from tests.bench import trace
from tests.bench.agent import Answer
from tests.bench.rows import START

DROP_IN = "rkt@single.service.d/trace.conf"
TRACED = "[Service]\nExecStart=\nExecStart=/usr/bin/python3 -IS /run/bench/trace.py %i\n"
_SHOW = "systemctl show" + "".join(
    f" -p {name}TimestampMonotonic" for name in ("ExecMainStart", "ActiveEnter", "ExecMainExit")
)
TRACED_START = START._replace(
    name="a start, looked into",
    probes=(f"{_SHOW} rkt@single", f"{_SHOW} rkt-single.one", f"cat {trace.MARKS}"),
)


def phases(answer: Answer) -> dict[str, float]:
    """Milliseconds of each phase of TRACED_START, in order; the last two are sums of others."""
    pod, app = (_shown(printed) for printed in answer["probes"][:2])
    marks = [line.partition(" ") for line in answer["probes"][2].splitlines()]
    traced = {phase: int(moment) for moment, _, phase in marks}
    barrier = traced.pop(list(trace.CALLS)[-1])
    ends = {
        "systemctl, job, fork": pod["ExecMainStart"],
        **traced,
        "systemd forks the app": app["ExecMainStart"],
        "nspawn until READY": app["ActiveEnter"],
        "barrier, JobRemoved": barrier,
        "exit": pod["ExecMainExit"],
        "systemctl returns": answer["returned"],
    }
    befores = [answer["started"], *ends.values()]
    found = {
        phase: (end - before) / 1e6
        for (phase, end), before in zip(ends.items(), befores, strict=False)
    }
    found["in all"] = (answer["returned"] - answer["started"]) / 1e6
    found["fork of the app to its first instruction"] = (
        answer["stamps"][0] - app["ExecMainStart"]
    ) / 1e6
    return found


def _shown(printed: str) -> dict[str, int]:
    """Properties of a unit in nanoseconds, without the common end of their names."""
    pairs = (line.partition("TimestampMonotonic=") for line in printed.splitlines())
    return {name: int(value) * 1000 for name, _, value in pairs}
