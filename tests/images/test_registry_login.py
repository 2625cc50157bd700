"""Registries that want to know who asks: passwords, tokens, and where credentials come from."""

import base64
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rktsd.errors import BadInput, FetchError, RktError
from tests.images.world import World
from tests.material.images import oci_layout
from tests.material.registry import RegistryServer
from tests.material.servers import Answer, Request
from tests.material.tokens import TokenServer

HOST = "registry.example:5000"
IMAGE = f"docker://{HOST}/team/web:v1"
PASSWORD = 'sécret: with"colon'
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAIN = "import sys; from rktsd.cli.main import main; sys.exit(main())"
USERS = {"me": PASSWORD, "other": "x"}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("layout")
    root = directory / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "motd").write_text("hello")
    oci_layout([str(root)], directory / "web.oci", "v1", config={"cmd": "/bin/web"})
    return f"{directory}/web.oci:v1"


@pytest.fixture
def closed(world: World, home: Path, layout: str) -> Iterator[RegistryServer]:
    """A registry that wants a password."""
    world.trust_ca(HOST)
    passwords = world.directory / "htpasswd"
    passwords.touch()
    for user, password in USERS.items():
        command = ["htpasswd", "-Bbi", str(passwords), user]
        subprocess.run(command, input=password.encode(), check=True, capture_output=True)
    with RegistryServer(
        world.directory / "closed", world.certificate, port=5000, htpasswd=str(passwords)
    ) as server:
        server.push(f"oci:{layout}", "team/web:v1", credentials=f"me:{PASSWORD}")
        yield server


@pytest.fixture
def tokens(world: World) -> TokenServer:
    return TokenServer(world.directory / "tokens", "https://example.com/token?realm=a", USERS)


@pytest.fixture
def guarded(world: World, home: Path, layout: str, tokens: TokenServer) -> Iterator[RegistryServer]:
    """A registry that wants a token of example.com."""
    world.trust_ca(HOST)
    with (
        world.site({"/token": tokens.answer}),
        RegistryServer(
            world.directory / "guarded", world.certificate, port=5000, tokens=tokens
        ) as server,
    ):
        cert = f"{world.directory}/skopeo"
        os.makedirs(cert)
        os.environ["SSL_CERT_FILE"] = world.ca.certificate
        try:
            for name in ("team/web:v1", "public/web:v1"):
                server.push(f"oci:{layout}", name, credentials=f"me:{PASSWORD}")
        finally:
            del os.environ["SSL_CERT_FILE"]
        tokens.issued.clear()
        yield server


def encoded(user: str = "me", password: str = PASSWORD) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def put(path: Path | str, content: Any) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_text(json.dumps(content))


def rkt_auth(world: World, user: str, password: str) -> None:
    put(
        f"{world.paths.local_config}/auth.d/registry.json",
        {
            "rktKind": "dockerAuth",
            "rktVersion": "v1",
            "registries": [HOST],
            "credentials": {"user": user, "password": password},
        },
    )


def pull(world: World, image: str = IMAGE) -> None:
    record = world.fetch(image, insecure=["image"], pull_policy="update")
    motd = f"{world.store.layer_path(record.layers[0])}/etc/motd"
    assert Path(motd).read_text() == "hello"


def refused(world: World, message: str, image: str = IMAGE) -> str:
    with world.store_unchanged(), pytest.raises(RktError, match=message) as caught:
        world.fetch(image, insecure=["image"])
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


def test_a_password_is_wanted(world: World, closed: RegistryServer) -> None:
    said = refused(world, "refuses access to team/web: UNAUTHORIZED")
    assert f"rkt login {HOST}" in said
    rkt_auth(world, "me", "wrong")
    assert "to the user me of auth.d" in refused(world, "refuses access to team/web")
    rkt_auth(world, "me", PASSWORD)
    pull(world)


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ("etc/auth.json", HOST),
        ("run/containers/auth.json", HOST),
        ("run/containers/auth.json", f"{HOST}/team/web"),
        ("run/containers/auth.json", f"{HOST}/team"),
        ("home/.config/containers/auth.json", HOST),
        ("home/.docker/config.json", HOST),
        ("home/.docker/config.json", f"https://{HOST}/v1/"),
    ],
)
def test_files_of_podman_and_docker_are_read(
    world: World, closed: RegistryServer, where: str, key: str
) -> None:
    path = world.directory / where
    put(path, {"auths": {key: {"auth": encoded()}}})
    pull(world)
    put(path, {"auths": {f"{HOST}/teams": {"auth": encoded()}, "example.com": {}}})
    world.store.close()
    with pytest.raises(FetchError, match="refuses access"):
        world.fetch(IMAGE, insecure=["image"], pull_policy="update")


def test_one_file_may_be_chosen_and_the_longest_key_counts(
    world: World, closed: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"auth": encoded("me", "wrong")}
    rkt_auth(world, "me", PASSWORD)
    chosen = world.directory / "chosen.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(chosen))
    put(chosen, {"auths": {HOST: wrong}})
    refused(world, f"user me of {chosen}")
    put(chosen, {"auths": {HOST: wrong, f"{HOST}/team": {"auth": encoded()}}})
    pull(world)


@pytest.mark.parametrize("key", ["credHelpers", "credsStore"])
def test_a_credential_helper_is_asked(
    world: World, closed: RegistryServer, monkeypatch: pytest.MonkeyPatch, home: Path, key: str
) -> None:
    programs = world.directory / "programs"
    programs.mkdir()
    helper = programs / "docker-credential-box"
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    config = {"credHelpers": {HOST: "box"}, "credsStore": "box"}
    put(home / ".docker/config.json", {key: config[key], "auths": {HOST: {}}})
    refused(world, "docker-credential-box")
    answer = json.dumps({"ServerURL": HOST, "Username": "me", "Secret": PASSWORD})
    (programs / "answer").write_text(answer)
    helper.write_text(
        f'#!/bin/sh\n[ "$1" = get ] && [ "$(cat)" = "{HOST}" ] && exec cat {programs}/answer\n'
        "echo credentials not found in native keychain; exit 1\n"
    )
    helper.chmod(0o755)
    pull(world)
    helper.write_text("#!/bin/sh\necho the keychain is locked >&2; exit 1\n")
    world.store.close()
    with pytest.raises(FetchError, match="docker-credential-box: the keychain is locked"):
        world.fetch(IMAGE, insecure=["image"], pull_policy="update")
    put(home / ".docker/config.json", {"credsStore": "../box"})
    with pytest.raises(BadInput, match="is not the name of a credential helper"):
        world.fetch(IMAGE, insecure=["image"], pull_policy="update")


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"auths": []}', b'{"auths": {"%s": {"auth": "bWU="}}}',
     b'{"auths": {"%s": {"auth": "???"}}}', b'{"auths": {"%s": {"auth": 1}}}',
     b'{"auths": {"%s": {"username": [], "password": "x"}}}', b'{"credHelpers": {"%s": 1}}'],
)  # fmt: skip
def test_a_file_that_is_none_is_named(
    world: World, closed: RegistryServer, home: Path, content: bytes
) -> None:
    path = home / ".docker/config.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content.replace(b"%s", HOST.encode()))
    with world.store_unchanged(), pytest.raises(BadInput) as caught:
        world.fetch(IMAGE, insecure=["image"])
    assert str(caught.value).startswith(str(path))


def test_a_token_for_everybody(world: World, guarded: RegistryServer, tokens: TokenServer) -> None:
    pull(world, f"docker://{HOST}/public/web:v1")
    assert tokens.issued == [""]
    refused(world, "refuses access to team/web.*rkt login")


def test_a_token_for_a_user(world: World, guarded: RegistryServer, tokens: TokenServer) -> None:
    rkt_auth(world, "me", "wrong")
    refused(world, "refuses access to team/web: UNAUTHORIZED: who are you .*user me of auth.d")
    rkt_auth(world, "me", PASSWORD)
    pull(world)
    assert tokens.issued == ["me"]


def test_an_identity_token_is_exchanged(
    world: World, guarded: RegistryServer, tokens: TokenServer, home: Path
) -> None:
    path = home / ".docker/config.json"
    put(path, {"auths": {HOST: {"auth": encoded("", ""), "identitytoken": "identity-of-me"}}})
    pull(world)
    assert tokens.issued == ["me"]
    put(path, {"auths": {HOST: {"identitytoken": "stolen"}}})
    world.store.close()
    with pytest.raises(FetchError, match="who are you"):
        world.fetch(IMAGE, insecure=["image"], pull_policy="update")


def test_a_bearer_token_is_shown_as_it_is(
    world: World, guarded: RegistryServer, tokens: TokenServer, home: Path
) -> None:
    path = home / ".config/containers/auth.json"
    put(
        path, {"auths": {HOST: {"registrytoken": tokens.issue("me", ["repository:team/web:pull"])}}}
    )
    pull(world)
    assert tokens.issued == []


def test_a_token_that_ran_out_is_renewed(world: World, home: Path, layout: str) -> None:
    world.trust_ca(HOST)
    directory = Path(layout.removesuffix(":v1"))
    (top,) = json.loads((directory / "index.json").read_bytes())["manifests"]
    challenge = {"WWW-Authenticate": 'Bearer realm="https://example.com/token"'}
    used: set[str | None] = {None}

    def once(request: Request) -> Answer:
        """Every token opens one door."""
        token = request.headers.get("authorization")
        if token in used:
            return Answer(status=401, headers=challenge)
        used.add(token)
        name = request.path.rpartition("/")[2]
        digest = top["digest"] if name == "v1" else name
        return Answer(directory.joinpath("blobs", *digest.split(":")).read_bytes())

    def token(request: Request) -> Answer:
        return Answer(json.dumps({"token": f"t{len(used)}"}).encode())

    digests = [f"blobs/{path.parent.name}:{path.name}" for path in directory.glob("blobs/*/*")]
    content = {f"/v2/team/web/{name}": once for name in ("manifests/v1", *digests)}
    with world.site(content, port=5000), world.site({"/token": token}):
        pull(world)
    assert len(used) == 4


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer realm="https://example.com/token"',
        'bearer service="a, \\"b\\"", REALM="https://example.com/token"',
        "Bearer scope=repository:team/web:pull,realm=https://example.com/token",
        'Basic realm="x", Bearer realm="https://example.com/token",error="invalid_token"',
        'Bearer realm="https://example.com/token",scope="repository:a:pull repository:b:pull"',
        'Digest realm="x", nonce=y, Bearer realm="https://example.com/token"',
    ],
)
def test_challenges_in_all_their_forms(world: World, home: Path, challenge: str) -> None:
    world.trust_ca(HOST)
    seen: list[str | None] = []

    def answer(request: Request) -> Answer:
        seen.append(request.headers.get("authorization"))
        return Answer(status=401, headers={"WWW-Authenticate": challenge})

    content = {"/token": b'{"access_token": "t"}'}
    with (
        world.site({"/v2/team/web/manifests/v1": answer}, port=5000),
        world.site(content) as site,
    ):
        refused(world, "refuses access to team/web")
    assert seen == [None, "Bearer t"]
    (asked,) = site.requests
    assert ("service=a%2C+%22b%22" in asked.query) == ('b\\"' in challenge)
    scopes = asked.query.count("scope=")
    assert scopes == (2 if "repository:a" in challenge else 1)
    assert "repository%3A" in asked.query


def test_credentials_go_where_the_registry_says_and_nowhere_else(world: World, home: Path) -> None:
    world.trust_ca(HOST)
    rkt_auth(world, "me", PASSWORD)
    over_http = {"WWW-Authenticate": 'Bearer realm="http://example.com/token"'}
    path = "/v2/team/web/manifests/v1"
    with world.site({path: Answer(status=401, headers=over_http)}, port=5000):
        refused(world, "over http")
    elsewhere = Answer(status=307, headers={"Location": "https://other.example/x"})
    greedy = Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    with world.site({path: elsewhere}, port=5000), world.site({"/x": greedy}) as site:
        refused(world, "other.example/x: the server answered 401")
    assert all("authorization" not in request.headers for request in site.requests)


def rkt(world: World, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command line, in this machine's network and with the directories of ``world``."""
    return subprocess.run(
        ["/usr/bin/python3", "-c", MAIN, f"--dir={world.paths.data}",
         f"--local-config={world.paths.local_config}",
         f"--system-config={world.paths.system_config}", *arguments],
        input=stdin, capture_output=True, text=True, check=False, cwd=TOP,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["closed", "guarded"])
def test_login_and_logout(world: World, request: pytest.FixtureRequest, kind: str) -> None:
    request.getfixturevalue(kind)
    path = f"{world.paths.local_config}/auth.json"
    login = ["login", "--username=me", "--password-stdin", HOST]
    done = rkt(world, *login, stdin="wrong\n")
    assert done.returncode == 254
    assert f"{HOST}: refuses access" in done.stderr
    assert not os.path.exists(path)
    put(path, {"auths": {"example.com": {"auth": encoded("a", "b")}}, "credHelpers": {}})
    login[-1] = f"HTTPS://{HOST}/" if kind == "guarded" else login[-1]
    done = rkt(world, *login, stdin=f"{PASSWORD}\n")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"login: logged in to {HOST} as me, written to {path}\n"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    kept = json.loads(Path(path).read_bytes())
    assert sorted(kept["auths"]) == ["example.com", HOST]
    assert kept["credHelpers"] == {}
    pull(world)
    done = rkt(world, "logout", HOST)
    assert (done.returncode, done.stderr) == (0, f"logout: removed {HOST} from {path}\n")
    assert list(json.loads(Path(path).read_bytes())["auths"]) == ["example.com"]
    done = rkt(world, "logout", HOST)
    assert (done.returncode, done.stderr) == (254, f"logout: {path}: nothing about {HOST}\n")


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["login", HOST], "", "--username is needed"),
        (["login", "-u", "me", HOST], "x", "--password-stdin"),
        (["login", "-u", "me", "--password-stdin", HOST], "", "no password given"),
        (["login", "-u", "a:b", "--password-stdin", HOST], "x", "holds a colon"),
        (["login", "-u", "me", "--password-stdin", "a/b"], "x", "is not the name of a registry"),
        (["login", "-u", "me", "--password-stdin", f"http://{HOST}/"], "x",
         f"'http://{HOST}/': credentials go over https only, not http (write {HOST})"),
        (["logout", "ftp://a b"], "", "'ftp://a b': credentials go over https only, not ftp\n"),
        (["login", "-u", "me", "--password-stdin", "https://a/b"], "x", "is not the name of a reg"),
        (["login"], "", "must provide one registry"),
        (["logout", "a", "b"], "", "must provide one registry"),
        (["login", "-u", "me", "--password-stdin", HOST], "x", "Connection refused"),
    ],
)  # fmt: skip
def test_a_login_that_makes_no_sense(
    world: World, home: Path, arguments: list[str], stdin: str, message: str
) -> None:
    done = rkt(world, *arguments, stdin=stdin)
    assert done.returncode == 254
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_registry_that_wants_nothing_is_told(world: World, home: Path) -> None:
    world.trust_ca(HOST)
    with RegistryServer(world.directory / "open", world.certificate, port=5000):
        done = rkt(world, "login", "-u", "me", "--password-stdin", HOST, stdin="x")
    assert done.returncode == 0
    assert "wants no password" in done.stderr
