"""What the client tells the supervisor of a box."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Spec:
    """What to boot. ``cgroup`` is auto, hybrid or unified; ``binds`` are (source, target)."""

    work: str
    root: str
    name: str
    cgroup: str
    layer_on_tmpfs: bool
    data_on_tmpfs: bool
    binds: tuple[tuple[str, str], ...]
    memory: int

    def dump(self) -> str:
        return json.dumps(asdict(self))


def load_spec(text: str) -> Spec:
    fields = json.loads(text)
    fields["binds"] = tuple((source, target) for source, target in fields["binds"])
    return Spec(**fields)
