"""How configuration is read: rkt's JSON files that say of what kind they are, and ours in TOML."""

import os
import stat
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from rktsd.appc.cursor import Cursor, decode_json, decode_toml, shown
from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.host.files import read_limited

VERSION = "v1"
FILE_LIMIT = 1 << 20
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Reader = Callable[[Cursor], Iterable[tuple[Key, Value]]]


def read_kinds(
    directories: Sequence[str], subdirectory: str, *, kinds: Mapping[str, Reader[Key, Value]]
) -> dict[Key, Value]:
    """What ``subdirectory`` of all ``directories`` says; a later directory overrides by key.

    ``kinds`` maps every rktKind that belongs in the subdirectory to a function that yields what a
    file of it sets. As in rkt, regular files called ``*.json`` count and nothing else does. Raises
    BadInput for a file of another kind or version, and for a key that one directory sets twice.
    """
    merged: dict[Key, Value] = {}
    for directory in directories:
        found: dict[Key, tuple[str, Value]] = {}
        for path in _files(f"{directory}/{subdirectory}"):
            document = decode_json(read_limited(path, FILE_LIMIT), path)
            for key, value in _reader(document, subdirectory, kinds)(document):
                if key in found:
                    what = key[-1] if isinstance(key, tuple) else key
                    raise BadInput(f"{path}: {shown(what)} is set by {found[key][0]} already")
                found[key] = (path, value)
        merged.update({key: value for key, (_, value) in found.items()})
    return merged


def toml_files(directories: Sequence[str], name: str) -> Iterator[Cursor]:
    """The documents called ``name`` in those of ``directories`` that have one, in their order.

    Raises BadInput; StoreError for a file that cannot be read.
    """
    for directory in directories:
        path = f"{directory}/{name}"
        try:
            data = read_limited(path, FILE_LIMIT)
        except NotFound:
            continue
        yield decode_toml(data, path)


def only(place: Cursor, settings: Sequence[str]) -> None:
    """Refuse every other setting in the table ``place``. Raises BadInput."""
    place.only(settings, "unknown setting", hint=f"there are {', '.join(settings)}")


def _files(directory: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".json"))
        paths = [f"{directory}/{name}" for name in names]
        return [path for path in paths if stat.S_ISREG(os.lstat(path).st_mode)]
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise BadInput(f"{directory}: not a directory") from error
    except OSError as error:
        raise StoreError(f"cannot read {directory}: {error.strerror}") from error


def _reader(
    document: Cursor, subdirectory: str, kinds: Mapping[str, Reader[Key, Value]]
) -> Reader[Key, Value]:
    kind, version = document.get("rktKind"), document.get("rktVersion")
    if kind.filled() not in kinds:
        raise kind.problem(f"{shown(kind.value)} is no kind of configuration for {subdirectory}")
    if version.filled() != VERSION:
        raise version.problem(f'{shown(version.value)} is not "{VERSION}", the only version')
    return kinds[kind.text()]
