"""What the apps of pods print, from the journal."""

from __future__ import annotations

from typing import NamedTuple

from rktsd.api.errors import NO_SUCH_POD, Refused
from rktsd.api.options import invalid, read
from rktsd.errors import NotFound, UsageError
from rktsd.host import process
from rktsd.pods.logs import FORMATS, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

    from rktsd.api.values import Typed
    from rktsd.paths import Paths

_OPTIONS = {"apps": "as", "lines": "u", "since": "t", "until": "t", "run": "u", "format": "s"}
_STREAM_OPTIONS = {**_OPTIONS, "follow": "b"}
LINES = 1000
"""How many lines are given where nobody says how many."""
SIZE_LIMIT = 8 << 20
_LINES_LIMIT = 100_000
_READ = 1 << 16


class Stream(NamedTuple):
    """journalctl at work; what it prints is read at its standard output."""

    process: subprocess.Popen[bytes]


def get(paths: Paths, pod: str, options: Mapping[str, Typed]) -> tuple[list[str]]:
    """Lines, oldest first. Raises Refused, NotFound, UsageError; for too much at once as well."""
    given = read(options, _OPTIONS, "option")
    given.setdefault("lines", LINES)
    if given["lines"] > _LINES_LIMIT:
        raise invalid(f"more than {_LINES_LIMIT} lines: OpenLogs has no limit")
    data = b""
    with process.start(_command(paths, pod, given)) as running:
        assert running.stdout is not None
        try:
            while part := running.stdout.read(_READ):
                data += part
                if len(data) > SIZE_LIMIT:
                    raise UsageError(
                        f"more than {SIZE_LIMIT >> 20} MiB of lines",
                        hint="ask for fewer, or for a stream with OpenLogs",
                    )
        finally:
            running.terminate()
    return (data.decode(errors="replace").splitlines(),)


def open_stream(paths: Paths, pod: str, options: Mapping[str, Typed]) -> Stream:
    """The same without a limit, and with what is still to come (follow). The caller ends it."""
    given = read(options, _STREAM_OPTIONS, "option")
    return Stream(process.start(_command(paths, pod, given)))


def _command(paths: Paths, pod: str, given: Mapping[str, object]) -> list[str]:
    command = ["journalctl", "--quiet", "--no-pager", f"--output={_format(given)}"]
    if "lines" in given:
        command.append(f"--lines={given['lines']}")
    if given.get("follow"):
        command += ["--follow", *(() if "lines" in given else ("--no-tail",))]
    for name in ("since", "until"):
        if name in given:
            command.append(f"--{name}={_moment(given[name], name)}")
    apps, run = given.get("apps") or [], given.get("run")
    assert isinstance(apps, list)
    assert run is None or isinstance(run, int)
    try:
        return [*command, *matches(paths, pod, apps=apps, run=run)]
    except NotFound as error:
        if apps or run is not None:
            raise
        raise Refused(NO_SUCH_POD, str(error)) from error


def _format(given: Mapping[str, object]) -> str:
    style = str(given.get("format") or "short-iso")
    if style not in FORMATS:
        raise invalid(f'format "{style}" is not one of {", ".join(FORMATS)}')
    return style


def _moment(value: object, name: str) -> str:
    assert isinstance(value, int)
    seconds, rest = divmod(value, 10**6)
    # The year 9999, where systemd's own calendar ends.
    if seconds > 253402214400:
        raise invalid(f"{name}: {value} is not a time in µs since 1970")
    return f"@{seconds}.{rest:06d}"
