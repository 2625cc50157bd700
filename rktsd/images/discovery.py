"""appc meta discovery: from an image's name to URLs (appc spec, discovery.md). Pure.

The pages come from a callable, so nothing here touches the network.
"""

import contextlib
import html.parser
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from rktsd.errors import FetchError

PAGE_LIMIT = 256 * 1024
# What a page or a manifest says is to cost a bounded number of requests.
MAX_OFFERS = 32
MAX_PARTS = 64
_Found = TypeVar("_Found")
_ACI = "ac-discovery"
_KEYS = "ac-discovery-pubkeys"
_HOLE = re.compile(r"\{([^{}]*)\}")
# What a label's value may bring into a URL unchanged; "?", "#", "%" and spaces may not.
_SAFE = "/:@!$&'()*+,;=~"


class Endpoint(NamedTuple):
    """Where an image and its detached signature may be had."""

    aci: str
    signature: str


class Meta(NamedTuple):
    """One discovery element of a page: for names that begin with ``prefix``."""

    name: str
    prefix: str
    value: str


class _HeadEnded(Exception):
    """Nothing that follows on the page is of interest."""


class _MetaParser(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Meta] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            raise _HeadEnded
        if tag != "meta":
            return
        attributes = dict(attrs)
        name = attributes.get("name") or ""
        prefix, _, value = (attributes.get("content") or "").strip().partition(" ")
        if name in (_ACI, _KEYS) and value.strip():
            self.found.append(Meta(name, prefix, value.strip()))

    def handle_endtag(self, tag: str) -> None:
        if tag == "head":
            raise _HeadEnded


def parse_page(page: bytes) -> list[Meta]:
    """The discovery elements in the head of an HTML page, in order.

    Whatever is not HTML yields nothing; only the first PAGE_LIMIT bytes count, and only what
    stands before the body: what visitors may write on a page must not direct downloads.
    """
    parser = _MetaParser()
    # One feed and no close: the parser's second looks at unfinished markup take quadratic time.
    # AssertionError is its answer to malformed declarations; what came before them stands.
    with contextlib.suppress(_HeadEnded, AssertionError):
        parser.feed(page[:PAGE_LIMIT].decode(errors="replace"))
    return parser.found


def prefixes(name: str) -> Iterator[str]:
    """``name`` and its ancestors, down to the host: where discovery pages are looked for."""
    while name:
        yield name
        name = name.rpartition("/")[0]


def endpoints(metas: Sequence[Meta], name: str, labels: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """The endpoints for ``name`` that ``metas`` offer, templates filled in from ``labels``.

    A missing version is ``latest``; a template with a hole that nothing fills is left out.
    """
    values = {"version": "latest", **labels, "name": name}
    filled = (
        (
            _fill(meta.value, {**values, "ext": "aci"}),
            _fill(meta.value, {**values, "ext": "aci.asc"}),
        )
        for meta in metas
        if meta.name == _ACI and name.startswith(meta.prefix)
    )
    return tuple(Endpoint(aci, asc) for aci, asc in filled if aci is not None and asc is not None)


def simple_endpoint(name: str, labels: Mapping[str, str]) -> Endpoint:
    """Where an image lies on a site that has no discovery pages.

    That is ``https://NAME-VERSION-OS-ARCH.aci``, and ``.asc`` behind it for the signature: the
    simple discovery of appc before 0.8, tried where the administrator wants it.
    """
    template = "https://{name}-{version}-{os}-{arch}.aci"
    aci = _fill(template, {"version": "latest", "os": "", "arch": "", **labels, "name": name})
    return Endpoint(f"{aci}", f"{aci}.asc")


def key_urls(metas: Sequence[Meta], name: str) -> tuple[str, ...]:
    """The URLs of public keys for ``name`` that ``metas`` offer."""
    return tuple(m.value for m in metas if m.name == _KEYS and name.startswith(m.prefix))


def discover_endpoints(
    name: str, labels: Mapping[str, str], *, get_page: Callable[[str], bytes]
) -> tuple[Endpoint, ...]:
    """Walk up from ``name`` to the first page that offers endpoints, and return those.

    ``get_page`` gets the page of a prefix (``https://PREFIX?ac-discovery=1``) and raises FetchError
    when it cannot. Of what a page offers the first MAX_OFFERS count. Raises FetchError with every
    failed attempt, or for a name of more than MAX_PARTS parts.
    """
    return _walk(name, lambda metas: endpoints(metas, name, labels), get_page)


def discover_key_urls(name: str, *, get_page: Callable[[str], bytes]) -> tuple[str, ...]:
    """Walk up from ``name`` to the first page that offers keys. As ``discover_endpoints``."""
    return _walk(name, lambda metas: key_urls(metas, name), get_page)


def _walk(
    name: str,
    choose: Callable[[Sequence[Meta]], tuple[_Found, ...]],
    get_page: Callable[[str], bytes],
) -> tuple[_Found, ...]:
    failures = []
    if name.count("/") >= MAX_PARTS:
        raise FetchError(f"discovery failed for {name[:100]!r}…: more than {MAX_PARTS} parts")
    for prefix in prefixes(name):
        try:
            found = choose(parse_page(get_page(prefix)))
        except FetchError as error:
            failures.append(str(error))
            continue
        if found:
            return found[:MAX_OFFERS]
        failures.append(f"{prefix}: no matching discovery element")
    raise FetchError(f"discovery failed for {name!r}: {'; '.join(failures)}")


def _fill(template: str, values: Mapping[str, str]) -> str | None:
    if any(hole not in values for hole in _HOLE.findall(template)):
        return None
    return _HOLE.sub(lambda hole: urllib.parse.quote(values[hole[1]], safe=_SAFE), template)
