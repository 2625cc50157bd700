"""Settings whose values are lists of parts: devices, addresses, ports, credentials and the like."""

from __future__ import annotations

import re

from rktsd.appc.cursor import shown
from rktsd.errors import BadInput
from rktsd.systemd import values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# (address family, address, length of the prefix), as socket(2) numbers families.
_IPV4, _IPV6 = 2, 10
_ADDRESSES = {
    "any": ("0.0.0.0/0", "::/0"),
    "localhost": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/64"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
}
_FAMILIES = {"ipv4": _IPV4, "ipv6": _IPV6}
_PROTOCOLS = {"tcp": 6, "udp": 17}
_OPEN_FLAGS = {"read-only": 1, "append": 2, "truncate": 4, "graceful": 8}
_NFT_SOURCES = {"cgroup": 3, "user": 4, "group": 5}
_NFT_FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
# core(5), "Controlling which mappings are written to the core dump".
_MAPPINGS = (
    "private-anonymous", "shared-anonymous", "private-file-backed", "shared-file-backed",
    "elf-headers", "private-huge", "shared-huge", "private-dax", "shared-dax",
)  # fmt: skip
_DEFAULT_MAPPINGS = 0x33
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-7]{3}|.)", re.DOTALL)
_ESCAPED = {
    "n": "\n", "t": "\t", "r": "\r", "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
    "s": " ", '"': '"', "'": "'",
}  # fmt: skip
_CREDENTIAL = re.compile(r"[A-Za-z0-9_.+@-]{1,255}")
_FIELD = re.compile(r"[A-Z][A-Z0-9_]{0,63}=[!-#%-:<-~]*")


def statuses(value: object, where: str) -> tuple[list[int], list[int]]:
    """Exit statuses and signals of ``1 TEMPFAIL SIGKILL``."""
    codes, signals = [], []
    for word in [str(value)] if type(value) is int else values.words(value, where):
        if word.isdecimal() and int(word) < 256:
            codes.append(int(word))
        elif word in values.EXIT_STATUSES:
            codes.append(values.EXIT_STATUSES[word])
        else:
            signals.append(values.signal(word, where))
    return codes, signals


def devices(value: object, where: str) -> list[tuple[str, str]]:
    """``/dev/fuse rw``, ``char-alsa``: what device, and which of r, w and m."""
    found = []
    for entry in values.entries(value, where):
        device, _, access = entry.partition(" ")
        access = access.strip() or "rwm"
        if not re.fullmatch(r"/dev/\S+|(char|block)-\S+", device) or set(access) - set("rwm"):
            raise BadInput(f'{where}: {shown(entry)} is not a device such as "/dev/fuse rw"')
        found.append((device, access))
    return found


def _of_devices(
    value: object, where: str, read: Callable[[object, str], int]
) -> list[tuple[str, int]]:
    found = []
    for entry in values.entries(value, where):
        path, _, rest = entry.partition(" ")
        if not path.startswith("/") or not rest.strip():
            raise BadInput(f'{where}: {shown(entry)} is not a path and a value ("/dev/sda 5M")')
        found.append((path, read(rest.strip(), where)))
    return found


def device_weights(value: object, where: str) -> list[tuple[str, int]]:
    """``/dev/sda 500``."""
    return _of_devices(value, where, values.count)


def device_rates(value: object, where: str) -> list[tuple[str, int]]:
    """``/dev/sda 5M``; to the base of 1000 (systemd.resource-control(5))."""
    return _of_devices(value, where, lambda each, at: values.size(each, at, base=1000))


def device_times(value: object, where: str) -> list[tuple[str, int]]:
    """``/dev/sda 25ms``."""
    return _of_devices(value, where, values.timespan)


def addresses(value: object, where: str) -> list[tuple[int, list[int], int]]:
    """``10.0.0.0/8``, ``::1``, ``localhost``, ``any``."""
    import ipaddress

    found = []
    for word in values.words(value, where):
        for text in _ADDRESSES.get(word, (word,)):
            try:
                network = ipaddress.ip_network(text, strict=False)
            except ValueError as error:
                raise BadInput(f"{where}: {shown(word)} is not an IP address or network") from error
            family = _IPV4 if network.version == 4 else _IPV6
            found.append((family, list(network.network_address.packed), network.prefixlen))
    return found


def binds(value: object, where: str) -> list[tuple[int, int, int, int]]:
    """``any``, ``tcp:80``, ``ipv6:udp:1000-2000``: family, protocol, number of ports, the first."""
    found = []
    for word in values.words(value, where):
        parts = [] if word == "any" else word.split(":")
        family = _FAMILIES[parts.pop(0)] if parts and parts[0] in _FAMILIES else 0
        protocol = _PROTOCOLS[parts.pop(0)] if parts and parts[0] in _PROTOCOLS else 0
        ports = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", parts.pop(0)) if parts else None
        first, last = (int(ports[1]), int(ports[2] or ports[1])) if ports else (0, 0)
        wrong = parts or (ports and not 1 <= first <= last <= 65535)
        if wrong or (ports is None and word not in ("any", *_FAMILIES, *_PROTOCOLS) and not family):
            raise BadInput(f'{where}: {shown(word)} is not like "tcp:80" or "ipv6:udp:1000-2000"')
        found.append((family, protocol, last - first + 1 if ports else 0, first))
    return found


def pairs(value: object, where: str) -> list[tuple[str, str]]:
    """``NAME:VALUE``; a name alone stands for both (systemd.exec(5), LoadCredential=)."""
    found = []
    for entry in values.entries(value, where):
        name, _, rest = entry.partition(":")
        if not _CREDENTIAL.fullmatch(name):
            raise BadInput(f"{where}: {shown(entry)} is not like NAME:VALUE")
        found.append((name, rest or name))
    return found


def _named(value: object, where: str) -> list[tuple[str, str]]:
    found = []
    for entry in values.entries(value, where):
        name, colon, rest = entry.partition(":")
        if not colon or not _CREDENTIAL.fullmatch(name):
            # The value is a secret, and this goes to the journal.
            raise BadInput(f"{where}: not like NAME:VALUE")
        found.append((name, rest))
    return found


def secrets(value: object, where: str) -> list[tuple[str, list[int]]]:
    """``NAME:TEXT`` with C escapes in the text, as systemd reads SetCredential=."""
    return [(name, list(_unescaped(text, where))) for name, text in _named(value, where)]


def _unescaped(text: str, where: str) -> bytes:
    def replacement(found: re.Match[str]) -> str:
        escape = found[1]
        if escape[0] == "x" and len(escape) == 3:
            return chr(int(escape[1:], 16))
        if len(escape) == 3:
            return chr(int(escape, 8) & 0xFF)
        if escape not in _ESCAPED:
            raise BadInput(f"{where}: unknown escape \\{escape}")
        return _ESCAPED[escape]

    # Latin-1 between, so that \xff is one byte and what is UTF-8 already stays so.
    return _ESCAPE.sub(replacement, text.encode().decode("latin-1")).encode("latin-1")


def encrypted_secrets(value: object, where: str) -> list[tuple[str, list[int]]]:
    """``NAME:BASE64`` as systemd-creds(1) writes it."""
    import base64
    import binascii

    found = []
    for name, text in _named(value, where):
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
        except binascii.Error as error:
            raise BadInput(f"{where}: the value of {name} is not Base64") from error
        found.append((name, list(data)))
    return found


def nft_sets(value: object, where: str) -> list[tuple[int, int, str, str]]:
    """``cgroup:inet:TABLE:SET``."""
    found = []
    for word in values.words(value, where):
        parts = word.split(":")
        if len(parts) != 4 or parts[0] not in _NFT_SOURCES or parts[1] not in _NFT_FAMILIES:
            raise BadInput(f"{where}: {shown(word)} is not like cgroup:inet:TABLE:SET")
        found.append((_NFT_SOURCES[parts[0]], _NFT_FAMILIES[parts[1]], parts[2], parts[3]))
    return found


def patterns(value: object, where: str) -> list[tuple[bool, str]]:
    """Regular expressions of lines to keep; with ``~`` in front, of those to drop."""
    return [
        (not each.startswith("~"), each.removeprefix("~")) for each in values.entries(value, where)
    ]


def fields(value: object, where: str) -> list[str]:
    """Journal fields. Not all characters survive that systemd reads a transient unit back."""
    found = values.entries(value, where)
    for entry in found:
        if not _FIELD.fullmatch(entry) or entry.startswith(("RKT_", "OBJECT_")):
            raise BadInput(
                f"{where}: {shown(entry)} is not like FIELD=VALUE",
                hint="no blanks, dollars or semicolons; RKT_ and OBJECT_ are rktsd's",
            )
    return found


def files(value: object, where: str) -> list[tuple[str, str, int]]:
    """``PATH[:NAME[:OPTION,...]]``: files that the app gets open."""
    found = []
    for entry in values.entries(value, where):
        path, _, rest = entry.partition(":")
        name, _, options = rest.partition(":")
        flags = 0
        for option in options.split(",") if options else ():
            if option not in _OPEN_FLAGS:
                raise BadInput(f"{where}: {shown(option)} is not one of {', '.join(_OPEN_FLAGS)}")
            flags |= _OPEN_FLAGS[option]
        if not path.startswith("/"):
            raise BadInput(f"{where}: {shown(entry)} does not begin with an absolute path")
        found.append((path, name or path.rpartition("/")[2], flags))
    return found


def coredump_filter(value: object, where: str) -> int:
    """The kernel's mask of ``default shared-huge``, ``all``, ``0x33`` or bits by number."""
    mask = 0
    for word in [f"{value:x}"] if type(value) is int else values.words(value, where):
        if word == "default":
            mask |= _DEFAULT_MAPPINGS
        elif word == "all":
            mask |= (1 << len(_MAPPINGS)) - 1
        elif word in _MAPPINGS:
            mask |= 1 << _MAPPINGS.index(word)
        elif re.fullmatch(r"(0x)?[0-9a-f]{1,8}", word):
            mask |= int(word, 16)
        else:
            raise BadInput(f"{where}: {shown(word)} is not one of {', '.join(_MAPPINGS)}")
    return mask
