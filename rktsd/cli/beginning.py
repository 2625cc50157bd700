"""``rkt pod init``: a pod file to begin with."""

import os
import sys

from rktsd.appc import names
from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed
from rktsd.errors import BadInput, NotFound, StoreError, UsageError
from rktsd.generate.images import app_name, lasting, stored_manifest
from rktsd.generate.write import quoted
from rktsd.host.files import write_atomic
from rktsd.pods import kept, podfile
from rktsd.pods.locate import find_pod_file

_HEAD = """\
# Pod {pod}: started by systemctl start rkt@{pod}, at boot after systemctl enable rkt@{pod}.
# rkt pod check {word} finds mistakes; rkt-pod(5) has every field.
network = ["default"]           # a private address behind NAT; "host" and "none" are others
"""
_APP = """
[[app]]
name = "{name}"
image = {image}
# memory = "256M"
# systemd = {{ Restart = "on-failure" }}
"""


def init(context: Context, parsed: Parsed) -> int:
    """Write a pod file for images, with what those that are stored say of ports and volumes."""
    if len(parsed.arguments) < 2 or not all(parsed.arguments):
        raise UsageError("must provide a pod or file and at least one image")
    word, *images = parsed.arguments
    path = _path(context, word, overwrite=parsed.values.on("overwrite"))
    pod = names.check_pod_name(os.path.basename(path).removesuffix(".toml"), word)
    text = _HEAD.format(pod=pod, word=word) + "".join(_apps(context, images))
    # What we write ourselves is not to be refused later.
    podfile.parse(text.encode(), path, pod=pod)
    write_atomic(path, text)
    sys.stdout.write(f"{path}\n")
    return 0


def _path(context: Context, word: str, *, overwrite: bool) -> str:
    """Where the file goes: a pod's into /etc/rkt/pods. Raises BadInput when it is there."""
    if "/" in word or word.endswith((".toml", ".json")):
        if not word.endswith(".toml"):
            raise UsageError(f"{word}: the file is to be called POD.toml")
        path = os.path.abspath(word)
        if os.path.lexists(path) and not overwrite:
            raise BadInput(f"{word}: exists", hint="--overwrite replaces it")
        return path
    names.check_pod_name(word, "pod")
    try:
        found = find_pod_file(context.paths, word)
    except NotFound:
        pass
    else:
        if not overwrite or not found.endswith(".toml"):
            raise BadInput(f"{found}: exists", hint="--overwrite replaces a .toml")
    kept.check_free(context.paths, word)
    try:
        os.makedirs(context.paths.pod_files, 0o755, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make {context.paths.pod_files}: {error.strerror}") from error
    return f"{context.paths.pod_files}/{word}.toml"


def _apps(context: Context, images: list[str]) -> list[str]:
    found: dict[str, str] = {}
    ports: list[str] = []
    volumes: list[str] = []
    for image in images:
        image = lasting(image)
        name = app_name(image)
        if name in found:
            raise UsageError(f'two apps would be called "{name}"', hint="give one image each")
        found[name] = _APP.format(name=name, image=quoted(image))
        manifest = stored_manifest(context.paths, image)
        app = manifest.app if manifest else None
        ports += [each.name for each in app.ports] if app else []
        volumes += [each.name for each in app.mount_points] if app else []
    tail = [
        f'\n# [[port]]                      # publish the port "{name}" of the image\n'
        f'# name = "{name}"\n# host-port = 8080\n'
        for name in dict.fromkeys(ports)
    ]
    tail += [
        f'\n# [[volume]]                    # what "{name}" holds is lost with the run otherwise\n'
        f'# name = "{name}"\n# kind = "named"\n# source = "{name}"\n'
        for name in dict.fromkeys(volumes)
    ]
    return [*found.values(), *tail]
