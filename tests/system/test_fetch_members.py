"""Members of group rkt fetch verified images without being root, and can do nothing more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.box import Box
from tests.material import demo, images, keys
from tests.system.busctl import IMAGE, answer, call, properties
from tests.waiting import eventually

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAME = f"{demo.HOST}/visitor"
OLD = "0.9.0"
MINE = f"{demo.HOST}/mine"
# What is over at once has no bars.
LARGE = f"{demo.HOST}/large"
# What a member may run instead of rkt: BODY with a connection s, and then what is answered.
RAW = """
import array, json, os, socket, sys, time
s = socket.socket(socket.AF_UNIX); s.connect("/run/rkt/fetch"); s.settimeout(30)
def ask(data, files=()):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files).tobytes())]
    s.sendmsg([data], rights if files else [])
def wish(image, **more):
    return json.dumps({"policy": "update", "images": [{"image": image, **more}]}).encode() + b"\\n"
BODY
while data := s.recv(65536):
    sys.stdout.buffer.write(data)
"""


class Members(NamedTuple):
    """A box with a site, and users: ``member`` is in group rkt, ``stranger`` is not."""

    box: Box

    def run(self, user: str, *command: str) -> subprocess.CompletedProcess[str]:
        return self.box.run(["runuser", "-u", user, "--", *command])

    def rkt(self, *arguments: str, user: str = "member") -> subprocess.CompletedProcess[str]:
        return self.run(user, "rkt", *arguments)

    def raw(self, body: str, *, user: str = "member") -> dict[str, Any]:
        """The last that is answered to what ``RAW`` runs."""
        done = self.run(user, "/usr/bin/python3", "-c", RAW.replace("BODY", body))
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        return dict(json.loads(lines[-1])) if lines else {}

    def stored(self) -> list[dict[str, Any]]:
        """All that is said of all images."""
        done = self.box.run(["rkt", "image", "list", "--format=json", "--full"])
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout) or [])

    def left(self) -> str:
        """Scratch in the store, and units of fetches."""
        return self.box.shell(
            "ls -A /var/lib/rkt/cas/tmp 2>/dev/null || :;"
            " systemctl list-units --no-legend 'rkt-fetch@*'"
        ).strip()


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = str(tmp_path_factory.mktemp("members"))
    demo.make(f"{directory}/demo", f"{directory}/roots")
    home = f"{directory}/demo/gnupg"
    listed = subprocess.run(
        ["gpg", "--homedir", home, "--with-colons", "--list-keys"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    fingerprint = next(x.split(":")[9] for x in listed.splitlines() if x.startswith("fpr"))
    key = keys.SigningKey(home, fingerprint, "")
    root = f"{directory}/roots/busybox"
    old = f"{directory}/demo/site/{NAME}-{OLD}-linux-{images.architecture()}.aci"
    images.write_aci(root, images.busybox_manifest(NAME, version=OLD), old)
    key.sign(old)
    large = f"{directory}/large"
    shutil.copytree(root, large, symlinks=True)
    Path(large, "noise").write_bytes(os.urandom(1000) * 100_000)
    shown = f"{directory}/demo/site/{LARGE}-{OLD}-linux-{images.architecture()}.aci"
    images.write_aci(large, images.busybox_manifest(LARGE, version=OLD), shown)
    key.sign(shown)
    mine = f"{directory}/mine.aci"
    images.write_aci(root, images.busybox_manifest(MINE), mine)
    key.sign(mine)
    return directory


@pytest.fixture(scope="module")
def ready(material: str, deb: str) -> Iterator[Members]:
    with Box(debs=[deb], binds=[(REPOSITORY, "/mnt"), (material, "/srv")]) as box:
        box.shell(
            f"echo '127.0.0.1 {demo.HOST}' >>/etc/hosts;"
            " cp /srv/demo/tls/ca.crt /usr/local/share/ca-certificates/tests.crt;"
            " update-ca-certificates; useradd -m -G rkt member; useradd -m stranger;"
            " systemd-run --quiet --unit=site --working-directory=/mnt"
            " /usr/bin/python3 -m tests.material.site /srv/demo/site 443"
            f" /srv/demo/tls/{demo.HOST}.crt /srv/demo/tls/{demo.HOST}.key;"
            " for each in mine.aci mine.aci.asc; do"
            "  install -o member -m 0600 /srv/$each /home/member/$each; done;"
            " echo secret >/root/secret.aci"
        )
        patient = ["--retry", "50", "--retry-delay", "0", "--retry-connrefused"]
        url = f"https://{demo.HOST}/"
        box.run(["curl", "-sS", "-o", "/dev/null", *patient, url], check=True)
        trust = ["rkt", "trust", "--root", "--skip-fingerprint-review"]
        box.run([*trust, "/srv/demo/site/pubkeys.gpg"], check=True)
        yield Members(box)


@pytest.fixture
def members(ready: Members) -> Iterator[Members]:
    """With an empty store, and nothing left by a member's fetch afterwards."""
    clean = "rkt gc --grace-period=0s >/dev/null; rm -rf /var/lib/rkt/cas/*"
    ready.box.shell(clean)
    yield ready
    eventually(lambda: "rkt-fetch@" not in ready.left(), "the service of a fetch is gone")
    ready.box.shell(clean)


@pytest.mark.row("non_root/FetchRmGCImage")
def test_a_member_fetches_by_name(members: Members) -> None:
    done = members.rkt("fetch", "--full", f"{NAME}:{demo.VERSION}")
    assert done.returncode == 0, done.stderr
    assert "signature verified" in done.stderr
    (image,) = members.stored()
    assert image["id"] == done.stdout.strip()
    again = members.rkt("image", "list", "--format=json", "--full")
    assert [each["id"] for each in json.loads(again.stdout)] == [image["id"]]
    owners = members.box.shell("find /var/lib/rkt/cas -user member").strip()
    assert owners == ""
    inspected = members.box.shell(f"rkt image verify {image['id']}")
    assert "successfully verified" in inspected


def test_a_member_fetches_what_only_he_can_read(members: Members) -> None:
    done = members.rkt("fetch", "/home/member/mine.aci")
    assert done.returncode == 0, done.stderr
    (image,) = members.stored()
    assert image["name"].startswith(MINE)


def test_a_member_sees_how_far_it_is(members: Members) -> None:
    """On a terminal there are bars, as root has them."""
    command = f"TERM=xterm script -qec 'rkt fetch {LARGE}:{OLD}' /dev/null"
    done = members.run("member", "sh", "-c", command)
    assert done.returncode == 0, done.stdout
    assert "\x1b[" in done.stdout
    assert "%" in done.stdout


def test_exit_status_and_errors_come_back(members: Members) -> None:
    done = members.rkt("fetch", f"{demo.HOST}/none:1", "--signature=/x")
    assert done.returncode == 254
    assert "--signature is for local files only" in done.stderr
    done = members.rkt("fetch", f"{NAME}:7")
    assert done.returncode == 254
    assert "404" in done.stderr
    members.run("member", "cp", "/home/member/mine.aci", "/home/member/unsigned.aci")
    done = members.rkt("fetch", "/home/member/unsigned.aci")
    assert done.returncode == 254
    assert "signature" in done.stderr
    assert members.stored() == []


# A registry that wants a password, and says no to all of them.
WARY = """
import http.server, ssl, sys
class Wary(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 5001), Wary)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(*sys.argv[1:])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def test_what_root_logged_in_to_with_podman_is_not_for_members(members: Members) -> None:
    """What he logged in to with rkt is the system's."""
    place = f"{demo.HOST}:5001"
    login = json.dumps({"auths": {place: {"auth": "cm9vdDpzZWNyZXQ="}}})
    members.box.shell(
        f"mkdir -p /run/containers/0; echo '{login}' >/run/containers/0/auth.json;"
        f" cat >/run/wary.py <<'END'\n{WARY}END\n"
        "systemd-run --quiet --unit=wary /usr/bin/python3 /run/wary.py"
        f" /srv/demo/tls/{demo.HOST}.crt /srv/demo/tls/{demo.HOST}.key;"
        f" curl -sS -o /dev/null --retry 50 --retry-delay 0 --retry-connrefused https://{place}/"
    )
    image = f"docker://{place}/web@sha256:{'0' * 64}"
    try:
        refused = members.rkt("fetch", image).stderr
        assert f"{place}: refuses access to web (it may not exist, or want credentials" in refused
        refused = members.rkt("fetch", image, user="root").stderr
        assert "(to the user root of /run/containers/0/auth.json)" in refused
        members.box.shell("mv /run/containers/0/auth.json /etc/rkt/auth.json")
        refused = members.rkt("fetch", image).stderr
        assert "(to the user root of /etc/rkt/auth.json)" in refused
    finally:
        members.box.shell("systemctl stop wary; rm -f /etc/rkt/auth.json /run/containers/0/*")


def test_strangers_are_turned_away(members: Members) -> None:
    done = members.rkt("fetch", f"{NAME}:{demo.VERSION}", user="stranger")
    assert done.returncode == 254
    assert "to be in the group rkt" in done.stderr
    assert members.box.shell("stat -c '%a %U:%G' /run/rkt/fetch").strip() == "660 root:rkt"


@pytest.mark.parametrize(
    "flags",
    [
        ["--insecure-options=image"],
        ["--trust-keys-from-https"],
        ["--local-config=/home/member"],
    ],
)
def test_what_only_root_may_say(members: Members, flags: list[str]) -> None:
    done = members.rkt(*flags, "fetch", f"{NAME}:{demo.VERSION}")
    assert done.returncode == 254
    assert "the system's own configuration and trust apply" in done.stderr
    assert members.stored() == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("ask(wish('/root/secret.aci'))", "only root fetches from"),
        ("ask(wish('/root/none.aci'))", "only root fetches from"),
        ("ask(wish('file:///root/secret.aci'))", "only root fetches from"),
        ("ask(wish('oci:/root'))", "only root fetches from"),
        ("ask(wish('oci-archive:/root/x'))", "only root fetches from"),
        ("ask(wish('docker-archive:/root/x'))", "only root fetches from"),
        ("ask(wish('./secret.aci'))", "only root fetches from"),
        ("ask(wish('http://pods.example/x.aci'))", "http is refused"),
        ("ask(wish('a.b/c', insecure=['image']))", "nothing that a member may say"),
        ("ask(wish('a.b/c', signature='/root/x'))", "nothing that a member may say"),
        ('ask(b\'{"dir": "/tmp"}\\n\')', "nothing that a member may say"),
        ('ask(b\'{"policy": "update", "images": []}\\n\')', "no image is named"),
        ("ask(b'nonsense\\n')", "request"),
        ("ask(b'[' * 60000 + b'\\n')", "request"),
        ("ask(b'x' * 60000); s.sendall(b'x' * 60000)", "too long"),
        ("ask(wish('a' * 5000))", "too much"),
        ("ask(wish('x', files=1))", "a file is missing"),
        ("ask(wish('x'), [0])", "nobody asks for"),
        ("ask(wish('x', files=1), [os.open('/dev/zero', 0)])", "not a regular file"),
        ("ask(wish('x', files=1), [os.pipe()[0]])", "not a regular file"),
        ("ask(wish('x', files=1), [os.open('/home/member', 0)])", "not a regular file"),
        ("ask(wish('x', files=1), [os.open('/etc/passwd', os.O_PATH)])", "not open for reading"),
        ("ask(wish('x', files=1), [os.open('/home/member/w', 65, 0o600)])", "not open for reading"),
        ("ask(wish('x', files=2), [os.open('/etc/passwd', 0), 0])", "not a regular file"),
        ("ask(wish('x', files=2), [os.open('/etc/passwd', 0)] * 2)", "signature"),
        ("ask(wish('x', files=1), [0] * 100)", "are handed over"),
    ],
)
def test_hostile_requests(members: Members, body: str, reason: str) -> None:
    answer = members.raw(body)
    assert answer["done"] == 254
    assert reason in answer["error"]
    assert "Traceback" not in json.dumps(answer)
    assert members.stored() == []


def test_a_file_without_end_is_cut_off(members: Members) -> None:
    """Ten terabytes of nothing, with a signature that looks like one."""
    body = (
        "f = open('/home/member/huge', 'wb'); f.truncate(10 << 40);"
        "ask(wish('huge', files=2), [os.open('/home/member/huge', 0),"
        " os.open('/home/member/mine.aci.asc', 0)])"
    )
    members.box.write("/etc/rkt/rktsd.toml", "[fetch]\nmaximum-archive = 67108864\n")
    try:
        answer = members.raw(body)
    finally:
        members.box.shell("rm /etc/rkt/rktsd.toml")
    assert "larger than" in answer["error"], answer


def test_what_is_stored_stays_as_it_is(members: Members) -> None:
    """Neither the word of who vouches, nor time, source or name of an image of root's changes."""
    path = f"/srv/demo/site/{NAME}-{demo.VERSION}-linux-{images.architecture()}.aci"
    members.box.run(["rkt", "fetch", path], check=True)
    describe = f"rkt image inspect --format=json-pretty {NAME} | grep -v last_used"
    before = (
        members.box.shell(describe),
        members.box.shell(
            "cd /var/lib/rkt/cas && find blobs layers images -printf '%p %i %C@\\n' | sort"
        ),
    )
    done = members.rkt("fetch", f"{NAME}:{demo.VERSION}")
    assert done.returncode == 0, done.stderr
    assert before == (
        members.box.shell(describe),
        members.box.shell(
            "cd /var/lib/rkt/cas && find blobs layers images -printf '%p %i %C@\\n' | sort"
        ),
    )


def test_an_older_version_does_not_become_the_newest(members: Members) -> None:
    members.box.run(["rkt", "fetch", f"{NAME}:{demo.VERSION}"], check=True)
    done = members.rkt("fetch", f"{NAME}:{OLD}")
    assert done.returncode == 0, done.stderr
    assert len(members.stored()) == 2
    manifest = json.loads(members.box.shell(f"rkt image cat-manifest {NAME}"))
    assert {"name": "version", "value": demo.VERSION} in manifest["labels"]


def test_who_hangs_up_leaves_nothing(members: Members) -> None:
    for pause in (0, 0.1, 0.3, 0.6):
        body = f"ask(wish('{NAME}:{demo.VERSION}')); time.sleep({pause}); os._exit(0)"
        members.raw(body)
    eventually(lambda: members.left() == "", "nothing is left of fetches that nobody waits for")
    assert members.box.shell("systemctl list-units --failed --no-legend 'rkt-*'").strip() == ""
    assert members.rkt("fetch", f"{NAME}:{demo.VERSION}").returncode == 0


def test_who_says_nothing_is_in_nobodys_way_for_long(members: Members) -> None:
    body = "more = [socket.socket(socket.AF_UNIX) for _ in range(30)];"
    body += "[each.connect('/run/rkt/fetch') for each in more]; time.sleep(2); os._exit(0)"
    members.raw(body)

    def served() -> bool:
        return members.rkt("fetch", f"{NAME}:{demo.VERSION}").returncode == 0

    eventually(served, "others are served")
    assert members.box.shell("systemctl is-active rkt-fetch.socket").strip() == "active"


def test_few_at_once(members: Members) -> None:
    """What one member asks for at the same time is bounded, and others have their turn."""
    held = "/run/rkt/fetches"
    uid = members.box.shell("id -u member").strip()
    lock = members.box.popen(
        ["sh", "-c", f"mkdir -p {held}; exec 4>{held}/{uid}.0 5>{held}/{uid}.1 6>{held}/{uid}.2"
         f" 7>{held}/{uid}.3; flock 4; flock 5; flock 6; flock 7; echo held; sleep 60"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert lock.stdout
        lock.stdout.readline()
        done = members.rkt("fetch", f"{NAME}:{demo.VERSION}")
        assert done.returncode == 254
        assert "under way already" in done.stderr
    finally:
        lock.kill()
        lock.wait()


def test_the_journal_names_who_asked(members: Members) -> None:
    members.rkt("fetch", f"{NAME}:{demo.VERSION}")
    uid = members.box.shell("id -u member").strip()
    assert f"uid {uid}: fetching {NAME}" in members.box.journal("-u", "rkt-fetch@*")


def test_a_fetch_over_the_bus_is_one_of_a_member(ready: Members) -> None:
    """It is verified by the system's trust, and tells what it came to."""
    path = answer(
        ready.box, "FetchImage", "sa{sv}", f"{NAME}:{OLD}", "1", "pull-policy", "s", "update",
        user="member",
    )  # fmt: skip
    shown = properties(ready.box, path, IMAGE)
    assert (shown["Name"], shown["Version"]) == (NAME, OLD)
    assert len(shown["VerifiedBy"]) == 40
    assert call(ready.box, "FetchImage", "sa{sv}", NAME, "0", user="stranger").returncode != 0
    done = call(ready.box, "FetchImage", "sa{sv}", f"{NAME}:9.9.9", "0", user="member")
    assert done.returncode != 0
    assert "9.9.9" in done.stderr
    done = call(ready.box, "FetchImage", "sa{sv}", "/home/member/mine.aci", "0", user="member")
    assert "only root fetches from layouts, archives and paths" in done.stderr
