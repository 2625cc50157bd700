"""``rkt trust``: which keys are taken up, and where they are written."""

import contextlib
import json
import os
import pty
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rktsd.cli.main import main
from rktsd.errors import BadInput, FetchError, NotFound, StoreError, TrustError, UsageError
from rktsd.images.keystore import add_key, dearmor, first_key, trusted_keys
from rktsd.images.trust import Key, read_keys, trust
from tests.images.world import World, discovery_site
from tests.material.keys import SigningKey

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAIN = "import sys; from rktsd.cli.main import main; sys.exit(main())"


def yes(key: Key) -> bool:
    return True


def test_keys_from_a_file(world: World) -> None:
    one, two = world.key("One <one@example.com>"), world.key("Two", signing_subkey=True)
    file = world.directory / "keys.asc"
    file.write_text(one.public + two.public)
    shown: list[Key] = []
    said: list[str] = []

    def confirm(key: Key) -> bool:
        shown.append(key)
        return key.fingerprint == two.fingerprint.lower()

    written = trust(
        "example.com/app", [str(file)], paths=world.paths, confirm=confirm, report=said.append
    )
    assert {key.fingerprint for key in shown} == {one.fingerprint.lower(), two.fingerprint.lower()}
    review = next(key for key in shown if key.subkeys).describe("example.com/app")
    assert 'prefix: "example.com/app"' in review
    assert "Subkey fingerprint: " in review
    grouped = " ".join(two.fingerprint[at : at + 4] for at in range(0, 40, 4))
    assert grouped in review
    place = f"trustedkeys/prefix.d/example.com/app/{two.fingerprint.lower()}"
    assert written == [f"{world.paths.local_config}/{place}"]
    assert Path(written[0]).read_text().startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert any(written[0] in line for line in said)
    assert [key.prefix for key in trusted_keys(world.paths, "example.com/app/sub")] == [
        "example.com/app"
    ]
    assert trusted_keys(world.paths, "example.com/apple") == ()
    assert trusted_keys(world.paths, "example.com") == ()


def test_a_root_key_from_a_url(world: World) -> None:
    key = world.key()
    with world.site({"/key.asc": key.public.encode()}):
        source = "https://example.com/key.asc"
        written = trust(None, [source], paths=world.paths, confirm=yes)
        assert written[0].endswith(f"trustedkeys/root.d/{key.fingerprint.lower()}")
        with pytest.raises(FetchError, match="404"):
            trust(None, ["https://example.com/none"], paths=world.paths, confirm=yes)
    assert len(trusted_keys(world.paths, "any.example/name")) == 1


def test_keys_by_discovery(world: World) -> None:
    key = world.key()
    content = discovery_site({})
    content["/keys.asc"] = key.public.encode()
    with world.site(content):
        assert len(trust("example.com/a/b", [], paths=world.paths, confirm=yes)) == 1
        with pytest.raises(FetchError, match=r"discovery failed for 'other\.example/x'"):
            trust("other.example/x", [], paths=world.paths, confirm=yes)


def test_http_needs_both_words(world: World) -> None:
    key = world.key()
    with world.site({"/key.asc": key.public.encode()}, port=80, tls=False):
        url = "http://example.com/key.asc"
        for words in ((), ("http",), ("pubkey",)):
            with pytest.raises(FetchError, match=r"refused \(--insecure-allow-http takes"):
                trust(
                    "example.com",
                    [url],
                    paths=world.paths,
                    confirm=yes,
                    insecure=frozenset(words),
                )
        both = frozenset({"http", "pubkey"})
        assert trust("example.com", [url], paths=world.paths, confirm=yes, insecure=both)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", BadInput, "holds no OpenPGP public key"),
        (b"nonsense", BadInput, "holds no OpenPGP public key"),
        (
            b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n",
            BadInput,
            "holds no OpenPGP public key",
        ),
    ],
)
def test_what_is_no_key(world: World, content: bytes, error: type[Exception], message: str) -> None:
    file = world.directory / "keys.asc"
    file.write_bytes(content)
    with pytest.raises(error, match=message):
        trust("example.com", [str(file)], paths=world.paths, confirm=yes)
    assert not os.path.exists(f"{world.paths.local_config}/trustedkeys")


def test_wrong_use_is_told(world: World) -> None:
    with pytest.raises(UsageError, match="without a scheme"):
        trust("https://example.com", ["x"], paths=world.paths, confirm=yes)
    with pytest.raises(UsageError, match="no keys given"):
        trust(None, [], paths=world.paths, confirm=yes)
    with pytest.raises(BadInput, match="AC Identifier"):
        trust("../../root", ["x"], paths=world.paths, confirm=yes)
    with pytest.raises(NotFound, match="no such file"):
        trust("example.com", ["/nowhere"], paths=world.paths, confirm=yes)
    for existing in ("/dev/zero", "/root"):
        with pytest.raises(StoreError, match=f"cannot read {existing}: not a regular file"):
            trust(None, [existing], paths=world.paths, confirm=yes)
    with pytest.raises(BadInput, match="https and http URLs only"):
        trust("example.com", ["ftp://example.com/x"], paths=world.paths, confirm=yes)


def test_expired_and_revoked_keys_are_refused(world: World) -> None:
    old = world.key("Old", expires="1y", when="20200101T000000")
    lost = world.key("Lost")
    for text, message in ((old.public, "has expired"), (lost.revoked(), "is revoked")):
        file = world.directory / "key.asc"
        file.write_text(text)
        with pytest.raises(TrustError, match=message):
            trust("example.com", [str(file)], paths=world.paths, confirm=yes)


def test_our_own_reading_agrees_with_gnupg(world: World) -> None:
    for key in (world.key("One"), world.key("Two", signing_subkey=True)):
        packets = dearmor(key.public.encode(), "key")
        fingerprint, first = first_key(packets + packets, "key")
        assert fingerprint == key.fingerprint.lower()
        assert first == packets
        assert [each.fingerprint for each in read_keys(packets, "key")] == [fingerprint]
        for at in range(len(packets) - 1):
            with contextlib.suppress(TrustError):
                assert first_key(packets[:at], "key") == (fingerprint, packets[:at])
    with pytest.raises(TrustError, match="key: a truncated or broken OpenPGP key"):
        first_key(packets[:20], "key")


def test_the_callers_own_keys_stay_untouched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    home = world.directory / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GNUPGHOME", str(home / "gnupg"))
    read_keys(world.key().public.encode(), "key")
    assert list(home.iterdir()) == []


Rkt = Callable[..., tuple[int, str, str]]


def directories(world: World) -> list[str]:
    paths = world.paths
    return [f"--local-config={paths.local_config}", f"--system-config={paths.system_config}"]


@pytest.fixture
def rkt(world: World, capsys: pytest.CaptureFixture[str]) -> Rkt:
    """``rkt trust ARGUMENT...``: status, output, errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main([*directories(world), "trust", *arguments])
        return status, *capsys.readouterr()

    return call


def listed(rkt: Rkt, *arguments: str) -> list[dict[str, Any]]:
    status, out, err = rkt("--list", "--format=json", *arguments)
    assert (status, err) == (0, "")
    found: list[dict[str, Any]] = json.loads(out) or []
    return found


def vendor(world: World, key: SigningKey, prefix: str | None) -> str:
    """Trust ``key`` as a package would have it."""
    system = world.paths._replace(local_config=world.paths.system_config)
    return add_key(system, key.public, fingerprint=key.fingerprint, prefix=prefix)


def test_an_empty_list(rkt: Rkt) -> None:
    assert rkt("--list") == (0, "PREFIX\tFINGERPRINT\tSTATE\tUSER\n", "")
    assert listed(rkt) == []


def test_keys_are_listed_with_what_they_are_worth(world: World, rkt: Rkt) -> None:
    root, plain = world.key("Root <root@example.com>"), world.key("Plain")
    old = world.key("Old", expires="1y", when="20200101T000000")
    lost, soon = world.key("Lost"), world.key("Soon", expires="20y")
    world.trust(root, prefix=None)
    for key in (plain, old, soon):
        world.trust(key, prefix="example.com")
    Path(world.trust(lost, prefix="example.com/team")).write_text(lost.revoked())
    places = {
        each["fingerprint"].upper(): (each["prefix"], each["state"], each["users"])
        for each in listed(rkt)
    }
    assert places == {
        root.fingerprint: (None, "valid", ["Root <root@example.com>"]),
        plain.fingerprint: ("example.com", "valid", ["Plain"]),
        old.fingerprint: ("example.com", "expired", ["Old"]),
        soon.fingerprint: ("example.com", "valid", ["Soon"]),
        lost.fingerprint: ("example.com/team", "revoked", ["Lost"]),
    }
    expires = {each["users"][0]: each["expires"] for each in listed(rkt)}
    assert expires["Old"] == 1609372800
    assert expires["Plain"] is None
    out = rkt("--list", "--no-legend")[1]
    assert re.search(
        rf"^\(all images\)\t+{root.fingerprint.lower()}\t+valid\t+Root <root@", out, re.M
    )
    assert re.search(r"\tuntil 2\d\d\d-\d\d-\d\d\t+Soon$", out, re.M)
    assert {each["users"][0] for each in listed(rkt, "--root")} == {"Root <root@example.com>"}
    for name, users in (
        ("example.com/team/web", 5),
        ("example.com/teams", 4),
        ("other.example", 1),
    ):
        assert len(listed(rkt, f"--prefix={name}")) == users


def test_masked_and_broken_keys_are_listed_as_such(world: World, rkt: Rkt) -> None:
    masked, other = world.key("Masked"), world.key("Other")
    path = vendor(world, masked, "example.com")
    mask = Path(path.replace(world.paths.system_config, world.paths.local_config))
    mask.parent.mkdir(parents=True)
    mask.touch()
    assert [(each["state"], each["file"]) for each in listed(rkt)] == [("masked", path)]
    broken = Path(world.trust(other))
    broken.write_text(masked.public)
    status, out, err = rkt("--list", "--format=json", "--prefix=example.com")
    assert status == 0
    assert f"trust: {broken}: holds the key {masked.fingerprint.lower()}, not the one" in err
    assert sorted(each["state"] for each in json.loads(out)) == ["broken", "masked"]


def test_keys_are_removed_by_fingerprint_or_the_end_of_it(world: World, rkt: Rkt) -> None:
    one, two, three = (world.key(name) for name in ("One", "Two", "Three"))
    places = [world.trust(key, prefix="example.com/team/a") for key in (one, two)]
    kept = world.trust(one, prefix="example.com")
    root = world.trust(three, prefix=None)
    grouped = " ".join(one.fingerprint[at : at + 4] for at in range(0, 40, 4))
    prefix = "--prefix=example.com/team/a"
    said = f"trust: key {one.fingerprint.lower()} removed {places[0]!r}\n"
    assert rkt("--remove", prefix, grouped) == (0, f"{places[0]}\n", said)
    assert rkt("--remove", prefix, two.fingerprint[-16:])[1] == f"{places[1]}\n"
    # The directories of a prefix without keys go, others stay.
    assert os.listdir(f"{world.paths.local_config}/trustedkeys/prefix.d/example.com") == [
        one.fingerprint.lower()
    ]
    status, out, err = rkt("--remove", "--root", one.fingerprint)
    assert (status, out) == (254, "")
    assert f"no key {one.fingerprint} is trusted for all images (rkt trust --list" in err
    status, out, err = rkt("--remove", prefix, one.fingerprint)
    assert 'is trusted for prefix "example.com/team/a"' in err
    assert rkt("--remove", "--root", f"0x{three.fingerprint}")[1] == f"{root}\n"
    assert [each["file"] for each in listed(rkt)] == [kept]


def test_a_key_of_the_system_is_masked_and_can_be_taken_up_again(world: World, rkt: Rkt) -> None:
    key, path = world.key(), world.aci()
    key.sign(path)
    there = vendor(world, key, "example.com")
    mine = world.trust(key)
    assert world.fetch(path).verified_by == key.fingerprint.lower()
    status, out, err = rkt("--remove", "--prefix=example.com", key.fingerprint)
    assert (status, out.splitlines()) == (0, [mine, mine])
    assert f"masked by the empty file {mine!r}" in err
    assert (os.path.getsize(mine), os.path.getsize(there) > 0) == (0, True)
    with pytest.raises(TrustError, match="made by unknown entity"):
        world.fetch(path)
    file = world.directory / "key.asc"
    file.write_text(key.public)
    trust("example.com", [str(file)], paths=world.paths, confirm=yes)
    assert world.fetch(path).verified_by == key.fingerprint.lower()


@pytest.mark.parametrize(("answers", "trusted"), [("yes\n", 1), ("what?\nno\n", 0), ("\x04", 0)])
def test_fingerprints_are_reviewed_on_a_terminal(world: World, answers: str, trusted: int) -> None:
    key = world.key()
    file = world.directory / "key.asc"
    file.write_text(key.public)
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        ["/usr/bin/python3", "-c", MAIN, *directories(world), "trust", "--root", str(file)],
        cwd=TOP,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(terminal)
    os.write(ours, answers.encode())
    out, err = process.communicate(timeout=60)
    os.close(ours)
    grouped = " ".join(key.fingerprint[at : at + 4] for at in range(0, 40, 4))
    assert f"gpg key fingerprint is: {grouped}\n    Builder <builder@example.com>\n" in err
    asked = err.count("Are you sure you want to trust this key (yes/no)?")
    assert asked == max(1, answers.count("\n"))
    assert process.returncode == 0
    assert len(out.splitlines()) == len(trusted_keys(world.paths)) == trusted


def test_without_a_terminal_nobody_is_asked(world: World, rkt: Rkt, tmp_path: Path) -> None:
    key = tmp_path / "key.asc"
    key.write_text(world.key().public)
    run = ["/usr/bin/python3", "-c", MAIN, *directories(world), "trust", "--root", str(key)]
    done = subprocess.run(run, cwd=TOP, input="yes\n", capture_output=True, text=True, check=False)
    assert done.returncode == 254
    assert "standard input is not a terminal (--skip-fingerprint-review" in done.stderr
    assert trusted_keys(world.paths) == ()
