"""What ``docker save`` and ``skopeo copy … docker-archive:`` write.

``manifest.json`` in the archive lists images, each with its configuration, its layers (uncompressed
for the most part) and its names. There is no manifest of a registry in it, so one is made up: the
same for the same image, whoever wrote the archive.
"""

import hashlib
import json
import os
from typing import NamedTuple

from rktsd.appc.cursor import Cursor, decode_json
from rktsd.errors import BadInput, NotFound
from rktsd.images.archive import Archive
from rktsd.images.digests import Descriptor
from rktsd.images.layout import some_of, take_file
from rktsd.images.oci import MAX_LAYERS, OCI_MANIFEST
from rktsd.images.progress import Watch, unwatched
from rktsd.images.references import is_digest, parse_docker_name
from rktsd.store.compression import detect

INDEX_LIMIT = CONFIG_LIMIT = 4 << 20
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_SUFFIXES = {"plain": "", "gzip": "+gzip", "zstd": "+zstd"}


class _Saved(NamedTuple):
    """An entry of manifest.json, its names as ``parse_docker_name`` has them."""

    config: str
    layers: list[str]
    names: list[str]


class DockerArchive:
    """One image of ``archive``: that with the name or the digest ``selector``, or the only one.

    A digest is that of the configuration, Docker's image ID. ``name`` is the one it was chosen by,
    or its first, None when it has none. Raises NotFound naming what there is, BadInput.
    """

    def __init__(self, archive: Archive, selector: str | None) -> None:
        self._archive = archive
        self._digests: dict[str, str] = {}
        saved = self._choose(selector)
        if len(saved.layers) > MAX_LAYERS:
            where = f"{archive.source}: manifest.json"
            raise BadInput(f"{where}: {len(saved.layers)} layers are more than {MAX_LAYERS}")
        named = selector is not None and not is_digest(selector)
        self.name = selector if named else saved.names[0] if saved.names else None
        self._config = archive.read(saved.config, CONFIG_LIMIT)
        digest = f"sha256:{hashlib.sha256(self._config).hexdigest()}"
        self._files: dict[str, str] = {}
        pairs = zip(saved.layers, self._diff_ids(saved), strict=True)
        layers = [self._layer(name, diff_id) for name, diff_id in pairs]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _json(Descriptor(_CONFIG, digest, len(self._config))),
            "layers": [_json(layer) for layer in layers],
        }
        self.manifest = json.dumps(document, separators=(",", ":")).encode()

    def top(self) -> Descriptor:
        """The manifest that was made up."""
        digest = f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"
        return Descriptor(OCI_MANIFEST, digest, len(self.manifest))

    def read(self, descriptor: Descriptor) -> bytes:
        """The configuration: nothing else is asked for."""
        return self._config

    def save(self, descriptor: Descriptor, path: str, *, watch: Watch = unwatched) -> None:
        """A layer as the new file ``path``, verified. Raises TrustError."""
        where = f"{self._archive.source}: {descriptor.digest}"
        file = self._files[descriptor.digest]
        with watch(descriptor.digest, descriptor.size) as moved:
            take_file(file, path, expected=descriptor, where=where, ours=True, moved=moved)

    def _choose(self, selector: str | None) -> _Saved:
        source = self._archive.source
        listed = f"{source}: manifest.json"
        document = decode_json(self._archive.read("manifest.json", INDEX_LIMIT), listed)
        found = [_saved(place) for place in document.elements()]
        names = some_of(name for each in found for name in each.names) or "none is named"
        if selector is not None and is_digest(selector):
            wanted = [each for each in found if self._digest(each.config) == selector]
        else:
            wanted = [each for each in found if selector is None or selector in each.names]
        if len({each.config for each in wanted}) == 1:
            return wanted[0]
        if selector is None:
            raise BadInput(f"{listed}: {len(found)} images, choose one by its name ({names})")
        if wanted:
            raise BadInput(f"{listed}: the name {selector!r} is given to {len(wanted)} images")
        raise NotFound(f"{listed}: no image {selector!r} (there are: {names})")

    def _digest(self, name: str) -> str:
        """The digest of a member, which may have many names and is read once."""
        path = self._archive.path(name)
        if path not in self._digests:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            self._digests[path] = f"sha256:{found}"
        return self._digests[path]

    def _diff_ids(self, saved: _Saved) -> list[str]:
        where = f"{self._archive.source}: {saved.config}"
        place = decode_json(self._config, where).get("rootfs").get("diff_ids")
        found = [each.filled() for each in place.elements()]
        if len(found) != len(saved.layers):
            raise place.problem(f"{len(found)} diff_ids for {len(saved.layers)} layers")
        return found

    def _layer(self, name: str, diff_id: str) -> Descriptor:
        path = self._archive.path(name)
        with open(path, "rb") as file:
            kind = detect(file.read(16))
            if kind not in _SUFFIXES:
                raise BadInput(f"{self._archive.source}: {name}: compressed with {kind}")
        # Of a plain layer the digest is known, and checked when it is taken.
        known = kind == "plain" and is_digest(diff_id)
        digest = diff_id if known else self._digest(name)
        self._files[digest] = path
        return Descriptor(f"{_LAYER}{_SUFFIXES[kind]}", digest, os.stat(path).st_size)


def _saved(place: Cursor) -> _Saved:
    tags = place.get("RepoTags")
    return _Saved(
        place.get("Config").filled(),
        [each.filled() for each in place.get("Layers").elements()],
        [str(parse_docker_name(each.filled())) for each in tags.elements()],
    )


def _json(descriptor: Descriptor) -> dict[str, object]:
    return {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
