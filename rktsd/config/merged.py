"""All of rkt's configuration as it counts in the end, in the schema of its files."""

from collections.abc import Sequence

from rktsd.config.auth import Aws, Basic, Credentials, read_auth
from rktsd.config.datadir import read_data_directory
from rktsd.config.kinds import VERSION
from rktsd.config.stage1 import read_stage1


def stage0(directories: Sequence[str], data: str) -> list[dict[str, object]]:
    """One object of a kind for each thing that is configured, as ``rkt config`` has them.

    ``data`` is the data directory, which flags may have changed. Raises BadInput, StoreError,
    Unsupported.
    """
    # A flag may have had the last word, and paths.d be wrong all the same.
    read_data_directory(directories)
    auth = read_auth(directories)
    entries = [
        {"rktKind": "auth", "domains": [name], **_credentials(value)}
        for name, value in sorted(auth.hosts.items())
    ]
    entries += [
        {"rktKind": "dockerAuth", "registries": [name], "credentials": _basic(value)}
        for name, value in sorted(auth.registries.items())
    ]
    entries += [
        {"rktKind": "paths", "data": data},
        {"rktKind": "stage1", "name": read_stage1(directories)},
    ]
    return [{"rktVersion": VERSION, **entry} for entry in entries]


def _basic(value: Basic) -> dict[str, str]:
    return {"user": value.user, "password": value.password}


def _credentials(value: Credentials) -> dict[str, object]:
    if isinstance(value, Basic):
        return {"type": "basic", "credentials": _basic(value)}
    if isinstance(value, Aws):
        found = {"accessKeyID": value.access_key_id, "secretAccessKey": value.secret_access_key}
        region = {"awsRegion": value.region} if value.region else {}
        return {"type": "aws", "credentials": found | region}
    return {"type": "oauth", "credentials": {"token": value.token}}
