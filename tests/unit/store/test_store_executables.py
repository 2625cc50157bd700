"""Finding an app's program, and saying what is missing before it is started."""

import shutil
import struct
from pathlib import Path

import pytest

from rktsd.errors import RktError
from rktsd.store.executables import find_executable
from rktsd.store.rootview import RootView


def program(path: Path, content: bytes = b"\x7fELF", *, mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def elf32(interpreter: bytes, *, order: str) -> bytes:
    """A 32-bit ELF header, one PT_INTERP, and the interpreter far behind."""
    ident = b"\x7fELF" + bytes([1, 1 if order == "<" else 2, 1]) + bytes(9)
    head = struct.pack(f"{order}HHIIIIIHHHHHH", 2, 3, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    table = struct.pack(f"{order}8I", 3, 8192, 0, 0, len(interpreter) + 1, 0, 4, 1)
    return (ident + head + table).ljust(8192, b"\0") + interpreter + b"\0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    program(tmp_path / "bin" / "static")
    program(tmp_path / "usr" / "local" / "bin" / "tool")
    program(tmp_path / "usr" / "bin" / "tool")
    program(tmp_path / "srv" / "run")
    program(tmp_path / "bin" / "plain", mode=0o644)
    program(tmp_path / "usr" / "bin" / "plain")
    (tmp_path / "bin" / "link").symlink_to("/srv/run")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("/bin/static", "/bin/static"),
        ("/bin/link", "/bin/link"),
        ("./run", "/srv/./run"),
        ("../bin/static", "/srv/../bin/static"),
        ("tool", "/usr/local/bin/tool"),
        ("static", "/bin/static"),
        ("plain", "/usr/bin/plain"),
    ],
)
def test_found(root: Path, command: str, wanted: str) -> None:
    path = "/usr/local/bin:/bin:/usr/bin"
    view = RootView([str(root)])
    assert find_executable(view, command, working_directory="/srv", path=path) == wanted


def test_without_a_path_the_working_directory_comes_first(root: Path) -> None:
    view = RootView([str(root)])
    assert find_executable(view, "run", working_directory="/srv") == "/srv/run"
    assert find_executable(view, "tool", working_directory="/srv") == "/usr/bin/tool"


def test_an_empty_component_of_path_is_the_working_directory(root: Path) -> None:
    view = RootView([str(root)])
    assert find_executable(view, "run", working_directory="/srv", path="/bin:") == "/srv/run"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/bin/none", 'app web: "/bin/none": no such file in the image'),
        ("none", 'app web: "none": no such program in the image (searched /usr/bin:/bin)'),
        ("/bin/plain", 'app web: "/bin/plain": not executable (mode 0644)'),
        ("/bin", 'app web: "/bin": is a directory'),
        ("", 'app web: "": no command'),
    ],
)
def test_refused(root: Path, command: str, message: str) -> None:
    view = RootView([str(root)])
    with pytest.raises(RktError) as caught:
        find_executable(view, command, path="/usr/bin:/bin", app="web")
    assert str(caught.value) == message


def test_a_bare_name_that_is_nowhere_executable(root: Path) -> None:
    with pytest.raises(RktError, match=r'"/bin/plain": not executable \(mode 0644\)'):
        find_executable(RootView([str(root)]), "plain", path="/bin")


@pytest.mark.row("diagnostic/Diagnostic")
def test_a_real_program_without_its_interpreter(root: Path) -> None:
    shutil.copy("/usr/bin/env", root / "bin" / "env")
    view = RootView([str(root)])
    with pytest.raises(RktError) as caught:
        find_executable(view, "/bin/env", app="web")
    loader = "/lib64/ld-linux-x86-64.so.2"
    assert str(caught.value) == (
        f'app web: "{loader}", the ELF interpreter of "/bin/env": no such file in the image'
    )
    program(root / "lib64" / "ld-linux-x86-64.so.2")
    assert find_executable(view, "/bin/env") == "/bin/env"


@pytest.mark.parametrize("order", ["<", ">"])
def test_other_classes_of_elf(root: Path, order: str) -> None:
    program(root / "bin" / "arm", elf32(b"/lib/ld-arm.so", order=order))
    with pytest.raises(RktError, match=r'"/lib/ld-arm.so", the ELF interpreter of "/bin/arm"'):
        find_executable(RootView([str(root)]), "/bin/arm")


@pytest.mark.row("diagnostic/Diagnostic")
def test_scripts(root: Path) -> None:
    view = RootView([str(root)])
    program(root / "bin" / "script", b"#! /usr/bin/python -u\nimport this\n")
    with pytest.raises(RktError) as caught:
        find_executable(view, "/bin/script")
    assert str(caught.value) == (
        '"/usr/bin/python", the interpreter of "/bin/script": no such file in the image'
    )
    program(root / "usr" / "bin" / "python", mode=0o600)
    with pytest.raises(RktError, match="not executable"):
        find_executable(view, "/bin/script")
    program(root / "usr" / "bin" / "python")
    assert find_executable(view, "/bin/script") == "/bin/script"


def test_scripts_without_end(root: Path) -> None:
    program(root / "bin" / "a", b"#!/bin/b\n")
    program(root / "bin" / "b", b"#!/bin/a\n")
    with pytest.raises(RktError, match="without end"):
        find_executable(RootView([str(root)]), "/bin/a")


@pytest.mark.parametrize("junk", [b"\x7fELF\x02\x01" + b"\xff" * 200, b"\x7fELF\x01", b"#!", b""])
def test_malformed_programs_are_the_kernels_business(root: Path, junk: bytes) -> None:
    program(root / "bin" / "junk", junk)
    assert find_executable(RootView([str(root)]), "/bin/junk") == "/bin/junk"


def test_what_a_volume_brings_is_not_looked_for(root: Path) -> None:
    view = RootView([str(root)])
    assert find_executable(view, "/opt/app", mounted=("/opt",)) == "/opt/app"
    assert find_executable(view, "app", path="/bin:/opt", mounted=("/opt/",)) == "/opt/app"
    program(root / "bin" / "script", b"#!/opt/python\n")
    assert find_executable(view, "/bin/script", mounted=("/opt",)) == "/bin/script"
    with pytest.raises(RktError):
        find_executable(view, "/optional/app", mounted=("/opt",))
