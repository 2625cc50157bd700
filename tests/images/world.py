"""A machine with a network of its own where example.com and others are this machine."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rktsd.images.fetch import FetchOptions, fetch
from rktsd.images.keystore import add_key
from rktsd.paths import Paths
from rktsd.store.records import ImageRecord
from rktsd.store.store import Store
from tests.box import syscalls
from tests.material.certificates import issue, make_ca
from tests.material.images import image_manifest, write_aci
from tests.material.keys import SigningKey
from tests.material.servers import Content, HttpsSite

HOSTS = ("example.com", "other.example", "registry.example")


class World:
    """Directories, authority, key and store of one test below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.paths = Paths(
            data=f"{directory}/data",
            system_config=f"{directory}/usr",
            local_config=f"{directory}/etc",
        )
        self.ca = make_ca(directory / "tls")
        self.certificate = issue(self.ca, [*HOSTS, "127.0.0.1"])
        self.store = Store.open(self.paths.store, create=True)
        self.said: list[str] = []
        for host in HOSTS:
            self.trust_ca(host)
        self.settings(retry_delay=0.01)

    def settings(self, **settings: bool | float) -> None:
        """Write rktsd.toml anew."""
        lines = [
            f"{name.replace('_', '-')} = {str(value).lower()}" for name, value in settings.items()
        ]
        path = Path(self.paths.local_config) / "rktsd.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["[fetch]", *lines, ""]))

    def trust_ca(self, host: str) -> None:
        """Believe the authority when it speaks for ``host``, port and all."""
        target = f"{self.paths.local_config}/certs.d/{host}"
        os.makedirs(target, exist_ok=True)
        shutil.copy(self.ca.certificate, f"{target}/ca.crt")

    def key(self, name: str = "Builder <builder@example.com>", **how: Any) -> SigningKey:
        """A new signing key, trusted by nobody."""
        return SigningKey.create(self.directory / "gnupg", name, **how)

    def trust(self, key: SigningKey, prefix: str | None = "example.com") -> str:
        """Trust ``key`` as an administrator would have."""
        return add_key(self.paths, key.public, fingerprint=key.fingerprint, prefix=prefix)

    def aci(
        self, name: str = "example.com/app", *, files: dict[str, str] | None = None, **fields: Any
    ) -> str:
        """The path of an ACI whose root holds ``files``; ``fields`` change its manifest."""
        root = self.directory / "root"
        shutil.rmtree(root, ignore_errors=True)
        for path, text in {"etc/motd": name, **(files or {})}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        out = self.directory / "images" / f"{name.replace('/', '_')}.aci"
        out.parent.mkdir(exist_ok=True)
        return write_aci(root, {**image_manifest(name, ["/bin/app"]), **fields}, out)

    def site(
        self, content: Mapping[str, Content], *, port: int = 443, tls: bool = True
    ) -> HttpsSite:
        """A site with ``content``, at every name of this machine."""
        return HttpsSite(content, self.certificate if tls else None, port=port)

    def fetch(self, reference: str, **options: Any) -> ImageRecord:
        """Fetch with these options; what was reported is added to ``said``."""
        if "insecure" in options:
            options["insecure"] = frozenset(options["insecure"])
        made = FetchOptions(**options)
        return fetch(reference, self.store, paths=self.paths, options=made, report=self.said.append)

    @contextlib.contextmanager
    def store_unchanged_but_layers(self) -> Iterator[None]:
        """No image, and nothing that a collection would not take away again."""
        self.store.close()
        before = self.contents()
        yield
        self.store.close()
        self.store.collect()
        after = self.contents()
        for found in (before, after):
            found.pop(f"{self.paths.store}/generation", None)
        assert after == before
        assert os.listdir(f"{self.paths.store}/tmp") == []

    def contents(self) -> dict[str, str]:
        """Every file of the store and what is in it, for comparison; tmp is part of it."""
        found = {}
        for directory, _, files in os.walk(self.paths.store):
            found[directory] = ""
            for name in files:
                path = f"{directory}/{name}"
                if not name.startswith("index"):
                    found[path] = Path(path).read_bytes().hex()
        found["images"] = json.dumps([record.id for record in self.store.images()])
        return found

    @contextlib.contextmanager
    def store_unchanged(self) -> Iterator[None]:
        """The store is the same afterwards, and nothing is left in its tmp."""
        self.store.close()
        before = self.contents()
        yield
        self.store.close()
        assert self.contents() == before
        assert os.listdir(f"{self.paths.store}/tmp") == []


def discovery_site(files: dict[str, str], *, host: str = "example.com") -> dict[str, Content]:
    """What a site serves that offers ``files`` (names below / to local paths) by discovery."""
    template = f"https://{host}/images/{{name}}-{{version}}-{{os}}-{{arch}}.{{ext}}"
    page = f"""<html><head><meta name="ac-discovery" content="example.com {template}">
    <meta name="ac-discovery-pubkeys" content="example.com https://{host}/keys.asc"></head></html>"""
    content: dict[str, Content] = {"/": page.encode()}
    for name, path in files.items():
        content[f"/images/{name}"] = Path(path).read_bytes()
    return content


@contextlib.contextmanager
def private_machine() -> Iterator[None]:
    """Move this process to a network of its own, where HOSTS are names of the loopback."""
    with syscalls.own_network_and_mounts():
        syscalls.mount("tmpfs", "/mnt", kind="tmpfs")
        Path("/mnt/hosts").write_text(f"127.0.0.1 localhost {' '.join(HOSTS)}\n")
        syscalls.bind("/mnt/hosts", "/etc/hosts")
        if os.system("ip link set lo up") != 0:
            raise RuntimeError("cannot set up the loopback")
        yield
