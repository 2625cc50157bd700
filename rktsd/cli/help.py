"""Help texts, made from the tables of commands and flags."""

from collections.abc import Iterable

from rktsd.cli.commands import COMMANDS, Command
from rktsd.cli.flags import APP, BOTH, GLOBAL, OPTIONAL, POD, VALUE, Flag

_WIDTH = 34


def overview(group: str = "") -> str:
    """The help of rkt itself, or of a group of commands (``image``)."""
    start = f"{group} " if group else ""
    rows = [
        (name.removeprefix(start), command.summary)
        for name, command in COMMANDS.items()
        if name.startswith(start) and " " not in name.removeprefix(start)
    ]
    if not group:
        rows.append(("help", "Explain a command"))
    about = COMMANDS[group].summary if group else "Pods as units of the host's systemd"
    lines = [about, "", f"Usage: rkt [FLAG...] {start}COMMAND [FLAG...] [ARGUMENT...]", ""]
    lines.append("Commands (a beginning is enough where it is unambiguous):")
    lines += [f"  {name:18}{summary}" for name, summary in rows]
    lines += ["", "Flags of every command:", *_flags(GLOBAL)]
    lines += ["", f'"rkt {start}COMMAND --help" explains a command.']
    return "\n".join(lines) + "\n"


def explain(name: str, command: Command) -> str:
    """The help of one command."""
    takes = " [FLAG...]" if command.flags and not command.usage.startswith("[FLAG") else ""
    usage = f"Usage: rkt {name}{takes} {command.usage}".rstrip()
    lines = [command.summary, "", usage]
    if command.usage.startswith("FILE|POD"):
        lines += ["", "POD is the name of a pod with a file in /etc/rkt/pods."]
    elif "POD" in command.usage:
        lines += ["", "POD is the name of a pod, or a UUID or an unambiguous beginning of one."]
    pod = [flag for flag in command.flags if flag.scope == POD]
    app = [flag for flag in command.flags if flag.scope in (APP, BOTH)]
    if pod:
        lines += ["", "Flags:", *_flags(pod)]
    if app:
        lines += ["", "Flags of an app, after its image:", *_flags(app)]
    refused = sorted(f"--{flag.name}" for flag in command.flags if flag.refused)
    if refused:
        lines += ["", f"Known from rkt and refused here: {', '.join(refused)}"]
    lines += ["", "Flags of every command:", *_flags(GLOBAL)]
    lines += ["", "Examples:", *(f"  rkt {example}" for example in command.examples)]
    return "\n".join(lines) + "\n"


def _flags(flags: Iterable[Flag]) -> list[str]:
    lines = []
    for flag in flags:
        if flag.refused:
            continue
        value = {VALUE: f"={flag.metavar}", OPTIONAL: f"[={flag.metavar}]"}.get(flag.kind, "")
        short = f"-{flag.short}, " if flag.short else ""
        left = f"  {short}--{flag.name}{value}"
        if len(left) >= _WIDTH:
            lines += [left, f"{'':{_WIDTH}}{flag.help}"]
        else:
            lines.append(f"{left:{_WIDTH}}{flag.help}")
    return lines
