"""Where things lie. Paths are plain strings throughout: pathlib costs the hot path 8 ms."""

import os
from typing import NamedTuple

DATA = "/var/lib/rkt"
SYSTEM_CONFIG = "/usr/lib/rkt"
LOCAL_CONFIG = "/etc/rkt"
RUN = "/run/rkt"
LIBEXEC = "/usr/lib/rkt"

USER_RANGE = 65536
"""How many users and groups a pod with private users has."""


class Paths(NamedTuple):
    """The directories a command works with; ``--dir`` and ``--*-config`` change them.

    ``users``, where ranges of users are recorded, is one for all of a machine.
    """

    data: str = DATA
    system_config: str = SYSTEM_CONFIG
    local_config: str = LOCAL_CONFIG
    user_config: str | None = None
    run: str = RUN
    users: str = f"{DATA}/users"

    @property
    def store(self) -> str:
        """The image store: blobs, layers, index."""
        return f"{self.data}/cas"

    @property
    def pods(self) -> str:
        """Pod directories by stage (embryo, prepare, prepared, run, exited-garbage, garbage)."""
        return f"{self.data}/pods"

    @property
    def volumes(self) -> str:
        """Persistent volumes, by their name."""
        return f"{self.data}/volumes"

    @property
    def pod_files(self) -> str:
        """Where an administrator's pod files lie."""
        return f"{self.local_config}/pods"

    def pod_run(self, pod: str) -> str:
        """What exists of a pod only while it runs: bundles, unit list."""
        return f"{self.run}/pods/{pod}"

    def has_paths_files(self) -> bool:
        """Whether paths.d of some configuration directory may set where the data directory is."""
        return any(os.path.lexists(f"{each}/paths.d") for each in self.config_dirs())

    def config_dirs(self) -> tuple[str, ...]:
        """Configuration directories, lowest precedence first."""
        user = (self.user_config,) if self.user_config else ()
        return (self.system_config, self.local_config, *user)
