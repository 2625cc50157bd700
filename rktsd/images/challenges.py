"""What a registry answers to who did not say who he is: ``WWW-Authenticate`` (RFC 9110, 11.6.1)."""

import re
from collections.abc import Mapping
from typing import NamedTuple

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
_SCHEME = re.compile(rf"({_TOKEN})(?=\s|,|\Z)")
_GAP = re.compile(r"[\s,]*")


class Challenge(NamedTuple):
    """A scheme and its parameters, names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """All challenges of a header, several lines of which are joined by commas.

    What cannot be read ends the reading: the challenges before it stand.
    """
    found: list[tuple[str, dict[str, str]]] = []
    at = _skip(header, 0)
    while at < len(header):
        parameter = _PARAMETER.match(header, at)
        if parameter and found:
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1][1][name.lower()] = value
            at = _skip(header, parameter.end())
            continue
        scheme = _SCHEME.match(header, at)
        if not scheme:
            break
        found.append((scheme[1].lower(), {}))
        at = _skip(header, scheme.end())
    return [Challenge(*each) for each in found]


def _skip(text: str, at: int) -> int:
    found = _GAP.match(text, at)
    return found.end() if found else at
