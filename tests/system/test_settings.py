"""Every setting of a real systemd is in one of our lists, and what is passed on is understood."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from rktsd.systemd import settings
from rktsd.systemd.refused import REFUSED
from tests.box import Box
from tests.system.conftest import MakePod
from tests.system.pods import NO_NETWORK, SERVE, app

PASSED = {name for _, names in settings.PASSED.values() for name in names.split()}

# By form, and where a form's settings differ by name.
BY_FORM: dict[str, object] = {
    "bytes": "64M", "tasks": "40%", "weight": 200, "cpu-weight": "idle", "quota": "150%",
    "timespan": "1min 30s", "nanoseconds": "50ms", "timeouts": 5, "boolean": True, "integer": 1,
    "unsigned": 3, "signal": "TERM", "cpu-policy": "batch", "io-class": "idle",
    "numa-policy": "bind", "log-level": "notice", "log-facility": "local3", "pressure": "60%",
    "coredump": "default shared-huge", "numbers": "0-1", "set": "~AF_PACKET",
    "statuses": "3 TEMPFAIL SIGKILL", "device": ["/dev/fuse rw", "char-alsa"],
    "device-weight": "/dev/null 300", "device-rate": "/dev/null 5M",
    "device-time": "/dev/null 25ms", "addresses": "localhost 10.0.0.0/8",
    "bind": "any tcp:80 ipv6:udp:1000-2000", "pairs": "name:/etc/hostname",
    "secrets": "name:a\\x00b", "encrypted-secrets": "name:AAAA",
    "nft-sets": "cgroup:inet:filter:pods", "patterns": ["~noise", "signal"],
    "fields": "SHOP=front", "files": "/etc/hostname:name:read-only", "words": "other.service",
}  # fmt: skip
BY_NAME: dict[str, object] = {
    "DevicePolicy": "auto", "ManagedOOMSwap": "kill", "ManagedOOMMemoryPressure": "kill",
    "ManagedOOMPreference": "avoid", "MemoryPressureWatch": "on", "OOMPolicy": "stop",
    "Restart": "on-failure", "RestartMode": "direct", "TimeoutStartFailureMode": "kill",
    "TimeoutStopFailureMode": "abort", "FileDescriptorStorePreserve": "yes",
    "KeyringMode": "private", "Personality": "x86", "FailureAction": "none",
    "SuccessAction": "none", "StartLimitAction": "none", "JobTimeoutAction": "none",
    "JobTimeoutRebootArgument": "x", "RebootArgument": "x", "OnFailureJobMode": "fail",
    "OnSuccessJobMode": "fail", "Description": "a b", "DisableControllers": "cpu",
    "IPIngressFilterPath": "/sys/fs/bpf/a", "IPEgressFilterPath": "/sys/fs/bpf/a",
    "RequiresMountsFor": "/srv", "WantsMountsFor": "/srv", "ImportCredential": "web.*",
    "Documentation": "man:a(1)", "RestrictFileSystems": "ext4 tmpfs",
    "RestrictNetworkInterfaces": "~eth0", "BPFProgram": "egress:/sys/fs/bpf/a",
}  # fmt: skip

# Runs in the box: one unit for each setting, so that systemd's answer is about that one.
TRY = """
import json, sys
sys.path.insert(0, "/usr/lib/python3/dist-packages")
from rktsd.errors import SystemdError
from rktsd.systemd import properties, settings
from rktsd.systemd.bus import Bus
answers = {}
with Bus() as bus:
    for number, (name, value) in enumerate(json.load(sys.stdin).items()):
        for kind in ("service", "slice"):
            if kind == "slice" and name not in settings.OF_SLICES:
                continue
            own = properties.convert(name, value, name)
            if kind == "service":
                own += [("ExecStart", "a(sasb)", [("/bin/true", ["/bin/true"], False)])]
            barrier = [("ExecStart", "a(sasb)", [("/bin/true", ["/bin/true"], False)])]
            try:
                bus.start_transient((f"main{number}{kind}.service", barrier),
                                    [(f"try{number}.{kind}", own)])
            except SystemdError as error:
                answers.setdefault(name, str(error))
print(json.dumps(answers))
"""


def sample(name: str) -> object:
    form = next(form for form, (_, names) in settings.PASSED.items() if name in names.split())
    return BY_NAME[name] if name in BY_NAME else BY_FORM[form]


def settings_of(box: Box, *sections: str) -> set[str]:
    """Every setting that the box's systemd reads in these sections of a unit file."""
    found, section = set(), ""
    for line in box.shell("/lib/systemd/systemd --dump-configuration-items").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section in sections:
            found.add(line.partition("=")[0])
    found.discard("")
    return found


@pytest.fixture(scope="module")
def boxes(box: Box, deb: str, debian13: str) -> Iterator[list[Box]]:
    """systemd 252 and 257."""
    with Box(debian13, cgroup="unified", debs=[deb]) as other:
        yield [box, other]


def test_every_setting_of_systemd_is_in_one_list(boxes: list[Box]) -> None:
    for box in boxes:
        real = settings_of(box, "Unit", "Service", "Slice")
        assert len(real) > 350
        assert real - PASSED - settings.TRANSLATED - set(REFUSED) == set()
        slices = settings_of(box, "Unit", "Slice")
        # A slice has it in its files alone: it is for units with delegation.
        assert PASSED & slices - settings.OF_SLICES <= {"CoredumpReceive"}
    assert PASSED.isdisjoint(settings.TRANSLATED)
    assert set(REFUSED).isdisjoint(PASSED | settings.TRANSLATED)


def test_systemd_takes_every_setting_that_is_passed_on(boxes: list[Box]) -> None:
    wanted = json.dumps({name: sample(name) for name in sorted(PASSED)})
    for box in boxes:
        real = settings_of(box, "Unit", "Service", "Slice")
        done = box.run(["/usr/bin/python3", "-c", TRY], input=wanted, timeout=120)
        assert done.returncode == 0, done.stderr
        refused = json.loads(done.stdout)
        assert {name: why for name, why in refused.items() if name in real} == {}
        # A setting that this systemd does not have yet is refused by itself, in plain words.
        assert all("ropert" in why for why in refused.values()), refused


def test_apps_live_with_what_is_passed_on(make_pod: MakePod) -> None:
    given = {
        "Nice": 5, "CPUAffinity": "0", "TasksMax": 100, "LockPersonality": True,
        "MemoryDenyWriteExecute": True, "RestrictRealtime": True, "RestrictSUIDSGID": True,
        "RestrictAddressFamilies": "~AF_PACKET", "KeyringMode": "private",
        "CoredumpFilter": "all", "TimerSlackNSec": "1ms", "IOSchedulingClass": "idle",
        "CPUSchedulingPolicy": "batch", "IPAddressDeny": "any", "IPAddressAllow": "localhost",
        "LogExtraFields": "SHOP=front", "SyslogFacility": "local3", "OOMScoreAdjust": 300,
        "DeviceAllow": "/dev/fuse rw", "SuccessExitStatus": 42, "LimitNOFILE": "100:200",
        "LimitCPU": "1h", "LimitNICE": "+5", "Personality": "x86-64",
    }  # fmt: skip
    table = "".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items())
    script = (
        "trap 'exit 42' TERM; awk '{print \"nice\", $19}' /proc/self/stat;"
        " grep Cpus_allowed_list /proc/self/status; grep 'open files' /proc/self/limits;"
        " grep 'cpu time' /proc/self/limits; cat /proc/self/oom_score_adj;"
        " echo ready; sleep 1000 & wait"
    )
    pod = make_pod(
        "hardened", 'network = "none"\n' + app("one", script) + f"[app.systemd]\n{table}"
    )
    pod.start()
    said = pod.messages("RKT_POD=hardened", "SHOP=front", "SYSLOG_FACILITY=19")
    assert said[0] == "nice 5"
    assert said[1].split() == ["Cpus_allowed_list:", "0"]
    assert said[2].split()[3:5] == ["100", "200"]
    assert said[3].split()[3:5] == ["3600", "3600"]
    assert said[4] == "300"
    pod.stop()
    assert pod.status("one") == "success exited 42"


def test_settings_of_the_app_itself(make_pod: MakePod) -> None:
    table = (
        "[app.systemd]\n"
        'User = "1000"\nGroup = "1001"\nSupplementaryGroups = "7 8"\nWorkingDirectory = "/etc"\n'
        'Environment = "A=b \'C=d e\'"\nCapabilityBoundingSet = "CAP_CHOWN NET_BIND_SERVICE"\n'
        'AmbientCapabilities = "CAP_NET_BIND_SERVICE"\nBindReadOnlyPaths = "/usr/lib/rkt:/host"\n'
        'SystemCallFilter = "~@clock mkdir mkdirat"\nSystemCallErrorNumber = "EUCLEAN"\n'
    )
    script = (
        'id; pwd; echo "$A $C"; grep ^Cap /proc/self/status; ls /host; mkdir /tmp/x;'
        " echo x >/host/x || echo ro"
    )
    pod = make_pod("translated", 'network = "none"\n' + app("one", f"{script}; {SERVE}") + table)
    pod.start()
    said = pod.messages("RKT_POD=translated")
    assert said[:3] == ["uid=1000(app) gid=1001 groups=7,8", "/etc", "b d e"]
    sets = dict(line.split() for line in said[3:8])
    assert int(sets["CapBnd:"], 16) == 1 << 0 | 1 << 10
    assert {int(sets[name], 16) for name in ("CapEff:", "CapPrm:", "CapAmb:")} == {1 << 10}
    assert "pod-reap" in said
    assert "ro" in said
    assert any("Structure needs cleaning" in line for line in said)


@pytest.mark.parametrize("flavor", ["nspawn", "fly"])
def test_settings_that_are_carried_out_inside(make_pod: MakePod, flavor: str) -> None:
    table = (
        '[app.systemd]\nUMask = "0137"\nKillSignal = "SIGUSR1"\nPrivateTmp = true\n'
        'ProtectHome = "read-only"\n'
        'InaccessiblePaths = ["/var", "-/nowhere", "/etc/group"]\n'
    )
    script = (
        "umask; touch /tmp/x; stat -c %a /tmp/x; ls /var || echo hidden;"
        " cat /etc/group || echo hidden; trap 'echo told; exit 0' USR1; echo ready;"
        " sleep 1000 & wait"
    )
    network = NO_NETWORK if flavor == "nspawn" else ""
    text = f'stage1 = "{flavor}"\n{network}' + app("one", script, extra=f"user = 1000\n{table}")
    pod = make_pod("inside", text)
    pod.start()
    entered = pod.box.run(["rkt", "enter", "inside", "sh", "-c", "umask; cat /etc/group"])
    assert (entered.returncode != 0, entered.stdout) == (True, "0137\n")
    pod.stop()
    said = pod.messages(f"RKT_POD_UUID={pod.last_run()}")
    found = [line for line in said if "Permission denied" not in line]
    assert found == ["0137", "640", "hidden", "hidden", "ready", "told"]
    assert pod.leftovers() == ""


def test_what_is_refused_is_refused_before_anything_starts(make_pod: MakePod) -> None:
    pod = make_pod("refused", 'network = "none"\n' + app("one", SERVE))
    text = pod.box.read(pod.file)
    for table, message in (
        ('ProtectSystem = "full"', "ProtectSystem: not for an app (use the field read-only-root"),
        ("MemoryMaxx = 1", "MemoryMaxx: no setting of a unit that this version knows (did you"),
        ('UMask = "9"', 'UMask: "9" is not octal digits in quotes'),
        ("UMask = 27", "UMask: 27 is not octal digits in quotes"),
        ("PrivateTmp = false", "PrivateTmp: no app can do without"),
        ('InaccessiblePaths = "/absent"', "InaccessiblePaths: /absent: not in the image"),
        ('InaccessiblePaths = "/proc/x"', "InaccessiblePaths: /proc/x is not a part of the image"),
        ('KillSignal = "SIGNONE"', 'stop-signal: "SIGNONE" is not a signal'),
        ('Type = "forking"', 'Type: "forking" is not one of exec, simple, notify, oneshot'),
        ('Restart = "sometimes"', "systemd refuses its units: "),
        ('Type = "oneshot"\nRestart = "always"', "systemd refuses its units: "),
    ):
        pod.write(f"{text}[app.systemd]\n{table}\n")
        assert pod.systemctl("start").returncode != 0
        assert message in pod.errors()[-1]
        assert pod.leftovers() == ""
    pod.write(text.replace("[[app]]", '[systemd]\nRestart = "always"\n[[app]]'))
    assert pod.systemctl("start").returncode != 0
    assert "not a setting of a slice" in pod.errors()[-1]
    assert "systemctl edit rkt@POD.service" in pod.errors()[-1]
