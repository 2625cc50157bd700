"""What several commands read in the same way: counts of words, formats, spans of time, UUIDs."""

from rktsd.cli.parse import Parsed, Values
from rktsd.errors import BadInput, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

FORMATS = ("json", "json-pretty")
DRAWINGS = ("tree", "dot")
_UNITS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip


def none(parsed: Parsed) -> None:
    """Refuse words where a command takes none."""
    if parsed.arguments:
        raise UsageError(f'unexpected argument "{parsed.arguments[0]}"')


def output_format(values: Values, *, known: tuple[str, ...] = FORMATS) -> str | None:
    """One of ``known`` or None. Raises UsageError."""
    given = values.last("format")
    if given is not None and given not in known:
        raise UsageError(f'--format: unknown format "{given}", not one of {", ".join(known)}')
    return given


def span(text: str, flag: str) -> float:
    """Seconds from a duration as Go writes them (``1h30m``, ``24h``, ``0``). Raises UsageError."""
    import re

    if text.lstrip("+-") == "0":
        return 0.0
    found = re.fullmatch(r"([+-]?)((?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+)", text)
    if not found:
        raise UsageError(f'invalid argument "{text}" for --{flag}: not a time like 30m or 1h30m')
    parts = re.findall(r"([0-9.]+)(ns|us|µs|ms|s|m|h)", found[2])
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -seconds if found[1] == "-" else seconds


def positive_span(text: str, flag: str) -> float:
    """The same, and not below 0."""
    seconds = span(text, flag)
    if seconds < 0:
        raise UsageError(f'invalid argument "{text}" for --{flag}: below 0')
    return seconds


def moment(text: str, flag: str) -> float:
    """Seconds since the epoch from a time as systemd takes it (systemd.time(7)). Raises UsageError.

    ``now``, ``+5min``, ``18:00`` or ``2026-01-31 12:00:00``, say.
    """
    import re

    from rktsd.host.process import run

    done = run(["systemd-analyze", "timestamp", "--", text], check=False)
    found = re.search(rb"UNIX seconds: @([0-9.]+)", done.stdout)
    if done.returncode != 0 or found is None:
        raise UsageError(f'--{flag}: "{text}" is not a time', hint="see man 7 systemd.time")
    return float(found[1])


def signal_number(text: str, flag: str) -> "signal.Signals":
    """A signal by its name, with or without SIG, or its number. Raises UsageError."""
    import signal

    try:
        if text.isdigit():
            return signal.Signals(int(text))
        return signal.Signals[f"SIG{text.upper().removeprefix('SIG')}"]
    except (KeyError, ValueError):
        raise UsageError(f'--{flag}: "{text}" is not a signal') from None


def read_uuid_file(path: str) -> str:
    """The UUID that --uuid-file-save left, or its beginning. Raises RktError."""
    import re

    from rktsd.host.files import read_limited

    text = read_limited(path, 4096, pipes=True).decode("ascii", "replace").strip()
    if not re.fullmatch("[0-9A-Fa-f-]{2,36}", text):
        # What else is in the file is nobody's business.
        raise BadInput(f"{path}: does not hold a UUID")
    return text


def one_pod(parsed: Parsed) -> str:
    """The only pod that a command is about, as a word or from --uuid-file. Raises RktError."""
    if not parsed.arguments and "uuid-file" not in parsed.values:
        raise UsageError("exactly one pod has to be given")
    found = pods(parsed)
    if len(found) != 1:
        raise UsageError("exactly one pod has to be given")
    return found[0]


def pods(parsed: Parsed) -> list[str]:
    """The pods that a command is about. Raises RktError."""
    file = parsed.values.last("uuid-file")
    if file is not None and parsed.arguments:
        raise UsageError("give a pod or --uuid-file, not both")
    if file is not None:
        return [read_uuid_file(file)]
    if not parsed.arguments:
        raise UsageError("must provide at least one pod UUID or name")
    return list(parsed.arguments)
