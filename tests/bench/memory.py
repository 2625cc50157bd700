"""Runs in the box: a line "STARTED KIBIBYTES NAME" for every process there but this one.

STARTED is in nanoseconds since boot; memory is what it alone has and its part of what it shares.
"""

import os
import sys
import time

_SETTLE = 1.0


def main() -> None:
    time.sleep(_SETTLE)
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/stat", errors="replace") as file:
                before, _, after = file.read().rpartition(")")
            with open(f"/proc/{pid}/smaps_rollup") as file:
                sizes = [line.split()[1] for line in file if line.startswith("Pss:")]
        except OSError:
            continue
        # The 22nd field of proc(5), where the third is the first behind the name.
        started = int(after.split()[19]) * tick
        for size in sizes:
            sys.stdout.write(f"{started} {size} {before.partition('(')[2]}\n")


if __name__ == "__main__":
    main()
