"""What commands take that only look: the start of the program, and a list of many pods."""

from tests.bench.lab import Lab
from tests.bench.rows import IMAGE, Contender, Peer, Row

MANY = 200
_PLACES = {1: "/var/tmp/few", MANY: "/var/tmp/many"}

ROWS = (
    Row(
        "version",
        "The program started: rkt version",
        Contender("rkt version", ("rkt version",), settle=0),
        (Peer(Contender("python3 -c pass", ("/usr/bin/python3 -c pass",), settle=0), 3.0),),
    ),
    Row(
        "pods",
        f"{MANY} pods that do not run: rkt list",
        Contender(f"rkt list, {MANY} pods", (f"rkt --dir={_PLACES[MANY]} list",), settle=0),
        (
            Peer(Contender("rkt list, 1 pod", (f"rkt --dir={_PLACES[1]} list",), settle=0), 1.5),
            Peer(Contender(f"podman ps -a, {MANY}", ("podman ps -a",), settle=0), 1.0),
        ),
    ),
)


def populate(lab: Lab) -> None:
    """Make the pods and containers that are listed: half prepared, half ended.

    All prepared ones are copies of one, and all ended ones of another. Raises CommandError.
    """
    copies = "".join(
        f"mkdir -p {place}/pods/prepared {place}/pods/run\n"
        f"for each in $(seq 1 2 {count}); do copy prepared {place}; done\n"
        f"for each in $(seq 2 2 {count}); do copy run {place}; done\n"
        for count, place in _PLACES.items()
    )
    lab.box.shell(
        f"rkt prepare --quiet {IMAGE} >/dev/null; rkt run --net=none {IMAGE} --exec=/bin/true\n"
        'copy() { cp -a "/var/lib/rkt/pods/$1/$(ls /var/lib/rkt/pods/$1)"'
        ' "$2/pods/$1/$(cat /proc/sys/kernel/random/uuid)"; }\n'
        f"{copies}"
        f"for each in $(seq {MANY}); do"
        " podman create --network=none bench /bin/stamp /stamps/one >/dev/null; done",
        timeout=600,
    )
