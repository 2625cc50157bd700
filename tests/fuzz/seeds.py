"""Honest inputs, from which fuzzing begins."""

import base64
import bz2
import gzip
import io
import json
import lzma
import tarfile


def _tar(format: int, *members: tuple[dict[str, object], bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for fields, content in members:
            info = tarfile.TarInfo()
            for name, value in fields.items():
                setattr(info, name, value)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    # Two blocks are enough at the end; more only take time.
    return buffer.getvalue().rstrip(b"\0").ljust(
        -(-len(buffer.getvalue().rstrip(b"\0")) // 512) * 512, b"\0"
    ) + bytes(1024)


_Members = tuple[tuple[dict[str, object], bytes], ...]
_EVERYTHING: _Members = (
    ({"name": "d", "type": tarfile.DIRTYPE, "mode": 0o755}, b""),
    ({"name": "d/file", "mode": 0o4755, "uid": 1000, "mtime": 1_500_000_000}, b"content" * 100),
    ({"name": "l", "type": tarfile.SYMTYPE, "linkname": "d/file"}, b""),
    ({"name": "h", "type": tarfile.LNKTYPE, "linkname": "d/file"}, b""),
    ({"name": "p", "type": tarfile.FIFOTYPE}, b""),
    ({"name": "c", "type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, b""),
    ({"name": "./x" * 50}, b""),
)  # fmt: skip
_PAX: _Members = (
    ({"name": "p" * 150, "mtime": 1.5, "pax_headers": {"SCHILY.xattr.user.a": "b"}}, b"x"),
    ({"name": "s", "type": tarfile.SYMTYPE, "linkname": "t" * 200, "uid": 1 << 30}, b""),
)
TARS = (
    _tar(tarfile.USTAR_FORMAT, *_EVERYTHING),
    _tar(tarfile.GNU_FORMAT, *_EVERYTHING, ({"name": "n" * 200, "linkname": "m" * 200}, b"y")),
    _tar(tarfile.PAX_FORMAT, *_PAX),
)
STREAMS = (
    gzip.compress(TARS[2], mtime=0),
    gzip.compress(b"a", mtime=0) + gzip.compress(b"b", mtime=0),
    bz2.compress(TARS[2]),
    lzma.compress(TARS[2]),
    bytes.fromhex("28b52ffd0458190000616263990977ad"),
    b"plain",
)


def _document(value: object) -> bytes:
    return json.dumps(value).encode()


_HEX = "0" * 64
_DESCRIPTOR = {"digest": f"sha256:{_HEX}", "size": 2}
_OCI = "application/vnd.oci.image"
_MANIFEST = {
    "schemaVersion": 2,
    "mediaType": f"{_OCI}.manifest.v1+json",
    "config": {"mediaType": f"{_OCI}.config.v1+json", **_DESCRIPTOR},
    "layers": [{"mediaType": f"{_OCI}.layer.v1.tar+gzip", **_DESCRIPTOR}],
    "annotations": {"a": "b"},
}
_INDEX = {
    "schemaVersion": 2,
    "manifests": [
        {
            "mediaType": f"{_OCI}.manifest.v1+json",
            **_DESCRIPTOR,
            "platform": {"architecture": "amd64", "os": "linux", "variant": "v2"},
        }
    ],
}
_CONFIG = {
    "architecture": "arm",
    "os": "linux",
    "variant": "v7",
    "created": "2020-01-01T00:00:00Z",
    "author": "a",
    "config": {
        "User": "1:2",
        "Env": ["PATH=/bin", "1=2"],
        "Entrypoint": ["/bin/app"],
        "Cmd": ["-x"],
        "WorkingDir": "/srv",
        "Labels": {"a": "b"},
        "Volumes": {"/data": {}},
        "ExposedPorts": {"80/tcp": {}, "1000-1002/udp": {}},
        "StopSignal": "SIGQUIT",
        "Healthcheck": {"Test": ["NONE"]},
    },
    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_HEX}"]},
}
_APP = {
    "exec": ["/bin/app", "-x"],
    "user": "0",
    "group": "0",
    "supplementaryGIDs": [1],
    "eventHandlers": [{"name": "pre-start", "exec": ["/bin/a"]}],
    "workingDirectory": "/",
    "environment": [{"name": "A", "value": "b"}],
    "isolators": [
        {"name": "resource/memory", "value": {"limit": "1G"}},
        {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_CHOWN"]}},
    ],
    "mountPoints": [{"name": "data", "path": "/data", "readOnly": True}],
    "ports": [{"name": "www", "protocol": "tcp", "port": 80, "count": 2}],
    "userLabels": {"a": "b"},
}
_IMAGE = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.com/app",
    "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
    "app": _APP,
    "dependencies": [{"imageName": "example.com/a", "imageID": "sha512-ab", "size": 1}],
    "pathWhitelist": ["/a"],
    "annotations": [{"name": "created", "value": "2016-05-30T12:00:00Z"}],
}
_POD = {
    "acKind": "PodManifest",
    "acVersion": "0.8.11",
    "apps": [
        {
            "name": "app",
            "image": {"id": "sha512-ab", "name": "example.com/app", "labels": []},
            "app": _APP,
            "mounts": [{"volume": "data", "path": "/data"}],
        }
    ],
    "volumes": [
        {"name": "data", "kind": "host", "source": "/srv", "readOnly": True},
        {"name": "t", "kind": "empty", "mode": "0755", "uid": 1, "gid": 2},
    ],
    "ports": [{"name": "www", "hostPort": 8080, "hostIP": "127.0.0.1"}],
    "isolators": [],
}
JSONS = (_document(_IMAGE), b'[1, 1.5e3, "\\u00e9", {"a": null}, true]')
IMAGE_MANIFESTS = (_document(_IMAGE),)
POD_MANIFESTS = (_document(_POD),)
OCI_MANIFESTS = (_document(_MANIFEST), _document(_INDEX))
OCI_CONFIGS = (_document(_CONFIG),)
ISOLATORS = (
    b'resource/memory {"limit": "1.5G", "request": "500Mi"}',
    b'resource/cpu {"limit": "500m"}',
    b'os/linux/capabilities-remove-set {"set": ["CAP_CHOWN"]}',
    b'os/linux/seccomp-retain-set {"set": ["@rkt/default-whitelist"], "errno": "EPERM"}',
    b'os/linux/oom-score-adj -5',
    b'os/linux/no-new-privileges true',
)  # fmt: skip
POD_FILES = (
    b"""network = ["default:IP=10.1.2.3"]
hostname = "web"
memory = "1G"
[[volume]]
name = "data"
source = "/srv"
[[app]]
name = "web"
image = "example.com/web:1.0"
exec = "/bin/web --port 80"
ports = [{name = "http", port = 80}]
mounts = [{volume = "data", path = "/data"}]
[app.systemd]
Nice = 5
""",
    b'[[app]]\nname = "a"\nimage = "docker://alpine:3"\n',
)
REFERENCES = (
    b"example.com/app:1.0,os=linux", b"docker://library/alpine:3@sha256:" + b"0" * 64,
    b"https://example.com/a.aci", b"oci:/srv/layout:tag", b"sha512-abcd", b"./a.aci",
    b"docker-archive:/a.tar:name:tag", b"oci-archive:/a.tar", b"file:///a.aci",
    b"cimd:appc:v=0:a.b/c?os=linux", b"cimd:aci-archive:v=0:file%3A%2F%2F%2Fa.aci",
)  # fmt: skip
DOCKER_NAMES = (
    b"registry.example:5000/team/app:1.0", b"alpine", b"localhost/a@sha256:" + b"0" * 64,
    b"index.docker.io/nginx",
)  # fmt: skip
IMAGE_NAMES = (b"example.com/app:1.0,os=linux,arch=amd64", b"a", b"a.b~c/d_e")
PLATFORMS = (b"linux/arm/v7", b"linux/amd64", b"linux/aarch64")
PAGES = (
    b"""<!doctype html><html><head><meta name="ac-discovery" content="example.com
    https://example.com/{name}-{version}-{os}.{ext}"><meta name=ac-discovery-pubkeys
    content="example.com https://example.com/k"><![CDATA[x]]><!-- c --></head><body>""",
)
CHALLENGES = (
    b'Bearer realm="https://a/t?b=\\"c",service=x, scope="repository:a:pull", Basic realm=y',
    b"Negotiate, Basic",
)
AUTHS = (
    b'{"rktKind": "auth", "rktVersion": "v1", "domains": ["a.example"], "type": "basic",'
    b' "credentials": {"user": "u", "password": "p"}}',
    b'{"rktKind": "dockerAuth", "rktVersion": "v1", "registries": ["a.example"],'
    b' "credentials": {"user": "u", "password": "p"}}',
    b'{"rktKind": "auth", "rktVersion": "v1", "domains": ["a.example"], "type": "aws",'
    b' "credentials": {"accessKeyID": "u", "secretAccessKey": "p", "awsRegion": "eu-west-1"}}',
)
DOCKER_LOGINS = (
    b'{"auths": {"https://registry.example/v1/": {"auth": "dTpw"},'
    b' "registry.example/team": {"username": "u", "password": "p"}}}',
    b'{"auths": {"registry.example": {"identitytoken": "t", "auth": "dTpw"}}, "HttpHeaders": {}}',
)
SETTINGS = (b"[fetch]\nretries = 3\nretry-delay = 0.5\nsimple-discovery = true\n",)
REGISTRIES = (
    b'[[registry]]\nprefix = "example.com/a"\nlocation = "mirror.example:5000/b"\ninsecure = true\n'
    b'[[registry.mirror]]\nlocation = "other.example"\n',
)
TRUSTS = (
    b'[default]\nrequire = "reject"\n[docker."docker.io"]\nrequire = "sigstore"\nkeys = ["/k"]\n'
    b'[docker."*.example.com"]\nrequire = "gpg"\nkeys = ["/a"]\nlookaside = "https://a/"\n',
)
_PACKETS = bytes.fromhex("c60604000000010acd0161c20400000001ce06040000000112")
KEYS = (
    _PACKETS,
    bytes.fromhex("99000604000000010ab40161"),
    b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n"
    + base64.encodebytes(_PACKETS)
    + b"-----END PGP PUBLIC KEY BLOCK-----\n",
    bytes.fromhex("c6ff0001100004") + bytes(0x10FFF),
)
CLAIMS = (
    _document(
        {
            "critical": {
                "type": "cosign container image signature",
                "image": {"docker-manifest-digest": f"sha256:{_HEX}"},
                "identity": {"docker-reference": "docker.io/library/a:1"},
            },
            "optional": None,
        }
    ),
)
ARCHIVES = (
    _tar(
        tarfile.PAX_FORMAT,
        ({"name": "oci-layout"}, b'{"imageLayoutVersion": "1.0.0"}'),
        ({"name": "index.json"}, _document(_INDEX)),
        (
            {"name": "blobs/sha256/link", "type": tarfile.SYMTYPE, "linkname": "../../index.json"},
            b"",
        ),
    ),
    _tar(
        tarfile.USTAR_FORMAT,
        (
            {"name": "manifest.json"},
            _document([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l/layer.tar"]}]),
        ),
        ({"name": "c.json"}, _document(_CONFIG)),
        ({"name": "l/layer.tar"}, b"layer"),
    ),
)

QUADLETS = (
    b"""[Unit]
Description=web
After=network-online.target other.container
[Container]
Image=docker.io/library/nginx
Exec=nginx -g "daemon off;" \\
  -x
Environment=A=1 "B=two words"
PublishPort=127.0.0.1:8080-8081:80-81/udp
Volume=./html:/srv:ro,Z
Mount=type=tmpfs,dst=/t,tmpfs-size=16m
PodmanArgs=--cpus=1.5 --env X=1 -v /a:/b
""",
    b"""[Container]
Image=a.example/b
Entrypoint=["/b"]
HealthCmd=["CMD", "/c"]
HealthInterval=1m30s
AddCapability=NET_ADMIN
DropCapability=all
Ulimit=nofile=1:2
Tmpfs=/t:size=1g
UserNS=auto
[Service]
Restart=always
[Install]
WantedBy=default.target
""",
)
MANIFESTS = (
    b"""kind: Pod
metadata: {name: web}
spec:
  securityContext: {fsGroup: 5}
  initContainers: [{name: a, image: b, command: [/c]}]
  containers:
  - name: web
    image: nginx
    args: [$(A)]
    env: [{name: A, value: "1"}]
    ports: [{containerPort: 80, hostPort: 8080, hostIP: "::1"}]
    volumeMounts: [{name: v, mountPath: /v}, {name: w, mountPath: /w}]
    resources: {limits: {cpu: 0.5}, requests: {cpu: 100m}}
  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}, {name: w, hostPath: {path: /}}]
""",
    _document(
        {
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "template": {
                    "spec": {
                        "containers": [
                            {
                                "name": "a",
                                "image": "b",
                                "livenessProbe": {"exec": {"command": ["c"]}},
                                "securityContext": {
                                    "capabilities": {"add": ["CHOWN"], "drop": ["ALL"]},
                                    "privileged": False,
                                },
                                "lifecycle": {"stopSignal": "SIGINT"},
                            }
                        ],
                        "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a"]}],
                        "dnsConfig": {"options": [{"name": "a", "value": "b"}]},
                    }
                }
            },
        }
    ),
)
UNIT_WORDS = (b"a 'b c' \"d\\te\" \\x41\\101\\u00e9",)
