"""From where images come: a site with discovery, a registry, an OCI layout, a file; by rkt itself.

The servers run in a box with the package, on names that are the box's loopback.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.box import Box
from tests.material import demo, images
from tests.material.certificates import Certificate, issue
from tests.material.keys import SigningKey
from tests.material.registry import CONFIGURATION, TLS, RegistryServer
from tests.material.sigstore import claim
from tests.system.pods import SERVE, Pod
from tests.waiting import eventually

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REGISTRY = "registry.example"


class Sources(NamedTuple):
    """A box whose /srv holds the material; ``digest`` is that of the registry's image."""

    box: Box
    digest: str

    def rkt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.box.run(["rkt", *arguments])

    def stored(self) -> list[str]:
        """The names of the stored images."""
        done = self.rkt("image", "list", "--format=json")
        assert done.returncode == 0, done.stderr
        return [row["name"] for row in json.loads(done.stdout) or []]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A directory with site, certificates, registry data, layout and a signature of its image; the
    digest of that."""
    directory = str(tmp_path_factory.mktemp("sources"))
    roots = f"{directory}/roots"
    demo.make(f"{directory}/demo", roots)
    top = f"{directory}/top"
    os.makedirs(f"{top}/etc")
    with open(f"{top}/etc/motd", "w") as file:
        file.write("from the upper layer\n")
    base = f"{directory}/base"
    subprocess.run(["cp", "-a", f"{roots}/busybox", base], check=True)
    with open(f"{base}/etc/motd", "w") as file:
        file.write("from the lower layer\n")
    with open(f"{base}/etc/removed", "w") as file:
        file.write("removed by a whiteout\n")
    layout = images.oci_layout(
        [base, top],
        f"{directory}/layout",
        "v1",
        config={
            "cmd": '["/bin/sh", "-c", "cat /etc/motd; ls /etc/removed; id"]',
            "user": "1000:100",
        },
        removed=["/etc/removed"],
    )
    authority = Certificate(f"{directory}/demo/tls/ca.crt", f"{directory}/demo/tls/ca.key")
    certificate = issue(authority, [REGISTRY])
    with RegistryServer(f"{directory}/registry") as registry:
        digest = registry.push(layout, "team/app:v1")
    key = SigningKey.create(f"{directory}/gnupg", "Builder")
    signed = claim(digest, f"{REGISTRY}:5000/team/app:v1", type="atomic container signature")
    place = f"{directory}/lookaside/team/app@{digest.replace(':', '=')}"
    os.makedirs(place)
    with open(f"{place}/signature-1", "wb") as message:
        message.write(key.message(signed))
    with open(f"{directory}/builder.asc", "w") as file:
        file.write(key.public)
    moved = Certificate(*(path.replace(directory, "/srv", 1) for path in certificate))
    with open(f"{directory}/registry/tls.yml", "w") as file:
        where = {"directory": "/srv/registry", "address": "127.0.0.1", "port": 5000}
        file.write(CONFIGURATION.format(**where) + TLS.format(**moved._asdict()))
    return directory, digest


@pytest.fixture(scope="module")
def sources(material: tuple[str, str], deb: str) -> Iterator[Sources]:
    """The box, its servers running."""
    directory, digest = material
    binds = [(REPOSITORY, "/mnt"), (directory, "/srv")]
    with Box(debs=[deb], binds=binds) as box:
        box.shell(
            f"echo '127.0.0.1 {demo.HOST} {REGISTRY}' >>/etc/hosts;"
            " cp /srv/demo/tls/ca.crt /usr/local/share/ca-certificates/tests.crt;"
            " update-ca-certificates; useradd -m -G rkt member;"
            " cd /mnt; systemd-run --quiet --unit=site --working-directory=/mnt"
            " /usr/bin/python3 -m tests.material.site /srv/demo/site 443"
            f" /srv/demo/tls/{demo.HOST}.crt /srv/demo/tls/{demo.HOST}.key;"
            " systemd-run --quiet --unit=registry docker-registry serve /srv/registry/tls.yml"
        )
        for url in (f"https://{demo.HOST}/", f"https://{REGISTRY}:5000/v2/"):
            patient = ["--retry", "50", "--retry-delay", "0", "--retry-connrefused"]
            box.run(["curl", "-sS", "-o", "/dev/null", *patient, url], check=True)
        yield Sources(box, digest)


@pytest.fixture
def empty(sources: Sources) -> Iterator[Sources]:
    """The box with an empty store and no trusted keys, before and after."""
    clean = (
        "rkt gc --grace-period=0s >/dev/null;"
        " rm -rf /etc/rkt/trustedkeys/*.d/* /etc/rkt/trust.toml /var/lib/rkt/cas/* /run/rkt/plans"
    )
    sources.box.shell(clean)
    yield sources
    sources.box.shell(clean)


def test_by_name_signed_by_a_trusted_key(empty: Sources) -> None:
    name = f"{demo.HOST}/visitor"
    refused = empty.rkt("fetch", f"{name}:{demo.VERSION}")
    assert refused.returncode == 254
    assert refused.stderr.count("\n") <= 3
    assert empty.stored() == []
    trusted = empty.rkt("trust", f"--prefix={demo.HOST}", "--skip-fingerprint-review")
    assert trusted.returncode == 0, trusted.stderr
    (key,) = empty.box.shell(f"ls /etc/rkt/trustedkeys/prefix.d/{demo.HOST}").split()
    assert len(key) == 40
    fetched = empty.rkt("fetch", "--full", f"{name}:{demo.VERSION}")
    assert fetched.returncode == 0, fetched.stderr
    assert "signature verified" in fetched.stderr
    image_id = fetched.stdout.strip()
    assert len(image_id) == len("sha512-") + 64
    assert empty.stored() == [f"{name}:{demo.VERSION}"]
    manifest = json.loads(empty.rkt("image", "cat-manifest", name).stdout)
    assert manifest["name"] == name
    removed = empty.rkt("image", "rm", image_id)
    assert removed.returncode == 0, removed.stderr
    assert empty.stored() == []
    assert empty.box.shell("ls /var/lib/rkt/cas/layers /var/lib/rkt/cas/blobs").split() == [
        "/var/lib/rkt/cas/blobs:",
        "/var/lib/rkt/cas/layers:",
    ]


def test_by_url_and_by_file(empty: Sources) -> None:
    path = f"{demo.HOST}/visitor-{demo.VERSION}-linux-{images.architecture()}.aci"
    empty.rkt("trust", "--root", "--skip-fingerprint-review", "/srv/demo/site/pubkeys.gpg")
    by_url = empty.rkt("fetch", f"https://{demo.HOST}/{path}")
    assert by_url.returncode == 0, by_url.stderr
    by_file = empty.rkt("fetch", f"/srv/demo/site/{path}")
    assert by_file.returncode == 0, by_file.stderr
    assert by_file.stdout == by_url.stdout


def test_wrong_signatures(empty: Sources) -> None:
    path = f"/srv/demo/site/{demo.HOST}/visitor-{demo.VERSION}-linux-{images.architecture()}.aci"
    empty.rkt("trust", "--root", "--skip-fingerprint-review", "/srv/demo/site/pubkeys.gpg")
    empty.box.shell(
        f"mkdir -p /var/tmp/bad; cp {path} /var/tmp/bad/unsigned.aci;"
        f" head -c -7 {path} >/var/tmp/bad/truncated.aci;"
        f" cp {path}.asc /var/tmp/bad/truncated.aci.asc"
    )
    unsigned = empty.rkt("fetch", "/var/tmp/bad/unsigned.aci")
    assert unsigned.returncode == 254
    assert "error opening signature file" in unsigned.stderr
    truncated = empty.rkt("fetch", "/var/tmp/bad/truncated.aci")
    assert truncated.returncode == 254
    assert "Traceback" not in truncated.stderr
    insecure = empty.rkt("--insecure-options=image", "fetch", "/var/tmp/bad/truncated.aci")
    assert insecure.returncode == 254
    assert "/var/tmp/bad/truncated.aci" in insecure.stderr
    assert empty.stored() == []


def test_from_a_registry(empty: Sources) -> None:
    name = f"docker://{REGISTRY}:5000/team/app"
    unpinned = empty.rkt("fetch", f"{name}:v1")
    assert unpinned.returncode == 254
    assert "--insecure-options=image" in unpinned.stderr
    pinned = empty.rkt("fetch", f"{name}@{empty.digest}")
    assert pinned.returncode == 0, pinned.stderr
    wrong = empty.digest[:-1] + ("0" if empty.digest[-1] != "0" else "1")
    assert empty.rkt("fetch", f"{name}@{wrong}").returncode == 254
    insecure = empty.rkt("--insecure-options=image", "fetch", f"{name}:v1")
    assert insecure.returncode == 0, insecure.stderr
    assert insecure.stdout == pinned.stdout


def test_a_pod_of_an_image_that_is_signed(empty: Sources) -> None:
    """The start of a unit has all that it takes to check a signature."""
    policy = (
        f'[docker."{REGISTRY}:5000/team"]\nrequire = "gpg"\nlookaside = "file:///srv/lookaside"\n'
    )
    empty.box.shell(f"cat >/etc/rkt/trust.toml <<'END'\n{policy}END")
    name = f"docker://{REGISTRY}:5000/team/app:v1"
    serve = f"exec = ['/bin/sh', '-c', '''{SERVE}''']\n"
    pod = Pod(empty.box, "signed", f'[[app]]\nname = "app"\nimage = "{name}"\n{serve}')
    refused = empty.rkt("fetch", name)
    assert refused.returncode == 254
    prefix = "registry.example_5000/team"
    assert f"no trusted keys for image '{prefix}/app' (rkt trust --prefix=" in refused.stderr
    trust = ("trust", f"--prefix={prefix}", "--skip-fingerprint-review", "/srv/builder.asc")
    assert empty.rkt(*trust).returncode == 0
    pod.start()
    listed = empty.rkt("image", "list", "--no-legend", "--fields=verifiedby").stdout
    key = empty.rkt("trust", "--list", "--no-legend").stdout.split()[1]
    assert listed == f"OpenPGP key {key[-16:].upper()}\n"
    pod.stop()
    pod.remove()
    assert empty.rkt("trust", "--remove", f"--prefix={prefix}", key).returncode == 0
    assert empty.rkt("fetch", name).returncode == 254


# What trust.toml says of the registry, and what becomes of the tag and of the digest then.
POLICIES = {
    "": ("nothing vouches for this image", "digest"),
    'require = "digest"': ("nothing vouches for this image", "digest"),
    'require = "reject"': ("rejects it", "rejects it"),
    'require = "insecure-accept"': ("nobody", "digest"),
    'require = "gpg"\nkeys = ["/srv/builder.asc"]\nlookaside = "file:///srv/lookaside"': (
        "OpenPGP key",
        "OpenPGP key",
    ),
    'require = "gpg"\nkeys = ["/srv/builder.asc"]\nlookaside = "file:///srv/demo"': (
        "no signature of sha256:",
        "no signature of sha256:",
    ),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_the_policy_holds_for_members_as_for_root(empty: Sources, policy: str) -> None:
    """A member has no way around it: neither a digest nor a file of his own."""
    if policy:
        text = f'[docker."{REGISTRY}:5000/team"]\n{policy}\n'
        empty.box.shell(f"cat >/etc/rkt/trust.toml <<'END'\n{text}END")
    own = '[default]\nrequire = "insecure-accept"\n'
    empty.box.shell(
        "for each in .config .config/rkt .rkt; do"
        " install -d -o member /home/member/$each;"
        f" printf '{own!r}' >/home/member/$each/trust.toml; done"
    )
    name = f"docker://{REGISTRY}:5000/team/app"
    for reference, expected in zip(
        (f"{name}:v1", f"{name}@{empty.digest}"), POLICIES[policy], strict=True
    ):
        for user in ("member", "root"):
            empty.box.shell("rm -rf /var/lib/rkt/cas/*")
            done = empty.box.run(["runuser", "-u", user, "--", "rkt", "fetch", reference])
            listed = empty.rkt("image", "list", "--no-legend", "--fields=verifiedby").stdout
            assert expected in (listed if done.returncode == 0 else done.stderr), (user, reference)


def test_layers_and_whiteouts_of_a_layout_in_a_pod(empty: Sources) -> None:
    fetched = empty.rkt("--insecure-options=image", "fetch", "oci:/srv/layout:v1")
    assert fetched.returncode == 0, fetched.stderr
    done = empty.rkt("run", "--net=none", fetched.stdout.strip())
    assert done.returncode == 0, done.stderr
    greeting, missing, identity = done.stdout.splitlines()
    assert greeting == "from the upper layer"
    assert missing == "ls: /etc/removed: No such file or directory"
    assert identity.startswith("uid=1000")


def test_a_pod_of_images_from_everywhere(empty: Sources) -> None:
    empty.rkt("trust", f"--prefix={demo.HOST}", "--skip-fingerprint-review")
    serve = f"exec = ['/bin/sh', '-c', '''{SERVE}''']\n"
    registry = f"docker://{REGISTRY}:5000/team/app@{empty.digest}"
    pod = Pod(
        empty.box,
        "mixed",
        f'[[app]]\nname = "nginx"\nimage = "{demo.HOST}/nginx:{demo.VERSION}"\n'
        f'[[app]]\nname = "app"\nimage = "{registry}"\n{serve}'
        f'[[app]]\nname = "layout"\nimage = "oci:/srv/layout:v1"\ninsecure = ["image"]\n{serve}'
        '[[port]]\nname = "http"\nhost-port = 8080\n',
    )
    pod.start()
    curl = ["curl", "-sS", "http://127.0.0.1:8080/"]
    eventually(lambda: "nginx" in empty.box.run(curl).stdout, "nginx answers")
    pod.stop()
    assert pod.status("nginx") == pod.status("app") == pod.status("layout") == "success exited 0"
    pod.remove()


def test_a_registry_that_is_down(empty: Sources) -> None:
    done = empty.rkt("--insecure-options=image", "fetch", f"docker://{REGISTRY}:5001/team/app")
    assert done.returncode == 254
    assert done.stderr.splitlines()[-1].startswith("fetch: ")
    assert REGISTRY in done.stderr
    assert empty.stored() == []
