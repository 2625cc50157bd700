"""What the demo serves: ``python3 -m tests.material.demo DIR ROOTS``.

Makes DIR/site, a web site with two signed images, the key and a discovery page, and DIR/tls, an
authority (ca.crt) and a certificate for HOST. Roots of images are kept in ROOTS for the next time.
"""

import os
import sys

from tests.material import certificates, images, keys

HOST = "pods.example"
VERSION = "1.0.0"
# {name} is the whole name of an image, host and all.
PAGE = f"""\
<!doctype html>
<html>
<head>
<title>{HOST}</title>
<meta name="ac-discovery" content="{HOST} https://{HOST}/{{name}}-{{version}}-{{os}}-{{arch}}.{{ext}}">
<meta name="ac-discovery-pubkeys" content="{HOST} https://{HOST}/pubkeys.gpg">
</head>
</html>
"""
# PID 1 of a namespace hears only the signals that it asks for.
VISITS = """trap 'echo "no more visits"; exit 0' TERM
while :; do wget -q -O - http://127.0.0.1/ && echo visited; sleep 2 & wait; done"""


def make(directory: str, roots: str) -> None:
    """Make the site and the certificates below ``directory``, which does not exist yet."""
    site = f"{directory}/site"
    os.makedirs(f"{site}/{HOST}")
    key = keys.SigningKey.create(f"{directory}/gnupg", f"Demo <pods@{HOST}>")
    for root, manifest in (
        (images.nginx_root(f"{roots}/nginx"), images.nginx_manifest(f"{HOST}/nginx")),
        (
            images.busybox_root(f"{roots}/busybox"),
            images.busybox_manifest(
                f"{HOST}/visitor", ["/bin/sh", "-c", VISITS], user="1000", group="1000"
            ),
        ),
    ):
        file = f"{site}/{manifest['name']}-{VERSION}-linux-{images.architecture()}.aci"
        images.write_aci(root, manifest, file)
        key.sign(file)
    for name, text in (("index.html", PAGE), ("pubkeys.gpg", key.public)):
        with open(f"{site}/{name}", "w", encoding="utf-8") as page:
            page.write(text)
    certificates.issue(certificates.make_ca(f"{directory}/tls", name="Demo"), [HOST])


def main() -> int:
    """Exit status 2 on wrong usage."""
    if len(sys.argv) != 3:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    make(*sys.argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
