"""Windows of tmux, which is a real terminal."""

from __future__ import annotations

import uuid

from tests.box import Box
from tests.waiting import eventually

PROMPT = "/ #"
"""Of the shell of busybox, as user 0."""


class Screen:
    """A window of tmux that runs a command; what it exits with is the last line."""

    def __init__(self, box: Box, command: str) -> None:
        self.box = box
        self.name = f"t{uuid.uuid4().hex}"
        script = f"{command}; code=$?; echo; echo status=$code; exec sleep 1000"
        words = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-s", self.name]
        self._tmux(*words, script)

    def _tmux(self, *words: str) -> str:
        command = ["env", "TERM=xterm", "LC_ALL=C.UTF-8", "tmux", "-L", self.name, *words]
        return self.box.run(command, check=True).stdout

    def text(self) -> str:
        return self._tmux("capture-pane", "-p", "-S", "-200", "-t", self.name)

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text().splitlines() if line.strip()]

    def type(self, *keys: str) -> None:
        self._tmux("send-keys", "-t", self.name, *keys)

    def say(self, line: str) -> None:
        self.type(line, "Enter")

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-t", self.name, "-x", str(columns), "-y", str(rows))

    def see(self, line: str) -> None:
        """Wait until a line is there."""
        eventually(lambda: line in self.lines(), f"{line!r} on the screen")

    def close(self) -> None:
        self._tmux("kill-server")
