"""Pod files: found, read, refused in plain words; options and overrides."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from rktsd.appc import isolators, write
from rktsd.appc.types import (
    App,
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
from rktsd.errors import BadInput, NotFound, RktError
from rktsd.paths import Paths
from rktsd.pods import podfile
from rktsd.pods.options import AppOptions, PodOptions
from rktsd.pods.overrides import AppOverrides, apply_overrides

FULL = r"""
description = "The shop's front"
documentation = ["https://example.com/a", "man:nginx(8)"]
network = ["default:IP=10.1.2.3", "backend"]
hostname = "front"
dns = ["8.8.8.8", "2001:4860:4860::8888"]
dns-search = "example.com"
dns-options = ["ndots:2"]
dns-domain = "example.com"
hosts = { db = "10.0.0.5", "cache.lan" = "fd00::1" }
on-app-failure = "continue"
pull-policy = "never"
memory = "2G"
cpu = 1.5

[systemd]
IOWeight = 50
AllowedCPUs = "0-1"

[[volume]]
name = "content"
source = "/srv/www"
read-only = true
recursive = false

[[volume]]
name = "cache"
mode = "0700"
uid = 33
gid = 33

[[port]]
name = "http"
host-port = 8080
host-ip = "127.0.0.1"

[[app]]
name = "web"
image = "example.com/nginx:1.22,os=linux"
insecure = "image"
pull-policy = "update"
exec = "/usr/sbin/nginx -g 'daemon off;'"
args = ["-c", "/x y"]
user = 33
group = "www-data"
supplementary-gids = [4, 5]
working-directory = "/srv"
environment = { LANG = "C.UTF-8", WORKERS = 4, EMPTY = "" }
memory = "512M"
cpu = "500m"
cpu-shares = 512
capabilities-retain = ["net_bind_service", "CAP_SETUID"]
no-new-privileges = true
oom-score-adj = -100
read-only-root = true
stop-timeout = "2min"
mounts = [{ volume = "content", path = "/srv/www" }]
ports = [{ name = "http", port = 80 }, { name = "rtp", port = 5000, protocol = "udp", count = 2 }]
annotations = { "example.com/tier" = "front" }

[app.systemd]
Restart = "on-failure"
LimitNOFILE = 4096
ReadWritePaths = ["/a", "/b"]
TasksAccounting = true

[[app]]
name = "log"
image = "docker://busybox"
capabilities-remove = ["CHOWN"]
stop-timeout = 1.5
"""

SMALL = '[[app]]\nname = "web"\nimage = "a"\n'


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "pods").mkdir()
    return Paths(local_config=str(tmp_path))


def put(paths: Paths, name: str, text: str | bytes) -> str:
    path = Path(paths.pod_files) / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def toml(text: str, *, pod: str = "web", path: str = "/p/web.toml") -> podfile.PodFile:
    return podfile.parse(text.encode(), path, pod=pod)


def appc(value: object, *, pod: str = "web", path: str = "/p/web.json") -> podfile.PodFile:
    return podfile.parse(json.dumps(value).encode(), path, pod=pod)


def test_every_field_of_a_toml_pod_file_is_read() -> None:
    found = toml(FULL)
    assert found.manifest == PodManifest(
        ac_version="0.8.11",
        apps=(
            RuntimeApp(
                "web",
                RuntimeImage(""),
                read_only_root_fs=True,
                mounts=(Mount("content", "/srv/www"),),
                annotations=(NameValue("example.com/tier", "front"),),
            ),
            RuntimeApp("log", RuntimeImage("")),
        ),
        volumes=(
            Volume("content", "host", source="/srv/www", read_only=True, recursive=False),
            Volume("cache", "empty", mode=0o700, uid=33, gid=33),
        ),
        isolators=(
            Isolator("resource/memory", {"limit": "2G"}),
            Isolator("resource/cpu", {"limit": "1.5"}),
        ),
        ports=(PublishedPort("http", 8080, "127.0.0.1"),),
    )
    options = found.options
    assert replace(options, apps={}) == PodOptions(
        networks=("default:IP=10.1.2.3", "backend"),
        hostname="front",
        dns=("8.8.8.8", "2001:4860:4860::8888"),
        dns_search=("example.com",),
        dns_options=("ndots:2",),
        dns_domain="example.com",
        hosts_entries=("10.0.0.5=db", "fd00::1=cache.lan"),
        on_app_failure="continue",
        pull_policy="never",
        description="The shop's front",
        documentation=("https://example.com/a", "man:nginx(8)"),
        systemd={"IOWeight": 50, "AllowedCPUs": "0-1"},
    )
    assert options.apps["log"] == AppOptions(
        image="docker://busybox",
        stop_timeout=1.5,
        overrides=AppOverrides(
            isolators=(Isolator(isolators.CAPABILITIES_REMOVE, {"set": ["CAP_CHOWN"]}),)
        ),
    )
    assert options.apps["web"] == AppOptions(
        image="example.com/nginx:1.22,os=linux",
        insecure=("image",),
        pull_policy="update",
        systemd={
            "Restart": "on-failure",
            "LimitNOFILE": 4096,
            "ReadWritePaths": ["/a", "/b"],
            "TasksAccounting": True,
        },
        stop_timeout=120.0,
        overrides=AppOverrides(
            exec=("/usr/sbin/nginx", "-g", "daemon off;"),
            args=("-c", "/x y"),
            user="33",
            group="www-data",
            supplementary_gids=(4, 5),
            working_directory="/srv",
            environment=(
                NameValue("LANG", "C.UTF-8"),
                NameValue("WORKERS", "4"),
                NameValue("EMPTY", ""),
            ),
            isolators=(
                Isolator("resource/memory", {"limit": "512M"}),
                Isolator("resource/cpu", {"limit": "500m"}),
                Isolator("os/linux/cpu-shares", 512),
                Isolator(
                    isolators.CAPABILITIES_RETAIN,
                    {"set": ["CAP_NET_BIND_SERVICE", "CAP_SETUID"]},
                ),
                Isolator("os/linux/no-new-privileges", True),
                Isolator("os/linux/oom-score-adj", -100),
            ),
            ports=(Port("http", "tcp", 80), Port("rtp", "udp", 5000, 2)),
        ),
    )


def test_the_smallest_pod_file() -> None:
    found = toml(SMALL)
    assert found.manifest == PodManifest("0.8.11", (RuntimeApp("web", RuntimeImage("")),))
    assert found.options == PodOptions(apps={"web": AppOptions(image="a")})
    assert (found.name, found.path, found.text) == ("web", "/p/web.toml", SMALL.encode())


def test_a_read_manifest_can_be_stored() -> None:
    read = toml(FULL).manifest
    apps = tuple(replace(app, image=RuntimeImage("sha512-ab")) for app in read.apps)
    manifest = replace(read, apps=apps)
    text = write.dumps(write.pod_manifest_json(manifest)).encode()
    assert podfile.parse(text, "/p/web.json", pod="web").manifest == manifest


def app_line(line: str) -> str:
    return SMALL + line


def top_line(line: str) -> str:
    return f"{line}\n{SMALL}"


FILE = "/p/web.toml: "

TOML_ERRORS = [
    (app_line('exce = "x"'), "app[0].exce: unknown field (did you mean exec?)"),
    (app_line("read_only_root = true"), "app[0].read_only_root: unknown field (did you mean read-"),
    (app_line("zzzzzz = 1"), "app[0].zzzzzz: unknown field"),
    (top_line("networks = []"), "networks: unknown field (did you mean network?)"),
    (top_line("[apps]"), "apps: unknown field (did you mean app?)"),
    (app_line("[[volume]]\nname='v'\nreadonly=true"), "volume[0].readonly: unknown field (did you"),
    (
        app_line("[[port]]\nname='v'\nport=1"),
        "port[0].port: unknown field (did you mean host-port?)",
    ),
    (app_line("mounts=[{volume='v',target='/x'}]"), "app[0].mounts[0].target: unknown field"),
    (app_line("ports=[{name='v',hostport=1}]"), "app[0].ports[0].hostport: unknown field"),
    ("", "pod must contain at least one application"),
    ("app = 1", "app: 1 is not a list"),
    ("app = ['web']", 'app[0]: "web" is not a table'),
    ("[app]\nname='web'", 'app: {"name": "web"} is not a list'),
    ("[[app]]\nimage='a'", "app[0].name: missing"),
    ("[[app]]\nname='web'", "app[0].image: missing"),
    ("[[app]]\nname='web'\nimage=''", "app[0].image: empty"),
    (
        "[[app]]\nname='web'\nimage='not/an::image'",
        'app[0].image: image name "not/an::image": "not/an::image" has no single version after its',
    ),
    *(
        (
            f"[[app]]\nname='web'\nimage='{path}'",
            f'app[0].image: "{path}" is a relative path (write the whole path)',
        )
        for path in ("./web.aci", "web.aci", "oci:web", "oci-archive:web.tar:1")
    ),
    ("[[app]]\nname='web'\nimage='sha512-x'", "app[0].image: image id 'sha512-x': not sha512-"),
    ("[[app]]\nname='we b'\nimage='a'", 'app[0].name: "we b" is not an AC Name'),
    (SMALL + SMALL, 'app[1].name: "web" is given twice'),
    (app_line("exec = []"), "app[0].exec: names no program"),
    (app_line("exec = ''"), "app[0].exec: names no program"),
    (app_line("exec = [1]"), "app[0].exec[0]: 1 is not a string"),
    (app_line('exec = "a \'b"'), 'app[0].exec: "a \'b" cannot be split into words: no closing'),
    (app_line("args = {}"), "app[0].args: {} is not a list"),
    (app_line("user = ''"), "app[0].user: empty"),
    (app_line("stdin = 'log'"), 'app[0].stdin: "log" is not null or stream or tty'),
    (app_line("stdin = 'tty'\nstderr = 'log'"), 'app web: stderr: "log" beside "tty": a'),
    (
        app_line("stdout = 'null'\noutput = 'log'"),
        "app[0].output: stdin, stdout or stderr say it as well",
    ),
    (app_line("user = -1"), "app[0].user: -1 is not a name or a number"),
    (app_line("user = true"), "app[0].user: true is not a name or a number"),
    (app_line("supplementary-gids = ['x']"), 'app[0].supplementary-gids[0]: "x" is not a GID'),
    (app_line("working-directory = 'x'"), 'app[0].working-directory: "x" is not an absolute path'),
    (app_line("environment = ['A=1']"), 'app[0].environment: ["A=1"] is not an object'),
    (app_line("environment = {A = 1.5}"), "app[0].environment.A: 1.5 is not a string"),
    (app_line("environment = {A = true}"), "app[0].environment.A: true is not a string"),
    (app_line("environment = {'A B' = ''}"), 'app[0].environment: "A B" is not the name of'),
    (app_line("memory = '1X'"), 'app[0].memory: "1X" is not a quantity'),
    (app_line("memory = 100"), "app[0].memory: 100 is less than 4096 bytes"),
    (app_line("memory = 1e9"), "app[0].memory: 1000000000.0 is not a whole number, or a string"),
    (app_line("cpu = 0"), "app[0].cpu: no app can run without processor time"),
    (app_line("cpu = true"), "app[0].cpu: true is not a whole number, or a string"),
    (app_line("cpu = nan"), "app[0].cpu: not a finite number"),
    (app_line("cpu-shares = 1"), "app[0].cpu-shares: 1 is not a number of shares (2 to 262144)"),
    (app_line("capabilities-retain = []"), "app[0].capabilities-retain: empty"),
    (app_line("capabilities-retain = 'x'"), 'app[0].capabilities-retain: "x" is not a list'),
    (app_line("capabilities-retain = ['x']"), 'app[0].capabilities-retain[0]: "x" is not a capa'),
    (
        app_line("capabilities-retain=['chown']\ncapabilities-remove=['chown']"),
        "app[0]: both os/linux/capabilities-retain-set and os/linux/capabilities-remove-set",
    ),
    (app_line("no-new-privileges = 1"), "app[0].no-new-privileges: 1 is not true or false"),
    (app_line("oom-score-adj = 2000"), "app[0].oom-score-adj: 2000 is not an OOM score adjustment"),
    (app_line("read-only-root = 'yes'"), 'app[0].read-only-root: "yes" is not true or false'),
    (app_line("stop-timeout = 0"), "app[0].stop-timeout: 0 is not a time"),
    (app_line("stop-timeout = -1"), "app[0].stop-timeout: -1 is not a time"),
    (app_line("stop-timeout = 'soon'"), 'app[0].stop-timeout: "soon" is not a time'),
    (app_line("stop-timeout = true"), "app[0].stop-timeout: true is not a time"),
    (app_line("stop-timeout = '9999h'"), 'app[0].stop-timeout: "9999h" is not a time'),
    (
        app_line("mounts = [{volume='v', path='/x'}]"),
        'app[0].mounts[0].volume: the pod has no volume "v"',
    ),
    (app_line("mounts = [{volume='v'}]"), "app[0].mounts[0].path: missing"),
    (app_line("ports = [{name='p', port=70000}]"), "app[0].ports[0].port: 70000 is not a port (1"),
    (app_line("ports = [{name='p', port=1, protocol='sctp'}]"), "app[0].ports[0].protocol: "),
    (
        app_line("ports = [{name='p', port=1}, {name='p', port=2}]"),
        'app[0].ports[1].name: "p" is given twice',
    ),
    (app_line("ports = [1]"), "app[0].ports[0]: 1 is not a table"),
    (app_line("annotations = {A = 'x'}"), 'app[0].annotations: "A" is not an AC Identifier'),
    (app_line("annotations = {a = 1}"), "app[0].annotations.a: 1 is not a string"),
    (app_line("annotations = {created = 'x'}"), 'app[0].annotations.created: "x" is not an RFC'),
    (app_line("insecure = 'everything'"), 'app[0].insecure: "everything" is not one of image, tls'),
    (app_line("insecure = ['tls', 'tls']"), 'app[0].insecure: "tls" is given twice'),
    (app_line("pull-policy = 'always'"), 'app[0].pull-policy: "always" is not new or update or'),
    (app_line("systemd = {memorymax = 1}"), "app[0].systemd.memorymax: not the name of a systemd"),
    (app_line("systemd = {'A=b' = 1}"), 'app[0].systemd["A=b"]: not the name of a systemd prop'),
    (app_line("systemd = {A = {}}"), "app[0].systemd.A: {} is not a string, a number"),
    (app_line("systemd = {A = [[]]}"), "app[0].systemd.A[0]: [] is not a string, a number"),
    (app_line("systemd = {A = 2020-01-01}"), 'app[0].systemd.A: "2020-01-01" is not a string, a'),
    (app_line("systemd = {A = 18446744073709551616}"), "app[0].systemd.A: 18446744073709551616"),
    (app_line("systemd = {A = ['x\\ny']}").replace("'", '"'), "app[0].systemd.A[0]: "),
    (app_line("systemd = 5"), "app[0].systemd: 5 is not an object"),
    (app_line("[[volume]]\nname='v'\nkind='host'"), "volume[0].source: missing"),
    (
        app_line("[[volume]]\nname='v'\nkind='host'\nsource='x'"),
        'volume[0].source: "x" is not an absolute path',
    ),
    (
        app_line("[[volume]]\nname='v'\nsource='x/y'"),
        'volume[0].source: "x/y" is not an AC Name',
    ),
    (
        app_line("[[volume]]\nname='v'\nkind='tmpfs'\nsize='lots'"),
        'volume[0].size: "lots" is not a quantity',
    ),
    (
        app_line("[[volume]]\nname='v'\nsize='1M'"),
        "volume[0].size: only for a volume of kind tmpfs",
    ),
    (
        app_line("[[volume]]\nname='v'\nsource='/x'\nuid=0"),
        "volume[0].uid: not for a volume of kind",
    ),
    (app_line("[[volume]]\nname='v'\nread-only=1"), "volume[0].read-only: 1 is not true or false"),
    (
        app_line("[[volume]]\nname='v'\nmode=0o755"),
        "volume[0].mode: a number, whose base is unclear",
    ),
    (app_line("[[volume]]\nname='v'\n[[volume]]\nname='v'"), 'volume[1].name: "v" is given twice'),
    (app_line("[[port]]\nname='p'"), "port[0].host-port: missing"),
    (
        app_line("[[port]]\nname='p'\nhost-port=0"),
        "port[0].host-port: 0 is not a port (1 to 65535)",
    ),
    (app_line("[[port]]\nname='p'\nhost-port=1\nhost-ip='x'"), 'port[0].host-ip: "x" is not an IP'),
    (
        "network='none'\n" + app_line("[[port]]\nname='p'\nhost-port=1"),
        "port: the network none has no ports to publish",
    ),
    (
        "network='host'\n" + app_line("[[port]]\nname='p'\nhost-port=1"),
        "port: the network host has no ports to publish",
    ),
    (top_line("network = []"), 'network: empty (for no network write "none")'),
    (top_line("network = ['none', 'a']"), "network: none cannot be combined with others"),
    (top_line("network = ['a', 'a:IP=1']"), 'network: "a" is given twice'),
    (top_line("network = 'a b'"), 'network: "a b" is not a network'),
    (top_line("network = '../a'"), 'network: "../a" is not a network'),
    (top_line("hostname = 'a_b'"), 'hostname: "a_b" is not a host name'),
    (top_line("hostname = '" + "a" * 65 + "'"), "hostname: "),
    (top_line("dns = ['host', '1.1.1.1']"), "dns: host cannot be combined with others"),
    (top_line("dns = 'one'"), 'dns: "one" is not an IP address'),
    (top_line("dns = [1]"), "dns[0]: 1 is not a string"),
    (top_line('dns-search = "a\\nnameserver 6.6.6.6"'), "dns-search: "),
    (top_line("dns-options = ['a b']"), 'dns-options[0]: "a b" is not a resolver option'),
    (top_line("dns-domain = ''"), "dns-domain: empty"),
    (top_line("hosts = {db = 'x'}"), 'hosts.db: "x" is not an IP address'),
    (top_line("hosts = {'d b' = '1.1.1.1'}"), 'hosts["d b"]: "d b" is not a host name'),
    (top_line("hosts = ['1.1.1.1 db']"), 'hosts[0]: "1.1.1.1 db" is not an entry of the form IP='),
    (top_line("hosts = ['x=db']"), 'hosts[0]: "x" is not an IP address'),
    (top_line("hosts = ['host', '1.1.1.1=a']"), "hosts: host cannot be combined with others"),
    (top_line("on-app-failure = 'restart'"), 'on-app-failure: "restart" is not stop or continue'),
    (top_line("pull-policy = 1"), "pull-policy: 1 is not a string"),
    (top_line('description = "a\\nExecStart=/x"'), "description: "),
    (top_line("documentation = 5"), "documentation: 5 is not a list"),
    (top_line("memory = true"), "memory: true is not a whole number, or a string"),
    (top_line("x = "), "line 1, column 5: not TOML: Invalid value"),
    (top_line("\nhostname = 'a'\nhostname = 'b'"), "line 3, column 15: not TOML: Cannot"),
    ("x = [", "end of document: "),
    ("x = " + "[" * 50_000, "nested too deep"),
    ("x = " + "[" * 80 + "]" * 80, "nested more than 64 levels deep"),
    ("x = " + "9" * 5000, "not TOML: Exceeds the limit"),
]


@pytest.mark.parametrize(("text", "message"), TOML_ERRORS)
def test_errors_of_toml_name_file_field_and_value(text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        toml(text)
    assert str(caught.value).startswith(FILE + message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 240


def test_toml_that_is_not_text() -> None:
    with pytest.raises(BadInput, match=r"^/p/web\.toml: line 2: not UTF-8$"):
        podfile.parse(b"# x\na = '\xff'\n", "/p/web.toml", pod="web")


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("network = 'none'", PodOptions(networks=("none",))),
        ("dns = 'host'", PodOptions(dns=("host",))),
        ("dns = ['none']", PodOptions(dns=("none",))),
        ("hosts = 'host'", PodOptions(hosts_entries=("host",))),
        ("hosts = ['::1=a', '1.2.3.4=b.c']", PodOptions(hosts_entries=("::1=a", "1.2.3.4=b.c"))),
        ("documentation = 'man:x(1)'", PodOptions(documentation=("man:x(1)",))),
        ("systemd = {A = ''}", PodOptions(systemd={"A": ""})),
    ],
)
def test_short_forms(line: str, options: PodOptions) -> None:
    assert replace(toml(top_line(line)).options, apps={}) == options


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5", 5), ("0.5", 0.5), ("'90s'", 90), ("'1.5 min'", 90), ("'2h'", 7200), ("'250ms'", 0.25)],
)
def test_stop_timeouts(value: str, seconds: float) -> None:
    assert toml(app_line(f"stop-timeout = {value}")).options.apps["web"].stop_timeout == seconds


APPC = {
    "acKind": "PodManifest",
    "acVersion": "0.8.11",
    "apps": [
        {"name": "web", "image": {"id": "sha512-ab", "name": "example.com/web"}},
        {
            "name": "log",
            "image": {
                "name": "example.com/log",
                "labels": [{"name": "version", "value": "2"}, {"name": "os", "value": "linux"}],
            },
        },
    ],
}


def test_an_appc_pod_manifest_is_taken_as_it_is() -> None:
    found = appc(APPC)
    assert found.manifest.apps[0].image == RuntimeImage("sha512-ab", "example.com/web")
    assert found.options == PodOptions(
        apps={"web": AppOptions(), "log": AppOptions(image="example.com/log:2,os=linux")}
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({**APPC, "apps": None}, "/p/web.json: pod must contain at least one application"),
        ({**APPC, "acKind": "X"}, '/p/web.json: acKind: "X" is not PodManifest'),
        ({**APPC, "apps": [{"name": "a", "image": {}}]}, "/p/web.json: apps[0].image: neither id"),
    ],
)
def test_errors_of_json_name_the_file(value: object, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        appc(value)
    assert str(caught.value).startswith(message)


def test_json_that_is_no_json() -> None:
    with pytest.raises(BadInput, match=r"^/p/web\.json: line 1, column 1: not JSON"):
        podfile.parse(b"name = 1", "/p/web.json", pod="web")


def test_files_are_found_by_name(paths: Paths) -> None:
    toml_path = put(paths, "web.toml", SMALL)
    json_path = put(paths, "other.json", json.dumps(APPC))
    assert podfile.find(paths, "web") == toml_path
    assert podfile.find(paths, "other") == json_path
    assert podfile.load(paths, "web").text == SMALL.encode()
    assert [app.name for app in podfile.load(paths, "other").manifest.apps] == ["web", "log"]


def test_two_forms_of_one_pod_are_an_error(paths: Paths) -> None:
    put(paths, "web.toml", SMALL)
    put(paths, "web.json", json.dumps(APPC))
    with pytest.raises(BadInput) as caught:
        podfile.load(paths, "web")
    directory = paths.pod_files
    message = f"pod web: both {directory}/web.toml and {directory}/web.json exist (remove one)"
    assert str(caught.value) == message


def test_an_unknown_pod_names_the_candidates(paths: Paths) -> None:
    directory = paths.pod_files
    with pytest.raises(NotFound) as caught:
        podfile.load(paths, "web")
    message = f"pod web: neither {directory}/web.toml nor {directory}/web.json exists"
    assert str(caught.value) == message
    with pytest.raises(NotFound, match=r"/web@1\.toml nor .*/web@1\.json nor .*/web@\.toml nor "):
        podfile.load(paths, "web@1")
    with pytest.raises(NotFound):
        podfile.find(Paths(local_config=f"{directory}/none"), "web")


@pytest.mark.parametrize("pod", ["../web", "", "web/x", "web.toml", "Web", "web@", "web@../x"])
def test_names_cannot_leave_the_directory(paths: Paths, pod: str) -> None:
    put(paths, "web.toml", SMALL)
    with pytest.raises(BadInput, match=r"^pod: "):
        podfile.find(paths, pod)


def test_unreadable_files_are_named(paths: Paths) -> None:
    path = f"{paths.pod_files}/web.toml"
    os.symlink("missing", path)
    with pytest.raises(NotFound, match=rf"^cannot read {path}: No such file"):
        podfile.load(paths, "web")
    os.unlink(path)
    os.mkdir(path)
    with pytest.raises(RktError, match=rf"^cannot read {path}: Is a directory"):
        podfile.load(paths, "web")


TEMPLATE = """
hostname = "host-%i"
[[app]]
name = "web-%i"
image = "a"
exec = ["/bin/x", "100%%", "%%i", "%i%i"]
environment = { "A" = "%i", B = 5 }
"""


def test_a_template_is_filled_with_the_instance(paths: Paths) -> None:
    path = put(paths, "web@.toml", TEMPLATE)
    found = podfile.load(paths, "web@blue")
    assert (found.name, found.path, found.text) == ("web@blue", path, TEMPLATE.encode())
    assert found.options.hostname == "host-blue"
    overrides = found.options.apps["web-blue"].overrides
    assert overrides.exec == ("/bin/x", "100%", "%i", "blueblue")
    assert overrides.environment == (NameValue("A", "blue"), NameValue("B", "5"))


def test_a_json_template_is_filled_too(paths: Paths) -> None:
    text = json.dumps(APPC).replace("example.com/log", "example.com/%i")
    put(paths, "web@.json", text)
    assert podfile.load(paths, "web@blue").options.apps["log"].image == (
        "example.com/blue:2,os=linux"
    )


def test_a_file_of_its_own_goes_before_the_template(paths: Paths) -> None:
    put(paths, "web@.toml", TEMPLATE)
    own = put(paths, "web@red.toml", app_line("exec = ['/x', '%i', '%d']"))
    found = podfile.load(paths, "web@red")
    assert found.path == own
    assert found.options.apps["web"].overrides.exec == ("/x", "%i", "%d")


def test_a_template_is_no_pod(paths: Paths) -> None:
    put(paths, "web@.toml", TEMPLATE)
    with pytest.raises(NotFound):
        podfile.find(paths, "web")


@pytest.mark.parametrize("text", ["%d", "50%", "%", "%\\u0000"])
def test_unknown_specifiers_are_refused(paths: Paths, text: str) -> None:
    path = put(paths, "web@.toml", app_line(f'args = ["x", "{text}"]'))
    with pytest.raises(BadInput) as caught:
        podfile.load(paths, "web@1")
    assert str(caught.value).startswith(f"{path}: app[0].args[1]: unknown specifier ")


@pytest.mark.parametrize("text", [FULL, SMALL])
def test_options_survive_being_stored(text: str) -> None:
    options = toml(text).options
    stored = json.loads(json.dumps(options.to_json()))
    assert PodOptions.from_json(stored, "options") == options
    for app in options.apps.values():
        assert AppOptions.from_json(json.loads(json.dumps(app.to_json())), "f") == app


def test_default_options_are_stored_as_little() -> None:
    assert PodOptions.from_json({}, "f") == PodOptions()
    assert AppOptions().to_json() == {}
    assert AppOverrides().to_json() == {}


def test_overrides_survive_being_stored() -> None:
    overrides = AppOverrides(
        exec=("/x",),
        args=(),
        supplementary_gids=(),
        environment=(NameValue("A", "1"),),
        isolators=(Isolator("os/linux/no-new-privileges", False),),
        mount_points=(MountPoint("m", "/m", True), MountPoint("n", "/n")),
        ports=(Port("p", "udp", 1, 2, True),),
        user_annotations={"a b": "c"},
        user_labels={"d": ""},
    )
    assert AppOverrides.from_json(json.loads(json.dumps(overrides.to_json())), "f") == overrides


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PodOptions(dns=("x",)), 'run: dns[0]: "x" is not an IP address'),
        (PodOptions(networks=()), "run: network: empty"),
        (PodOptions(insecure=("x",)), 'run: insecure[0]: "x" is not one of image'),
        (PodOptions(hosts_entries=("x",)), 'run: hosts[0]: "x" is not an entry'),
        (
            PodOptions(apps={"a": AppOptions(overrides=AppOverrides(exec=()))}),
            "run: apps.a.overrides.exec: names no program",
        ),
        (
            PodOptions(apps={"a": AppOptions(overrides=AppOverrides(ports=(Port("p", "x", 1),)))}),
            'run: apps.a.overrides.ports[0].protocol: "x" is not tcp or udp',
        ),
    ],
)
def test_options_made_elsewhere_are_checked_alike(options: PodOptions, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        options.checked("run")
    assert str(caught.value).startswith(message)


def test_good_options_made_elsewhere_are_returned() -> None:
    options = PodOptions(networks=("none",), apps={"a": AppOptions(stop_timeout=3.0)})
    assert options.checked("run") == options


IMAGE_APP = App(
    exec=("/bin/server", "--quiet"),
    user="5",
    group="6",
    supplementary_gids=(7,),
    working_directory="/image",
    environment=(NameValue("A", "image"), NameValue("B", "image")),
    isolators=(
        Isolator("resource/memory", {"limit": "1G"}),
        Isolator(isolators.CAPABILITIES_RETAIN, {"set": ["CAP_KILL"]}),
    ),
    mount_points=(MountPoint("data", "/data"), MountPoint("log", "/log")),
    ports=(Port("http", "tcp", 80), Port("https", "tcp", 443)),
    user_annotations={"a": "image", "b": "image"},
    user_labels={"l": "image"},
)


def test_no_overrides_change_nothing() -> None:
    assert apply_overrides(IMAGE_APP, AppOverrides(), app="web") == IMAGE_APP


def test_overrides_replace_and_merge() -> None:
    overrides = AppOverrides(
        user="50",
        supplementary_gids=(),
        environment=(NameValue("C", "pod"), NameValue("A", "pod")),
        isolators=(
            Isolator(isolators.CAPABILITIES_REMOVE, {"set": ["CAP_CHOWN"]}),
            Isolator("resource/memory", {"limit": "2G"}),
        ),
        mount_points=(MountPoint("log", "/var/log", True),),
        ports=(Port("admin", "tcp", 8000), Port("http", "tcp", 8080)),
        user_annotations={"b": "pod", "c": "pod"},
    )
    assert apply_overrides(IMAGE_APP, overrides, app="web") == replace(
        IMAGE_APP,
        user="50",
        supplementary_gids=(),
        environment=(NameValue("A", "pod"), NameValue("B", "image"), NameValue("C", "pod")),
        isolators=overrides.isolators,
        mount_points=(MountPoint("data", "/data"), MountPoint("log", "/var/log", True)),
        ports=(Port("http", "tcp", 8080), Port("https", "tcp", 443), Port("admin", "tcp", 8000)),
        user_annotations={"a": "image", "b": "pod", "c": "pod"},
    )


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (AppOverrides(args=("-v",)), ("/bin/server", "--quiet", "-v")),
        (AppOverrides(exec=("/x",)), ("/x",)),
        (AppOverrides(exec=("/x", "1"), args=("2",)), ("/x", "1", "2")),
        (AppOverrides(args=()), ("/bin/server", "--quiet")),
    ],
)
def test_exec_replaces_and_args_append(overrides: AppOverrides, expected: tuple[str, ...]) -> None:
    assert apply_overrides(IMAGE_APP, overrides, app="web").exec == expected


def test_an_image_without_an_app_needs_a_command() -> None:
    found = apply_overrides(None, AppOverrides(exec=("/x",)), app="web")
    assert found == App(exec=("/x",), user="0", group="0")
    for image_app in (None, replace(IMAGE_APP, exec=())):
        with pytest.raises(BadInput, match=r"^app web: neither its image nor the pod says what to"):
            apply_overrides(image_app, AppOverrides(args=("-v",)), app="web")


def test_what_confines_an_app_and_a_pod() -> None:
    shared = """
pids = 64
block-bandwidth = "2M"
block-iops = 1000
network-bandwidth = "1G"
selinux-context = "system_u:system_r:web_t:s0:c1,c2"
apparmor-profile = "web"
"""
    own = """
seccomp-retain = ["@rkt/default-whitelist", "mount"]
seccomp-errno = "EPERM"
rlimits = { nofile = "1024:4096", core = 0 }
sysctl = { "net.core.somaxconn" = 100 }
"""
    own = 'stop-signal = "SIGRTMIN+3"\noutput = "tty"\n' + own
    top = "strict = true\ninsecure = 'paths'\nshm-size = '64Mi'\n"
    found = toml(f"{shared}{top}{SMALL}{shared}{own}")
    assert found.options.shm_size == 64 << 20
    both = (
        Isolator(isolators.PIDS, {"limit": "64"}),
        Isolator(isolators.BLOCK_BANDWIDTH, {"default": True, "limit": "2M"}),
        Isolator(isolators.BLOCK_IOPS, {"default": True, "limit": "1000"}),
        Isolator(isolators.NETWORK_BANDWIDTH, {"default": True, "limit": "1G"}),
    )
    context = {"user": "system_u", "role": "system_r", "type": "web_t", "level": "s0:c1,c2"}
    security = (
        Isolator(isolators.SELINUX, context),
        Isolator(isolators.APPARMOR, {"profile": "web"}),
    )
    assert found.manifest.isolators == (*both, *security)
    assert (found.options.strict, found.options.insecure) == (True, ("paths",))
    (options,) = found.options.apps.values()
    assert (options.stop_signal, options.output) == (37, "tty")
    kept = ["@rkt/default-whitelist", "mount"]
    assert options.overrides.isolators == (
        *both,
        Isolator(isolators.SYSCTL, {"net.core.somaxconn": "100"}),
        *security,
        Isolator(isolators.SECCOMP_RETAIN, {"set": kept, "errno": "EPERM"}),
        Isolator(isolators.RLIMITS, {"nofile": "1024:4096", "core": 0}),
    )
    assert PodOptions.from_json(found.options.to_json()) == found.options
