"""The translation of pods into units and bundles, against files that a reader can read.

``RKTSD_GOLDEN=write`` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from rktsd.appc.isolators import isolator
from rktsd.appc.types import (
    App,
    Isolator,
    Mount,
    MountPoint,
    NameValue,
    PodManifest,
    RuntimeApp,
    RuntimeImage,
    Volume,
)
from rktsd.errors import BadInput, RktError, Unsupported
from rktsd.stage1.joining import joined
from rktsd.stage1.plan import plan
from rktsd.stage1.show import render
from rktsd.stage1.types import (
    AppFacts,
    Handler,
    Health,
    Launcher,
    Listener,
    Machine,
    Placeholder,
    PodFacts,
    PodPlan,
    Streams,
    VolumeFacts,
)

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
UUID = "6a1b2c3d-0000-4000-8000-00000000abcd"
LAYER = "/var/lib/rkt/cas/layers/sha512-"

CHECKED = Health(("/bin/check", "it's well"), 30.0, 5.0, 3, 60.0, "stop")
APP = App(exec=("/usr/sbin/nginx", "-g", "daemon off;"), user="0", group="0")


def _isolator(name: str, value: object) -> Isolator:
    return isolator(name, value, "test")


def _facts(name: str = "nginx", app: App = APP, **changes: Any) -> AppFacts:
    runtime = RuntimeApp(name, RuntimeImage("sha512-" + "a" * 64), app)
    facts = AppFacts(
        runtime=runtime,
        app=app,
        image="example.com/nginx:1.22",
        layers=(LAYER + "aaaa",),
        executable=app.exec[0],
        uid=0,
        gid=0,
    )
    return replace(facts, **changes)


def _pod(apps: list[AppFacts], *, volumes: tuple[Volume, ...] = (), **changes: Any) -> PodFacts:
    manifest = PodManifest("0.8.11", tuple(facts.runtime for facts in apps), volumes=volumes)
    facts = PodFacts(
        name="web",
        uuid=UUID,
        manifest=manifest,
        directory=f"/var/lib/rkt/pods/run/{UUID}",
        run_directory="/run/rkt/pods/web",
        hostname="web",
        namespace=f"/run/netns/rkt-{UUID}",
        hosts="127.0.0.1 localhost web\n",
    )
    return replace(facts, **changes)


def _plain() -> PodPlan:
    apps = [_facts()]
    return plan(_pod(apps), apps)


def _two_apps() -> PodPlan:
    other = App(exec=("/usr/sbin/php-fpm",), user="www-data", group="www-data")
    apps = [_facts(), _facts("php", other, uid=33, gid=33)]
    return plan(_pod(apps), apps)


def _sandbox() -> PodPlan:
    return plan(_pod([], mutable=True, on_app_failure="continue"), [])


def _app_that_joins() -> PodPlan:
    apps = [_facts(), _facts("php"), _facts("cron", health=CHECKED)]
    pod = _pod(apps, mutable=True, on_app_failure="continue")
    return joined(plan(pod, apps[2:], whole=False))


def _ipc_of_the_host() -> PodPlan:
    apps = [_facts()]
    return plan(_pod(apps, ipc="parent"), apps)


def _metadata() -> PodPlan:
    apps = [_facts()]
    return plan(_pod(apps, metadata=True), apps)


def _metadata_on_the_host() -> PodPlan:
    apps = [_facts()]
    return plan(_pod(apps, metadata=True, namespace=None), apps)


def _host_network() -> PodPlan:
    apps = [_facts()]
    machine = Machine(sensitive=("/sys/firmware", "/sys/module"))
    return plan(_pod(apps, namespace=None, machine=machine), apps)


def _odd_data_directory() -> PodPlan:
    layers = ("/srv/a:b,c/cas/layers/sha512-aaaa", LAYER + "bbbb")
    apps = [_facts(layers=layers)]
    return plan(_pod(apps, directory=f"/srv/a:b,c/pods/run/{UUID}"), apps)


def _flying(apps: list[AppFacts], **changes: Any) -> PodPlan:
    freed = frozenset({"capabilities", "paths", "seccomp"})
    apps = [
        replace(each, insecure=freed, host_capabilities=frozenset({"CAP_CHOWN"})) for each in apps
    ]
    return plan(_pod(apps, namespace=None, flavor="fly", **changes), apps)


def _fly() -> PodPlan:
    return _flying([_facts()], ipc="parent")


def _fly_with_everything() -> PodPlan:
    app = replace(
        APP,
        mount_points=(MountPoint("data", "/data"), MountPoint("below", "/data/below")),
        isolators=(_isolator("resource/memory", {"limit": "512Mi"}),),
    )
    facts = _facts(
        app=app,
        uid=33,
        gid=33,
        stop_signal=3,
        launcher=Launcher(b"\x7fELF filter", filters=True),
        handlers=(Handler("pre-start", "/bin/sh", ("sh", "-c", "true")),),
        systemd={"Type": "notify", "LimitNOFILE": "5:infinity", "SetCredential": "a:b"},
    )
    runtime = replace(facts.runtime, read_only_root_fs=True)
    facts = replace(facts, runtime=runtime, inaccessible=("/etc/shadow",))
    volumes = (
        Volume("data", "host", source="/srv/data", recursive=True),
        Volume("below", "host", source="/srv/below", read_only=True),
    )
    return _flying([facts, _facts("php")], volumes=volumes, ipc="private")


def _isolators() -> PodPlan:
    app = replace(
        APP,
        isolators=(
            _isolator("resource/memory", {"limit": "512Mi"}),
            _isolator("resource/cpu", {"limit": "1500m"}),
            _isolator("os/linux/cpu-shares", 2048),
            _isolator("os/linux/oom-score-adj", -500),
            _isolator("os/linux/no-new-privileges", True),
            _isolator("os/linux/capabilities-retain-set", {"set": ["CAP_NET_BIND_SERVICE"]}),
        ),
    )
    apps = [_facts(app=app)]
    return plan(_pod(apps), apps)


def _cgroup_v1() -> PodPlan:
    app = replace(APP, isolators=(_isolator("os/linux/cpu-shares", 12345),))
    apps = [_facts(app=app)]
    return plan(_pod(apps, machine=Machine(unified_cgroups=False)), apps)


def _another_user() -> PodPlan:
    app = replace(
        APP,
        user="1000",
        group="1000",
        supplementary_gids=(400, 500),
        working_directory="/srv",
        environment=(NameValue("GREETING", "$HOME; 'quoted' é"), NameValue("PATH", "/opt/bin")),
    )
    apps = [_facts(app=app, uid=1000, gid=1000)]
    return plan(_pod(apps), apps)


def _volumes() -> PodPlan:
    app = replace(
        APP,
        mount_points=(
            MountPoint("data", "/data"),
            MountPoint("conf", "/etc/nginx", read_only=True),
            MountPoint("scratch", "/scratch"),
        ),
    )
    volumes = (
        Volume("data", "host", source="/srv/with:colon", recursive=False),
        Volume("conf", "host", source="/srv/conf"),
        Volume("shared", "empty", mode=0o1777, uid=33, gid=33),
    )
    facts = _facts(app=app)
    runtime = replace(facts.runtime, mounts=(Mount("shared", "/var//cache/"),))
    apps = [replace(facts, runtime=runtime)]
    return plan(_pod(apps, volumes=volumes), apps)


def _more_volumes() -> PodPlan:
    volumes = (
        Volume("pg", "empty"),
        Volume("scratch", "empty", mode=0o1777, uid=3),
        Volume("null", "host", source="/dev/null", read_only=True),
        Volume("loop", "host", source="/srv/a loop"),
    )
    mounts = tuple(Mount(volume.name, f"/{volume.name}: ,") for volume in volumes)
    facts = _facts(app=replace(APP, mount_points=(MountPoint("logs", "/var/log"),)), docker=True)
    runtime = replace(facts.runtime, mounts=mounts, read_only_root_fs=True)
    other = _facts("other")
    apps = [
        replace(facts, runtime=runtime),
        replace(other, runtime=replace(other.runtime, mounts=mounts[:2])),
    ]
    pod = replace(
        _pod(apps, volumes=volumes),
        volumes={
            "pg": VolumeFacts("named", "/var/lib/rkt/volumes/data/data", name="data"),
            "scratch": VolumeFacts("tmpfs", "/run/rkt/pods/web/memory/scratch", size=1 << 20),
        },
        devices={"/dev/null": "/dev/char/1:3", "/srv/a loop": "/dev/block/7:0"},
    )
    return plan(pod, apps)


def _private_users() -> PodPlan:
    """Of everything that is shown to them, or belongs to them, one."""
    volumes = (
        Volume("data", "host", source="/srv/da:ta"),
        Volume("scratch", "empty", uid=3),
        Volume("pg", "empty"),
        Volume("loop", "host", source="/srv/loop"),
    )
    mounts = tuple(Mount(volume.name, f"/{volume.name}") for volume in volumes)
    score = _isolator("os/linux/oom-score-adj", 5)
    retain = _isolator("os/linux/capabilities-retain-set", {"set": ["CAP_KILL", "CAP_NET_ADMIN"]})
    facts = _facts(
        app=replace(APP, isolators=(score, retain)),
        layers=(LAYER + "bbbb", LAYER + "aaaa"),
        uid=7,
        gid=8,
        systemd={"SetCredential": "a:b"},
        handlers=(Handler("pre-start", "/bin/pre", ("pre",)),),
        placeholders=(
            Placeholder("/srv", 0o750, 33, 70000),
            Placeholder("/srv/file", 0o644, 0, 0, is_file=True),
        ),
    )
    apps = [replace(facts, runtime=replace(facts.runtime, mounts=mounts)), _facts("other")]
    pod = replace(
        _pod(apps, volumes=volumes),
        users=0x80000,
        volumes={
            "pg": VolumeFacts("named", "/var/lib/rkt/volumes/data/data", name="data"),
            "scratch": VolumeFacts("tmpfs", "/run/rkt/pods/web/memory/scratch"),
        },
        devices={"/srv/loop": "/dev/block/7:0"},
    )
    return plan(pod, apps)


def _systemd_settings() -> PodPlan:
    settings = {
        "Restart": "on-failure",
        "RestartSec": "2s",
        "MemoryMax": "50%",
        "LimitNOFILE": 4096,
    }
    app = replace(APP, isolators=(_isolator("resource/memory", {"limit": "64Mi"}),))
    apps = [_facts(app=app, systemd=settings, stop_timeout=90.0)]
    return plan(_pod(apps, systemd={"TasksMax": 100}, on_app_failure="continue"), apps)


def _settings_of_every_kind() -> PodPlan:
    settings = {
        "After": "postgresql.service",
        "CPUAffinity": "0-1,9",
        "CPUWeight": "idle",
        "DeviceAllow": "/dev/fuse rw",
        "IOReadBandwidthMax": "/dev/sda 5M",
        "IPAddressAllow": "localhost",
        "LimitNICE": "+5",
        "LogExtraFields": "SHOP=front",
        "LogLevelMax": "notice",
        "RestrictAddressFamilies": "~AF_PACKET",
        "SocketBindAllow": "tcp:80",
        "SuccessExitStatus": "3 TEMPFAIL SIGKILL",
        "TimeoutSec": "1min",
    }
    apps = [_facts(systemd=settings)]
    slice = {"MemoryHigh": "12.5%", "AllowedCPUs": "0-3", "ManagedOOMSwap": "kill"}
    return plan(_pod(apps, systemd=slice), apps)


def _readiness() -> PodPlan:
    app = replace(APP, user="1000", group="1000")
    apps = [
        _facts("told", systemd={"Type": "notify"}),
        _facts("watched", app, uid=1000, gid=1000, systemd={"WatchdogSec": "10s"}),
        _facts("once", systemd={"Type": "oneshot"}),
        _facts(
            "low-port",
            app,
            uid=1000,
            gid=1000,
            systemd={"AmbientCapabilities": "net_bind_service"},
        ),
    ]
    return plan(_pod(apps), apps)


def _order() -> PodPlan:
    apps = [
        _facts("init", systemd={"Type": "oneshot"}),
        _facts("db", requires=("init",)),
        _facts("web", after=("db", "init"), requires=("init",)),
    ]
    return plan(_pod(apps, register=True), apps)


def _credentials() -> PodPlan:
    settings = {"LoadCredential": "key:/etc/key", "SetCredential": ["a:b", "c:\\x00"]}
    apps = [_facts(systemd=settings, uid=33, gid=34)]
    return plan(_pod(apps), apps)


def _sockets() -> PodPlan:
    outside = (
        Listener("http", "Stream", "8080", inside=False),
        Listener("dns", "Datagram", "127.0.0.1:53", inside=False),
    )
    apps = [
        _facts("web", listeners=outside, requires=("db",)),
        _facts("db", listeners=(Listener("sql", "Stream", "5432", inside=True),)),
    ]
    return plan(_pod(apps), apps)


def _health() -> PodPlan:
    apps = [_facts(health=CHECKED), _facts("other")]
    return plan(_pod(apps), apps)


def _oci_image() -> PodPlan:
    app = replace(APP, mount_points=(MountPoint("volume-data", "/data"),))
    layers = tuple(f"/var/lib/rkt/cas/layers/sha256-{name}" for name in ("top", "middle", "base"))
    apps = [_facts(app=app, docker=True, layers=layers)]
    return plan(_pod(apps), apps)


def _names() -> PodPlan:
    apps = [_facts(own_files=frozenset({"/etc/hosts"}))]
    return plan(_pod(apps, resolv_conf="nameserver 192.0.2.1\n", hostname="other"), apps)


def _read_only_root() -> PodPlan:
    missing = (
        Placeholder("/proc", 0o755, 0, 0),
        Placeholder("/etc", 0o750, 0, 0),
        Placeholder("/etc/hosts", 0o755, 0, 0, is_file=True),
        Placeholder("/etc/mtab", 0o755, 0, 0, link="../proc/self/mounts"),
    )
    facts = _facts(placeholders=missing)
    apps = [replace(facts, runtime=replace(facts.runtime, read_only_root_fs=True))]
    return plan(_pod(apps), apps)


def _insecure() -> PodPlan:
    insecure = frozenset({"capabilities", "paths", "seccomp"})
    apps = [_facts(insecure=insecure, host_capabilities=frozenset({"CAP_CHOWN", "CAP_KILL"}))]
    return plan(_pod(apps), apps)


def _new_privileges() -> PodPlan:
    app = replace(APP, isolators=(_isolator("os/linux/no-new-privileges", False),))
    apps = [_facts(app=app)]
    return plan(_pod(apps), apps)


def _foreign_architecture() -> PodPlan:
    apps = [_facts(foreign_architecture="i386")]
    return plan(_pod(apps), apps)


LIMITS = {
    "resource/block-bandwidth": {"default": True, "limit": "2M"},
    "resource/block-iops": {"default": True, "limit": "1000"},
    "resource/pids": {"limit": "64"},
    "os/linux/cpu-shares": 512,
}
DISKS = Machine(block_devices=("/dev/sda", "/dev/sdb"))


def _with_isolators(pod: PodFacts, values: Mapping[str, object]) -> PodFacts:
    isolators = tuple(_isolator(*each) for each in values.items())
    return replace(pod, manifest=replace(pod.manifest, isolators=isolators))


def _limits() -> PodPlan:
    own = {
        **LIMITS,
        "os/unix/rlimits": {"nofile": "1024:4096", "core": 0, "stack": "infinity"},
        "os/unix/sysctl": {"kernel.shmmax": "1000000", "net.ipv4.ip_forward": "1"},
        "resource/network-bandwidth": {"default": True, "limit": "1M"},
    }
    app = replace(APP, isolators=tuple(_isolator(*each) for each in own.items()))
    apps = [_facts(app=app)]
    return plan(_pod(apps, machine=DISKS), apps)


def _pod_limits() -> PodPlan:
    apps = [_facts(), _facts("php")]
    values = {
        **LIMITS,
        "resource/memory": {"limit": "1Gi"},
        "resource/cpu": {"limit": "2"},
        "os/unix/sysctl": {"net.core.somaxconn": "1000", "fs.mqueue.msg_max": "20"},
        "resource/network-bandwidth": {"default": True, "limit": "10M"},
    }
    return plan(_with_isolators(_pod(apps, machine=DISKS), values), apps)


def _selinux() -> PodPlan:
    context = {"user": "system_u", "role": "system_r", "type": "one_t", "level": "s0:c1"}
    own = (_isolator("os/linux/selinux-context", {**context, "type": "two_t"}),)
    apps = [_facts(), _facts("php", replace(APP, isolators=own))]
    pod = _pod(apps, machine=Machine(security_modules=frozenset({"selinux"})))
    return plan(_with_isolators(pod, {"os/linux/selinux-context": context}), apps)


def _handlers() -> PodPlan:
    own = (
        Handler("pre-start", "/bin/sh", ("sh", "-c", "echo 'to root'")),
        Handler("post-stop", "/bin/sh", ("sh", "-c", "true")),
    )
    settings = {"LimitNOFILE": 4096, "Restart": "on-failure"}
    apps = [_facts(handlers=own, uid=33, gid=33, systemd=settings)]
    return plan(_pod(apps), apps)


def _process() -> PodPlan:
    apps = [_facts(stop_signal=3, terminal=True)]
    return plan(_pod(apps, shm_size=1 << 20), apps)


def _launcher() -> PodPlan:
    apps = [_facts(launcher=Launcher(b"\x7fELF filter", filters=True))]
    return plan(_pod(apps), apps)


def _launcher_without_filter() -> PodPlan:
    apps = [_facts(launcher=Launcher(b"\x7fELF profile", filters=False))]
    return plan(_pod(apps), apps)


def _carried_out() -> PodPlan:
    settings = {"UMask": "0027", "InaccessiblePaths": "/srv", "PrivateTmp": True}
    umask = Launcher(b"\x7fELF umask", filters=False)
    apps = [_facts(systemd=settings, launcher=umask, inaccessible=("/srv", "/etc/a:b"))]
    return plan(_pod(apps), apps)


def _shared_processes() -> PodPlan:
    handler = Handler("pre-start", "/bin/sh", ("sh", "-c", "true"))
    apps = [_facts(handlers=(handler,), systemd={"Requires": "a.service"}), _facts("php")]
    return plan(_pod(apps, pid="shared"), apps)


def _poor_machine() -> PodPlan:
    values = {
        **LIMITS,
        "resource/memory": {"limit": "1Gi"},
        "os/linux/selinux-context": {"user": "u", "role": "r", "type": "t"},
        "os/linux/apparmor-profile": {"profile": "docker-default"},
        "resource/network-bandwidth": {"default": True, "limit": "10M"},
    }
    app = replace(APP, isolators=tuple(_isolator(*each) for each in values.items()))
    apps = [_facts(app=app), _facts("php")]
    machine = Machine(unified_cgroups=False, controllers=frozenset({"cpu"}))
    return plan(_pod(apps, machine=machine), apps)


def _instance() -> PodPlan:
    apps = [_facts()]
    return plan(_pod(apps, name="many@7", run_directory="/run/rkt/pods/many@7"), apps)


def _attached() -> PodPlan:
    handler = Handler("pre-start", "/bin/prepare", ("/bin/prepare",))
    apps = [
        _facts(streams=Streams("stream", "stream", "null"), handlers=(handler,)),
        _facts("php", streams=Streams("tty", "tty", "tty", awaited=True)),
        _facts("mute", streams=Streams("null", "tty", "tty")),
    ]
    return plan(_pod(apps), apps)


CASES = {
    "attached": _attached,
    "private-users": _private_users,
    "plain": _plain,
    "two-apps": _two_apps,
    "sandbox": _sandbox,
    "app-that-joins": _app_that_joins,
    "ipc-of-the-host": _ipc_of_the_host,
    "metadata": _metadata,
    "metadata-on-the-host": _metadata_on_the_host,
    "host-network": _host_network,
    "carried-out": _carried_out,
    "shared-processes": _shared_processes,
    "fly": _fly,
    "fly-with-everything": _fly_with_everything,
    "odd-data-directory": _odd_data_directory,
    "isolators": _isolators,
    "cgroup-v1": _cgroup_v1,
    "another-user": _another_user,
    "volumes": _volumes,
    "more-volumes": _more_volumes,
    "systemd-settings": _systemd_settings,
    "settings-of-every-kind": _settings_of_every_kind,
    "readiness": _readiness,
    "health": _health,
    "sockets": _sockets,
    "order": _order,
    "credentials": _credentials,
    "oci-image": _oci_image,
    "names": _names,
    "read-only-root": _read_only_root,
    "insecure": _insecure,
    "new-privileges": _new_privileges,
    "foreign-architecture": _foreign_architecture,
    "instance": _instance,
    "limits": _limits,
    "pod-limits": _pod_limits,
    "selinux": _selinux,
    "handlers": _handlers,
    "process": _process,
    "launcher": _launcher,
    "launcher-without-filter": _launcher_without_filter,
    "poor-machine": _poor_machine,
}


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    rendered = render(CASES[case]())
    path = os.path.join(GOLDEN, f"{case}.txt")
    if os.environ.get("RKTSD_GOLDEN") == "write":
        with open(path, "w") as file:
            file.write(rendered)
    with open(path) as file:
        assert rendered == file.read()


def test_every_golden_file_has_a_case() -> None:
    names = {os.path.basename(path) for path in glob.glob(f"{GOLDEN}/*.txt")}
    assert names == {f"{case}.txt" for case in CASES}


def test_a_plan_is_json_data() -> None:
    planned = _volumes()
    assert json.loads(json.dumps(planned)) == json.loads(json.dumps(planned))
    assert set(json.loads(json.dumps(planned))) == set(PodPlan.__annotations__)


def test_argv_of_units_survive_a_daemon_reload() -> None:
    safe = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,@+-")
    for case in CASES.values():
        for unit in case()["units"]:
            for name, _, value in unit["properties"]:
                if name.startswith("Exec"):
                    assert not {c for _, argv, _ in value for word in argv for c in word} - safe


REFUSED: list[tuple[dict[str, Any], type[RktError], str]] = [
    (
        {"app": replace(APP, isolators=(_isolator("os/unix/sysctl", {"vm.swappiness": "1"}),))},
        Unsupported,
        "app nginx: sysctl vm.swappiness would change the whole machine (net.*, fs.mqueue.* and"
        " the System V IPC limits of kernel.* are a pod's own)",
    ),
    (
        {"systemd": {"User": "nobody"}},
        BadInput,
        "app nginx: systemd.User: not for an app (use the field user)",
    ),
    (
        {"systemd": {"MemoryMaxx": "1G"}},
        BadInput,
        "app nginx: systemd.MemoryMaxx: no setting of a unit that this version knows"
        " (did you mean MemoryMax?)",
    ),
    (
        {"systemd": {"ProtectSystem": "full"}},
        BadInput,
        "app nginx: systemd.ProtectSystem: not for an app (use the field read-only-root and"
        " volumes)",
    ),
    (
        {"systemd": {"WatchdogSec": 5}},
        BadInput,
        "app nginx: systemd.WatchdogSec: an app of user 0 could tell systemd of a main process"
        " that is not its own, and have it killed (give it another user, or trust it:"
        ' NotifyAccess = "all")',
    ),
    (
        {"systemd": {"WatchdogSec": 5, "NotifyAccess": "main"}},
        BadInput,
        "app nginx: systemd.NotifyAccess: the watchdog needs exec or all",
    ),
    (
        {"after": ("db",)},
        BadInput,
        "app nginx: waits for app db, which the pod does not have",
    ),
    (
        {"requires": ("nginx",)},
        BadInput,
        "app nginx: waits for itself: nginx for nginx",
    ),
    (
        {"systemd": {"Type": "forking"}},
        BadInput,
        'app nginx: systemd.Type: "forking" is not one of exec, simple, notify, oneshot',
    ),
    (
        {"systemd": {"AmbientCapabilities": "CAP_SYS_ADMIN"}},
        BadInput,
        "app nginx: systemd.AmbientCapabilities: CAP_SYS_ADMIN is not among the capabilities that"
        " the app keeps (capabilities-retain)",
    ),
    (
        {"systemd": {"RestartSec": "soon"}},
        BadInput,
        'app nginx: systemd.RestartSec: "soon" is not a time span such as "1min 30s"',
    ),
    (
        {"app": replace(APP, exec=("/bin/a", "b\0c"))},
        BadInput,
        "app nginx: 'b\\x00c' holds a NUL character",
    ),
]


@pytest.mark.parametrize(("changes", "kind", "message"), REFUSED)
def test_refused(changes: dict[str, Any], kind: type[RktError], message: str) -> None:
    apps = [_facts(**changes)]
    with pytest.raises(kind) as caught:
        plan(_pod(apps), apps)
    assert str(caught.value) == message


def test_a_slice_takes_no_settings_of_services() -> None:
    apps = [_facts()]
    with pytest.raises(BadInput, match="not a setting of a slice"):
        plan(_pod(apps, systemd={"Restart": "always"}), apps)


def test_only_a_pod_whose_apps_come_and_go_may_have_none() -> None:
    with pytest.raises(BadInput, match=r"^pod web: pod must contain at least one application$"):
        plan(_pod([]), [])


def test_an_app_brings_no_settings_of_the_pod_to_one_whose_apps_come_and_go() -> None:
    setting = _isolator("os/unix/sysctl", {"net.ipv4.ip_forward": "1"})
    apps = [_facts(app=replace(APP, isolators=(setting,)))]
    with pytest.raises(Unsupported) as caught:
        plan(_pod(apps, mutable=True), apps)
    assert str(caught.value) == (
        "pod web: os/unix/sysctl: net.ipv4.ip_forward: not for a pod whose apps come and go"
    )
    limit = _isolator("resource/network-bandwidth", {"default": True, "limit": "10M"})
    apps = [_facts(app=replace(APP, isolators=(limit,)))]
    assert plan(_pod(apps), apps)["bandwidth"] == 10**7
    planned = plan(_pod(apps, mutable=True), apps)
    assert planned["bandwidth"] is None
    assert planned["unapplied"] == [
        "app nginx: resource/network-bandwidth: the apps of a pod share its interfaces; give it to"
        " the pod"
    ]


def test_a_socket_is_what_is_started_of_an_app_that_has_one() -> None:
    apps = [_facts(listeners=(Listener("http", "Stream", "80", inside=True),))]
    found = joined(plan(_pod(apps, mutable=True), apps, whole=False))
    assert found["barrier"]["name"] == "rkt-web.nginx.socket"
    assert [unit["name"] for unit in found["units"]] == ["rkt-web.nginx.service"]


def test_strict_refuses_what_stays_unapplied() -> None:
    apps = [_facts(app=replace(APP, isolators=(_isolator("os/linux/cpu-shares", 2),)))]
    machine = Machine(controllers=frozenset())
    assert plan(_pod(apps, machine=machine), apps)["unapplied"] == [
        "app nginx: os/linux/cpu-shares: this machine has no cpu controller"
    ]
    with pytest.raises(Unsupported, match="this machine has no cpu controller"):
        plan(_pod(apps, machine=machine, strict=True), apps)


ALL = frozenset({"cpu", "memory", "io", "pids"})
DISK = ("/dev/sda",)
UNABLE: list[tuple[str, object, Machine]] = [
    ("resource/memory", {"limit": "1Gi"}, Machine(controllers=ALL - {"memory"})),
    ("resource/cpu", {"limit": "1"}, Machine(controllers=ALL - {"cpu"})),
    ("os/linux/cpu-shares", 512, Machine(controllers=ALL - {"cpu"})),
    ("resource/pids", {"limit": "10"}, Machine(controllers=ALL - {"pids"})),
    (
        "resource/block-bandwidth",
        {"default": True, "limit": "1M"},
        Machine(controllers=ALL - {"io"}, block_devices=DISK),
    ),
    ("resource/block-bandwidth", {"default": True, "limit": "1M"}, Machine()),
    (
        "resource/block-iops",
        {"default": True, "limit": "100"},
        Machine(unified_cgroups=False, block_devices=DISK),
    ),
    (
        "os/linux/selinux-context",
        {"user": "u", "role": "r", "type": "t", "level": "s0"},
        Machine(),
    ),
    ("os/linux/apparmor-profile", {"profile": "web"}, Machine()),
]


@pytest.mark.parametrize(("name", "value", "machine"), UNABLE)
@pytest.mark.parametrize("level", ["app", "pod"])
def test_what_a_machine_cannot_do_is_told_or_refused(
    name: str, value: object, machine: Machine, level: str
) -> None:
    own = (_isolator(name, value),)
    apps = [_facts(app=replace(APP, isolators=own)) if level == "app" else _facts()]
    pod = _pod(apps, machine=machine)
    if level == "pod":
        pod = replace(pod, manifest=replace(pod.manifest, isolators=own))
        if name == "os/linux/cpu-shares":
            # Not for pods at all.
            return
    (line,) = plan(pod, apps)["unapplied"]
    assert line.startswith(f"app nginx: {name}: " if level == "app" else f"{name}: ")
    with pytest.raises(Unsupported) as caught:
        plan(replace(pod, strict=True), apps)
    assert str(caught.value) == f"pod web: {line}"


def test_a_kernel_that_shapes_no_traffic() -> None:
    own = (_isolator("resource/network-bandwidth", {"default": True, "limit": "1M"}),)
    apps = [_facts(app=replace(APP, isolators=own))]
    found = plan(_pod(apps, machine=Machine(shaping=False)), apps)
    assert found["bandwidth"] is None
    (line,) = found["unapplied"]
    assert line.startswith("resource/network-bandwidth: this kernel has no")
    assert plan(_pod(apps), apps)["bandwidth"] == 1_000_000


@pytest.mark.parametrize(
    ("setting", "value", "machine", "reason"),
    [
        (
            "CPUQuota",
            "20%",
            Machine(controllers=ALL - {"cpu"}),
            "this machine has no cpu controller",
        ),
        ("AllowedCPUs", "0", Machine(controllers=ALL), "this machine has no cpuset controller"),
        ("MemoryHigh", "1G", Machine(unified_cgroups=False), "systemd does that on the unified"),
        ("RestrictFileSystems", "ext4", Machine(), "bpf is not among the security modules"),
    ],
)
@pytest.mark.parametrize("level", ["app", "pod"])
def test_settings_without_effect_are_told_or_refused(
    setting: str, value: object, machine: Machine, reason: str, level: str
) -> None:
    table = {"TasksMax": 10, setting: value}
    if level == "pod" and setting == "RestrictFileSystems":
        # Not for slices at all.
        return
    apps = [_facts(systemd=table if level == "app" else None)]
    pod = _pod(apps, machine=machine, systemd=table if level == "pod" else None)
    (line,) = plan(pod, apps)["unapplied"]
    start = f"app nginx: systemd.{setting}: " if level == "app" else f"systemd.{setting}: "
    assert line.startswith(f"{start}{reason}")
    with pytest.raises(Unsupported) as caught:
        plan(replace(pod, strict=True), apps)
    assert str(caught.value) == f"pod web: {line}"


def test_a_pod_needs_an_app() -> None:
    with pytest.raises(BadInput, match="pod must contain at least one application"):
        plan(_pod([]), [])


def test_a_mount_of_an_absent_volume() -> None:
    facts = _facts()
    apps = [replace(facts, runtime=replace(facts.runtime, mounts=(Mount("none", "/x"),)))]
    with pytest.raises(BadInput, match="dangling mount point /x: volume none not found"):
        plan(_pod(apps), apps)
