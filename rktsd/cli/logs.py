"""``rkt logs``: journalctl with the right matches."""

import os

from rktsd.cli.arguments import moment, read_uuid_file
from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed, Values
from rktsd.errors import UsageError
from rktsd.pods import logs as search


def logs(context: Context, parsed: Parsed) -> int:
    """Become journalctl, which has it all."""
    from rktsd.host.process import replace

    values = parsed.values
    file = values.last("uuid-file")
    if len(parsed.arguments) != (1 if file is None else 0):
        raise UsageError("must provide one pod UUID or name")
    pod = parsed.arguments[0] if file is None else read_uuid_file(file)
    command = ["journalctl", "--quiet", *_options(values)]
    run = _run(values.last("run"))
    command += search.matches(context.paths, pod, apps=values.words("app"), run=run)
    replace(command)


def _options(values: Values) -> list[str]:
    """What journalctl is told but for the matches. Raises UsageError."""
    style = values.last("format") or "short"
    if style not in search.FORMATS:
        known = ", ".join(search.FORMATS)
        raise UsageError(f'--format: unknown format "{style}", not one of {known}')
    found = [f"--output={style}"]
    if not os.isatty(1):
        found.append("--no-pager")
    lines = _lines(values)
    if lines is not None:
        found.append(f"--lines={lines}")
    if values.on("follow"):
        found += ["--follow", *(() if lines is not None else ("--no-tail",))]
    for flag in ("since", "until"):
        text = values.last(flag)
        if text is not None:
            moment(text, flag)
            found.append(f"--{flag}={text}")
    return found


def _lines(values: Values) -> str | None:
    given = [flag for flag in ("lines", "tail") if flag in values]
    if len(given) > 1:
        raise UsageError("--lines and --tail cannot be combined")
    for flag in given:
        text = values.last(flag) or ""
        if not text.isdigit():
            raise UsageError(f'invalid argument "{text}" for --{flag}: not a number')
        return text
    return None


def _run(text: str | None) -> int | None:
    """How many runs before the last one."""
    if text is None:
        return None
    number = text.removeprefix("-")
    if not number.isdigit() or (text[:1] != "-" and number != "0"):
        raise UsageError(f'invalid argument "{text}" for --run: not 0, -1, -2 and so on')
    return int(number)
