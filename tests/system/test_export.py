"""``rkt export``: the root that an app left, as a file and as an image that runs."""

from __future__ import annotations

import json

import pytest

from tests.box import Box
from tests.system.commands import IMAGE, good, prepare, rkt, run, states

CHANGE = "echo made >/made; rm /etc/passwd; chown 7:8 /made; chmod 4755 /made"


def left(box: Box, script: str = CHANGE, *flags: str) -> str:
    """A pod that ended when its app had run the script. Returns its UUID."""
    assert run(box, script, *flags).returncode == 0
    return next(iter(states(box)))


@pytest.mark.row("export/Export")
def test_a_file_is_the_whole_root(cli: Box) -> None:
    uuid = left(cli)
    cli.shell("rm -f /tmp/out.aci")
    done = rkt(cli, "export", uuid, "/tmp/out.aci")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    listed = cli.shell("tar tzvf /tmp/out.aci --numeric-owner")
    assert any(line.startswith("-rwsr-xr-x 7/8") for line in listed.splitlines() if "made" in line)
    assert "busybox" in listed
    assert "rootfs/etc/passwd" not in listed
    manifest = json.loads(cli.shell("tar xzOf /tmp/out.aci manifest"))
    assert (manifest["acKind"], manifest["name"]) == ("ImageManifest", IMAGE)
    done = rkt(cli, "export", uuid, "/tmp/out.aci")
    assert (done.returncode, done.stderr) == (
        254,
        "export: output ACI file exists (try --overwrite)\n",
    )
    good(cli, "export", "--overwrite", uuid, "/tmp/out.aci")
    # Elsewhere: it has the name of the image that others use.
    said = rkt(
        cli, "--dir=/var/tmp/exported", "--insecure-options=image", "run", "--net=none",
        "/tmp/out.aci", "--", "-c", "cat /made; ls /etc/passwd; stat -c %a /made",
    )  # fmt: skip
    cli.shell("rm -rf /var/tmp/exported /tmp/out.aci")
    assert said.stdout.splitlines()[0] == "made"
    assert said.stdout.splitlines()[-1] == "4755"


def test_an_image_of_ones_own(cli: Box) -> None:
    uuid = left(cli)
    image = good(cli, "export", "--full", "--to-store=example.com/mine:2", uuid).strip()
    assert image.startswith("sha512-")
    assert len(image) == len("sha512-") + 64
    shown = json.loads(good(cli, "image", "cat-manifest", "example.com/mine"))
    labels = {each["name"]: each["value"] for each in shown["labels"]}
    assert (labels["version"], labels["os"]) == ("2", "linux")
    done = rkt(cli, "run", "--net=none", "example.com/mine:2", "--", "-c", "cat /made")
    assert (done.returncode, done.stdout) == (0, "made\n")
    # And of that another one.
    again = next(each for each in states(cli) if each != uuid)
    good(cli, "export", "--to-store=example.com/again", again)
    good(cli, "image", "rm", "example.com/mine", "example.com/again")


@pytest.mark.row("export/Export")
def test_owners_are_as_the_app_saw_them(cli: Box) -> None:
    # Also where this machine knows them by other numbers.
    script = "echo x >/made; chown 7:8 /made"
    done = run(cli, script, "--private-users")
    if done.returncode:
        # Older kernels cannot show files to others as theirs.
        assert "private" in done.stderr
        return
    (uuid,) = states(cli)
    cli.shell("rm -f /tmp/out.aci")
    good(cli, "export", uuid, "/tmp/out.aci")
    listed = cli.shell("tar tzvf /tmp/out.aci --numeric-owner")
    (line,) = [each for each in listed.splitlines() if "rootfs/made" in each]
    assert " 7/8 " in line
    assert " 7/8 " in cli.shell(f"rkt cp {uuid}:/made - | tar tv --numeric-owner")


def test_what_has_not_ended(cli: Box) -> None:
    uuid = prepare(cli, IMAGE, "--", "-c", "sleep 1000")
    done = rkt(cli, "export", uuid, "/tmp/never.aci")
    assert (done.returncode, done.stderr) == (
        254,
        f'export: pod "{uuid}" is not exited: it is prepared\n',
    )
    good(cli, "run-prepared", "-d", "--net=none", uuid)
    done = rkt(cli, "export", uuid, "/tmp/never.aci")
    assert done.stderr == f'export: pod "{uuid}" is not exited: it is running\n'
    assert cli.shell("ls /tmp/never* 2>/dev/null || :") == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x"], "must provide a pod and an output file (or --to-store=NAME)"),
        (["--to-store=a", "x", "y"], "must provide a pod, and no file with --to-store"),
        (["no-such", "/tmp/x"], 'no matches found for "no-such"'),
    ],
)
def test_mistakes(cli: Box, words: list[str], message: str) -> None:
    done = rkt(cli, "export", *words)
    assert (done.returncode, done.stderr) == (254, f"export: {message}\n")
