"""The main job on Debian 13: systemd 257, cgroup v2 alone, another Python."""

from __future__ import annotations

from tests.conftest import BoxFactory
from tests.system.conftest import store_image
from tests.system.pods import NO_NETWORK, SERVE, Pod, app
from tests.system.test_process import KILLED
from tests.waiting import eventually


def test_a_pod_on_debian_13(make_box: BoxFactory, debian13: str, busybox_aci: str) -> None:
    box = make_box(debian13, cgroup="unified")
    store_image(box, busybox_aci)
    serve = "trap 'exit 0' TERM; echo ready; httpd -f -p 80 -h /etc & wait"
    port = '[[port]]\nname = "http"\nhost-port = 8080\n'
    web = app("web", serve, extra='ports = [{name = "http", port = 80}]\n')
    pod = Pod(box, "both", port + web + app("other", SERVE, extra="user = 1000\n"))
    pod.start()
    url = "http://127.0.0.1:8080/hostname"
    ask = [
        "python3",
        "-c",
        f"import urllib.request as r; print(r.urlopen('{url}').read().decode())",
    ]
    eventually(lambda: box.run(ask).stdout.strip() == "both", "the pod answers")
    box.run(["systemctl", "daemon-reload"], check=True)
    pod.restart()
    pod.stop()
    assert pod.status("web") == pod.status("other") == "success exited 0"
    assert pod.messages("RKT_APP=other") == ["ready", "bye"] * 2
    assert pod.leftovers() == ""
    killed = Pod(box, "killed", NO_NETWORK + app("one", "echo ready; sleep 1000 & wait"))
    killed.start()
    box.shell(KILLED.format(unit=killed.app_unit("one")))
    killed.wait_for("failed")
    assert killed.status("one") == "signal killed KILL"
