"""A first image, made with nothing but rkt, runs; built and signed by an ordinary user, too."""

from __future__ import annotations

from tests.box import Box


def test_a_plain_root_becomes_a_pod(pod_box: Box) -> None:
    pod_box.shell(
        "mkdir -p /var/tmp/root/bin; cd /var/tmp;"
        " busybox=$(find /var/lib/rkt/cas/layers -name busybox -type f | head -1);"
        ' cp "$busybox" root/bin/busybox; ln -sf busybox root/bin/sh; chmod 755 root'
    )
    imported = pod_box.shell(
        "cd /var/tmp; rkt image import root --name=example.com/first:1 --exec=/bin/sh"
        " --user=7 --group=8 --working-directory=/bin --env=WORD=hello --full"
        " -- -c 'echo $WORD from $(pwd) as $(busybox id -u):$(busybox id -g)'"
    ).strip()
    try:
        ran = pod_box.run(["rkt", "run", "--net=none", "example.com/first:1"])
        assert ran.returncode == 0, ran.stderr
        assert "hello from /bin as 7:8" in ran.stdout + ran.stderr
        listed = pod_box.shell("rkt image list --no-legend --fields=name,verifiedby")
        assert any(
            "example.com/first:1" in line and "import" in line for line in listed.splitlines()
        )
    finally:
        pod_box.shell(f"rkt gc --grace-period=0s; rkt image rm {imported}; rm -r /var/tmp/root")


def test_an_ordinary_user_builds_and_signs(pod_box: Box) -> None:
    pod_box.shell("id builder 2>/dev/null || useradd -m builder")
    try:
        pod_box.shell(
            "runuser -u builder -- sh -ec '"
            " cd; export HOME=/home/builder; mkdir -p root/etc; echo mine >root/etc/motd;"
            ' gpg --batch --quiet --passphrase "" --quick-generate-key b@example.com 2>/dev/null;'
            " rkt image build root web.aci --name=example.com/built:1 --owner=0:0"
            "  --sign-by=b@example.com; gpg --armor --export b@example.com >key.asc;"
            " gpgconf --kill all'"
        )
        pod_box.shell(
            "rkt trust --prefix=example.com/built --skip-fingerprint-review /home/builder/key.asc"
        )
        fetched = pod_box.run(["rkt", "fetch", "--full", "/home/builder/web.aci"])
        assert fetched.returncode == 0, fetched.stderr
        assert "signature verified" in fetched.stderr
        image = fetched.stdout.strip()
        shown = pod_box.shell(f"stat -c '%u:%g' /var/lib/rkt/cas/layers/{image}/etc/motd")
        assert shown.strip() == "0:0"
        pod_box.shell(f"rkt image rm {image}")
    finally:
        pod_box.shell("userdel -r builder; rm -rf /etc/rkt/trustedkeys/prefix.d/example.com*")
