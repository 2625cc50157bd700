"""Which flavor runs pods: rkt's names of stage1 images, and ``stage1.d`` (rktKind stage1).

rkt ran a pod by an image, of which it brought several. Here a flavor is a part of the program, and
rkt's names mean the one that does the same.
"""

import re
from collections.abc import Iterator, Sequence

from rktsd.appc.cursor import Cursor
from rktsd.config.flavors import FLAVORS, NSPAWN
from rktsd.config.kinds import read_kinds
from rktsd.errors import BadInput, Unsupported

# rkt's flavors coreos, src and host differ in where their systemd comes from.
_RKTS = {"coreos": NSPAWN, "src": NSPAWN, "host": NSPAWN, **{each: each for each in FLAVORS}}
_NAMES = ("coreos.com/rkt/stage1-", "rktsd/stage1-")
_FILE = re.compile(r"stage1-([a-z]+)([-:][A-Za-z0-9._+-]+)?(\.aci)?")


def named(name: str, where: str) -> str:
    """The flavor that is meant by a flavor, or by a name of rkt's with or without a version.

    ``where`` begins the message of Unsupported for any other name.
    """
    plain = name.partition(":")[0].partition(",")[0]
    if plain in FLAVORS:
        return plain
    for prefix in _NAMES:
        if plain.startswith(prefix):
            return _known(plain.removeprefix(prefix), name, where)
    raise _unknown(name, where)


def located(location: str, where: str) -> str:
    """The flavor that the path or URL of a stage1 image means, by its file name.

    Raises Unsupported for what is not called as one of rkt's: no such image is read.
    """
    found = _FILE.fullmatch(location.rstrip("/").rpartition("/")[2])
    if found is None:
        raise _unknown(location, where)
    return _known(found[1], location, where)


def _known(flavor: str, name: str, where: str) -> str:
    if flavor == "kvm":
        raise Unsupported(f"{where}: {name}: no pod runs in a virtual machine here")
    if flavor not in _RKTS:
        raise _unknown(name, where)
    return _RKTS[flavor]


def _unknown(name: str, where: str) -> Unsupported:
    return Unsupported(
        f"{where}: {name}: stage1 is no image here, but one of {' and '.join(FLAVORS)}",
        hint="coreos.com/rkt/stage1-coreos means nspawn, coreos.com/rkt/stage1-fly means fly",
    )


def read_stage1(directories: Sequence[str]) -> str:
    """The flavor that stage1.d of ``directories`` sets, lowest precedence first; else NSPAWN.

    As in rkt a name counts before a location. Raises BadInput, and Unsupported naming the file.
    """
    found = read_kinds(directories, "stage1.d", kinds={"stage1": _stage1})
    return found.get("name") or found.get("location") or NSPAWN


def _stage1(document: Cursor) -> Iterator[tuple[str, str]]:
    name, version, location = (document.get(each) for each in ("name", "version", "location"))
    if name.given != version.given:
        raise document.problem("name and version go together")
    if name.given:
        version.filled()
        yield "name", named(name.filled(), name.where)
    if location.given:
        text = location.filled()
        if not text.startswith(("/", "file://", "http://", "https://", "docker://")):
            raise BadInput(f"{location.where}: {text}: neither an absolute path nor a URL")
        yield "location", located(text, location.where)
