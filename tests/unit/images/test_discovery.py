"""From names to URLs by discovery pages."""

import time

import pytest

from rktsd.errors import FetchError
from rktsd.images.discovery import (
    Endpoint,
    Meta,
    discover_endpoints,
    discover_key_urls,
    endpoints,
    key_urls,
    parse_page,
    prefixes,
)

PAGE = b"""<!DOCTYPE html><html><head><title>x</title>
<meta name="ac-discovery" content="example.com/a https://a.example/{name}-{version}.{ext}">
<META NAME='ac-discovery-pubkeys' CONTENT='example.com https://a.example/keys.gpg'/>
<meta name="ac-discovery" content="example.com  https://b.example/{os}/{arch}.{ext}">
<meta name="viewport" content="width=device-width">
</head><body>
<meta name="ac-discovery" content="example.com https://evil.example/{name}.{ext}">
</body></html>"""
LABELS = {"os": "linux", "arch": "amd64", "version": "v1"}


def test_only_the_head_of_a_page_counts() -> None:
    assert parse_page(PAGE) == [
        Meta("ac-discovery", "example.com/a", "https://a.example/{name}-{version}.{ext}"),
        Meta("ac-discovery-pubkeys", "example.com", "https://a.example/keys.gpg"),
        Meta("ac-discovery", "example.com", "https://b.example/{os}/{arch}.{ext}"),
    ]


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"\xff\xfe\x00",
        b"not html",
        b"<meta name=ac-discovery>",
        b"<meta name=ac-discovery content=x>",
        b"<!--<meta name=ac-discovery content='a https://b'>",
        b"<script><meta name=ac-discovery content='a https://b'></script>",
        b"<![bad[<meta name=ac-discovery content='a https://b'>",
        b"</head><meta name=ac-discovery content='a https://b'>",
    ],
)
def test_what_is_no_discovery_page_offers_nothing(page: bytes) -> None:
    assert parse_page(page) == []


@pytest.mark.parametrize("piece", [b"<!--", b"<a ", b"<", b"</", b'<a b="', b"<!x[", b"&#"])
def test_hostile_pages_take_no_time(piece: bytes) -> None:
    started = time.process_time()
    parse_page(piece * (1 << 18))
    assert time.process_time() - started < 5


def test_templates_are_filled_in() -> None:
    metas = parse_page(PAGE)
    assert endpoints(metas, "example.com/a", LABELS) == (
        Endpoint(
            "https://a.example/example.com/a-v1.aci", "https://a.example/example.com/a-v1.aci.asc"
        ),
        Endpoint("https://b.example/linux/amd64.aci", "https://b.example/linux/amd64.aci.asc"),
    )


def test_a_missing_version_is_latest() -> None:
    metas = [Meta("ac-discovery", "e", "https://x/{version}.{ext}")]
    assert endpoints(metas, "e/app", {})[0].aci == "https://x/latest.aci"


def test_a_template_with_an_unknown_hole_is_left_out() -> None:
    metas = [Meta("ac-discovery", "e", "https://x/{channel}.{ext}")]
    assert endpoints(metas, "e/app", {}) == ()
    assert endpoints(metas, "e/app", {"channel": "beta"})[0].aci == "https://x/beta.aci"


def test_the_prefix_is_a_string_prefix_as_in_rkt() -> None:
    metas = [Meta("ac-discovery", "example.com/foo", "https://x/{name}.{ext}")]
    assert endpoints(metas, "example.com/foobar", {})
    assert not endpoints(metas, "example.com/fo", {})


def test_a_label_cannot_change_the_rest_of_the_url() -> None:
    metas = [Meta("ac-discovery", "e", "https://x/{version}.{ext}")]
    found = endpoints(metas, "e", {"version": "1?#%2e \n{os}"})[0].aci
    assert found == "https://x/1%3F%23%252e%20%0A%7Bos%7D.aci"


def test_key_urls_are_not_templates() -> None:
    metas = [Meta("ac-discovery-pubkeys", "e", "https://x/{name}")]
    assert key_urls(metas, "e/app") == ("https://x/{name}",)


def test_the_walk_goes_up_to_the_host() -> None:
    assert list(prefixes("e.com/a/b")) == ["e.com/a/b", "e.com/a", "e.com"]
    asked = []

    def get_page(prefix: str) -> bytes:
        asked.append(prefix)
        if prefix == "example.com":
            return PAGE
        raise FetchError(f"https://{prefix}?ac-discovery=1: the server answered 404")

    found = discover_endpoints("example.com/z/app", LABELS, get_page=get_page)
    assert [each.aci for each in found] == ["https://b.example/linux/amd64.aci"]
    assert asked == ["example.com/z/app", "example.com/z", "example.com"]
    asked.clear()
    assert discover_key_urls("example.com/a", get_page=get_page) == ("https://a.example/keys.gpg",)


def test_offers_and_ways_up_are_bounded() -> None:
    """What somebody else wrote is not to cost requests without end."""
    kinds = {"ac-discovery": "https://x/%d.{ext}", "ac-discovery-pubkeys": "https://x/%d"}
    metas = [
        f'<meta name="{kind}" content="e.com {value % number}">'
        for kind, value in kinds.items()
        for number in range(1000)
    ]
    page = "".join(metas).encode()
    found = discover_endpoints("e.com/a", LABELS, get_page=lambda prefix: page)
    assert [each.aci for each in found] == [f"https://x/{number}.aci" for number in range(32)]
    assert len(discover_key_urls("e.com/a", get_page=lambda prefix: page)) == 32
    asked = []

    def get_page(prefix: str) -> bytes:
        asked.append(prefix)
        raise FetchError("nothing")

    with pytest.raises(FetchError, match="more than 64 parts"):
        discover_endpoints("e.com" + "/a" * 64, LABELS, get_page=get_page)
    assert asked == []
    with pytest.raises(FetchError, match="nothing"):
        discover_endpoints("e.com" + "/a" * 63, LABELS, get_page=get_page)
    assert len(asked) == 64


def test_a_failed_walk_tells_every_attempt() -> None:
    def get_page(prefix: str) -> bytes:
        if prefix == "e.com":
            return b"<html></html>"
        raise FetchError(f"{prefix}: no route")

    with pytest.raises(FetchError) as caught:
        discover_endpoints("e.com/a", LABELS, get_page=get_page)
    assert str(caught.value) == (
        "discovery failed for 'e.com/a': e.com/a: no route; e.com: no matching discovery element"
    )
