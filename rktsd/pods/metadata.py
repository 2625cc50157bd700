"""Registration with the metadata service: what it is told of a pod, and its key.

A registration is a file that only root can read, and that the unit of the service has mounted for
itself. It lasts as long as the run; the key lasts for good. On the start path of pods that ask.
"""

from __future__ import annotations

import json
import os

from rktsd.errors import StoreError
from rktsd.host.files import locked, read_limited, write, write_atomic
from rktsd.paths import DATA, RUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktsd.paths import Paths
    from rktsd.pods.compile import Compiled

# That of rkt. Each pod has it on a loopback interface of its own.
PORT = 18112
ADDRESS = "127.0.0.1"
VARIABLE = "AC_METADATA_URL"

KEYS = f"{DATA}/metadata/key"
"""The keys of HMACs in hexadecimal digits, a line each: the first signs, all verify."""

OF_PODS = f"{RUN}/metadata/pods"
"""A directory for each pod with a network of its own."""

OF_HOST = f"{RUN}/metadata/host"
"""The pods on the network of the host."""

_KEYS_LIMIT = 4096
_KEPT_KEYS = 2


def register(compiled: Compiled, paths: Paths) -> None:
    """Write down what the service may tell the apps, and tell them where it is.

    They know their token, 128 random bits, and nobody else does (rkt). With a network of its own a
    pod gets a socket of its own, in that network, where ``netns`` leads its unit.
    Raises StoreError.
    """
    plan, files = compiled["plan"], compiled["files"]
    pod, token = plan["pod"], os.urandom(16).hex()
    images = json.loads(files["images"])
    registration = {
        "uuid": plan["uuid"],
        "token": token,
        "pod": files["pod"],
        "images": {app: image["manifest"] for app, image in images.items()},
    }
    try:
        make_ready()
        if compiled["namespace"] is None:
            place = f"{OF_HOST}/{pod}"
        else:
            os.makedirs(f"{OF_PODS}/{pod}", exist_ok=True)
            place = f"{OF_PODS}/{pod}/registration"
            os.symlink(compiled["namespace"], f"{plan['run_directory']}/netns")
        write_atomic(place, json.dumps(registration), durable=False)
    except OSError as error:
        raise StoreError(f"pod {pod}: cannot register: {error}") from error
    write(f"{plan['directory']}/metadata", f"{plan['metadata']}\n")
    variable = f"{VARIABLE}=http://{ADDRESS}:{PORT}/{token}"
    for bundle in plan["bundles"]:
        process = bundle["config"]["process"]
        said = (each for each in process["env"] if not each.startswith(f"{VARIABLE}="))
        process["env"] = [*said, variable]


def make_ready() -> None:
    """Make the directories of registrations and the key, where there are none. Raises OSError,
    StoreError."""
    for directory in (os.path.dirname(OF_HOST), os.path.dirname(KEYS)):
        os.makedirs(directory, exist_ok=True)
        # What is below is for everybody who gets there: root, and the service by its own mounts.
        os.chmod(directory, 0o700)
    os.makedirs(OF_HOST, exist_ok=True)
    if not os.path.exists(KEYS):
        _add_key(only_first=True)


def read_keys() -> list[bytes]:
    """The keys, first the one that signs; none before the first registration. Raises StoreError."""
    if not os.path.exists(KEYS):
        return []
    return parse_keys(read_limited(KEYS, _KEYS_LIMIT))


def parse_keys(text: bytes) -> list[bytes]:
    """What is in the file of the keys. Raises StoreError."""
    try:
        return [bytes.fromhex(line) for line in text.decode("ascii").split()]
    except ValueError as error:
        raise StoreError(f"{KEYS}: not keys in hexadecimal digits") from error


def rotate_key() -> None:
    """Sign with a new key from now on; the one before still verifies. Raises StoreError."""
    try:
        make_ready()
        _add_key(only_first=False)
    except OSError as error:
        raise StoreError(f"cannot write {KEYS}: {error.strerror}") from error


def _add_key(*, only_first: bool) -> None:
    with locked(os.path.dirname(KEYS)):
        keys = read_keys()
        if only_first and keys:
            return
        keys = [os.urandom(64), *keys][:_KEPT_KEYS]
        write_atomic(KEYS, "".join(f"{key.hex()}\n" for key in keys), mode=0o600)
