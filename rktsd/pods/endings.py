"""How apps ended: what each app's own ExecStopPost= wrote into ``status/APP`` of its pod."""

from __future__ import annotations

import os

_LIMIT = 4096


def read_word(path: str) -> str | None:
    """What a small file has, without white space around it; None for nothing and no file.

    ``list`` reads a few of every pod: the io module would take three times as long.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, _LIMIT)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return data.decode(errors="replace").strip() or None


def recorded(directory: str, app: str) -> tuple[str, str, str] | None:
    """RESULT, EXIT_CODE and EXIT_STATUS, as of systemd.exec(5) (units/libexec/record-result).

    None when the app did not end, and when that could not be recorded.
    """
    words = (read_word(f"{directory}/status/{app}") or "").split()
    return (words[0], words[1], words[2]) if len(words) == 3 else None


def exit_code(directory: str, app: str) -> int | None:
    """How an app ended, as a shell says it: its status, or 128 and the signal. None: it did not."""
    return code_of(recorded(directory, app))


def code_of(record: tuple[str, str, str] | None) -> int | None:
    """The same from what ``recorded`` gave."""
    if record is None:
        return None
    if record[2].isdigit():
        return int(record[2])
    import signal

    try:
        return 128 + signal.Signals[f"SIG{record[2]}"].value
    except KeyError:
        return 255


def result(directory: str, app: str) -> str | None:
    """Result= of the unit of an app that has ended; None when that could not be recorded."""
    record = recorded(directory, app)
    return record and record[0]


def failed(directory: str, app: str) -> bool:
    """Whether systemd holds that the app failed, which a stop by SIGTERM is not.

    True also when nothing could be recorded of its end.
    """
    path = f"{directory}/status/{app}"
    return os.path.exists(path) and (read_word(path) or "").split()[:1] != ["success"]
