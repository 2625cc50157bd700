"""Boots a private systemd in namespaces and runs commands in it; see box.Box."""

from tests.box.box import Box, BoxError, CommandError

__all__ = ["Box", "BoxError", "CommandError"]
