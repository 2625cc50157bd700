"""What the interfaces say is what is there: verbs, introspection, the page, polkit's files."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree

import pytest

from rktsd.api import access, errors, filters, interfaces, objects, service
from rktsd.api.errors import Refused
from rktsd.api.options import check_size, read
from rktsd.api.values import Typed, texts
from rktsd.appc.types import NameValue
from rktsd.errors import FetchError, NotFound, RktError, UsageError
from rktsd.store.records import ImageRecord

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
IMAGE = ImageRecord(
    id="sha512-ab",
    name="example.com/web/nginx",
    labels=(NameValue("version", "1.0"), NameValue("os", "linux")),
    kind="aci",
    layers=(),
    size=1,
    import_time=5_000_000_000,
    last_used=5_000_000_000,
    source="",
    verified_by="digest",
)


def content(path: str) -> str:
    with open(f"{TOP}/{path}", encoding="utf-8") as file:
        return file.read()


def own() -> list[interfaces.Interface]:
    return [each[0] for each in (interfaces.OF_ROOT, interfaces.OF_POD, interfaces.OF_IMAGE)]


def test_introspection_says_what_there_is() -> None:
    for known in (interfaces.OF_ROOT, interfaces.OF_POD, interfaces.OF_IMAGE):
        # What is parsed is our own.
        tree = ElementTree.fromstring(interfaces.xml(known, ("a", "b")))
        assert [each.get("name") for each in tree.findall("node")] == ["a", "b"]
        found = {each.get("name"): each for each in tree.findall("interface")}
        assert list(found) == [each.name for each in known]
        for interface in known:
            methods = found[interface.name].findall("method")
            assert [each.get("name") for each in methods] == [x.name for x in interface.methods]
            for method, node in zip(interface.methods, methods, strict=True):
                shown = [x.get("type") for x in node.findall("arg") if x.get("direction") == "in"]
                assert "".join(filter(None, shown)) == method.signature


def test_every_method_is_there() -> None:
    manager, pod, image = own()
    elsewhere = {"Subscribe", "Unsubscribe", "OpenLogs", "FetchImage"}
    assert {each.name for each in manager.methods} == {*service._VERBS, *elsewhere}
    for interface, kind in ((pod, "Pod"), (image, "Image")):
        for method in interface.methods:
            name = method.name if "Logs" in method.name else f"{method.name}{kind}"
            same = manager.method(name)
            assert same is not None
            assert same.signature == f"s{method.signature}"
            assert (same.result, same.action) == (method.result, method.action)


def test_properties_of_images_are_those_of_the_interface() -> None:
    shown = objects.image(IMAGE, size=7, manifest="{}")
    assert {name: each.signature for name, each in shown.items()} == {
        each.name: each.signature for each in own()[2].properties
    }
    assert shown["Imported"] == Typed("t", 5_000_000)
    assert set(objects.IMAGE_IN_BRIEF) == set(objects.image_in_brief(IMAGE, size=7))


def test_the_page_has_every_name() -> None:
    page = content("man/org.rktsd.Manager1.5.rst")
    words = {each.name for interface in own() for each in interface.properties}
    words |= {each.name for interface in own() for each in interface.methods}
    words |= {each.name for interface in interfaces.OF_ROOT for each in interface.signals}
    words |= {*filters.POD_FIELDS, *filters.IMAGE_FIELDS, *access.GROUPS}
    words |= {errors.FAILED, errors.NO_SUCH_POD, errors.NO_SUCH_IMAGE}
    words |= {name for _, name in errors._NAMES}
    assert sorted(word for word in words if f"``{word}``" not in page) == []


def test_files_of_polkit_say_the_same() -> None:
    rules = content("units/polkit/org.rktsd.rules")
    listed = {
        action: tuple(re.findall(r'"([a-z-]+)"', groups))
        for action, groups in re.findall(r'"(org\.rktsd\.[a-z-]+)": \[(.*)\]', rules)
    }
    assert listed == access.GROUPS
    policy = ElementTree.fromstring(content("units/polkit/org.rktsd.policy"))
    assert {each.get("id") for each in policy.findall("action")} == set(access.GROUPS)
    granted = [each.text or "" for each in policy.iter() if each.tag.startswith("allow_")]
    assert {each.partition("_keep")[0] for each in granted} == {"auth_admin"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/org/rktsd", interfaces.OF_ROOT),
        ("/org/rktsd/pod/x", interfaces.OF_POD),
        ("/org/rktsd/image/x", interfaces.OF_IMAGE),
        ("/org/rktsd/pod", interfaces.OF_NODE),
        ("/", interfaces.OF_NODE),
        ("/org/rktsd/pod/x/y", ()),
        ("/org/rktsd/x", ()),
    ],
)
def test_paths_and_their_interfaces(path: str, expected: tuple[interfaces.Interface, ...]) -> None:
    assert interfaces.interfaces_of(path) == expected


def test_paths_and_names() -> None:
    uuid, image = "f8d6fbbd-4c08-4ba6-a51f-bd2d5d15d4ab", "sha512-ab"
    assert interfaces.name_of(interfaces.pod_path(uuid)) == uuid
    assert interfaces.name_of(interfaces.image_path(image)) == image


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({}, True),
        ({"ids": ["x", "sha512-ab"]}, True),
        ({"prefixes": ["example.com/web"]}, True),
        ({"base_names": ["web"]}, False),
        ({"keywords": ["/web/"]}, True),
        ({"full_names": ["example.com/web/nginx:1.0"]}, True),
        ({"full_names": ["example.com/web/nginx:1.1"]}, False),
        ({"labels": {"os": "linux", "version": "1.0"}}, True),
        ({"labels": {"os": "linux", "version": "1.1"}}, False),
        ({"annotations": {"a": "b"}}, True),
        ({"annotations": {"a": "c"}}, False),
        ({"imported_after": 4_999_999, "imported_before": 5_000_001}, True),
        ({"imported_after": 5_000_000}, False),
        ({"imported_before": 5_000_000}, False),
    ],
)
def test_filters_of_images(wanted: dict[str, object], fits: bool) -> None:
    annotations = [{"name": "a", "value": "b"}]
    assert filters.image_matches(IMAGE, [wanted], annotations=lambda: annotations) is fits


@pytest.mark.parametrize(
    ("group", "below", "expected"),
    [
        ("/rkt.slice/rkt-a.slice", "/rkt.slice/rkt-a.slice", True),
        ("/rkt.slice/rkt-a.slice", "/rkt.slice/rkt-a.slice/x", True),
        ("/rkt.slice/rkt-a.slice", "/rkt.slice/rkt-a.slices", False),
        ("/rkt.slice/rkt-a.slice", "/rkt.slice", False),
        ("", "/", False),
    ],
)
def test_what_is_below_a_control_group(group: str, below: str, expected: bool) -> None:
    assert filters.is_below(group, [below]) is expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ids": Typed("s", "x")}, 'filter "ids" is of type s, not of as'),
        ({"idz": Typed("as", ["x"])}, 'filter "idz" is not one of ids, '),
    ],
)
def test_filters_that_are_none(given: dict[str, Typed], message: str) -> None:
    with pytest.raises(Refused) as caught:
        filters.parse([given], filters.IMAGE_FIELDS)
    assert str(caught.value).startswith(message)
    assert caught.value.name == errors.INVALID_ARGUMENTS


def test_an_empty_field_says_nothing() -> None:
    assert filters.parse([{"ids": Typed("as", [])}], filters.IMAGE_FIELDS) == [{}]


@pytest.mark.parametrize(
    "value",
    ["x" * 5000, [["x"] * 1001], {"a": Typed("s", "x" * 5000)}, [[[[[["deep"]]]]]]],
    ids=["text", "list", "variant", "depth"],
)
def test_what_is_too_much(value: object) -> None:
    with pytest.raises(Refused):
        check_size((value,))


def test_what_is_not_too_much() -> None:
    check_size(([{"labels": Typed("a{ss}", {"os": "linux"})}], True))
    assert read({"lines": Typed("u", 1)}, {"lines": "u"}, "option") == {"lines": 1}


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (NotFound("x"), "org.rktsd.Error.NotFound"),
        (FetchError("x"), "org.rktsd.Error.FetchFailed"),
        (UsageError("x"), "org.rktsd.Error.Refused"),
        (RktError("x"), "org.rktsd.Error.Failed"),
        (Refused("org.rktsd.Error.NoSuchPod", "x"), "org.rktsd.Error.NoSuchPod"),
    ],
)
def test_names_of_errors(error: RktError, name: str) -> None:
    assert errors.named(error) == (name, "x")


def test_an_error_is_one_line() -> None:
    assert errors.named(RktError("a\nb\x1b[2J\0c"))[1] == "a b [2J c"


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([{"name": "a", "value": "b"}, {"name": "c"}, 3], {"a": "b"}),
        ({"a": "b"}, {"a": "b"}),
        (None, {}),
        ("x", {}),
    ],
)
def test_pairs_that_may_be_damaged(pairs: object, expected: dict[str, str]) -> None:
    assert texts(pairs) == expected
