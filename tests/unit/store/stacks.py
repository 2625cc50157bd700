"""Stacks of layers on disk, as unpacking leaves them."""

import itertools
import os
import random
import stat
from pathlib import Path

PATHS = ["/".join(p) for n in (1, 2, 3) for p in itertools.product("abc", repeat=n)]
_TARGETS = ["->a", "->/b", "->../c", "->b/../a", "->/c/b"]


def make(root: Path, entries: dict[str, str | None]) -> str:
    """A layer: None is a directory, "->X" a link, "wh" a whiteout, "opq" an opaque directory."""
    root.mkdir(parents=True)
    for name, content in entries.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif content == "wh":
            os.mknod(path, stat.S_IFCHR, 0)
        elif content == "opq":
            path.mkdir(exist_ok=True)
            os.setxattr(path, "trusted.overlay.opaque", b"y")
        elif content.startswith("->"):
            path.symlink_to(content[2:])
        else:
            path.write_text(content)
    return str(root)


def random_layers(directory: Path) -> list[str]:
    """Three layers, topmost first, with everything that layers do to each other."""
    layers = []
    for number in range(3):
        entries: dict[str, str | None] = {}
        for path in random.sample(PATHS, 14):
            inside = any(path.startswith(f"{p}/") and c not in (None, "opq")
                         for p, c in entries.items())  # fmt: skip
            if inside or any(p.startswith(f"{path}/") for p in entries):
                continue
            entries[path] = random.choice(
                [None, "opq", "wh", f"file {number}", random.choice(_TARGETS)]
            )
        layers.append(make(directory / str(number), entries))
    return layers
