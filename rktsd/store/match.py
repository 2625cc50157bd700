"""Which stored image a reference means: an ID or a beginning of one, or a name with labels."""

import os
import re
from collections.abc import Mapping, Sequence

from rktsd.appc.types import NameValue
from rktsd.errors import BadInput, NotFound
from rktsd.store.index import Index
from rktsd.store.records import ImageRecord

_ID = re.compile(r"(sha512|sha256)-([0-9a-f]*)\Z")
_STORED_HEX = 64

# appc's names of what uname(2) says, where they differ.
_ARCHITECTURES = {"x86_64": "amd64", "i686": "i386", "i586": "i386", "i486": "i386"}


def is_image_id(reference: str) -> bool:
    """Whether ``reference`` is meant as an image ID."""
    return reference.startswith(("sha512-", "sha256-"))


def by_id(index: Index, reference: str) -> ImageRecord:
    """The one image whose ID begins with ``reference``; a whole sha512 may be given.

    Raises BadInput and NotFound with rkt's words.
    """
    match = _ID.match(reference)
    if match is None:
        raise BadInput(f'"{reference}": bad image ID')
    if len(match[2]) < 2:
        raise BadInput(f'"{reference}": image ID too short')
    found = index.by_prefix(f"{match[1]}-{match[2][:_STORED_HEX]}")
    if not found:
        raise NotFound(f'"{reference}": no image IDs found')
    if len(found) > 1:
        raise BadInput(f'"{reference}": ambiguous image ID')
    return found[0]


def by_name(index: Index, reference: str) -> ImageRecord:
    """The image of that name with the labels of ``NAME[:VERSION][,LABEL=VALUE...]``.

    Of several it is the one that was fetched last without a version, where none is asked for
    (rkt's ``latest``), or else the newest. Labels os and arch that the reference leaves open must
    be this machine's where the image has them. Raises NotFound, or BadInput for a malformed name.
    """
    from rktsd.appc.names import parse_image_name

    wanted = parse_image_name(reference)
    found = [each for each in index.by_name(wanted.name) if matches(each.labels, wanted.labels)]
    if not found:
        raise NotFound(f'image "{reference}" is not in the store')
    if len(found) > 1 and wanted.label("version") is None:
        asked = {label.name: label.value for label in wanted.labels}
        found = [x for x in index.by_source(latest(wanted.name, asked)) if x in found] or found
    return found[0]


def latest(name: str, labels: Mapping[str, str]) -> str:
    """What the index calls the origin of an image that was fetched without a version."""
    asked = {**host_labels(), **labels}
    return f"latest:{name},os={asked['os']},arch={asked['arch']}"


def matches(labels: Sequence[NameValue], wanted: Sequence[NameValue]) -> bool:
    """Whether an image with ``labels`` is what ``wanted`` asks for, on this machine."""
    given = {label.name: label.value for label in labels}
    asked = {label.name: label.value for label in wanted}
    return all(given.get(name) == value for name, value in asked.items()) and all(
        name in asked or given.get(name, value) == value for name, value in host_labels().items()
    )


def host_labels() -> dict[str, str]:
    """The labels os and arch of images that this machine runs."""
    machine = os.uname().machine
    return {"os": "linux", "arch": _ARCHITECTURES.get(machine, machine)}
