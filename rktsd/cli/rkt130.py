"""What the command line of rkt 1.30 had, and what became of it: data for tests and the manual."""

from rktsd.cli.absent import ABSENT
from rktsd.cli.commands import COMMANDS
from rktsd.cli.flags import GLOBAL as OWN_GLOBAL

DONE, REFUSED, LACKING = "done", "refused", "lacking"

_STAGE1 = "stage1-url stage1-path stage1-name stage1-hash stage1-from-dir"
_PULL = "pull-policy store-only no-store"
_DNS = "dns dns-search dns-opt dns-domain hosts-entry hostname"
_START = f"net {_DNS} interactive ipc mds-register"
_MADE = (
    f"{_STAGE1} port volume mount inherit-env set-env set-env-file private-users no-overlay {_PULL}"
    " pod-manifest"
)
_APP = (
    "signature exec name user group supplementary-gids working-dir readonly-rootfs mount"
    " environment annotation user-annotation user-label memory cpu cpu-shares caps-retain"
    " caps-remove cap-retain cap-remove seccomp oom-score-adj stdin stdout stderr"
)

GLOBAL = (
    "debug dir system-config local-config user-config insecure-options trust-keys-from-https"
    " cpuprofile memprofile"
)
# Command → its flags.
FLAGS = {
    "api-service": "listen",
    "app add": f"{_APP} mnt-volume",
    "app exec": "app",
    "app list": "no-legend format",
    "app rm": "app",
    "app sandbox": (
        f"uuid-file-save net no-overlay {_DNS} port annotation user-annotation user-label"
    ),
    "app start": "app",
    "app status": "app format",
    "app stop": "app",
    "attach": "app mode",
    "cat-manifest": "uuid-file pretty-print",
    "completion": "",
    "config": "pretty-print",
    "enter": "app",
    "export": "app overwrite",
    "fetch": f"signature full {_PULL}",
    "gc": "grace-period expire-prepared mark-only",
    "image cat-manifest": "pretty-print",
    "image export": "overwrite",
    "image extract": "rootfs-only overwrite",
    "image fetch": f"signature full {_PULL}",
    "image gc": "grace-period",
    "image list": "fields sort order full no-legend format",
    "image render": "rootfs-only overwrite",
    "image rm": "",
    "image verify": "",
    "list": "full no-legend format",
    "metadata-service": "listen-port",
    "prepare": f"quiet {_MADE} {_APP}",
    "rm": "uuid-file",
    "run": f"{_START} {_MADE} {_APP} uuid-file-save",
    "run-prepared": _START,
    "status": "wait wait-ready format uuid-file",
    "stop": "force uuid-file",
    "trust": "prefix root skip-fingerprint-review insecure-allow-http",
    "version": "",
}


def fate(command: str, flag: str) -> tuple[str, str]:
    """What became of a flag (of rkt itself for the command ""), and the reason where it is not
    done."""
    if command and command not in COMMANDS:
        return LACKING, ABSENT[command]
    own = COMMANDS[command].flags if command else OWN_GLOBAL
    found = next(each for each in own if each.name == flag)
    return (DONE, "") if found.refused is None else (REFUSED, found.refused)
