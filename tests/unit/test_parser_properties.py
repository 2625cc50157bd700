"""What holds for every valid input: other writers are read, and what we write we read again."""

import io
import tarfile
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rktsd.appc import read, write
from rktsd.appc.names import ImageName, parse_image_name
from rktsd.appc.quantities import parse_bytes, parse_milli
from rktsd.appc.types import App, Dependency, ImageManifest, MountPoint, NameValue, Port
from rktsd.images.challenges import Challenge, parse_challenges
from rktsd.images.discovery import Meta, parse_page
from rktsd.images.references import DockerName, parse_docker_name
from rktsd.store import tar
from tests.fuzz.targets import read_tar

check = settings(
    max_examples=80, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

word = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
ac_name = st.lists(word, min_size=1, max_size=3).map("-".join)
identifier = st.lists(word, min_size=1, max_size=4).flatmap(
    lambda words: st.lists(
        st.sampled_from("-._~/"), min_size=len(words) - 1, max_size=len(words) - 1
    ).map(lambda joints: "".join(a + b for a, b in zip(words, [*joints, ""], strict=True)))
)
# Names of files: any bytes but NUL and slash, and no component "." or "..".
part = st.binary(min_size=1, max_size=60).map(
    lambda data: data.replace(b"\0", b"x").replace(b"/", b"y")
)
path = (
    st.lists(part.filter(lambda data: data not in (b".", b"..")), min_size=1, max_size=4)
    .map(b"/".join)
    .map(lambda data: data.decode("utf-8", "surrogateescape"))
)
text = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=20)


@st.composite
def members(draw: Callable[[Any], Any]) -> tuple[dict[str, Any], bytes]:
    kind = draw(st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE,
                                 tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]))  # fmt: skip
    fields = {
        "name": draw(path),
        "type": kind,
        "mode": draw(st.integers(0, 0o7777)),
        "uid": draw(st.integers(0, 0o7777777)),
        "gid": draw(st.integers(0, 0o7777777)),
        "mtime": draw(st.integers(0, 1 << 33)),
    }
    if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        fields["linkname"] = draw(path)
    if kind == tarfile.CHRTYPE:
        fields |= {"devmajor": draw(st.integers(0, 4095)), "devminor": draw(st.integers(0, 255))}
    return fields, draw(st.binary(max_size=1500)) if kind == tarfile.REGTYPE else b""


@check
@given(
    st.lists(members(), max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.sampled_from([1, 100, 512, 1 << 16]),
)
def test_archives_of_another_writer(
    given_members: list[tuple[dict[str, Any], bytes]], format: int, chunk: int
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=format, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for fields, content in given_members:
            info = tarfile.TarInfo()
            for name, value in fields.items():
                setattr(info, name, value)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    found = read_tar(buffer.getvalue(), chunk=chunk)
    assert len(found) == len(given_members)
    for (member, content), (fields, written) in zip(found, given_members, strict=True):
        assert member.name == fields["name"].encode("utf-8", "surrogateescape")
        assert (member.kind, content) == (fields["type"], written)
        assert [member.mode, member.uid, member.gid] == [fields[x] for x in ("mode", "uid", "gid")]
        assert member.mtime == fields["mtime"] * 10**9
        if member.kind in (tar.LINK, tar.SYMLINK):
            assert member.target == fields["linkname"].encode("utf-8", "surrogateescape")
        if member.kind == tar.CHAR:
            assert member.device == (fields["devmajor"], fields["devminor"])


pair = st.builds(NameValue, identifier, text)
unique = {"unique_by": lambda each: each.name, "max_size": 3}
port_number = st.integers(1, 60000)
app = st.builds(
    App,
    exec=st.lists(text, max_size=3).map(lambda rest: ("/bin/app", *rest)),
    user=st.sampled_from(["0", "www", "/etc/passwd"]),
    group=st.just("0"),
    supplementary_gids=st.lists(st.integers(0, 1 << 31), max_size=3).map(tuple),
    working_directory=st.none() | st.just("/srv"),
    environment=st.lists(
        st.builds(NameValue, st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True), text),
        **unique,  # type: ignore[arg-type]  # options of lists
    ).map(tuple),
    mount_points=st.lists(
        st.builds(MountPoint, ac_name, text.map(lambda rest: f"/{rest}"), st.booleans()),
        **unique,  # type: ignore[arg-type]  # as above
    ).map(tuple),
    ports=st.lists(
        st.builds(
            Port, ac_name, st.sampled_from(["tcp", "udp"]), port_number, st.integers(1, 5),
            st.booleans(),
        ),
        **unique,  # type: ignore[arg-type]  # as above
    ).map(tuple),
    user_annotations=st.dictionaries(text, text, max_size=2),
    user_labels=st.dictionaries(text, text, max_size=2),
)  # fmt: skip
line = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=10)
label_values = st.lists(
    st.builds(NameValue, identifier.filter(lambda name: name not in ("os", "arch", "name")), line),
    **unique,  # type: ignore[arg-type]  # as above
).map(tuple)
image = st.builds(
    ImageManifest,
    ac_version=st.just("0.8.11"),
    name=identifier,
    labels=label_values,
    app=st.none() | app,
    dependencies=st.lists(
        st.builds(
            Dependency, identifier, st.none() | st.just("sha512-" + "a" * 64), label_values,
            st.none() | st.integers(0, 1 << 40),
        ),
        max_size=2,
    ).map(tuple),
    path_whitelist=st.lists(text.map(lambda each: f"/{each}"), max_size=2).map(tuple),
)  # fmt: skip


@check
@given(image, st.booleans())
def test_manifests_survive(manifest: ImageManifest, pretty: bool) -> None:
    data = write.dumps(write.image_manifest_json(manifest), pretty=pretty).encode()
    assert read.image_manifest(data, "again") == manifest


@check
@given(st.integers(0, 1 << 40), st.sampled_from(["", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_quantities(number: int, suffix: str) -> None:
    power = {"": 1, "k": 1000, "M": 10**6, "G": 10**9}
    power |= {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
    wanted = number * power[suffix]
    if 0 < wanted < 1 << 63:
        assert parse_bytes(f"{number}{suffix}", "here") == wanted


@check
@given(st.integers(1, 10**6))
def test_thousandths(number: int) -> None:
    assert parse_milli(f"{number}m", "here") == number
    assert parse_milli(f"{number}", "here") == number * 1000


component = st.from_regex(r"[a-z0-9]{1,6}([._-][a-z0-9]{1,6}){0,2}", fullmatch=True)
docker_name = st.builds(
    DockerName,
    st.sampled_from(["registry-1.docker.io", "registry.example", "localhost", "a.b:5000"]),
    st.lists(component, min_size=2, max_size=4).map("/".join),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}", fullmatch=True),
    st.none() | st.just("sha256:" + "0" * 64),
)


@check
@given(docker_name)
def test_docker_names_survive(name: DockerName) -> None:
    again = parse_docker_name(str(name))
    assert again.repository == name.repository
    assert (again.tag, again.digest) == (name.tag, name.digest)
    assert parse_docker_name(str(again)) == again


label_text = st.from_regex(r"[A-Za-z0-9._-]{1,8}", fullmatch=True)


@check
@given(
    identifier,
    st.dictionaries(identifier.filter(lambda name: name not in ("os", "arch", "name")), label_text,
                    max_size=3),
)  # fmt: skip
def test_image_names_survive(name: str, labels: dict[str, str]) -> None:
    given_name = ImageName(name, tuple(NameValue(*each) for each in labels.items()))
    again = parse_image_name(str(given_name))
    assert again.name == name
    assert {each.name: each.value for each in again.labels} == labels


token = st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,8}", fullmatch=True)
quoted = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=15)


@check
@given(
    st.lists(
        st.builds(Challenge, token.map(str.lower), st.dictionaries(token.map(str.lower), quoted)),
        max_size=3,
    )
)
def test_challenges_survive(challenges: list[Challenge]) -> None:
    def quote(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{each.scheme} " + ", ".join(f"{k}={quote(v)}" for k, v in each.parameters.items())
        for each in challenges
    )
    assert parse_challenges(header) == challenges


attribute = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Z"), blacklist_characters="&'\"<>"),
    min_size=1,
    max_size=10,
)


@check
@given(st.lists(st.tuples(attribute, attribute), max_size=4), st.sampled_from("'\""))
def test_discovery_pages(pairs: list[tuple[str, str]], mark: str) -> None:
    lines = [
        f"<meta name={mark}ac-discovery{mark} content={mark}{prefix} {value}{mark}>"
        for prefix, value in pairs
    ]
    page = f"<!doctype html><html><head><title>t</title>{''.join(lines)}</head><body>".encode()
    assert parse_page(page) == [Meta("ac-discovery", *each) for each in pairs]
