"""org.rktsd on the system bus: what is answered, to whom, and what is told."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from typing import IO, Any

import pytest

from tests.box import Box
from tests.system.busctl import (
    IMAGE,
    MANAGER,
    NAME,
    POD,
    ROOT,
    answer,
    busctl,
    call,
    error,
    of_object,
    properties,
)
from tests.system.conftest import store_image
from tests.system.pods import NO_NETWORK, SERVE, Pod, app
from tests.waiting import eventually

BUSYBOX = "example.com/busybox"
PROPERTIES = "org.freedesktop.DBus.Properties"
NOBODY = "ffffffff-ffff-4fff-8fff-ffffffffffff"
# What a program does that has subscribed, and waits for its end; BODY with ``bus`` and ``call``.
CLIENT = """
import asyncio, signal
# Whoever waits for what it says does not wait for ever.
signal.alarm(100)
from dbus_next.aio import MessageBus
from dbus_next import BusType, Message, Variant
async def main():
    bus = await MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True).connect()
    async def call(member, signature="", *body):
        return await bus.call(Message(
            destination="org.rktsd", path="/org/rktsd", interface="org.rktsd.Manager1",
            member=member, signature=signature, body=list(body)))
    BODY
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def bus(deb: str, busybox_aci: str) -> Iterator[Box]:
    """A box with an image and users; ``member`` is in group rkt, ``manager`` in rkt-admin."""
    with Box(debs=[deb]) as box:
        box.shell("useradd -m -G rkt member; useradd -m -G rkt-admin manager; useradd -m stranger")
        store_image(box, busybox_aci)
        yield box


@pytest.fixture
def web(bus: Box) -> Iterator[Pod]:
    """A pod that serves until it is stopped; no run of it is left."""
    pod = Pod(bus, "web", NO_NETWORK + app("one", SERVE))
    yield pod
    pod.remove()
    bus.shell("rkt gc --grace-period=0s 2>/dev/null")


class Heard:
    """The signals of org.rktsd, by busctl monitor."""

    def __init__(self, box: Box) -> None:
        # The service is there from here on, and holds its name.
        answer(box, "GetInfo")
        match = "type='signal',sender='org.rktsd'"
        self._process = box.popen(["busctl", "--json=short", "monitor", f"--match={match}"])
        self._found: list[tuple[str, list[Any]]] = []
        assert self._process.stdout is not None
        # From here on it listens.
        assert self._process.stdout.readline() == "Monitoring bus message stream.\n"
        threading.Thread(target=self._read, args=[self._process.stdout], daemon=True).start()

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            found = json.loads(line)
            if found["type"] == "signal":
                self._found.append((found["member"], list(found["payload"]["data"])))

    def wait(self, member: str, *beginning: object) -> list[Any]:
        """The arguments of the first signal of that name that begin so."""

        def fitting() -> list[list[Any]]:
            return [
                body
                for name, body in list(self._found)
                if name == member and body[: len(beginning)] == list(beginning)
            ]

        eventually(lambda: bool(fitting()), f"{member} {beginning} is told, not {self._found}")
        return fitting()[0]

    def event(self, *wanted: str) -> dict[str, Any]:
        """The details of the first event that is (pod, app, kind)."""

        def fitting() -> list[list[Any]]:
            return [body for name, body in list(self._found) if body[2:5] == list(wanted)]

        eventually(lambda: bool(fitting()), f"{wanted} is told, not {self._found}")
        return dict(fitting()[0][5])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def heard(bus: Box) -> Iterator[Heard]:
    listener = Heard(bus)
    yield listener
    listener.close()


def listed(box: Box, *filters: str, detail: bool = False) -> dict[str, dict[str, Any]]:
    """Pods by UUID; ``filters`` are words as busctl takes them for aa{sv}."""
    found = answer(box, "ListPods", "aa{sv}b", *(filters or ("0",)), str(detail).lower())
    return {shown["Uuid"]: shown for _, shown in found}


def images(box: Box, *filters: str, detail: bool = False) -> dict[str, dict[str, Any]]:
    found = answer(box, "ListImages", "aa{sv}b", *(filters or ("0",)), str(detail).lower())
    return {shown["Name"]: shown for _, shown in found}


def client(box: Box, body: str) -> subprocess.Popen[str]:
    return box.popen(["/usr/bin/python3", "-u", "-c", CLIENT.replace("BODY", body)])


@pytest.mark.row("api_service/GetInfo")
def test_versions_and_directories(bus: Box) -> None:
    info = answer(bus, "GetInfo")
    version = bus.run(["rkt", "version"], check=True).stdout
    assert f"rkt Version: {info['RktVersion']}\n" in version
    assert f"appc Version: {info['AppcVersion']}\n" in version
    assert info["Directory"] == "/var/lib/rkt"
    assert info["SystemConfigDirectory"] == "/usr/lib/rkt"
    assert info["LocalConfigDirectory"] == "/etc/rkt"
    assert info["InsecureOptions"] == []
    shown = busctl(bus, "get-property", NAME, ROOT, MANAGER, "ApiVersion")
    assert json.loads(shown.stdout)["data"] == info["ApiVersion"]


def test_everything_can_be_introspected(bus: Box) -> None:
    (path, _), *_ = answer(bus, "ListImages", "aa{sv}b", "0", "false")
    for each, interface in ((ROOT, MANAGER), (path, IMAGE)):
        done = bus.run(["busctl", "introspect", NAME, each])
        assert done.returncode == 0, done.stderr
        assert f"{interface} " in done.stdout
        assert "org.freedesktop.DBus.Properties" in done.stdout
    tree = bus.run(["busctl", "tree", "--list", NAME], check=True).stdout.split()
    assert path in tree


@pytest.mark.row("api_service/ListInspectImages")
def test_images_and_filters(bus: Box) -> None:
    (shown,) = images(bus).values()
    told = json.loads(bus.run(["rkt", "image", "list", "--format=json"], check=True).stdout)[0]
    assert shown["Id"] == told["id"]
    assert shown["Size"] == told["size"]
    assert shown["Imported"] == told["import_time"] // 1000
    assert "Manifest" not in shown
    whole = images(bus, detail=True)[BUSYBOX]
    manifest = bus.run(["rkt", "image", "cat-manifest", BUSYBOX], check=True).stdout
    assert json.loads(whole["Manifest"]) == json.loads(manifest)
    path = answer(bus, "GetImage", "s", shown["Id"][:20])
    inspected = properties(bus, path, IMAGE)
    assert inspected.pop("LastUsed") >= whole.pop("LastUsed")
    assert inspected == whole
    now = str(shown["Imported"])
    good = (
        ("ids", "as", "1", shown["Id"]),
        ("prefixes", "as", "2", "nope", "example.com/b"),
        ("base_names", "as", "1", "busybox"),
        ("keywords", "as", "1", "usyb"),
        ("full_names", "as", "1", f"{BUSYBOX}:{shown['Version']}"),
        ("labels", "a{ss}", "1", "os", "linux"),
        ("imported_after", "t", "1"),
        ("imported_before", "t", str(int(now) + 1)),
    )
    bad = (
        ("ids", "as", "1", "sha512-0"),
        ("prefixes", "as", "1", "busybox"),
        ("base_names", "as", "1", "busy"),
        ("labels", "a{ss}", "2", "os", "linux", "arch", "vax"),
        ("annotations", "a{ss}", "1", "no", "such"),
        ("imported_after", "t", now),
    )
    assert [words for words in good if BUSYBOX not in images(bus, "1", "1", *words)] == []
    assert [words for words in bad if images(bus, "1", "1", *words)] == []
    # Of several filters one is enough, in one all must fit.
    assert images(bus, "2", "1", *bad[0], "1", *good[0])
    assert not images(bus, "1", "2", *bad[0], *good[1])


@pytest.mark.row("api_service_nspawn/ListInspectPods")
def test_pods_in_every_state(bus: Box, web: Pod) -> None:
    web.write('network = ["default"]\n' + app("one", SERVE) + app("two", SERVE))
    web.start()
    manifest = {
        "acKind": "PodManifest",
        "acVersion": "0.8.11",
        "apps": [{"name": "lazy", "image": {"id": images(bus)[BUSYBOX]["Id"]}}],
        "annotations": [{"name": "example.com/kind", "value": "front"}],
    }
    bus.write("/root/pod.json", json.dumps(manifest))
    flags = ["prepare", "--pod-manifest=/root/pod.json"]
    prepared = bus.run(["rkt", *flags], check=True).stdout.strip()
    script = [BUSYBOX, "--", "-c", "exit 5"]
    ended = bus.run(["rkt", "--insecure-options=image", "run", "--net=none", *script])
    assert ended.returncode == 5
    bus.shell(f"mkdir /var/lib/rkt/pods/run/{NOBODY}; echo x >/var/lib/rkt/pods/run/{NOBODY}/pod")
    try:
        found = listed(bus, detail=True)
        running = found[web.last_run()]
        assert NOBODY not in found
        exited = next(each for each in found.values() if each["State"] == "exited")
        assert found[prepared]["State"] == "prepared"
        assert found[prepared]["Started"] == 0
        assert exited["ExitCodes"] == {"busybox": 5}
        assert exited["Apps"][0]["Finished"] >= exited["Started"] >= exited["Created"] > 0
        assert running["State"] == "running"
        assert running["Name"] == "web"
        assert found[prepared]["Annotations"] == {"example.com/kind": "front"}
        assert json.loads(running["Manifest"])["apps"][0]["name"] == "one"
        told = json.loads(bus.run(["rkt", "status", "--format=json", "web"], check=True).stdout)
        assert json.loads(running["Json"]) == told
        network = told["networks"][0]
        assert running["Networks"] == [[network["netName"], network["ip"], ""]]
        assert f"pid={running['Pid']}\n" in bus.run(["rkt", "status", "web"]).stdout
        path = answer(bus, "GetPod", "s", "web")
        assert properties(bus, path, POD) == running
        assert answer(bus, "GetPod", "s", web.last_run()[:9]) == path
        assert answer(bus, "GetPodByPID", "u", str(running["Pid"])) == path
        good = (
            ("ids", "as", "1", web.last_run().upper()),
            ("names", "as", "1", "web"),
            ("states", "as", "2", "embryo", "running"),
            ("app_names", "as", "2", "one", "two"),
            ("image_ids", "as", "1", running["ImageIds"][0]),
            ("network_names", "as", "1", "default"),
        )
        kind = ("annotations", "a{ss}", "1", "example.com/kind", "front")
        assert list(listed(bus, "1", "1", *kind)) == [prepared]
        bad = (
            ("states", "as", "1", "exited"),
            ("app_names", "as", "2", "one", "three"),
            ("network_names", "as", "1", "other"),
            ("annotations", "a{ss}", "1", "example.com/kind", "front"),
        )
        uuid = web.last_run()
        assert [words for words in good if uuid not in listed(bus, "1", "1", *words)] == []
        assert [words for words in bad if uuid in listed(bus, "1", "1", *words)] == []
        everything = of_object(bus, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        assert everything[path][POD]["State"] == "running"
        bus.run(["rkt", "gc", "--mark-only"], check=True)
        marked = listed(bus, detail=True)[exited["Uuid"]]
        assert marked["State"] == "exited garbage"
        assert marked["GarbageMarked"] >= exited["Apps"][0]["Finished"]
    finally:
        bus.shell(f"rm -rf /var/lib/rkt/pods/*/{NOBODY}; rkt rm {prepared}")


@pytest.mark.row("api_service_nspawn/Cgroup")
def test_pods_by_their_control_group(bus: Box, web: Pod) -> None:
    web.start()
    group = web.show("ControlGroup", web.slice)
    below = web.show("ControlGroup", web.app_unit("one"))
    path = answer(bus, "GetPod", "s", "web")
    assert properties(bus, path, POD)["ControlGroup"] == group
    assert list(listed(bus, "1", "1", "cgroups", "as", "1", group)) == [web.last_run()]
    assert listed(bus, "1", "1", "cgroups", "as", "1", below) == {}
    assert list(listed(bus, "1", "1", "pod_sub_cgroups", "as", "1", below)) == [web.last_run()]
    assert listed(bus, "1", "1", "pod_sub_cgroups", "as", "1", "/rkt.slice") == {}
    for each in (group, below):
        assert answer(bus, "GetPodByControlGroup", "s", each) == path
    web.stop()
    assert listed(bus, "1", "1", "pod_sub_cgroups", "as", "1", below) == {}


def test_the_life_of_a_pod(bus: Box, web: Pod, heard: Heard) -> None:
    web.write(NO_NETWORK + app("one", f"trap 'exit 12' USR2; {SERVE}"))
    path = answer(bus, "StartPod", "s", "web")
    uuid = web.last_run()
    web.wait_ready()
    assert heard.wait("PodAdded", uuid) == [uuid, path]
    assert heard.wait("PodChanged", uuid) == [uuid, path, "running"]
    again = of_object(bus, path, POD, "Restart")
    web.wait_ready()
    assert again != path
    assert properties(bus, path, POD)["State"] == "exited"
    assert properties(bus, again, POD)["State"] == "running"
    of_object(bus, again, POD, "Kill", "sas", "USR2", "1", "one")
    eventually(lambda: properties(bus, again, POD)["State"] == "exited", "the signal ends it")
    assert properties(bus, again, POD)["ExitCodes"] == {"one": 12}
    uuid = web.last_run()
    assert heard.wait("PodChanged", uuid, again, "exited")
    assert heard.wait("PropertiesChanged", POD)[1]["Apps"]
    assert heard.event("web", "one", "failed")["exit_code"]["data"] == 12
    answer(bus, "StopPod", "sa{sv}", "web", "0")
    of_object(bus, again, POD, "Remove")
    assert heard.wait("PodRemoved", uuid) == [uuid, again]
    assert error(bus, "root", f"{PROPERTIES}.GetAll", f"string:{POD}", path=again) == (
        "org.rktsd.Error.NoSuchPod"
    )


def test_a_stop_that_is_not_obeyed(bus: Box, web: Pod) -> None:
    web.write(NO_NETWORK + app("one", "trap '' TERM; trap 'exit 4' USR1; echo ready;"
                               " while :; do sleep 0.1; done"))  # fmt: skip
    web.start()
    path = answer(bus, "GetPod", "s", "web")
    options = ["2", "signal", "s", "SIGUSR1", "timeout", "d", "60"]
    of_object(bus, path, POD, "Stop", "a{sv}", *options)
    assert properties(bus, path, POD)["ExitCodes"] == {"one": 4}
    answer(bus, "StartPod", "s", "web")
    web.wait_ready()
    answer(bus, "StopPod", "sa{sv}", "web", "1", "force", "b", "true")
    assert web.state() != "active"


def test_what_commands_change_is_told(bus: Box, busybox_aci: str, heard: Heard) -> None:
    """And where the change of an image was made on the bus, all can see it."""
    (shown,) = images(bus).values()
    answer(bus, "RemoveImage", "s", BUSYBOX)
    path = heard.wait("ImageRemoved", shown["Id"])[1]
    assert bus.run(["rkt", "image", "list", "--no-legend"], check=True).stdout == ""
    store_image(bus, busybox_aci)
    assert heard.wait("ImageAdded", shown["Id"]) == [shown["Id"], path]
    flags = ["--insecure-options=image", "prepare"]
    uuid = bus.run(["rkt", *flags, BUSYBOX], check=True).stdout.strip()
    path = answer(bus, "GetPod", "s", uuid)
    added = heard.wait("InterfacesAdded", path)
    assert added[1][POD]["State"]["data"] == "prepared"
    bus.run(["rkt", "rm", uuid], check=True)
    assert heard.wait("PodRemoved") == [uuid, path]


def test_garbage_is_collected(bus: Box) -> None:
    script = [BUSYBOX, "--", "-c", "exit 0"]
    bus.run(["rkt", "--insecure-options=image", "run", "--net=none", *script], check=True)
    answer(bus, "CollectGarbage")
    assert {each["State"] for each in listed(bus).values()} <= {"exited garbage"}


def test_logs(bus: Box, web: Pod) -> None:
    web.write(NO_NETWORK + app("one", f"echo first; {SERVE}") + app("two", SERVE))
    web.start()

    def lines(*words: str) -> Any:
        # By the name, what earlier runs have said is meant as well.
        found = answer(bus, "GetLogs", "sa{sv}", web.last_run(), *words)
        return [line.rpartition(": ")[2] for line in found]

    eventually(lambda: sorted(lines("0")) == ["first", "ready", "ready"], "all have spoken")
    assert lines("1", "apps", "as", "1", "one") == ["first", "ready"]
    assert lines("2", "apps", "as", "1", "one", "lines", "u", "1") == ["ready"]
    assert lines("1", "format", "s", "cat")[0] in ("first", "ready")
    assert lines("1", "until", "t", "1") == []
    assert lines("1", "since", "t", "1")
    assert len(answer(bus, "GetLogs", "sa{sv}", "web", "1", "run", "u", "0")) == 3
    done = call(bus, "GetLogs", "sa{sv}", "web", "1", "apps", "as", "1", "three")
    assert 'pod web has no app "three", only one, two' in done.stderr
    done = call(bus, "GetLogs", "sa{sv}", "web", "1", "format", "s", "html")
    assert 'format "html" is not one of' in done.stderr


def test_logs_that_are_followed(bus: Box, web: Pod) -> None:
    web.start()
    follow = client(
        bus,
        "reply = await call('OpenLogs', 'sa{sv}', 'UUID', {'follow': Variant('b', True)})\n"
        "    with open(reply.unix_fds[0]) as file:\n"
        "        for line in file:\n"
        "            print(line, end='')".replace("UUID", web.last_run()),
    )
    assert follow.stdout is not None
    assert follow.stdout.readline().endswith(": ready\n")
    bus.run(["rkt", "stop", "web"], check=True)
    assert follow.stdout.readline().endswith(": bye\n")
    assert _journalctls(bus) == 1
    follow.kill()
    follow.wait()
    eventually(lambda: _journalctls(bus) == 0, "nobody reads, and nobody writes any more")


def _journalctls(bus: Box) -> int:
    group = bus.run(["systemctl", "show", "-P", "ControlGroup", "rktsd.service"]).stdout.strip()
    script = f'for p in $(cat "$(find /sys/fs/cgroup -path "*{group}/cgroup.procs" | head -n1)");'
    return bus.shell(f"{script} do cat /proc/$p/comm; done").split().count("journalctl")


def test_who_may(bus: Box, web: Pod) -> None:
    web.start()
    ask, refused = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "Access denied"
    get, start, stop = (f"{MANAGER}.{verb}" for verb in ("GetPod", "StartPod", "PausePod"))
    assert answer(bus, "GetInfo", user="stranger")
    assert error(bus, "stranger", get, "string:web") == ask
    # busctl has people asked, and there is nobody who could.
    for verb in ("ListPods", "ListImages"):
        assert refused in call(bus, verb, "aa{sv}b", "0", "true", user="stranger").stderr
    path = answer(bus, "GetPod", "s", "web", user="member")
    everything = "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"
    assert busctl(bus, "call", NAME, ROOT, *everything, user="stranger").returncode != 0
    assert busctl(bus, "get-property", NAME, path, POD, "Manifest", user="stranger").returncode != 0
    assert (
        path
        not in bus.run(
            ["runuser", "-u", "stranger", "--", "busctl", "tree", "--list", NAME]
        ).stdout.split()
    )
    assert busctl(bus, "get-property", NAME, path, POD, "Manifest", user="member").returncode == 0
    for member, words in ((start, ["string:web"]), (stop, ["string:web", "array:string:"])):
        assert error(bus, "member", member, *words) == ask
    for verb in ("RemoveImage", "RemovePod", "RestartPod"):
        assert error(bus, "member", f"{MANAGER}.{verb}", "string:web") == ask
    assert refused in call(bus, "GetLogs", "sa{sv}", "web", "0", user="member").stderr
    assert answer(bus, "StartPod", "s", "web", user="manager") == path
    assert answer(bus, "GetLogs", "sa{sv}", "web", "0", user="manager")


def test_polkit_decides_by_its_rules(bus: Box, web: Pod) -> None:
    web.start()
    rule = "/etc/polkit-1/rules.d/10-test.rules"
    bus.write(
        rule,
        "polkit.addRule(function(action, subject) {\n"
        '    if (action.id == "org.rktsd.read" && subject.user == "member")'
        " return polkit.Result.NO;\n"
        '    if (action.id == "org.rktsd.read" && subject.user == "stranger" &&'
        ' action.lookup("object") == "web") return polkit.Result.YES;\n'
        "});\n",
    )
    bus.shell(f"chmod 644 {rule}")
    try:

        def get(user: str, pod: str) -> bool:
            return call(bus, "GetPod", "s", pod, user=user).returncode == 0

        eventually(lambda: get("stranger", "web"), "the rule is read")
        assert not get("stranger", web.last_run())
        assert not get("member", "web")
        assert get("manager", "web")
    finally:
        bus.shell(f"rm {rule}")
    eventually(lambda: get("member", "web"), "the rule is forgotten")


def test_groups_decide_without_polkit(bus: Box, web: Pod) -> None:
    web.start()
    place = "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service"
    bus.shell(f"mv {place} /root/polkit; systemctl stop polkit; systemctl reload dbus")
    try:
        denied = "org.freedesktop.DBus.Error.AccessDenied"
        get, start = f"{MANAGER}.GetPod", f"{MANAGER}.StartPod"
        eventually(lambda: error(bus, "stranger", get, "string:web") == denied, "polkit is gone")
        assert error(bus, "member", start, "string:web") == denied
        path = answer(bus, "GetPod", "s", "web", user="member")
        assert answer(bus, "StartPod", "s", "web", user="manager") == path
        bus.shell("usermod -a -G systemd-journal stranger")
        assert answer(bus, "GetLogs", "sa{sv}", "web", "0", user="stranger")
    finally:
        bus.shell(f"gpasswd -d stranger systemd-journal; mv /root/polkit {place};"
                  " systemctl reload dbus")  # fmt: skip


def test_signals_are_heard_by_those_who_may_read(bus: Box) -> None:
    """The bus itself keeps them from others."""
    body = (
        "rule = \"type='signal',sender='org.rktsd'\"\n"
        "    await bus.call(Message(destination='org.freedesktop.DBus', member='AddMatch',"
        " path='/org/freedesktop/DBus', interface='org.freedesktop.DBus', signature='s',"
        " body=[rule]))\n"
        "    bus.add_message_handler(lambda m: m.message_type.name == 'SIGNAL'"
        " and m.member.startswith('Pod') and print(m.member, flush=True))\n"
        "    await call('GetInfo'); print('listens', flush=True); await asyncio.sleep(1000)"
    )
    script = CLIENT.replace("BODY", body)
    heard = {}
    for user in ("stranger", "member"):
        command = ["runuser", "-u", user, "--", "/usr/bin/python3", "-u", "-c", script]
        heard[user] = bus.popen(command)
    for process in heard.values():
        assert process.stdout is not None
        assert process.stdout.readline() == "listens\n"
    flags = ["--insecure-options=image", "prepare"]
    uuid = bus.run(["rkt", *flags, BUSYBOX], check=True).stdout.strip()
    assert heard["member"].stdout is not None
    assert heard["member"].stdout.readline() == "PodAdded\n"
    bus.run(["rkt", "rm", uuid], check=True)
    assert heard["member"].stdout.readline() == "PodRemoved\n"
    # A change of the user leaves nobody to end it with us.
    bus.shell("pkill -KILL -u stranger,member python3")
    for process in heard.values():
        process.wait()
    assert heard["stranger"].stdout is not None
    assert "Pod" not in heard["stranger"].stdout.read()


def test_bad_calls_are_refused_by_name(bus: Box) -> None:
    answer(bus, "GetInfo")
    before = bus.run(["systemctl", "show", "-P", "MainPID", "rktsd"]).stdout
    dbus, own = "org.freedesktop.DBus.Error", "org.rktsd.Error"
    expected = {
        (f"{MANAGER}.GetPod", "string:nope"): f"{own}.NoSuchPod",
        (f"{MANAGER}.GetPod", "string:../../etc/passwd"): f"{own}.NoSuchPod",
        (f"{MANAGER}.GetPod", "string:"): f"{own}.Refused",
        (f"{MANAGER}.StartPod", "string:../x"): f"{own}.Refused",
        (f"{MANAGER}.GetPodByPID", "uint32:1"): f"{own}.NoSuchPod",
        (f"{MANAGER}.GetPodByPID", "uint32:4294967295"): f"{own}.NoSuchPod",
        (f"{MANAGER}.GetPodByControlGroup", "string:/"): f"{own}.NoSuchPod",
        (f"{MANAGER}.GetImage", "string:example.com/nope"): f"{own}.NoSuchImage",
        (f"{MANAGER}.RemoveImage", "string:sha512-ffff"): f"{own}.NoSuchImage",
        (f"{MANAGER}.GetPod", "uint32:1"): f"{dbus}.InvalidArgs",
        (f"{MANAGER}.GetPod", f"string:{'x' * 5000}"): f"{dbus}.InvalidArgs",
        (f"{MANAGER}.KillPod", "string:a", "string:NOSUCH", "array:string:"): f"{dbus}.InvalidArgs",
        (f"{MANAGER}.Nope",): f"{dbus}.UnknownMethod",
        ("org.rktsd.Manager2.GetInfo",): f"{dbus}.UnknownInterface",
        (f"{PROPERTIES}.Get", f"string:{MANAGER}", "string:Nope"): f"{dbus}.UnknownProperty",
        (f"{PROPERTIES}.GetAll", "string:org.rktsd.Nope"): f"{dbus}.UnknownInterface",
        (f"{PROPERTIES}.Set", f"string:{MANAGER}", "string:Version", "variant:string:2"): (
            f"{dbus}.PropertyReadOnly"
        ),
    }
    found = {words: error(bus, "root", *words) for words in expected}
    assert found == expected
    for path in ("/org/rktsd/pod/x/y", "/org/rktsd/nope", "/com/example"):
        assert error(bus, "root", f"{POD}.Start", path=path) == f"{dbus}.UnknownObject"
    for path in (f"/org/rktsd/pod/{NOBODY.replace('-', '_')}", "/org/rktsd/pod/web"):
        assert error(bus, "root", f"{PROPERTIES}.GetAll", f"string:{POD}", path=path) == (
            f"{own}.NoSuchPod"
        )
    text = call(bus, "ListPods", "aa{sv}b", "1", "1", "stats", "as", "1", "x", "true").stderr
    assert 'filter "stats" is not one of ids, names, states' in text
    text = call(bus, "ListPods", "aa{sv}b", "1", "1", "states", "s", "x", "true").stderr
    assert 'filter "states" is of type s, not of as' in text
    many = ["65", *["0"] * 65]
    assert "more than 64 filters" in call(bus, "ListPods", "aa{sv}b", *many, "true").stderr
    words = ["1001", *["x"] * 1001]
    text = call(bus, "ListPods", "aa{sv}b", "1", "1", "ids", "as", *words, "true").stderr
    assert "a list of more than 1000 members" in text
    assert bus.run(["systemctl", "show", "-P", "MainPID", "rktsd"]).stdout == before


def test_a_pod_that_is_busy_is_not_removed(bus: Box, web: Pod) -> None:
    web.start()
    assert error(bus, "root", f"{MANAGER}.RemovePod", "string:web") == "org.rktsd.Error.Refused"
    done = call(bus, "RemovePod", "s", "web")
    assert f"pod web ({web.last_run()}) is running (stop it first)" in done.stderr


def test_fetches_are_those_of_members(bus: Box, busybox_aci: str) -> None:
    """No path is opened for whoever asks, and nothing unverified comes in."""
    done = call(bus, "FetchImage", "sa{sv}", "/var/tmp/busybox.aci", "0", user="member")
    assert "only root fetches from layouts, archives and paths" in done.stderr
    done = call(bus, "FetchImage", "sa{sv}", BUSYBOX, "1", "pull-policy", "s", "x", user="member")
    assert 'pull-policy "x" is not one of new, update, never' in done.stderr
    path = answer(
        bus, "FetchImage", "sa{sv}", BUSYBOX, "1", "pull-policy", "s", "never", user="member"
    )
    assert path == answer(bus, "GetImage", "s", BUSYBOX)
    assert error(bus, "stranger", f"{MANAGER}.GetImage", "string:x").endswith("Required")


def test_it_ends_when_nobody_wants_anything(bus: Box) -> None:
    drop_in = "/run/systemd/system/rktsd.service.d/idle.conf"
    short = "[Service]\nExecStart=\nExecStart=/usr/lib/rkt/bus-api 0.3\n"
    bus.shell(f"mkdir -p {drop_in.rpartition('/')[0]}; systemctl stop rktsd")
    bus.write(drop_in, short)
    bus.shell("systemctl daemon-reload")

    def alive() -> bool:
        return bus.run(["systemctl", "is-active", "rktsd"]).stdout.strip() == "active"

    try:
        # It is started for each call that comes when it is gone, or is just going.
        for _ in range(5):
            assert answer(bus, "GetInfo")
            eventually(lambda: not alive(), "it has ended")
        subscriber = client(
            bus, "await call('Subscribe'); print('subscribed'); await asyncio.sleep(1000)"
        )
        assert subscriber.stdout is not None
        assert subscriber.stdout.readline() == "subscribed\n"
        before = bus.run(["systemctl", "show", "-P", "MainPID", "rktsd"]).stdout
        bus.shell("sleep 1")
        assert bus.run(["systemctl", "show", "-P", "MainPID", "rktsd"]).stdout == before
        subscriber.kill()
        subscriber.wait()
        eventually(lambda: not alive(), "nobody listens any more")
        assert bus.run(["systemctl", "show", "-P", "Result", "rktsd"]).stdout.strip() == "success"
    finally:
        bus.shell(f"rm {drop_in}; systemctl daemon-reload; systemctl stop rktsd")
