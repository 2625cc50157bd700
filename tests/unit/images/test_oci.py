"""OCI and Docker configurations as appc image manifests."""

import json
from typing import Any

import pytest

from rktsd.appc.read import image_manifest
from rktsd.appc.types import App, ImageManifest
from rktsd.appc.write import dumps, image_manifest_json
from rktsd.errors import BadInput, Unsupported
from rktsd.images.oci import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    choose_platform,
    compression,
    media_type_of,
    read_config,
    read_manifest,
    to_appc,
)
from rktsd.images.platforms import platform

DIFF = f"sha256:{'1' * 64}"
DIGEST = f"sha256:{'2' * 64}"


def converted(*, arch: str = "amd64", variant: str | None = None, **config: Any) -> ImageManifest:
    """The appc manifest for an image with this ``config``, after a round through the reader."""
    document = {
        "architecture": arch,
        "os": "linux",
        "created": "2024-01-02T03:04:05.678Z",
        "author": "A. Author",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [DIFF]},
        **({"variant": variant} if variant else {}),
    }
    manifest = to_appc(
        read_config(json.dumps(document).encode(), "config", layers=1),
        name="Registry.example:5000/Team/Web",
        version="v1",
        annotations={"appc.io/docker/tag": "v1"},
        manifest_annotations={"org.example.note": "x"},
    )
    text = dumps(image_manifest_json(manifest)).encode()
    assert image_manifest(text, "manifest") == manifest
    return manifest


def app(**config: Any) -> App:
    found = converted(**config).app
    assert found is not None
    return found


def notes(**config: Any) -> dict[str, str]:
    return {each.name: each.value for each in converted(**config).annotations}


def test_name_labels_and_origin() -> None:
    manifest = converted()
    assert manifest.name == "registry.example_5000/team/web"
    labels = {each.name: each.value for each in manifest.labels}
    assert labels == {"version": "v1", "os": "linux", "arch": "amd64"}
    kept = notes()
    assert kept["created"] == "2024-01-02T03:04:05.678Z"
    assert kept["authors"] == "A. Author"
    assert kept["appc.io/docker/tag"] == "v1"
    assert json.loads(kept["appc.io/docker/annotations"]) == {"org.example.note": "x"}


@pytest.mark.parametrize(
    ("arch", "variant", "expected"),
    [
        ("386", None, "i386"),
        ("arm64", "v8", "aarch64"),
        ("arm", None, "armv7l"),
        ("arm", "v6", "armv6l"),
        ("s390x", None, "s390x"),
    ],
)
def test_architectures(arch: str, variant: str | None, expected: str) -> None:
    labels = {each.name: each.value for each in converted(arch=arch, variant=variant).labels}
    assert labels["arch"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("0", "0")),
        ("www", ("www", "www")),
        ("1000:50", ("1000", "50")),
        ("www:", ("www", "www")),
        (":50", ("0", "50")),
    ],
)
def test_users(text: str, expected: tuple[str, str]) -> None:
    found = app(User=text)
    assert (found.user, found.group) == expected


def test_command_and_directory() -> None:
    found = app(Entrypoint=["/bin/sh", "-c"], Cmd=["echo $A; true"], WorkingDir="srv")
    assert found.exec == ("/bin/sh", "-c", "echo $A; true")
    assert found.working_directory == "/srv"
    assert app(Entrypoint=None, Cmd=None).exec == ()
    assert app().working_directory == "/"


def test_environment() -> None:
    found = app(Env=["A=1", "EMPTY=", "BARE", "A=2", "EQ=a=b", "0bad=1", "=x"])
    values = {each.name: each.value for each in found.environment}
    assert values == {"A": "2", "EMPTY": "", "BARE": "", "EQ": "a=b"}
    assert json.loads(notes(Env=["0bad=1"])["appc.io/docker/env"]) == ["0bad=1"]


def test_ports() -> None:
    ports = app(ExposedPorts={"80/tcp": {}, "53/udp": {}, "8000-8002": {}, "53/tcp": {}}).ports
    assert [(each.name, each.protocol, each.port, each.count) for each in ports] == [
        ("53-tcp", "tcp", 53, 1),
        ("53-udp", "udp", 53, 1),
        ("80-tcp", "tcp", 80, 1),
        ("8000-tcp", "tcp", 8000, 3),
    ]


@pytest.mark.parametrize("port", ["", "x/tcp", "0/tcp", "70000", "9-8", "1-", "-1"])
def test_bad_ports(port: str) -> None:
    with pytest.raises(BadInput, match="ExposedPorts"):
        app(ExposedPorts={port: {}})


def test_volumes() -> None:
    points = app(Volumes={"/data": {}, "/Data": {}, "/a b/": {}}).mount_points
    assert [(each.name, each.path) for each in points] == [
        ("volume-data", "/Data"),
        ("volume-a-b", "/a b"),
        ("volume-data-1", "/data"),
    ]


def test_nothing_is_lost() -> None:
    check = {"Test": ["CMD", "true"], "Interval": 5}
    kept = notes(
        StopSignal="SIGINT", Healthcheck=check, OnBuild=["RUN x"], Shell=["/bin/ash"], User="a"
    )
    assert kept["appc.io/docker/stopsignal"] == "SIGINT"
    assert json.loads(kept["appc.io/docker/healthcheck"]) == check
    assert json.loads(kept["appc.io/docker/onbuild"]) == ["RUN x"]
    assert json.loads(kept["appc.io/docker/shell"]) == ["/bin/ash"]
    assert kept["appc.io/docker/user"] == "a"
    assert app(Labels={"Any Key": "any value"}).user_labels == {"Any Key": "any value"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rootfs": {"type": "layers", "diff_ids": []}}, "0 diff_ids for 1 layers"),
        ({"rootfs": {"type": "layers", "diff_ids": ["sha256:12"]}}, r"diff_ids\[0\]"),
        ({"rootfs": {"type": "layers", "diff_ids": ["../../../x"]}}, r"diff_ids\[0\]"),
        ({"rootfs": {"type": "other", "diff_ids": [DIFF]}}, "rootfs"),
        ({"os": 3}, "config: os: 3 is not a string"),
    ],
)
def test_bad_configurations(change: dict[str, Any], message: str) -> None:
    good = {"os": "linux", "rootfs": {"type": "layers", "diff_ids": [DIFF]}}
    with pytest.raises(BadInput, match=message):
        read_config(json.dumps({**good, **change}).encode(), "config", layers=1)


def test_media_types() -> None:
    index = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    image = json.dumps({"schemaVersion": 2, "layers": []}).encode()
    assert media_type_of(index, "x") == OCI_INDEX
    assert media_type_of(index, "x", said=DOCKER_LIST) == DOCKER_LIST
    assert media_type_of(image, "x", said="text/html") == OCI_MANIFEST
    assert media_type_of(image, "x", said=DOCKER_MANIFEST) == DOCKER_MANIFEST
    with pytest.raises(BadInput, match="is not what its media type"):
        media_type_of(image, "x", said=OCI_INDEX)
    with pytest.raises(Unsupported, match="schema 1"):
        media_type_of(b'{"schemaVersion": 1}', "x")
    with pytest.raises(BadInput, match="neither the manifest of an image nor an index"):
        media_type_of(b'{"errors": []}', "x", said=OCI_MANIFEST)


def test_choosing_a_platform() -> None:
    def entry(digit: str, **platform: str) -> dict[str, Any]:
        digest = f"sha256:{digit * 64}"
        return {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "platform": platform}

    index = {
        "manifests": [
            entry("1", os="unknown", architecture="unknown"),
            entry("2", os="linux", architecture="arm", variant="v6"),
            entry("3", os="linux", architecture="arm64", variant="v8"),
            entry("4", os="linux", architecture="amd64"),
        ]
    }
    data = json.dumps(index).encode()
    for arch, digit in (("amd64", "4"), ("aarch64", "3"), ("armv6l", "2")):
        choice = choose_platform(data, "x", wanted=platform("linux", arch))
        assert [each.digest for each in choice.fitting] == [f"sha256:{digit * 64}"]
    choice = choose_platform(data, "x", wanted=platform("linux", "s390x"))
    assert choice.fitting == ()
    assert choice.offered == ("unknown/unknown", "linux/arm/v6", "linux/arm64", "linux/amd64")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/vnd.oci.image.layer.v1.tar", ""),
        ("application/vnd.oci.image.layer.v1.tar+gzip", "gzip"),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "zstd"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip"),
    ],
)
def test_layer_types(kind: str, expected: str) -> None:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2}
    layer = {"mediaType": kind, "digest": DIGEST, "size": 3}
    data = json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode()
    image = read_manifest(data, "x")
    assert compression(image.layers[0]) == expected
    assert image.config.digest == DIGEST
