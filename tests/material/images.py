"""Images of real programs as ACI, and as OCI layout made by buildah."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, Literal, cast

from tests.material.roots import busybox_root, debian_root, nginx_root, redis_root

__all__ = [
    "architecture",
    "busybox_manifest",
    "busybox_root",
    "debian_root",
    "image_manifest",
    "nginx_manifest",
    "nginx_root",
    "oci_layout",
    "redis_manifest",
    "redis_root",
    "write_aci",
]

Compression = Literal["gz", "bz2", "xz"]
Manifest = dict[str, Any]


def image_manifest(
    name: str, exec: Sequence[str] | None = None, *, version: str = "1.0.0", **app: Any
) -> Manifest:
    """An appc Image Manifest for this machine.

    Without ``exec`` there is no app in it. ``app`` are fields of the app as appc spells them
    (user, group, ports, mountPoints, environment, isolators, eventHandlers, workingDirectory, …).
    """
    manifest: Manifest = {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": name,
        "labels": [
            {"name": "version", "value": version},
            {"name": "os", "value": "linux"},
            {"name": "arch", "value": architecture()},
        ],
    }
    if exec is not None:
        manifest["app"] = {"exec": list(exec), "user": "0", "group": "0", **app}
    return manifest


def busybox_manifest(
    name: str = "example.com/busybox", exec: Sequence[str] = ("/bin/sh",), **changes: Any
) -> Manifest:
    """The manifest for ``busybox_root``; ``changes`` as ``image_manifest`` takes them."""
    return image_manifest(name, exec, **changes)


def nginx_manifest(name: str = "example.com/nginx", **changes: Any) -> Manifest:
    """The manifest for ``nginx_root``: port http (80)."""
    app = {"ports": [{"name": "http", "protocol": "tcp", "port": 80}], **changes}
    return image_manifest(name, ["/usr/sbin/nginx", "-g", "daemon off;"], **app)


def redis_manifest(name: str = "example.com/redis", **changes: Any) -> Manifest:
    """The manifest for ``redis_root``: user redis, port redis (6379), nothing kept on disk."""
    app = {
        "user": "redis",
        "group": "redis",
        "workingDirectory": "/var/lib/redis",
        "ports": [{"name": "redis", "protocol": "tcp", "port": 6379}],
        **changes,
    }
    exec = ["/usr/bin/redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]
    return image_manifest(name, exec, **app)


def architecture() -> str:
    """This machine's architecture as appc names it."""
    machine = os.uname().machine
    return {"x86_64": "amd64", "i686": "i386"}.get(machine, machine)


def write_aci(
    root: str | os.PathLike[str] | None,
    manifest: Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    compression: Compression | None = "gz",
) -> str:
    """Write the image of ``root`` (None: an empty one) and ``manifest`` to the file ``out``.

    The same input gives the same bytes: members are sorted, times are zero, owners are numbers.
    Returns ``out``.
    """
    out = os.fspath(out)
    text = json.dumps(manifest, indent=2, sort_keys=True).encode()
    with (
        open(f"{out}.new", "wb") as file,
        _compressed(file, compression) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        member = tarfile.TarInfo("manifest")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
        if root is None:
            member = tarfile.TarInfo("rootfs")
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        else:
            _add_tree(archive, os.fspath(root), "rootfs")
    os.rename(f"{out}.new", out)
    return out


def oci_layout(
    roots: str | Sequence[str],
    out: str | os.PathLike[str],
    tag: str,
    *,
    config: Mapping[str, str | Sequence[str]] | None = None,
    removed: Sequence[str] = (),
) -> str:
    """Add image ``tag`` to the OCI layout ``out`` with buildah, a layer for each of ``roots``.

    ``config`` holds options of buildah-config(1) without their dashes (``cmd``, ``user``, ``env``,
    ``port``, ``workingdir``, …; a list repeats the option). ``removed`` are paths that one more
    layer takes away again. Returns what skopeo calls the image.
    """
    name = f"oci:{os.fspath(out)}:{tag}"
    layers = [roots] if isinstance(roots, str) else list(roots)
    with _buildah() as buildah:
        container = buildah("from", "--pull-never", "scratch")
        for number, root in enumerate(layers):
            if number:
                container = _next_layer(buildah, container)
            buildah("copy", "--quiet", container, root, "/")
        if removed:
            container = _next_layer(buildah, container)
            mounted = buildah("mount", container)
            for path in removed:
                _remove(f"{mounted}/{path.lstrip('/')}")
        if config:
            buildah("config", *_config_flags(config), container)
        image = buildah("commit", "--quiet", "--format", "oci", "--omit-timestamp", container)
        buildah("push", "--quiet", image, name)
    return name


def _config_flags(config: Mapping[str, str | Sequence[str]]) -> list[str]:
    flags: list[str] = []
    for option, given in config.items():
        for value in [given] if isinstance(given, str) else given:
            flags += [f"--{option}", value]
    return flags


def _next_layer(buildah: Callable[..., str], container: str) -> str:
    """Make a layer of what ``container`` changed; returns a container on top of it."""
    image = buildah("commit", "--quiet", "--format", "oci", "--omit-timestamp", container)
    return buildah("from", "--pull-never", image)


@contextlib.contextmanager
def _buildah() -> Iterator[Callable[..., str]]:
    """buildah with a storage of its own, gone afterwards; a call returns what it printed."""
    with tempfile.TemporaryDirectory(prefix="buildah-") as storage:

        def buildah(*arguments: str) -> str:
            places = ["--root", f"{storage}/root", "--runroot", f"{storage}/run"]
            done = subprocess.run(
                ["buildah", "--storage-driver", "vfs", *places, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise RuntimeError(f"buildah {' '.join(arguments)}: {done.stderr}")
            return done.stdout.strip()

        yield buildah


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


@contextlib.contextmanager
def _compressed(file: IO[bytes], compression: Compression | None) -> Iterator[IO[bytes]]:
    if compression is None:
        yield file
    elif compression == "gz":
        with gzip.GzipFile("", "wb", 1, file, mtime=0) as stream:
            yield cast(IO[bytes], stream)
    elif compression == "bz2":
        with bz2.BZ2File(file, "wb", compresslevel=1) as compressed:
            yield compressed
    else:
        with lzma.LZMAFile(file, "wb", preset=0) as smaller:
            yield smaller


def _add_tree(archive: tarfile.TarFile, path: str, name: str) -> None:
    """Add ``path`` and what is below it, owners as numbers, hard links kept."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uname = member.gname = ""
        member.mtime = 0
        return member

    archive.add(path, name, recursive=False, filter=plain)
    if os.path.isdir(path) and not os.path.islink(path):
        for entry in sorted(os.listdir(path)):
            _add_tree(archive, f"{path}/{entry}", f"{name}/{entry}")
