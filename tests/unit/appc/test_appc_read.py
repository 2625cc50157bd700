"""Manifests from JSON: what is taken, what is refused and in which words, and that writing and
reading again gives the same manifest."""

import json
from collections.abc import Callable

import pytest

from rktsd.appc import read, write
from rktsd.appc.types import (
    App,
    Dependency,
    EventHandler,
    ImageManifest,
    Isolator,
    Mount,
    MountPoint,
    NameValue,
    PodManifest,
    Port,
    PublishedPort,
    RuntimeApp,
    RuntimeImage,
    Volume,
)
from rktsd.errors import BadInput

Json = dict[str, object]

APP: Json = {
    "exec": ["/bin/server", "--port", "80"],
    "user": "100",
    "group": "/etc/passwd",
    "supplementaryGIDs": [5, 6],
    "eventHandlers": [
        {"name": "pre-start", "exec": ["/bin/prepare"]},
        {"name": "post-stop", "exec": ["/bin/clean", "up"]},
    ],
    "workingDirectory": "/srv",
    "environment": [{"name": "A", "value": "1"}, {"name": "b.c-d", "value": "ü \n"}],
    "isolators": [{"name": "resource/memory", "value": {"limit": "1G"}}],
    "mountPoints": [{"name": "data", "path": "/data", "readOnly": True}],
    "ports": [
        {"name": "www", "protocol": "tcp", "port": 80},
        {"name": "rtp", "protocol": "udp", "port": 1000, "count": 10, "socketActivated": True},
    ],
    "userAnnotations": {"Any Key": "any value"},
    "userLabels": {"l": ""},
}

APP_VALUE = App(
    exec=("/bin/server", "--port", "80"),
    user="100",
    group="/etc/passwd",
    supplementary_gids=(5, 6),
    event_handlers=(
        EventHandler("pre-start", ("/bin/prepare",)),
        EventHandler("post-stop", ("/bin/clean", "up")),
    ),
    working_directory="/srv",
    environment=(NameValue("A", "1"), NameValue("b.c-d", "ü \n")),
    isolators=(Isolator("resource/memory", {"limit": "1G"}),),
    mount_points=(MountPoint("data", "/data", True),),
    ports=(Port("www", "tcp", 80), Port("rtp", "udp", 1000, 10, True)),
    user_annotations={"Any Key": "any value"},
    user_labels={"l": ""},
)

IMAGE: Json = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.com/server",
    "labels": [
        {"name": "os", "value": "linux"},
        {"name": "arch", "value": "amd64"},
        {"name": "version", "value": "1.0"},
    ],
    "app": APP,
    "dependencies": [
        {
            "imageName": "example.com/base",
            "imageID": "sha512-abc0",
            "labels": [{"name": "os", "value": "linux"}],
            "size": 22017258,
        }
    ],
    "pathWhitelist": ["/bin/server", "/etc/passwd"],
    "annotations": [
        {"name": "created", "value": "2016-05-30T12:00:00Z"},
        {"name": "homepage", "value": "https://example.com"},
        {"name": "authors", "value": "A <a@example.com>"},
    ],
}

IMAGE_VALUE = ImageManifest(
    ac_version="0.8.11",
    name="example.com/server",
    labels=(NameValue("os", "linux"), NameValue("arch", "amd64"), NameValue("version", "1.0")),
    app=APP_VALUE,
    dependencies=(
        Dependency("example.com/base", "sha512-abc0", (NameValue("os", "linux"),), 22017258),
    ),
    path_whitelist=("/bin/server", "/etc/passwd"),
    annotations=(
        NameValue("created", "2016-05-30T12:00:00Z"),
        NameValue("homepage", "https://example.com"),
        NameValue("authors", "A <a@example.com>"),
    ),
)

POD: Json = {
    "acVersion": "1.30.0",
    "acKind": "PodManifest",
    "apps": [
        {
            "name": "server",
            "image": {
                "name": "example.com/server",
                "id": "sha512-0123",
                "labels": [{"name": "version", "value": "1.0"}],
            },
            "app": APP,
            "readOnlyRootFS": True,
            "mounts": [
                {"volume": "work", "path": "/data"},
                {
                    "volume": "own",
                    "path": "/own",
                    "appVolume": {"name": "own", "kind": "empty", "uid": 0},
                },
            ],
            "annotations": [{"name": "example.com/x", "value": "y"}],
        },
        {"name": "backup", "image": {"id": "sha512-4567"}},
    ],
    "volumes": [
        {"name": "work", "kind": "host", "source": "/srv/a:b,c", "readOnly": False},
        {"name": "temp", "kind": "empty", "mode": "1777", "uid": 5, "gid": 0, "recursive": True},
    ],
    "isolators": [
        {"name": "resource/memory", "value": {"limit": "4G"}},
        {"name": "example.com/own", "value": [1, None]},
    ],
    "annotations": [{"name": "created", "value": "2016-05-30T12:00:00+02:00"}],
    "ports": [
        {"name": "www", "hostPort": 8080, "hostIP": "127.0.0.1"},
        {
            "name": "any",
            "hostPort": 1,
            "hostIP": "::1",
            "podPort": {"name": "any", "protocol": "tcp", "port": 2},
        },
    ],
    "userAnnotations": {"a": "b"},
    "userLabels": {"c": "d"},
}

POD_VALUE = PodManifest(
    ac_version="1.30.0",
    apps=(
        RuntimeApp(
            name="server",
            image=RuntimeImage("sha512-0123", "example.com/server", (NameValue("version", "1.0"),)),
            app=APP_VALUE,
            read_only_root_fs=True,
            mounts=(
                Mount("work", "/data"),
                Mount("own", "/own", Volume("own", "empty", uid=0)),
            ),
            annotations=(NameValue("example.com/x", "y"),),
        ),
        RuntimeApp("backup", RuntimeImage("sha512-4567")),
    ),
    volumes=(
        Volume("work", "host", source="/srv/a:b,c", read_only=False),
        Volume("temp", "empty", recursive=True, mode=0o1777, uid=5, gid=0),
    ),
    isolators=(
        Isolator("resource/memory", {"limit": "4G"}),
        Isolator("example.com/own", [1, None]),
    ),
    annotations=(NameValue("created", "2016-05-30T12:00:00+02:00"),),
    ports=(
        PublishedPort("www", 8080, "127.0.0.1"),
        PublishedPort("any", 1, "::1", Port("any", "tcp", 2)),
    ),
    user_annotations={"a": "b"},
    user_labels={"c": "d"},
)

SMALL_IMAGE: Json = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "a"}
SMALL_POD: Json = {"acKind": "PodManifest", "acVersion": "0.8.11"}


def image(value: object) -> ImageManifest:
    return read.image_manifest(json.dumps(value).encode(), "IMG")


def pod(value: object) -> PodManifest:
    return read.pod_manifest(json.dumps(value).encode(), "POD")


def changed(document: Json, *steps: str | int, to: object) -> Json:
    """A copy of ``document`` with the value at ``steps`` replaced."""
    copy: Json = json.loads(json.dumps(document))
    place: object = copy
    for step in steps[:-1]:
        place = place[step]  # type: ignore[index]  # the steps fit the document
    place[steps[-1]] = to  # type: ignore[index]  # as above
    return copy


def test_every_field_of_an_image_manifest_is_read() -> None:
    assert image(IMAGE) == IMAGE_VALUE


def test_every_field_of_a_pod_manifest_is_read() -> None:
    assert pod(POD) == POD_VALUE


def test_small_manifests_are_enough() -> None:
    assert image(SMALL_IMAGE) == ImageManifest("0.8.11", "a")
    assert pod(SMALL_POD) == PodManifest("0.8.11", ())


def emptied(value: object, nothing: object) -> object:
    """``value`` with all its lists replaced by ``nothing``."""
    if isinstance(value, list):
        return nothing
    if isinstance(value, dict):
        return {name: emptied(member, nothing) for name, member in value.items()}
    return value


def test_null_and_empty_lists_are_no_lists() -> None:
    bare = {name: member for name, member in IMAGE.items() if not isinstance(member, list)}
    bare["app"] = {name: member for name, member in APP.items() if not isinstance(member, list)}
    assert image(bare) == image(emptied(IMAGE, None)) == image(emptied(IMAGE, []))
    assert pod(emptied(POD, None)) == pod(emptied(POD, []))
    assert pod(emptied(POD, None)).apps == ()


def test_unknown_fields_are_ignored() -> None:
    assert image({**IMAGE, "future": {"x": [1]}, "App": 5}) == IMAGE_VALUE
    assert pod(changed(POD, "apps", 0, "image", "future", to=1)) == POD_VALUE


def test_the_specification_s_other_spelling_of_gids_is_read() -> None:
    app = {name: value for name, value in APP.items() if name != "supplementaryGIDs"}
    found = image({**SMALL_IMAGE, "app": {**app, "supplementaryGids": [7]}}).app
    assert found is not None
    assert found.supplementary_gids == (7,)


@pytest.mark.parametrize("name", ["workingDirectory"])
def test_absent_strings_may_be_empty(name: str) -> None:
    found = image(changed(IMAGE, "app", name, to="")).app
    assert found is not None
    assert found.working_directory is None


def test_a_port_count_of_zero_is_one() -> None:
    found = image(changed(IMAGE, "app", "ports", 0, "count", to=0)).app
    assert found is not None
    assert found.ports[0].count == 1


@pytest.mark.parametrize("pretty", [False, True])
@pytest.mark.parametrize(
    "manifest",
    [IMAGE_VALUE, image(SMALL_IMAGE), ImageManifest("1.0.0", "a", app=App((), "0", "0"))],
)
def test_image_manifests_survive_writing_and_reading(manifest: ImageManifest, pretty: bool) -> None:
    text = write.dumps(write.image_manifest_json(manifest), pretty=pretty)
    assert read.image_manifest(text.encode(), "f") == manifest


@pytest.mark.parametrize("pretty", [False, True])
@pytest.mark.parametrize("manifest", [POD_VALUE, pod(SMALL_POD)])
def test_pod_manifests_survive_writing_and_reading(manifest: PodManifest, pretty: bool) -> None:
    text = write.dumps(write.pod_manifest_json(manifest), pretty=pretty)
    assert read.pod_manifest(text.encode(), "f") == manifest


def test_the_form_of_written_text() -> None:
    value = write.pod_manifest_json(pod(SMALL_POD))
    assert write.dumps(value) == (
        '{"acVersion":"0.8.11","acKind":"PodManifest","apps":[],"volumes":[],"isolators":[],'
        '"annotations":[],"ports":[]}'
    )
    assert write.dumps({"ü": [1]}, pretty=True) == '{\n\t"ü": [\n\t\t1\n\t]\n}'


def test_an_image_without_an_id_is_taken_only_where_it_may_be_found_later() -> None:
    named = {**SMALL_POD, "apps": [{"name": "a", "image": {"name": "b", "id": ""}}]}
    with pytest.raises(BadInput, match=r"^POD: apps\[0\]\.image\.id: missing$"):
        pod(named)
    found = read.pod_manifest(json.dumps(named).encode(), "POD", need_ids=False)
    assert found.apps[0].image == RuntimeImage("", "b")
    text = write.dumps(write.pod_manifest_json(found)).encode()
    assert read.pod_manifest(text, "POD", need_ids=False) == found
    nothing = json.dumps({**SMALL_POD, "apps": [{"name": "a", "image": {}}]}).encode()
    with pytest.raises(BadInput, match=r"^POD: apps\[0\]\.image: neither id nor name is given$"):
        read.pod_manifest(nothing, "POD", need_ids=False)


IMAGE_ERRORS: list[tuple[tuple[str | int, ...], object, str]] = [
    (("acKind",), "PodManifest", 'IMG: acKind: "PodManifest" is not ImageManifest'),
    (("acKind",), None, "IMG: acKind: missing"),
    (("acVersion",), "0.0.0", "IMG: acVersion: 0.0.0 is not a version of appc"),
    (("acVersion",), "1", 'IMG: acVersion: "1" is not a semantic version'),
    (("acVersion",), 1, "IMG: acVersion: 1 is not a string"),
    (("name",), None, "IMG: name: missing"),
    (("name",), "A", 'IMG: name: "A" is not an AC Identifier'),
    (("name",), ["a"], 'IMG: name: ["a"] is not a string'),
    (("labels",), {}, "IMG: labels: {} is not a list"),
    (("labels", 0), "os", 'IMG: labels[0]: "os" is not an object'),
    (("labels", 0, "name"), "name", 'IMG: labels: a label may not be called "name"'),
    (("labels", 0, "name"), "arch", 'IMG: labels: the label "arch" is given twice'),
    (("labels", 0, "value"), "plan9", 'IMG: labels: bad os "plan9"'),
    (("labels", 1, "value"), "arm64", 'IMG: labels: bad arch "arm64" for linux'),
    (("labels", 2, "value"), 1, "IMG: labels[2].value: 1 is not a string"),
    (("labels", 2, "value"), None, "IMG: labels[2].value: missing"),
    (("app",), [], "IMG: app: [] is not an object"),
    (("app", "exec"), "/bin/sh", 'IMG: app.exec: "/bin/sh" is not a list'),
    (("app", "exec", 0), "", "IMG: app.exec[0]: empty"),
    (("app", "exec", 1), 5, "IMG: app.exec[1]: 5 is not a string"),
    (("app", "exec", 1), "a\0b", 'IMG: app.exec[1]: "a\\u0000b" contains a NUL'),
    (("app", "user"), None, "IMG: app.user: missing"),
    (("app", "user"), "", "IMG: app.user: empty"),
    (("app", "user"), 0, "IMG: app.user: 0 is not a string"),
    (("app", "group"), None, "IMG: app.group: missing"),
    (("app", "supplementaryGIDs", 0), "5", 'IMG: app.supplementaryGIDs[0]: "5" is not a GID'),
    (("app", "supplementaryGIDs", 0), -1, "IMG: app.supplementaryGIDs[0]: -1 is not a GID"),
    (("app", "supplementaryGIDs", 0), 2**32 - 1, "IMG: app.supplementaryGIDs[0]: 4294967295 is"),
    (("app", "eventHandlers", 0, "name"), "x", 'IMG: app.eventHandlers[0].name: "x" is not pre-st'),
    (
        ("app", "eventHandlers", 1, "name"),
        "pre-start",
        'IMG: app.eventHandlers[1].name: "pre-start" is given twice',
    ),
    (("app", "eventHandlers", 0, "exec"), [], "IMG: app.eventHandlers[0].exec: missing"),
    (("app", "workingDirectory"), "srv", 'IMG: app.workingDirectory: "srv" is not an absolute'),
    (("app", "environment", 0, "name"), "1A", 'IMG: app.environment[0].name: "1A" is not the name'),
    (("app", "environment", 0, "name"), "A=B", 'IMG: app.environment[0].name: "A=B" is not'),
    (("app", "environment", 1, "name"), "A", 'IMG: app.environment[1].name: "A" is given twice'),
    (("app", "environment", 0, "value"), 1, "IMG: app.environment[0].value: 1 is not a string"),
    (("app", "isolators", 0, "name"), "x/y", 'IMG: app.isolators[0].name: unknown isolator "x/y"'),
    (("app", "isolators", 0, "value"), None, "IMG: app.isolators[0].value: missing"),
    (
        ("app", "isolators", 0, "value", "limit"),
        "1 G",
        'IMG: app.isolators[0].value.limit: "1 G" is not a quantity',
    ),
    (("app", "mountPoints", 0, "name"), "a.b", 'IMG: app.mountPoints[0].name: "a.b" is not an AC'),
    (("app", "mountPoints", 0, "path"), "data", 'IMG: app.mountPoints[0].path: "data" is not an a'),
    (("app", "mountPoints", 0, "readOnly"), "yes", 'IMG: app.mountPoints[0].readOnly: "yes" is no'),
    (
        ("app", "ports", 1, "port"),
        70000,
        "IMG: app.ports[1].port: 70000 is not a port (1 to 65535)",
    ),
    (("app", "ports", 1, "port"), 0, "IMG: app.ports[1].port: 0 is not a port (1 to 65535)"),
    (("app", "ports", 1, "port"), 80.0, "IMG: app.ports[1].port: 80.0 is not a port"),
    (("app", "ports", 1, "port"), True, "IMG: app.ports[1].port: true is not a port"),
    (("app", "ports", 1, "port"), "80", 'IMG: app.ports[1].port: "80" is not a port'),
    (("app", "ports", 1, "port"), 65530, "IMG: app.ports[1].count: 10 ports from 65530 end beyond"),
    (("app", "ports", 1, "count"), -1, "IMG: app.ports[1].count: -1 is not a number of ports"),
    (("app", "ports", 0, "protocol"), None, "IMG: app.ports[0].protocol: missing"),
    (("app", "ports", 0, "socketActivated"), 1, "IMG: app.ports[0].socketActivated: 1 is not true"),
    (("app", "userLabels"), {"a b": 1}, 'IMG: app.userLabels["a b"]: 1 is not a string'),
    (("app", "userAnnotations"), [], "IMG: app.userAnnotations: [] is not an object"),
    (("dependencies", 0, "imageName"), None, "IMG: dependencies[0].imageName: missing"),
    (("dependencies", 0, "imageID"), "abc", 'IMG: dependencies[0].imageID: "abc" is not an image'),
    (("dependencies", 0, "size"), -1, "IMG: dependencies[0].size: -1 is not a size"),
    (("pathWhitelist", 1), "etc", 'IMG: pathWhitelist[1]: "etc" is not an absolute path'),
    (("annotations", 0, "name"), "homepage", 'IMG: annotations[1].name: "homepage" is given twice'),
    (
        ("annotations", 0, "value"),
        "now",
        'IMG: annotations[0].value: "now" is not an RFC 3339 date',
    ),
    (("annotations", 1, "value"), "ftp://x", 'IMG: annotations[1].value: "ftp://x" is not an http'),
    (("annotations", 2, "name"), "Authors", 'IMG: annotations[2].name: "Authors" is not an AC Id'),
]

POD_ERRORS: list[tuple[tuple[str | int, ...], object, str]] = [
    (("acKind",), "ImageManifest", 'POD: acKind: "ImageManifest" is not PodManifest'),
    (("apps", 0, "name"), "a/b", 'POD: apps[0].name: "a/b" is not an AC Name'),
    (("apps", 1, "name"), "server", 'POD: apps[1].name: "server" is given twice'),
    (("apps", 1, "image"), None, "POD: apps[1].image: missing"),
    (("apps", 1, "image", "id"), "sha256-aa", 'POD: apps[1].image.id: "sha256-aa" is not an image'),
    (("apps", 0, "image", "name"), "A", 'POD: apps[0].image.name: "A" is not an AC Identifier'),
    (("apps", 0, "readOnlyRootFS"), 1, "POD: apps[0].readOnlyRootFS: 1 is not true or false"),
    (
        ("apps", 0, "app", "ports", 1, "port"),
        70000,
        "POD: apps[0].app.ports[1].port: 70000 is not a port (1 to 65535)",
    ),
    (
        ("apps", 0, "mounts", 0, "volume"),
        "other",
        'POD: apps[0].mounts[0].volume: the pod has no volume "other"',
    ),
    (("apps", 0, "mounts", 0, "path"), "x", 'POD: apps[0].mounts[0].path: "x" is not an absolute'),
    (
        ("apps", 0, "mounts", 1, "appVolume", "kind"),
        "tmpfs",
        'POD: apps[0].mounts[1].appVolume.kind: "tmpfs" is not host or empty',
    ),
    (("volumes", 0, "name"), "temp", 'POD: volumes[1].name: "temp" is given twice'),
    (("volumes", 0, "source"), None, "POD: volumes[0].source: missing"),
    (("volumes", 0, "source"), "srv", 'POD: volumes[0].source: "srv" is not an absolute path'),
    (("volumes", 0, "uid"), 0, "POD: volumes[0].uid: not for a volume of kind host"),
    (("volumes", 0, "mode"), "0755", "POD: volumes[0].mode: not for a volume of kind host"),
    (("volumes", 1, "source"), "/x", "POD: volumes[1].source: not for a volume of kind empty"),
    (("volumes", 1, "mode"), "0888", 'POD: volumes[1].mode: "0888" is not an octal mode'),
    (("volumes", 1, "mode"), "17777", 'POD: volumes[1].mode: "17777" is not an octal mode'),
    (("volumes", 1, "mode"), 755, "POD: volumes[1].mode: 755 is not a string"),
    (("volumes", 1, "uid"), -1, "POD: volumes[1].uid: -1 is not a UID"),
    (("volumes", 1, "recursive"), "true", 'POD: volumes[1].recursive: "true" is not true or false'),
    (
        ("isolators", 0, "value", "limit"),
        "x",
        'POD: isolators[0].value.limit: "x" is not a quantity',
    ),
    (("annotations", 0, "value"), "x", 'POD: annotations[0].value: "x" is not an RFC 3339 date'),
    (("ports", 0, "hostPort"), 65536, "POD: ports[0].hostPort: 65536 is not a port (1 to 65535)"),
    (("ports", 0, "hostIP"), "localhost", 'POD: ports[0].hostIP: "localhost" is not an IP address'),
    (("ports", 0, "hostIP"), "fe80::1%eth0", 'POD: ports[0].hostIP: "fe80::1%eth0" is not an IP'),
    (("ports", 1, "podPort", "port"), None, "POD: ports[1].podPort.port: missing"),
    (("userLabels", "c"), None, "POD: userLabels.c: missing"),
]


@pytest.mark.parametrize(
    ("reader", "document", "steps", "to", "message"),
    [
        *((image, IMAGE, *row) for row in IMAGE_ERRORS),
        *((pod, POD, *row) for row in POD_ERRORS),
    ],
)
def test_errors_name_source_path_and_value(
    reader: Callable[[object], object],
    document: Json,
    steps: tuple[str | int, ...],
    to: object,
    message: str,
) -> None:
    with pytest.raises(BadInput) as caught:
        reader(changed(document, *steps, to=to))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_published_port_names_exactly_one_port_of_the_apps() -> None:
    whole = changed(POD, "apps", 1, "app", to={**APP, "ports": []})
    with pytest.raises(BadInput, match=r'^POD: ports\[0\]\.name: no app has a port "web"$'):
        pod(changed(whole, "ports", 0, "name", to="web"))
    # An app whose image is not known yet may still have it.
    assert pod(changed(POD, "ports", 0, "name", to="web")).ports[0].name == "web"
    with pytest.raises(BadInput, match=r'^POD: ports\[0\]\.name: "www" is a port of more than one'):
        pod(changed(POD, "apps", 1, "app", to=APP))


def nested(levels: int) -> bytes:
    return b'{"x":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "f: line 1, column 1: not JSON: "),
        (b"{", "f: line 1, column 2: not JSON: "),
        (b'{"a": 1,\n  b}', "f: line 2, column 3: not JSON: "),
        (b"\xef\xbb\xbf{}", "f: line 1, column 1: not JSON: "),
        (b'{"name": "\xff"}', "f: not UTF-8 (byte 10)"),
        (b"\x1f\x8b\x08\x00", "f: not UTF-8 (byte 1)"),
        (b'{"a": 1, "a": 2}', 'f: the key "a" is given twice in one object'),
        (b'{"x": [{"b": 1, "b": 1}]}', 'f: the key "b" is given twice in one object'),
        (b'{"a": NaN}', "f: NaN is not a JSON value"),
        (b'{"a": -Infinity}', "f: -Infinity is not a JSON value"),
        (b'{"a": 1e999}', "f: a: not a finite number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "f: a number with too many digits"),
        (b'{"a": ["\\ud800"]}', 'f: a[0]: "\\ud800" is not valid Unicode'),
        (b'{"\\udfff": 1}', 'f: ["\\udfff"]: "\\udfff" is not valid Unicode'),
        (nested(70), "f: nested more than 64 levels deep"),
        (nested(100_000), "f: nested more than 64 levels deep"),
        (b"[" * 100_000, "f: nested more than 64 levels deep"),
        (b" " * ((4 << 20) + 1), "f: larger than 4194304 bytes"),
        (b"[]", "f: [] is not an object"),
        (b"null", "f: missing"),
        (b'"' + b"x" * 1000 + b'"', 'f: "' + "x" * 55 + '..." is not an object'),
        (b'"' + b"\\n" * 500 + b'"', 'f: "' + "\\n" * 27 + '..." is not an object'),
        (b"{}", "f: acKind: missing"),
    ],
)
def test_what_is_no_manifest_at_all(data: bytes, message: str) -> None:
    for reader in (read.image_manifest, read.pod_manifest):
        with pytest.raises(BadInput) as caught:
            reader(data, "f")
        assert str(caught.value).startswith(message)
        assert len(str(caught.value)) < 200
