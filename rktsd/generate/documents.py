"""YAML documents as values: those of a file, each of them small enough to be looked at whole."""

from __future__ import annotations

import datetime

from rktsd.appc.cursor import Cursor, check_tree
from rktsd.errors import BadInput, Unsupported
from rktsd.host.files import read_limited

_MAX_FILE = 1 << 20


def read_documents(path: str) -> list[Cursor]:
    """The documents of a YAML file that are objects; empty ones are passed over.

    Raises BadInput, NotFound, StoreError, and Unsupported where python3-yaml is missing.
    """
    return decode(read_limited(path, _MAX_FILE, pipes=True), path)


def decode(data: bytes, path: str) -> list[Cursor]:
    """The documents in ``data``. Raises BadInput, Unsupported."""
    try:
        import yaml
    except ImportError as error:
        message = f"cannot read {path}: YAML needs the package python3-yaml"
        raise Unsupported(message, hint="apt install python3-yaml") from error
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = list(yaml.load_all(data.decode("utf-8"), loader))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}: line {line}: not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        begin = f"line {mark.line + 1}: " if mark else ""
        raise BadInput(f"{path}: {begin}{error.problem or error.context}") from error
    except RecursionError as error:
        raise BadInput(f"{path}: nested too deep") from error
    # Some scalars that look like a time or a number make the reader stumble.
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    documents = []
    for number, value in enumerate(found):
        place = Cursor(path, "" if len(found) == 1 else f"document {number + 1}", value)
        if value is None:
            continue
        # First of all: what refers to itself, or to others again and again, has no end, and cannot
        # even be shown.
        check_tree(place)
        if not isinstance(value, dict):
            raise place.wrong("an object")
        documents.append(place._replace(value=_plain(place)))
    return documents


def _plain(place: Cursor) -> object:
    """The value with nothing in it but what JSON has, and fields that are null left out."""
    value = place.value
    if isinstance(value, dict):
        found = {}
        for name, member in value.items():
            if not isinstance(name, str):
                raise place.problem(f"the key {name!r} is not a string")
            if member is not None:
                found[name] = _plain(place.below(name, member))
        return found
    if isinstance(value, list):
        return [_plain(place.below(step, element)) for step, element in enumerate(value)]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if value is not None and not isinstance(value, (str, int, float)):
        raise place.wrong("a string, a number, true or false")
    return value
