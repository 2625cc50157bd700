"""``rkt``: finds the command, runs it, and is the only place that turns errors into exit codes."""

import io
import sys
from collections.abc import Sequence

from rktsd.cli import commands, flags
from rktsd.cli.commands import COMMANDS, Command
from rktsd.cli.context import context, explain, note, require_root, silence
from rktsd.cli.parse import leading, parse
from rktsd.errors import RktError, Unsupported, UsageError

FAILURE = 254
NO_COMMAND = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name). Returns the exit status."""
    _open_missing_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    name = "rkt"
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _check_encoding(arguments)
        values, at = leading(arguments, flags.GLOBAL)
        if at == len(arguments) and not values.on("help"):
            _print_help([])
            return NO_COMMAND
        if values.on("help") or arguments[at] == "help":
            _print_help(arguments[at + 1 :] if arguments[at:] else [])
            return 0
        name, at = _find(arguments, at)
        command = COMMANDS[name]
        if not command.function:
            _print_help([name])
            return 0 if {"--help", "-h", "help"} & set(arguments[at:]) else NO_COMMAND
        return _run(name, command, [*arguments[: at - len(name.split())], *arguments[at:]])
    except RktError as error:
        note(name, str(error))
        if debug:
            explain(error)
        return error.exit_code
    except KeyboardInterrupt:
        note(name, "interrupted")
        return 130
    except BrokenPipeError:
        _drop_output()
        return FAILURE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        if not _drop_output() and not where:
            where = "standard output: "
        note(name, f"{where}{error.strerror or error}")
        return FAILURE
    except RecursionError:
        note(name, "the input is nested too deep")
        return FAILURE


def _open_missing_streams() -> None:
    """Give us the streams that the caller closed: files opened later would take their numbers."""
    import os

    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free number is taken, and those below have just been seen to.
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _check_encoding(arguments: Sequence[str]) -> None:
    """Manifests and the bus carry UTF-8 and nothing else."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"the argument {argument!a} is not UTF-8") from error


def _run(name: str, command: Command, arguments: list[str]) -> int:
    """``arguments`` are all but the command's name: global flags stand in any place."""
    if _asks_for_help(arguments, command):
        _print_help(name.split())
        return 0
    parsed = parse(arguments, (*flags.GLOBAL, *command.flags), grammar=command.grammar)
    if parsed.values.on("help"):
        _print_help(name.split())
        return 0
    settings = context(name, parsed.values)
    if command.root:
        require_root()
    from importlib import import_module

    module = import_module(f"rktsd.cli.{command.module}")
    status: int = getattr(module, command.function)(settings, parsed)
    sys.stdout.flush()
    return status


def _asks_for_help(arguments: Sequence[str], command: Command) -> bool:
    own = arguments
    if command.grammar == commands.INNER:
        # It may be the other program's.
        return arguments[:1] in (["--help"], ["-h"])
    if command.grammar != commands.PLAIN and "--" in arguments:
        own = arguments[: arguments.index("--")]
    return "--help" in own or "-h" in own


def _find(arguments: Sequence[str], at: int) -> tuple[str, int]:
    """The command meant at ``at`` and the place behind its name."""
    _refuse_absent(arguments[at:])
    name = _complete(arguments[at], [each for each in COMMANDS if " " not in each], "")
    at += 1
    below = [each.partition(" ")[2] for each in COMMANDS if each.startswith(f"{name} ")]
    if below and at < len(arguments) and arguments[at] != "help" and arguments[at][:1] != "-":
        name = f"{name} {_complete(arguments[at], below, f'{name} ')}"
        at += 1
    return name, at


def _refuse_absent(words: Sequence[str]) -> None:
    """Say of commands that rkt has what to use instead."""
    if words[0] in COMMANDS:
        return
    from rktsd.cli.absent import ABSENT

    for name in (" ".join(words[:2]), words[0]):
        if name in ABSENT:
            hint = ABSENT[name]
            raise Unsupported(f'"{name}" is a command of rkt that this version lacks', hint=hint)


def _complete(word: str, names: Sequence[str], group: str) -> str:
    if word in names:
        return word
    found = [name for name in names if word and name.startswith(word)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f'ambiguous command "{group}{word}": {", ".join(found)}')
    from difflib import get_close_matches

    close = get_close_matches(word, names, n=1)
    hint = f"did you mean {group}{close[0]}?" if close else 'see "rkt help"'
    raise UsageError(f'unknown command "{group}{word}"', hint=hint)


def _print_help(words: Sequence[str]) -> None:
    from rktsd.cli import help

    words = [word for word in words if not word.startswith("-")]
    text = help.overview()
    if words:
        name, _ = _find(words, 0)
        command = COMMANDS[name]
        text = help.explain(name, command) if command.function else help.overview(name)
    sys.stdout.write(text)
    # What cannot be written is to be told like any other error.
    sys.stdout.flush()


def _drop_output() -> bool:
    """Whether what was printed could be written.

    If not, it cannot be at exit either, where the interpreter tries once more: it is dropped.
    """
    try:
        sys.stdout.flush()
    except OSError:
        pass
    else:
        return True
    silence(1)
    return False
