"""From a command line to the manifest and options of a pod, with images in a real store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rktsd.appc.types import Mount, NameValue, PublishedPort
from rktsd.appc.write import dumps, pod_manifest_json
from rktsd.cli import compose
from rktsd.cli.commands import COMMANDS
from rktsd.cli.context import Context
from rktsd.cli.flags import GLOBAL
from rktsd.cli.parse import parse
from rktsd.errors import RktError
from rktsd.paths import Paths
from rktsd.pods.options import PodOptions
from rktsd.pods.spec import PodSpec
from rktsd.store import publish
from rktsd.store.store import Store
from tests.material import images

WEB, BARE = "example.com/web", "example.com/some_bare"

Compose = Callable[..., PodSpec]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Directories with a store of two images, one of them without an app section."""
    top = tmp_path_factory.mktemp("compose")
    found = Paths(data=f"{top}/data", local_config=f"{top}/etc", system_config=f"{top}/usr")
    web: dict[str, Any] = {
        "environment": [{"name": "A", "value": "image"}, {"name": "B", "value": "image"}],
        "ports": [{"name": "http", "port": 80, "protocol": "tcp"}],
        "isolators": [{"name": "resource/memory", "value": {"limit": "1Gi"}}],
    }
    with Store.open(found.store, create=True) as store:
        for manifest in (
            images.image_manifest(WEB, ["/bin/serve", "--fast"], **web),
            images.image_manifest(BARE),
        ):
            archive = images.write_aci(None, manifest, f"{top}/image.aci")
            publish.import_aci(store, archive, source=archive, verified_by="insecure")
    return found


@pytest.fixture
def make(paths: Paths) -> Compose:
    """``make("one", "--name=a", …)``: the spec of ``rkt run`` with these words."""

    def run(*words: str, insecure: tuple[str, ...] = ()) -> PodSpec:
        command = COMMANDS["run"]
        parsed = parse(words, (*GLOBAL, *command.flags), grammar=command.grammar)
        context = Context("run", paths, insecure=insecure)
        with Store.open(paths.store) as store:
            return compose.spec(context, parsed, store)

    return run


def _environment(spec: PodSpec, number: int = 0) -> dict[str, str]:
    app = spec.manifest.apps[number].app
    assert app is not None
    return {each.name: each.value for each in app.environment}


def test_the_least(make: Compose) -> None:
    spec = make(WEB)
    (app,) = spec.manifest.apps
    assert app.name == "web"
    assert app.image.name == WEB
    assert app.app is not None
    assert app.app.exec == ("/bin/serve", "--fast")
    assert spec.options == PodOptions(apps=spec.options.apps, stage1="nspawn")
    assert spec.manifest.annotations == (NameValue("coreos.com/rkt/stage1/mutable", "false"),)


@pytest.mark.row("app_sandbox/AddDefaultAppName")
def test_a_name_is_made_fit(make: Compose) -> None:
    spec = make(BARE, "--exec=/bin/sh", "--", "-c", "true")
    (app,) = spec.manifest.apps
    assert app.name == "some-bare"
    assert app.app is not None
    assert app.app.exec == ("/bin/sh", "-c", "true")


def test_flags_of_apps(make: Compose) -> None:
    spec = make(
        WEB, "--name=one", "--user=33", "--group=www", "--supplementary-gids=1,2",
        "--working-dir=/srv", "--readonly-rootfs=true", "--annotation=x/y=z",
        "--user-annotation=Any=thing", "--user-label=l=1", "--memory=64Mi", "--", "more",
        "---", WEB, "--name=two", "--exec=/bin/other", "--readonly-rootfs=false",
    )  # fmt: skip
    one, two = spec.manifest.apps
    assert one.app is not None
    assert two.app is not None
    assert (one.name, two.name) == ("one", "two")
    assert (one.app.exec, two.app.exec) == (
        ("/bin/serve", "--fast", "more"),
        ("/bin/other",),
    )
    assert (one.app.user, one.app.group, one.app.supplementary_gids) == ("33", "www", (1, 2))
    assert one.app.working_directory == "/srv"
    assert (one.read_only_root_fs, two.read_only_root_fs) == (True, False)
    assert one.annotations == (NameValue("x/y", "z"),)
    assert (one.app.user_annotations, one.app.user_labels) == ({"Any": "thing"}, {"l": "1"})
    assert [each.value for each in one.app.isolators] == [{"limit": "64Mi"}]
    assert [each.value for each in two.app.isolators] == [{"limit": "1Gi"}]


def test_precedence_of_environments(
    make: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ABCDE":
        monkeypatch.setenv(name, "host")
    (tmp_path / "env").write_text("B=file\nC=file\nD=file\nE=file\n")
    flags = [
        "--inherit-env",
        f"--set-env-file={tmp_path}/env",
        "--set-env=C=flag",
        "--set-env=D=flag",
    ]
    found = _environment(make(*flags, WEB, "--environment=D=app"))
    assert {name: found[name] for name in "ABCDE"} == {
        "A": "image", "B": "file", "C": "flag", "D": "app", "E": "file",
    }  # fmt: skip
    monkeypatch.setenv("F", "host")
    assert _environment(make("--inherit-env", WEB))["F"] == "host"
    assert "F" not in _environment(make(WEB))


def test_what_appc_cannot_name_is_not_handed_on(
    make: Compose, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BASH_FUNC_x%%", "() { :; }")
    assert "BASH_FUNC_x%%" not in _environment(make("--inherit-env", WEB))
    assert "variable BASH_FUNC_x%% cannot be handed on" in capsys.readouterr().err


def test_mounts(make: Compose) -> None:
    spec = make(
        "--volume=a,kind=empty", "--volume=b,kind=empty", "--mount=volume=a,target=/data",
        "--mount=volume=a,target=/more", WEB, "--mount=volume=b,target=/data/", WEB, "--name=two",
    )  # fmt: skip
    assert spec.manifest.apps[0].mounts == (Mount("b", "/data/"), Mount("a", "/more"))
    assert spec.manifest.apps[1].mounts == (Mount("a", "/data"), Mount("a", "/more"))


def test_options_of_the_pod(make: Compose) -> None:
    spec = make(
        "--net=one,two:IP=10.1.2.3", "--dns=10.0.0.1,10.0.0.2", "--dns-search=a.example",
        "--dns-opt=ndots:2", "--dns-domain=b.example", "--hosts-entry=10.0.0.3=db,10.0.0.4=mq",
        "--hostname=box", "--port=http:8080", WEB, insecure=("seccomp",),
    )  # fmt: skip
    options = spec.options
    assert options.networks == ("one", "two:IP=10.1.2.3")
    assert options.dns == ("10.0.0.1", "10.0.0.2")
    assert (options.dns_search, options.dns_options) == (("a.example",), ("ndots:2",))
    assert (options.dns_domain, options.hostname) == ("b.example", "box")
    assert options.hosts_entries == ("10.0.0.3=db", "10.0.0.4=mq")
    assert options.insecure == ("seccomp",)
    assert spec.manifest.ports == (PublishedPort("http", 8080),)


def test_the_host_network_and_files(make: Compose) -> None:
    # rkt took --hosts-entry=host any number of times.
    options = make(
        "--net=host", "--dns=host", "--hosts-entry=host", "--hosts-entry=host", WEB
    ).options
    assert (options.networks, options.dns, options.hosts_entries) == (
        ("host",),
        ("host",),
        ("host",),
    )


def test_a_pod_manifest(make: Compose, tmp_path: Path) -> None:
    manifest = make(WEB, "--name=given").manifest
    file = tmp_path / "pod.json"
    file.write_text(dumps(pod_manifest_json(manifest)))
    spec = make(f"--pod-manifest={file}", "--net=none")
    assert spec.manifest == manifest
    assert spec.options.networks == ("none",)


@pytest.mark.row("run/ConflictingFlags", "prepare/ConflictingFlags")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "must provide at least one image or --pod-manifest"),
        (["--pod-manifest=/p", WEB], "conflicting flags set with --pod-manifest: images"),
        (["--pod-manifest=/p", "--set-env=A=1"],
         "conflicting flags set with --pod-manifest: --set-env"),
        (["--pod-manifest=/p", "--pull-policy=never"],
         "conflicting flags set with --pod-manifest: --pull-policy"),
        (["--pod-manifest=/nowhere"], "cannot read /nowhere: No such file or directory"),
        ([WEB, WEB], 'app name "web" is used twice (give one of them --name)'),
        ([WEB, "--name=Web"], '--name: "Web" is not'),
        ([WEB, "--mount=volume=v,target=/x"], "dangling mount point /x: volume v not found"),
        ([BARE], f"app some-bare: image {BARE}:1.0.0 has no app section (give exec)"),
        ([WEB, "--working-dir=srv"], f"image {WEB}: --working-dir: \"srv\" is not an absolute"),
        ([WEB, "--exec="], f"image {WEB}: --exec: names no program"),
        ([WEB, "--environment=A"], '--environment: "A" is not of the form NAME=VALUE'),
        ([WEB, "--annotation=A=x"], '--annotation: "A" is not'),
        (["--net=none,host", WEB], "command line: network: none cannot be combined with others"),
        (["--net=none", "--net=default", WEB], "command line: network: none cannot be combined"),
        (["--dns=none,10.0.0.1", WEB], "command line: dns: none cannot be combined with others"),
        (["--dns=nonsense", WEB], 'command line: dns[0]: "nonsense" is not an IP address'),
        (["--hosts-entry=host,10.0.0.1=a", WEB], "command line: hosts: host cannot be combined"),
        (["--hosts-entry=a", WEB],
         'command line: hosts[0]: "a" is not an entry of the form IP=NAME'),
        (["--hostname=-", WEB], 'command line: hostname: "-" is not a host name'),
        (["--ipc=nonsense", WEB], '--ipc: "nonsense" is not auto, private, parent'),
        (["--store-only", "example.com/absent"],
         "image 'example.com/absent' is not in the store, and the pull policy is never"),
    ],
)  # fmt: skip
def test_refused(make: Compose, words: list[str], message: str) -> None:
    with pytest.raises(RktError) as caught:
        make(*words)
    assert str(caught.value).startswith(message)


def test_a_manifest_with_an_image_that_is_not_stored(make: Compose, tmp_path: Path) -> None:
    file = tmp_path / "pod.json"
    file.write_text(
        '{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":'
        f'{{"id":"sha512-{"0" * 64}","name":"{WEB}"}}}}]}}'
    )
    with pytest.raises(RktError, match="no image IDs found"):
        make(f"--pod-manifest={file}")
