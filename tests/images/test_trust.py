"""``rkt trust``: which keys are taken up, and where they are written."""

import contextlib
import os
from pathlib import Path

import pytest

from rktsd.errors import BadInput, FetchError, NotFound, StoreError, TrustError, UsageError
from rktsd.images.keystore import dearmor, first_key, trusted_keys
from rktsd.images.trust import Key, read_keys, trust
from tests.images.world import World, discovery_site


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
