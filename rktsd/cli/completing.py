"""``rkt completion``: what the shell can offer for the word being typed, from the command table."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence

from rktsd.cli import flags
from rktsd.cli.commands import COMMANDS, INNER, PLAIN, Command
from rktsd.cli.context import Context
from rktsd.cli.flags import VALUE, Flag
from rktsd.cli.parse import Parsed
from rktsd.config.flavors import FLAVORS
from rktsd.errors import RktError, UsageError
from rktsd.paths import Paths

FILES = ":files"
"""Offered instead of words where a file is wanted: the shell knows those better."""

# ``rkt completion words WORD...`` prints what the last WORD can become, one a line.
_BASH = """\
# bash completion for rkt: source it, or put it in /usr/share/bash-completion/completions/rkt
_rkt() {
    local line=${COMP_LINE:0:COMP_POINT} word words found
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[${#words[@]}-1]}
    found=$(rkt completion words "${words[@]:1}" 2>/dev/null)
    if [[ $found == ":files" ]]; then
        compopt -o filenames -o default 2>/dev/null
        COMPREPLY=($(compgen -f -- "${word##*=}"))
        return
    fi
    # Of what bash breaks words at, it wants only what comes behind.
    local cut=""
    [[ $word == *[=:]* ]] && cut=${word%"${word##*[=:]}"}
    local IFS=$'\\n'
    COMPREPLY=($found)
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _rkt rkt
"""
_ZSH = """\
#compdef rkt
# zsh completion for rkt: put it as _rkt in a directory of $fpath
_rkt() {
    local found
    found=$(rkt completion words "${(@)words[2,CURRENT]}" 2>/dev/null)
    if [[ $found == ":files" ]]; then
        compset -P '*='
        _files
        return
    fi
    local -a ready open
    ready=(${${(f)found}:#*=})
    open=(${(M)${(f)found}:#*=})
    compadd -- $ready
    compadd -S '' -- $open
}
if [[ $funcstack[1] == _rkt ]]; then
    _rkt "$@"
else
    compdef _rkt rkt
fi
"""
_FISH = """\
# fish completion for rkt: put it in ~/.config/fish/completions/rkt.fish
function __rkt_offer
    set -l words (commandline -opc) (commandline -ct)
    set -l found (rkt completion words $words[2..-1] 2>/dev/null)
    if test "$found" = ":files"
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $found
    end
end
complete -c rkt -f -a '(__rkt_offer)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(context: Context, parsed: Parsed) -> int:
    """Print the script for a shell, or what it asks for."""
    words = parsed.arguments
    if words[:1] == ["words"]:
        sys.stdout.writelines(f"{each}\n" for each in offers(words[1:], context.paths))
        return 0
    if len(words) != 1 or words[0] not in SCRIPTS:
        raise UsageError(f"exactly one shell has to be given: {', '.join(SCRIPTS)}")
    sys.stdout.write(SCRIPTS[words[0]])
    return 0


def offers(words: Sequence[str], paths: Paths) -> list[str]:
    """What the last of ``words`` can become, or FILES alone. Never raises for what was typed."""
    before, word = list(words[:-1]), words[-1] if words else ""
    name, at = _command(before)
    command = COMMANDS.get(name)
    if at < len(before) and name in ("", "help"):
        return []
    if command is None or not command.function:
        return _beginning(word, _names(name)) if word[:1] != "-" else _flags(word, flags.GLOBAL)
    own = [*command.flags, *flags.GLOBAL]
    rest = before[at:]
    values, words_given = _split(rest, own, inner=command.grammar == INNER)
    if command.grammar == INNER and words_given:
        return [FILES]
    if word.startswith("-"):
        flag_name, equals, value = word[2:].partition("=")
        flag = next((each for each in own if each.name == flag_name), None)
        if not equals or flag is None:
            return _flags(word, own)
        found = _values(flag, value, paths, words_given)
        return found if found == [FILES] else [f"--{flag_name}={each}" for each in found]
    if values is not None:
        return _values(values, word, paths, words_given)
    return _arguments(command, word, paths)


def _command(before: Sequence[str]) -> tuple[str, int]:
    """The command among the words, with the place behind its name; "" for none yet."""
    at = 0
    while at < len(before) and before[at].startswith("-"):
        flag = next((each for each in flags.GLOBAL if f"--{each.name}" == before[at]), None)
        at += 2 if flag is not None and flag.kind == VALUE else 1
    if at >= len(before):
        return "", at
    for length in (2, 1):
        name = " ".join(before[at : at + length])
        if name in COMMANDS:
            return name, at + length
    return ("help", at + 1) if before[at] == "help" else ("", at)


def _names(group: str) -> list[str]:
    start = f"{group} " if group and group != "help" else ""
    below = [name.removeprefix(start) for name in COMMANDS if name.startswith(start)]
    return [*(name for name in below if " " not in name), *(() if start else ("help",))]


def _split(
    rest: Sequence[str], own: Iterable[Flag], *, inner: bool
) -> tuple[Flag | None, list[str]]:
    """The flag that still wants its value, if any, and the words that are no flags."""
    known = {f"--{flag.name}": flag for flag in own}
    known |= {f"-{flag.short}": flag for flag in own if flag.short}
    waiting: Flag | None = None
    words: list[str] = []
    for each in rest:
        if waiting is not None:
            waiting = None
        elif each.startswith("-") and each != "-" and not (inner and words):
            flag = known.get(each)
            waiting = flag if flag is not None and flag.kind == VALUE else None
        else:
            words.append(each)
    return waiting, words


def _beginning(word: str, found: Iterable[str]) -> list[str]:
    return sorted({each for each in found if each.startswith(word)})


def _flags(word: str, known: Iterable[Flag]) -> list[str]:
    shown = (f"--{x.name}{'=' if x.kind == VALUE else ''}" for x in known if not x.refused)
    return _beginning(word, shown)


def _values(flag: Flag, word: str, paths: Paths, given: Sequence[str]) -> list[str]:
    if flag.name == "app":
        return _beginning(word, _quietly(lambda: _apps(paths, given)))
    if flag.name == "net":
        return _beginning(word, ["default", "host", "none", *_quietly(lambda: _networks(paths))])
    if flag.name == "stage1-name":
        return _beginning(word, FLAVORS)
    if flag.name == "pull-policy":
        return _beginning(word, ["new", "update", "never"])
    if "|" in flag.metavar and flag.metavar.islower():
        return _beginning(word, flag.metavar.split("|"))
    return [FILES] if {"FILE", "DIR", "PATH"} & set(flag.metavar.split("|")) else []


def _arguments(command: Command, word: str, paths: Paths) -> list[str]:
    usage = command.usage
    found: list[str] = []
    if usage == "|".join(SCRIPTS):
        found = list(SCRIPTS)
    if "POD" in usage:
        found += _quietly(lambda: _pods(paths, with_files="FILE|POD" in usage))
    if "VOLUME" in usage:
        found += _quietly(lambda: os.listdir(paths.volumes))
    if "IMAGE" in usage or command.grammar not in (PLAIN, INNER):
        found += _quietly(lambda: _images(paths))
    offered = _beginning(word, found)
    wants_files = any(each in usage for each in ("FILE", "DIR", "IMAGE"))
    return offered or ([FILES] if wants_files else [])


def _quietly(look: Callable[[], list[str]]) -> list[str]:
    """Who may not look gets nothing offered."""
    try:
        return look()
    except (RktError, OSError, KeyError, TypeError, ValueError):
        return []


def _pods(paths: Paths, *, with_files: bool) -> list[str]:
    from rktsd.pods import query

    found = [word for place in query.places(paths) for word in (place.uuid, place.name) if word]
    if with_files:
        found += [name.rpartition(".")[0] for name in os.listdir(paths.pod_files)]
    return found


def _apps(paths: Paths, given: Sequence[str]) -> list[str]:
    from rktsd.pods import query

    places = [query.find(paths, given[0])] if given else query.places(paths)
    return [app.name for place in places for app in query.status(place, query.Live()).apps]


def _images(paths: Paths) -> list[str]:
    from rktsd.cli.images import shown_name
    from rktsd.store.store import Store

    with Store.open(paths.store) as store:
        return [word for record in store.images() for word in (shown_name(record), record.id)]


def _networks(paths: Paths) -> list[str]:
    import json

    found = []
    for directory in paths.config_dirs():
        place = f"{directory}/net.d"
        if os.path.isdir(place):
            for name in os.listdir(place):
                with open(f"{place}/{name}", encoding="utf-8") as file:
                    found.append(str(json.load(file)["name"]))
    return found
