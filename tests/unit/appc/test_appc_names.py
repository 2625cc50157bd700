"""Names, identifiers, IDs and labels as appc defines them."""

import pytest

from rktsd.appc import names
from rktsd.appc.types import NameValue
from rktsd.errors import BadInput

GOOD_NAMES = ["a", "0", "web", "web-1", "a-b-c", "10", "x" * 120]
BAD_NAMES = [
    "", "-", "-a", "a-", "a--b", "A", "a_b", "a.b", "a/b", "a b", "é", "a\n", "\na", "a\0",
    "../a", "%i", "x" * 121,
]  # fmt: skip
GOOD_IDENTIFIERS = [*GOOD_NAMES, "example.com/app", "a_b~c.d-e/f", "coreos.com/rkt/stage1/run"]
BAD_IDENTIFIERS = [
    "", "/a", "a/", "a//b", "a..b", "a/../b", "a/./b", "a._b", "A/b", "a:b", "a,b", "a b", "a\n",
    "~a", "a~",
]  # fmt: skip


@pytest.mark.parametrize("value", GOOD_NAMES)
def test_names_are_returned(value: str) -> None:
    assert names.check_ac_name(value, "f") == value


@pytest.mark.parametrize("value", BAD_NAMES)
def test_bad_names_are_refused(value: str) -> None:
    with pytest.raises(BadInput, match=r"^f\.json: apps\[0\]\.name: ") as caught:
        names.check_ac_name(value, "f.json: apps[0].name")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", GOOD_IDENTIFIERS)
def test_identifiers_are_returned(value: str) -> None:
    assert names.check_ac_identifier(value, "f") == value


@pytest.mark.parametrize("value", BAD_IDENTIFIERS)
def test_bad_identifiers_are_refused(value: str) -> None:
    with pytest.raises(BadInput, match="is not an AC Identifier"):
        names.check_ac_identifier(value, "f")


@pytest.mark.parametrize(
    ("text", "name", "identifier"),
    [
        ("Web", "web", "web"),
        ("My App!", "my-app", "my_app"),
        ("foo_bar", "foo-bar", "foo_bar"),
        ("a//b", "a-b", "a/b"),
        ("a..b", "a-b", "a.b"),
        ("foo__bar", "foo-bar", "foo_bar"),
        ("--x--", "x", "x"),
        ("/abs/Path/", "abs-path", "abs/path"),
        ("registry:5000/lib/Nginx", "registry-5000-lib-nginx", "registry_5000/lib/nginx"),
        ("a b  c", "a-b-c", "a_b_c"),
        ("Ünïx", "n-x", "n_x"),
    ],
)
def test_sanitising_gives_valid_names(text: str, name: str, identifier: str) -> None:
    assert names.sanitise_ac_name(text) == name
    assert names.sanitise_ac_identifier(text) == identifier
    assert names.check_ac_name(name, "") == name
    assert names.check_ac_identifier(identifier, "") == identifier


def test_sanitised_names_are_never_too_long() -> None:
    cut = names.sanitise_ac_name("a" * 119 + "-" + "b" * 400)
    assert names.check_ac_name(cut, "") == "a" * 119


@pytest.mark.parametrize("text", ["", "---", "éé", "//", "_"])
def test_nothing_left_after_sanitising_is_an_error(text: str) -> None:
    with pytest.raises(BadInput, match="holds nothing that an AC Name"):
        names.sanitise_ac_name(text)
    with pytest.raises(BadInput, match="holds nothing that an AC Identifier"):
        names.sanitise_ac_identifier(text)


UUID = "12345678-9abc-def0-1234-56789abcdef0"


@pytest.mark.parametrize(
    "text", [UUID, UUID.upper(), UUID.replace("-", ""), "1-2345678-9abc-def0-1234-56789abcdef0"]
)
def test_uuids_are_read_with_any_dashes_and_case(text: str) -> None:
    assert names.is_uuid(text)


@pytest.mark.parametrize("text", ["", "-", UUID[:-1], UUID + "0", UUID[:-1] + "g", UUID + "\n"])
def test_what_is_no_uuid(text: str) -> None:
    assert not names.is_uuid(text)


@pytest.mark.parametrize("value", ["sha512-0", "sha512-" + "a" * 32, "sha512-" + "f" * 128])
def test_image_ids(value: str) -> None:
    assert names.check_image_id(value, "f") == value


@pytest.mark.parametrize(
    "value",
    ["", "sha512-", "sha256-aa", "sha512-xyz", "sha512-AA", "sha512-aa-bb", "sha512-" + "a" * 129,
     "sha512-aa\n", "sha512-../../x"],
)  # fmt: skip
def test_bad_image_ids(value: str) -> None:
    with pytest.raises(BadInput, match="is not an image ID"):
        names.check_image_id(value, "f")


@pytest.mark.parametrize("value", ["web", "web-2", "web@1", "web@blue-2", "w" * 64, "beef@1"])
def test_pod_names(value: str) -> None:
    assert names.check_pod_name(value, "pod") == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "AC Name"),
        ("web.x", "AC Name"),
        ("../web", "AC Name"),
        ("web/1", "AC Name"),
        ("@1", "AC Name"),
        ("web@", "instance"),
        ("web@1@2", "instance"),
        ("web@-1", "instance"),
        ("web@1-", "instance"),
        ("web@A", "instance"),
        ("web@../x", "instance"),
        (UUID, "UUID"),
        (UUID.replace("-", ""), "UUID"),
        (UUID + "@1", "UUID"),
        ("w" * 65, "longer than 64"),
        ("w" * 40 + "@" + "1" * 24, "longer than 64"),
    ],
)
def test_bad_pod_names(value: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        names.check_pod_name(value, "pod")


def test_host_labels_are_words_of_appc() -> None:
    labels = names.host_labels()
    assert labels["os"] == "linux"
    assert labels["arch"] in names.ARCHITECTURES["linux"]


def pairs(*items: tuple[str, str]) -> tuple[NameValue, ...]:
    return tuple(NameValue(*item) for item in items)


@pytest.mark.parametrize(
    ("text", "name", "labels"),
    [
        ("example.com/app", "example.com/app", ()),
        ("example.com/app:v1", "example.com/app", pairs(("version", "v1"))),
        (
            "example.com/app:v1,os=linux,arch=amd64",
            "example.com/app",
            pairs(("version", "v1"), ("os", "linux"), ("arch", "amd64")),
        ),
        ("app,version=2", "app", pairs(("version", "2"))),
        ("app,channel=a%2Cb%3Ac%25", "app", pairs(("channel", "a,b:c%"))),
        ("app:1.0+build", "app", pairs(("version", "1.0+build"))),
        ("app,x=a=b", "app", pairs(("x", "a=b"))),
        ("app,x=", "app", pairs(("x", ""))),
    ],
)
def test_image_names(text: str, name: str, labels: tuple[NameValue, ...]) -> None:
    found = names.parse_image_name(text)
    assert found == names.ImageName(name, labels)
    assert names.parse_image_name(str(found)) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "AC Identifier"),
        ("App", "AC Identifier"),
        (":v1", "AC Identifier"),
        ("app:", "no single version"),
        ("app:1:2", "no single version"),
        ("app,x", "is not a label"),
        ("app,", "is not a label"),
        ("app,x=a:b", "colon"),
        ("app:1,version=2", '"version" is given twice'),
        ("app,x=1,x=2", '"x" is given twice'),
        ("app,name=other", "may not be called"),
        ("app,X=1", "AC Identifier"),
        ("app,os=plan9", 'bad os "plan9"'),
        ("app,os=linux,arch=arm64", 'bad arch "arm64"'),
        ("app,os=darwin,arch=amd64", 'bad arch "amd64" for darwin'),
    ],
)
def test_bad_image_names(text: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        names.parse_image_name(text)


def test_bad_image_names_are_named() -> None:
    with pytest.raises(BadInput, match=r'^image name "foo/bar:1,os=plan9": bad os "plan9"$'):
        names.parse_image_name("foo/bar:1,os=plan9")


def test_the_version_stands_behind_a_colon() -> None:
    name = names.ImageName("a/b", pairs(("os", "linux"), ("version", "1,2 ü")))
    assert str(name) == "a/b:1%2C2%20%C3%BC,os=linux"
    assert names.parse_image_name(str(name)).label("version") == "1,2 ü"


@pytest.mark.parametrize("value", ["0.8.11", "1.30.0", "0.0.1", "1.2.3-rc.1+g12", "10.0.0"])
def test_versions(value: str) -> None:
    assert names.check_version(value, "f") == value


@pytest.mark.parametrize(
    "value", ["", "0.0.0", "1", "1.2", "v1.2.3", "1.2.3.4", "1.2.x", "1.2.3\n"]
)
def test_bad_versions(value: str) -> None:
    with pytest.raises(BadInput):
        names.check_version(value, "f")


@pytest.mark.parametrize(
    "value",
    ["2016-02-29T12:00:00Z", "2016-01-01T00:00:00.123456789+02:00", "1999-12-31t23:59:59z"],
)
def test_dates(value: str) -> None:
    assert names.check_date(value, "f") == value


@pytest.mark.parametrize(
    "value",
    ["", "yesterday", "2016-01-01", "2015-02-29T12:00:00Z", "2016-01-01T25:00:00Z",
     "2016-01-01T00:00:00", "2016-01-01 00:00:00Z"],
)  # fmt: skip
def test_bad_dates(value: str) -> None:
    with pytest.raises(BadInput, match="is not an RFC 3339 date"):
        names.check_date(value, "f")


@pytest.mark.parametrize("value", ["http://a", "https://example.com/x?y#z", "HTTPS://a.b"])
def test_urls(value: str) -> None:
    assert names.check_url(value, "f") == value


@pytest.mark.parametrize(
    "value", ["", "a", "ftp://a", "http://", "http:///x", "https://a b", "file:///x"]
)
def test_bad_urls(value: str) -> None:
    with pytest.raises(BadInput, match="is not an http or https URL"):
        names.check_url(value, "f")
