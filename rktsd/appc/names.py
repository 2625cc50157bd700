"""The scalar types of appc: names, identifiers, image IDs, UUIDs, labels, image names.

Every ``check_*(value, where)`` returns the value or raises BadInput beginning with ``where``.
Rules: appc spec 0.8.11, "AC Identifier Type", "AC Name Type", "Image IDs", and discovery.
"""

import os
import re
from dataclasses import dataclass

from rktsd.appc.cursor import shown
from rktsd.appc.types import NameValue, value_of
from rktsd.errors import BadInput

SPEC_VERSION = "0.8.11"
"""The version of appc that manifests made here declare."""

# App and volume names become file and unit names, alone and joined in pairs: two of them and
# what systemd adds must fit into 255 bytes.
MAX_NAME = 120
MAX_POD_NAME = 64

# appc spec, image manifest, "labels": the values allowed for os and arch.
ARCHITECTURES: dict[str, tuple[str, ...]] = {
    "linux": (
        "amd64", "i386", "aarch64", "aarch64_be", "armv6l", "armv7l", "armv7b",
        "ppc64", "ppc64le", "s390x",
    ),
    "freebsd": ("amd64", "i386", "arm"),
    "darwin": ("x86_64", "i386"),
}  # fmt: skip

# What uname(2) says, where appc spells it differently.
_MACHINES = {
    "x86_64": "amd64",
    "i486": "i386",
    "i586": "i386",
    "i686": "i386",
    "armv8l": "armv7l",
}

_AC_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_AC_IDENTIFIER = re.compile(r"[a-z0-9]+([-._~/][a-z0-9]+)*")
_INSTANCE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_HEX32 = re.compile(r"[0-9a-f]{32}")
_IMAGE_ID = re.compile(r"sha512-[0-9a-f]{1,128}")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9.-]*")
_SEMVER = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_DATE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_URL = re.compile(r"https?://[^\s/?#]+[^\s]*", re.IGNORECASE)


def _match(pattern: re.Pattern[str], value: str, where: str, *, what: str) -> str:
    if not pattern.fullmatch(value):
        raise BadInput(f"{where}: {shown(value)} is not {what}")
    return value


def check_ac_name(value: str, where: str) -> str:
    """An AC Name: lower-case letters and digits in groups joined by single dashes, at most 120."""
    _match(
        _AC_NAME, value, where, what="an AC Name (lower-case letters, digits, single inner dashes)"
    )
    if len(value) > MAX_NAME:
        raise BadInput(f"{where}: {shown(value)} is longer than {MAX_NAME} characters")
    return value


def check_ac_identifier(value: str, where: str) -> str:
    """An AC Identifier: groups of lower-case letters and digits joined by single ``-._~/``."""
    what = "an AC Identifier (lower-case letters, digits, single inner -._~/)"
    return _match(_AC_IDENTIFIER, value, where, what=what)


def sanitise_ac_name(text: str) -> str:
    """The AC Name closest to ``text``. Raises BadInput when nothing of it can stay."""
    return _sanitise(text, illegal=r"[^a-z0-9]+", filler="-", what="an AC Name")[:MAX_NAME].rstrip(
        "-"
    )


def sanitise_ac_identifier(text: str) -> str:
    """The AC Identifier closest to ``text``. Raises BadInput when nothing of it can stay."""
    return _sanitise(text, illegal=r"[^a-z0-9._~/-]+", filler="_", what="an AC Identifier")


def _sanitise(text: str, *, illegal: str, filler: str, what: str) -> str:
    # The specification wants single separators, so a run of them keeps its first only.
    lowered = re.sub(illegal, filler, text.lower())
    found = re.sub(r"([-._~/])[-._~/]+", r"\1", lowered).strip("-._~/")
    if not found:
        raise BadInput(f"{shown(text)} holds nothing that {what} may consist of")
    return found


def is_uuid(text: str) -> bool:
    """Whether ``text`` is 32 hexadecimal digits, dashes ignored (appc's rule)."""
    return bool(_HEX32.fullmatch(text.replace("-", "").lower()))


def check_image_id(value: str, where: str) -> str:
    """``sha512-`` and 1 to 128 lower-case hexadecimal digits: rkt prints and takes short IDs."""
    return _match(_IMAGE_ID, value, where, what="an image ID (sha512- and hexadecimal digits)")


def check_environment_name(value: str, where: str) -> str:
    """The name of an environment variable as appc allows it."""
    what = "the name of an environment variable (letters, digits, _ . -, no digit first)"
    return _match(_ENVIRONMENT_NAME, value, where, what=what)


def check_version(value: str, where: str) -> str:
    """An acVersion: a semantic version other than 0.0.0."""
    _match(_SEMVER, value, where, what="a semantic version")
    if value == "0.0.0":
        raise BadInput(f"{where}: 0.0.0 is not a version of appc")
    return value


def check_date(value: str, where: str) -> str:
    """An RFC 3339 date and time with its offset from UTC."""
    import datetime

    found = _DATE.fullmatch(value)
    try:
        if not found:
            raise ValueError
        datetime.datetime.fromisoformat(f"{found[1]}T{found[2]}")
    except ValueError as error:
        raise BadInput(f"{where}: {shown(value)} is not an RFC 3339 date") from error
    return value


def check_url(value: str, where: str) -> str:
    """A URL with scheme http or https."""
    return _match(_URL, value, where, what="an http or https URL")


def check_pod_name(value: str, where: str) -> str:
    """The name of a pod: an AC Name that no UUID could be meant by, or ``NAME@INSTANCE``.

    At most 64 characters, because it becomes a part of unit names and the host name.
    """
    name, at, instance = value.partition("@")
    check_ac_name(name, where)
    if at:
        what = "the instance of a pod (lower-case letters, digits, inner dashes)"
        _match(_INSTANCE, instance, where, what=what)
    if is_uuid(name):
        raise BadInput(f"{where}: {shown(value)} looks like a UUID and cannot name a pod")
    if len(value) > MAX_POD_NAME:
        raise BadInput(f"{where}: {shown(value)} is longer than {MAX_POD_NAME} characters")
    return value


def host_labels() -> dict[str, str]:
    """The labels ``os`` and ``arch`` of this machine in appc's spelling.

    A machine that appc has no word for keeps the kernel's name.
    """
    machine = os.uname().machine
    return {"os": "linux", "arch": _MACHINES.get(machine, machine)}


def check_labels(labels: tuple[NameValue, ...], where: str) -> tuple[NameValue, ...]:
    """Labels of an image: unique, none called ``name``, os and arch among the known ones.

    arch is judged only together with os, since it is a word of that system.
    """
    values: dict[str, str] = {}
    for label in labels:
        check_ac_identifier(label.name, where)
        if label.name == "name":
            raise BadInput(f'{where}: a label may not be called "name"')
        if label.name in values:
            raise BadInput(f"{where}: the label {shown(label.name)} is given twice")
        values[label.name] = label.value
    system = values.get("os")
    if system is not None:
        if system not in ARCHITECTURES:
            raise BadInput(f"{where}: bad os {shown(system)}")
        arch = values.get("arch")
        if arch is not None and arch not in ARCHITECTURES[system]:
            raise BadInput(f"{where}: bad arch {shown(arch)} for {system}")
    return labels


@dataclass(frozen=True, slots=True)
class ImageName:
    """An appc image by name, ``example.com/app:v1,os=linux``; the version is a label."""

    name: str
    labels: tuple[NameValue, ...] = ()

    def label(self, name: str) -> str | None:
        """The value of the label ``name``."""
        return value_of(name, self.labels)

    def __str__(self) -> str:
        version = self.label("version")
        text = self.name if version is None else f"{self.name}:{_escaped(version)}"
        rest = [label for label in self.labels if label.name != "version"]
        return text + "".join(f",{label.name}={_escaped(label.value)}" for label in rest)


def _escaped(value: str) -> str:
    from urllib.parse import quote

    return quote(value, safe="!\"#$&'()*+/;<=>?@[\\]^`{|}")


def parse_image_name(text: str, *, where: str | None = None) -> ImageName:
    """Read ``NAME[:VERSION][,LABEL=VALUE...]``; values may hold ``%XX`` escapes (``%2C``).

    A colon may stand only after the name. Raises BadInput, beginning with ``where`` or the text.
    """
    from urllib.parse import unquote

    where = where or f"image name {shown(text)}"
    head, *pairs = text.split(",")
    name, colon, version = head.partition(":")
    check_ac_identifier(name, where)
    if colon and (not version or ":" in version):
        raise BadInput(f"{where}: {shown(text)} has no single version after its colon")
    labels = [NameValue("version", unquote(version))] if colon else []
    for pair in pairs:
        label, equals, value = pair.partition("=")
        if not equals:
            raise BadInput(f"{where}: {shown(pair)} is not a label (NAME=VALUE)")
        if ":" in value:
            raise BadInput(f"{where}: {shown(text)} has a colon that does not follow the name")
        labels.append(NameValue(label, unquote(value)))
    return ImageName(name, check_labels(tuple(labels), where))
