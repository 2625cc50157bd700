"""What is fuzzed: a function of bytes for each parser, and honest inputs to begin with.

A target returns when its parser takes the input or refuses it in words, and raises otherwise: any
exception that is no RktError, or a promise that does not hold (round trips, names without "..",
agreement with another reader).
"""

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from typing import NamedTuple

from rktsd.appc import read, write
from rktsd.appc.cursor import Cursor, decode_json
from rktsd.appc.isolators import checked, known
from rktsd.appc.names import (
    check_ac_identifier,
    check_ac_name,
    parse_image_name,
    sanitise_ac_identifier,
    sanitise_ac_name,
)
from rktsd.config.auth import read_auth
from rktsd.config.registries import read_registries
from rktsd.config.settings import read_settings
from rktsd.config.trust import read_policy
from rktsd.errors import RktError
from rktsd.generate.documents import decode
from rktsd.generate.draft import Draft
from rktsd.generate.inverse import document
from rktsd.generate.kube import drafts_of
from rktsd.generate.quadlet import read_quadlets
from rktsd.generate.unitfile import words
from rktsd.generate.write import render
from rktsd.images import oci
from rktsd.images.archive import find_members
from rktsd.images.challenges import parse_challenges
from rktsd.images.claims import Wanted, check_claim
from rktsd.images.credentials import from_file
from rktsd.images.discovery import endpoints, key_urls, parse_page
from rktsd.images.dockersave import DockerArchive
from rktsd.images.keystore import dearmor, each_key, key_end
from rktsd.images.layout import Layout
from rktsd.images.platforms import host_platform, parse_platform
from rktsd.images.references import parse_docker_name, parse_reference
from rktsd.paths import Paths
from rktsd.pods import podfile
from rktsd.store import tar
from rktsd.store.bounds import bounded
from rktsd.store.compression import OUTPUT, open_stream
from rktsd.store.members import lay_down
from rktsd.store.records import Limits
from tests.fuzz import seeds

_ENOUGH = 64 << 20


class Target(NamedTuple):
    """``run`` takes anything, ``bare`` lets refusals out; ``seeds`` are what the parser takes."""

    run: Callable[[bytes], object]
    bare: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def refusing(work: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """``work`` that may refuse its input, in one line that can be shown."""

    def run(data: bytes) -> object:
        try:
            return work(data)
        except RktError as error:
            text = str(error)
            assert text, "an error without words"
            assert "\n" not in text, f"an error of several lines: {text!r}"
            text.encode()
            return None

    return run


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def mended(data: bytes) -> bytes:
    """The archive with right checksums in all that looks like a header; no fuzzer finds them."""
    blocks = bytearray(data)
    for at in range(0, len(blocks) - 511, 512):
        if blocks[at + 257 : at + 262] == b"ustar":
            total = sum(blocks[at : at + 512]) - sum(blocks[at + 148 : at + 156]) + 256
            blocks[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(blocks)


def read_tar(data: bytes, *, chunk: int = 1 << 16) -> list[tuple[tar.Member, bytes]]:
    """The members that our reader finds, and their data as stored."""
    stream = io.BytesIO(data)
    reader = tar.TarReader(lambda: stream.read(chunk), "a.tar")
    return [
        (each, b"".join(map(bytes, iter(reader.chunk, b"")))) for each in iter(reader.next, None)
    ]


def run_tar(data: bytes) -> None:
    """What we take, Python's reader understands in the same way."""
    data = mended(data)
    found = read_tar(data)
    for member, content in found:
        assert not member.name.startswith(b"/")
        assert not {b"..", b"."} & set(member.name.split(b"/"))
        assert b"\0" not in member.name + member.target
        stored = member.size if member.parts is None else sum(x for _, x in member.parts)
        assert len(content) == (stored if member.kind == tar.FILE else 0)
    assert found == read_tar(data, chunk=511)
    headers = (data[at : at + 512] for at in range(0, len(data), 512))
    if any(each[257:265] == b"ustar  \0" and any(each[345:357]) for each in headers):
        return  # Python takes a time of GNU's for the beginning of a name.
    with contextlib.suppress(tarfile.TarError):
        agree([member for member, _ in found], data)


def agree(ours: list[tar.Member], data: bytes) -> None:
    """Python's reader finds the same members, as far as it gets: a number that does not matter to
    us ends the archive for it."""
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as other:
        theirs = other.getmembers()
    names = [os.fsdecode(each.name) or "." for each in ours]
    assert names[: len(theirs)] == [os.path.normpath(each.name) for each in theirs]
    for mine, its in zip(ours, theirs, strict=False):
        if mine.kind == tar.FILE:
            assert mine.size == its.size
        elif mine.kind == tar.SYMLINK:
            assert os.fsdecode(mine.target) == its.linkname
        elif mine.kind == tar.LINK:
            assert os.fsdecode(mine.target) == os.path.normpath(its.linkname)
        assert mine.mode == its.mode & 0o7777
        assert (mine.uid, mine.gid) == (its.uid, its.gid)


@contextlib.contextmanager
def file_of(data: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("fuzz")
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def run_stream(data: bytes) -> None:
    with file_of(data) as descriptor:
        read_more = open_stream(descriptor, "a")
        total = 0
        while (piece := read_more()) and total < _ENOUGH:
            assert len(piece) <= OUTPUT
            total += len(piece)


def run_archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as place, open(f"{place}/a", "w+b", buffering=0) as file:
        file.write(mended(data))
        file.seek(0)
        reader = tar.TarReader(open_stream(file.fileno(), "a"), "a")
        os.mkdir(f"{place}/out")
        members = bounded(reader, asdict(Limits(size=1 << 24)))
        found = find_members("a", f"{place}/out", lay_down(reader, members, f"{place}/out"))
        for path in found.files.values():
            assert os.path.dirname(path) == f"{place}/out"
        for make in (
            lambda: Layout("a", archive=found).choose(None),
            lambda: DockerArchive(found, None),
        ):
            with contextlib.suppress(RktError):
                make()


def run_json(data: bytes) -> None:
    document = decode_json(data, "a.json")
    assert decode_json(write.dumps(document.value).encode(), "again").value == document.value


def run_image_manifest(data: bytes) -> None:
    found = read.image_manifest(data, "manifest")
    again = write.dumps(write.image_manifest_json(found)).encode()
    assert read.image_manifest(again, "again") == found


def run_pod_manifest(data: bytes) -> None:
    found = read.pod_manifest(data, "manifest")
    again = write.dumps(write.pod_manifest_json(found)).encode()
    assert read.pod_manifest(again, "again") == found


def run_isolator(data: bytes) -> None:
    """``NAME`` and a JSON value behind a space."""
    name, _, value = data.partition(b" ")
    word = text_of(name)
    if known(word):
        checked(word, decode_json(value, "isolator"))


def run_pod_file(data: bytes) -> None:
    found = podfile.parse(data, "/etc/rkt/pods/web.toml", pod="web")
    assert decode_json(write.dumps(write.pod_manifest_json(found.manifest)).encode(), "again")
    text = render(document(found.manifest, found.options)).encode()
    again = podfile.parse(text, found.path, pod=found.name)
    assert again == replace(found, text=text)


def _drafted(drafts: Iterable[Draft]) -> None:
    """Whatever is described, the pod file is one, and remarks are lines."""
    for draft in drafts:
        path = f"{draft.name}.toml"
        pod = f"{draft.name}instance" if draft.template else draft.name
        podfile.parse(draft.text().encode(), path, pod=pod)
        "".join(draft.remarks).encode()


def run_kube(data: bytes) -> None:
    _drafted(drafts_of(decode(data, "a.yaml"), Paths("/nowhere")))


def run_quadlet(place: str) -> None:
    """As a pod, and as a template."""
    os.link(f"{place}/web.container", f"{place}/web@.container")
    for name in ("web", "web@"):
        _drafted(read_quadlets([f"{place}/{name}.container"], Paths("/nowhere")))


def run_unit_words(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert "\0" not in "".join(words(text_of(data).replace("\0", "")))


def run_oci_manifest(data: bytes) -> None:
    if oci.media_type_of(data, "manifest") in oci.INDEXES:
        oci.choose_platform(data, "manifest", wanted=host_platform())
    else:
        oci.read_manifest(data, "manifest")


def run_oci_config(data: bytes) -> None:
    """Whatever an OCI image says, its appc manifest is one."""
    layers = len(decode_json(data, "config").get("rootfs").get("diff_ids").elements())
    config = oci.read_config(data, "config", layers=layers)
    found = oci.to_appc(
        config, name="example.com/a", version="1", annotations={}, manifest_annotations={}
    )
    run_image_manifest(write.dumps(write.image_manifest_json(found)).encode())


def run_reference(data: bytes) -> None:
    text = text_of(data)
    parse_reference(text, is_file=lambda path: False)


def run_docker_name(data: bytes) -> None:
    found = parse_docker_name(text_of(data))
    assert parse_docker_name(str(found)) == found
    assert ".." not in found.repository.split("/")


def run_image_name(data: bytes) -> None:
    found = parse_image_name(text_of(data))
    assert parse_image_name(str(found)) == found


def run_names(data: bytes) -> None:
    text = text_of(data)
    assert check_ac_name(sanitise_ac_name(text), "a")
    assert check_ac_identifier(sanitise_ac_identifier(text), "a")


def run_platform(data: bytes) -> None:
    found = parse_platform(text_of(data))
    assert parse_platform(str(found)) == found


def run_page(data: bytes) -> None:
    metas = parse_page(data)
    for found in endpoints(metas, "example.com/a", {"version": "1/../#?"}):
        assert "{" not in found.aci or "{" in "".join(meta.value for meta in metas)
    key_urls(metas, "example.com/a")


def run_challenge(data: bytes) -> None:
    for challenge in parse_challenges(data.decode("latin-1")):
        assert challenge.scheme == challenge.scheme.lower()


def in_directory(name: str, work: Callable[[str], object]) -> Callable[[bytes], object]:
    """Put the input into a file called ``name`` and look at its directory."""

    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as place:
            os.makedirs(os.path.dirname(f"{place}/{name}"), exist_ok=True)
            with open(f"{place}/{name}", "wb") as file:
                file.write(data)
            work(place)

    return run


def run_key(data: bytes) -> None:
    for fingerprint, packets in each_key(dearmor(data, "key"), "key"):
        assert len(fingerprint) == 40
        assert packets
        assert key_end(packets, "key") >= 0


def run_claim(data: bytes) -> None:
    digest = f"sha256:{'0' * 64}"
    wish = Wanted((digest,), "docker.io/library/a", "1", True)
    check_claim(data, "claim", kinds=("cosign container image signature",), wanted=wish)


def _docker_login(place: str) -> None:
    scopes = ("registry.example/team/app", "registry.example/team", "registry.example")
    from_file(f"{place}/auth.json", scopes, environment={})


def _cursor_errors(data: bytes) -> None:
    """Messages about any value are one line."""
    place = Cursor("a", "b", decode_json(data, "a").value)
    raise place.wrong("right")


_RUN: dict[str, tuple[Callable[[bytes], object], tuple[bytes, ...]]] = {
    "tar": (run_tar, seeds.TARS),
    "stream": (run_stream, seeds.STREAMS),
    "archive": (run_archive, seeds.ARCHIVES),
    "json": (run_json, seeds.JSONS),
    "message": (_cursor_errors, seeds.JSONS),
    "image-manifest": (run_image_manifest, seeds.IMAGE_MANIFESTS),
    "pod-manifest": (run_pod_manifest, seeds.POD_MANIFESTS),
    "isolator": (run_isolator, seeds.ISOLATORS),
    "pod-file": (run_pod_file, seeds.POD_FILES),
    "kube": (run_kube, seeds.MANIFESTS),
    "quadlet": (in_directory("web.container", run_quadlet), seeds.QUADLETS),
    "unit-words": (run_unit_words, seeds.UNIT_WORDS),
    "oci-manifest": (run_oci_manifest, seeds.OCI_MANIFESTS),
    "oci-config": (run_oci_config, seeds.OCI_CONFIGS),
    "reference": (run_reference, seeds.REFERENCES),
    "docker-name": (run_docker_name, seeds.DOCKER_NAMES),
    "image-name": (run_image_name, seeds.IMAGE_NAMES),
    "names": (run_names, seeds.IMAGE_NAMES),
    "platform": (run_platform, seeds.PLATFORMS),
    "page": (run_page, seeds.PAGES),
    "challenge": (run_challenge, seeds.CHALLENGES),
    "auth": (in_directory("auth.d/a.json", lambda place: read_auth([place])), seeds.AUTHS),
    "docker-login": (in_directory("auth.json", _docker_login), seeds.DOCKER_LOGINS),
    "settings": (in_directory("rktsd.toml", lambda place: read_settings([place])), seeds.SETTINGS),
    "registries": (
        in_directory("registries.toml", lambda place: read_registries([place])),
        seeds.REGISTRIES,
    ),
    "key": (run_key, seeds.KEYS),
    "claim": (run_claim, seeds.CLAIMS),
    "trust": (in_directory("trust.toml", lambda place: read_policy([place])), seeds.TRUSTS),
}  # fmt: skip
TARGETS = {name: Target(refusing(run), run, given) for name, (run, given) in _RUN.items()}
