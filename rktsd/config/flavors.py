"""The flavors of stage1: what runs the apps of a pod."""

NSPAWN, FLY = "nspawn", "fly"
"""systemd-nspawn; and a plain service with a root of its own and nothing else."""

FLAVORS = (NSPAWN, FLY)
