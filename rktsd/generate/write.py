"""Pod files as text: TOML as people would write it, always in the same order (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from rktsd.pods.podfile import APP_KEYS, POD_KEYS, PUBLISHED_KEYS, VOLUME_KEYS

INSTANCE = "\0"
"""Stands in a string for the instance of a template, which becomes ``%i``."""

# Tables that stand behind all others of the pod, and the order of what is in them.
_LISTS = {"volume": VOLUME_KEYS, "port": PUBLISHED_KEYS, "app": APP_KEYS}
_WIDTH = 100
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def render(document: Mapping[str, object], *, template: bool = False) -> str:
    """The text of a pod file with these fields, which ``podfile.parse`` reads as the same.

    In a template the strings may have INSTANCE in them, and percent signs are doubled.
    """
    if template:
        document = {name: _escaped(value) for name, value in document.items()}
    lines = list(_fields(document, POD_KEYS, "", but=_LISTS))
    for name, keys in _LISTS.items():
        each = document.get(name)
        for table in each if isinstance(each, list) else ():
            lines += ["", f"[[{name}]]", *_fields(table, keys, f"{name}.")]
    return "\n".join(lines).strip("\n") + "\n"


def _escaped(value: object) -> object:
    if isinstance(value, dict):
        return {name: _escaped(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_escaped(element) for element in value]
    return value.replace("%", "%%").replace(INSTANCE, "%i") if isinstance(value, str) else value


def _fields(
    table: Mapping[str, object], keys: Sequence[str], prefix: str, *, but: Collection[str] = ()
) -> Iterator[str]:
    """Lines of a table in the order of ``keys``; what is too long for a line follows as a table."""
    long: list[tuple[str, Mapping[str, object]]] = []
    for name in keys:
        value = table.get(name)
        if value is None or name in but:
            continue
        line = f"{name} = {_value(value)}"
        if len(line) <= _WIDTH:
            yield line
        elif isinstance(value, dict):
            long.append((name, value))
        elif isinstance(value, list):
            yield f"{name} = ["
            yield from (f"    {_value(element)}," for element in value)
            yield "]"
        else:
            yield line
    for name, members in long:
        yield f"\n[{prefix}{name}]"
        yield from (f"{_key(key)} = {_value(member)}" for key, member in members.items())


def _value(value: object) -> str:
    if isinstance(value, dict):
        if not value:
            return "{}"
        return f"{{ {', '.join(f'{_key(name)} = {_value(x)}' for name, x in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else quoted(name)


def quoted(text: str) -> str:
    """A basic string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
