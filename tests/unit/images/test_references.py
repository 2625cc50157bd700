"""What may be written to mean an image."""

import pytest

from rktsd.errors import BadInput, RktError, Unsupported
from rktsd.images.references import DockerName, Kind, parse_docker_name, parse_reference

DIGEST = f"sha256:{'0a' * 32}"


def nothing_exists(path: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("sha512-abcdef", Kind.ID, "sha512-abcdef"),
        ("/srv/app", Kind.FILE, "/srv/app"),
        ("/srv/app:v1", Kind.FILE, "/srv/app:v1"),
        ("./app", Kind.FILE, "./app"),
        ("images/./app", Kind.FILE, "images/./app"),
        ("app.aci", Kind.FILE, "app.aci"),
        ("file:///srv/my%20app.aci", Kind.FILE, "/srv/my app.aci"),
        ("https://example.com/a.aci", Kind.URL, "https://example.com/a.aci"),
        ("https://example.com/a.aci?x=1", Kind.URL, "https://example.com/a.aci?x=1"),
        ("http://example.com:8080/a.aci", Kind.URL, "http://example.com:8080/a.aci"),
        ("example.com/app", Kind.NAME, "example.com/app"),
        ("example.com/app:v1,os=linux", Kind.NAME, "example.com/app:v1,os=linux"),
        ("my-app:v1", Kind.NAME, "my-app:v1"),
        ("app.aci:v1", Kind.NAME, "app.aci:v1"),
        ("docker://busybox", Kind.DOCKER, "registry-1.docker.io/library/busybox:latest"),
        ("docker:quay.io/a/b:1", Kind.DOCKER, "quay.io/a/b:1"),
        ("cimd:docker:v=0:quay.io/a/b:1", Kind.DOCKER, "quay.io/a/b:1"),
        ("cimd:appc:v=0:example.com/app", Kind.NAME, "example.com/app"),
        (
            "cimd:appc:v=0:example.com/app?arch=amd64&os=linux&version=v1%2C2",
            Kind.NAME,
            "example.com/app:v1%2C2,arch=amd64,os=linux",
        ),
        (
            "cimd:aci-archive:v=0:https%3A%2F%2Fexample.com%2Fa.aci",
            Kind.URL,
            "https://example.com/a.aci",
        ),
        ("cimd:aci-archive:v=0:file%3A%2F%2F%2Fsrv%2Fa.aci", Kind.FILE, "/srv/a.aci"),
    ],
)
def test_kinds(text: str, kind: Kind, target: str) -> None:
    found = parse_reference(text, is_file=nothing_exists)
    assert (found.kind, found.target, found.text) == (kind, target, text)


def test_an_existing_file_wins_over_a_name() -> None:
    assert parse_reference("app", is_file=lambda path: path == "app").kind is Kind.FILE
    assert parse_reference("app:v1", is_file=lambda path: True).kind is Kind.FILE
    assert parse_reference("app", is_file=nothing_exists).kind is Kind.NAME


@pytest.mark.parametrize(
    ("text", "directory", "selector"),
    [
        ("oci:/srv/web", "/srv/web", None),
        ("oci:/srv/web:v1", "/srv/web", "v1"),
        ("oci:/srv/a:b/web", "/srv/a:b/web", None),
        ("oci:web:latest", "web", "latest"),
        (f"oci:/srv/web@{DIGEST}", "/srv/web", DIGEST),
    ],
)
def test_layouts(text: str, directory: str, selector: str | None) -> None:
    found = parse_reference(text, is_file=nothing_exists)
    assert (found.kind, found.target, found.selector) == (Kind.LAYOUT, directory, selector)


@pytest.mark.parametrize(
    ("text", "kind", "path", "selector"),
    [
        ("oci-archive:/srv/web.tar", Kind.OCI_ARCHIVE, "/srv/web.tar", None),
        ("oci-archive:web.tar:v1", Kind.OCI_ARCHIVE, "web.tar", "v1"),
        (f"oci-archive:web.tar@{DIGEST}", Kind.OCI_ARCHIVE, "web.tar", DIGEST),
        ("docker-archive:/srv/web.tar", Kind.DOCKER_ARCHIVE, "/srv/web.tar", None),
        (
            "docker-archive:/srv/web.tar:example.com:5000/team/web:v1",
            Kind.DOCKER_ARCHIVE,
            "/srv/web.tar",
            "example.com:5000/team/web:v1",
        ),
        (
            "docker-archive:web.tar:busybox",
            Kind.DOCKER_ARCHIVE,
            "web.tar",
            "registry-1.docker.io/library/busybox:latest",
        ),
        (f"docker-archive:web.tar@{DIGEST}", Kind.DOCKER_ARCHIVE, "web.tar", DIGEST),
    ],
)
def test_archives(text: str, kind: Kind, path: str, selector: str | None) -> None:
    found = parse_reference(text, is_file=nothing_exists)
    assert (found.kind, found.target, found.selector) == (kind, path, selector)


@pytest.mark.parametrize(
    "text",
    ["oci-archive:", "oci-archive::v1", "oci-archive:a.tar:", "oci-archive:a.tar@sha256:1",
     "docker-archive:", "docker-archive:a.tar:", "docker-archive:a.tar:B:c"],
)  # fmt: skip
def test_what_names_no_archive(text: str) -> None:
    with pytest.raises(BadInput):
        parse_reference(text, is_file=nothing_exists)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a b", "spaces"),
        ("a\nb", "spaces or control"),
        ("sha512-", "too short"),
        ("sha512-XYZ", "lower-case hex"),
        ("https://example.com/app.tar", "does not end in .aci"),
        ("https:///app.aci", "names no host"),
        ("https://host:99999/app.aci", "Port out of range"),
        ("https://me:secret@example.com/a.aci", "credentials in a URL"),
        ("file://elsewhere/a.aci", "names a host"),
        ("oci:", "oci:DIRECTORY"),
        ("oci:/srv/web:", "oci:DIRECTORY"),
        ("oci:/srv/web@sha256:12", "not a digest"),
        ("docker://UPPER", "repository"),
        ("docker://example.com/", "repository"),
        ("docker://example.com/a//b", "repository"),
        ("docker://example.com/../b", "repository"),
        ("docker://exa mple.com/a", "spaces"),
        ("docker://a:", "not a tag"),
        (f"docker://a@{DIGEST}0", "not a digest"),
        ("docker://-bad.example/a", "name of a registry"),
        ("docker://a:.v1", "not a tag"),
        ("cimd:", "not cimd:appc:v=0:NAME"),
        ("cimd:oci:v=0:x", "not cimd:appc:v=0:NAME"),
        ("cimd:docker:v=1:x", "not cimd:appc:v=0:NAME"),
        ("cimd:docker:v=0:UPPER", "repository"),
        ("cimd:appc:v=0:example.com/app?os", "bad query field"),
        ("cimd:aci-archive:v=0:%2Fsrv%2Fa.aci", "is not a URL of an ACI"),
        ("cimd:aci-archive:v=0:https%3A%2F%2Fexample.com%2Fa", "does not end in .aci"),
    ],
)
def test_what_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_reference(text, is_file=nothing_exists)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("dcoker://x/y", "did you mean docker://?"),
        ("htps://x/a.aci", "did you mean https://?"),
        ("ftp://x/a.aci", "known are docker, https, http and file"),
    ],
)
def test_unknown_schemes_are_not_taken_for_names(text: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_reference(text, is_file=nothing_exists)
    scheme = text.partition(":")[0]
    assert str(caught.value) == f"image reference {text!r}: unknown scheme {scheme} ({hint})"


@pytest.mark.parametrize("scheme", ["docker-daemon", "containers-storage"])
def test_other_transports_are_refused_by_name(scheme: str) -> None:
    with pytest.raises(Unsupported, match=f"{scheme}: is not supported"):
        parse_reference(f"{scheme}:/srv/x", is_file=nothing_exists)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("busybox", DockerName("registry-1.docker.io", "library/busybox", "latest", None)),
        ("me/tool:1.2", DockerName("registry-1.docker.io", "me/tool", "1.2", None)),
        ("docker.io/nginx", DockerName("registry-1.docker.io", "library/nginx", "latest", None)),
        ("index.docker.io/a/b", DockerName("registry-1.docker.io", "a/b", "latest", None)),
        ("localhost/a", DockerName("localhost", "a", "latest", None)),
        ("localhost:5000/a/b_c", DockerName("localhost:5000", "a/b_c", "latest", None)),
        ("[::1]:5000/a", DockerName("[::1]:5000", "a", "latest", None)),
        ("quay.io/a/b/c:x", DockerName("quay.io", "a/b/c", "x", None)),
        (f"quay.io/a@{DIGEST}", DockerName("quay.io", "a", None, DIGEST)),
        (f"quay.io/a:v1@{DIGEST}", DockerName("quay.io", "a", "v1", DIGEST)),
    ],
)
def test_docker_names(text: str, expected: DockerName) -> None:
    found = parse_docker_name(text)
    assert found == expected
    assert parse_docker_name(str(found)) == found
    assert found.version == (expected.digest or expected.tag)


def test_every_refusal_is_an_error_for_the_user() -> None:
    for text in ("", "\0", "docker://\ud800", "https://[/x.aci", "oci:@", "sha512-\u00b2"):
        with pytest.raises(RktError):
            parse_reference(text, is_file=nothing_exists)
