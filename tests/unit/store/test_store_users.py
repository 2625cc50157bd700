"""Users and groups of an image."""

import os
from pathlib import Path

import pytest

from rktsd.errors import BadInput, NotFound, RktError
from rktsd.store.rootview import RootView
from rktsd.store.users import Identity, lookup_user

PASSWD = """root:x:0:0:root:/root:/bin/bash
www:x:33:34:www:/var/www:/usr/sbin/nologin
broken
wide:x:4294967295:0::/:
superscript:x:²:0::/:
1000:x:7:8::/seven:
short:x:9:9::
nohome:x:10:10:::
"""
GROUP = "root:x:0:\nwww:x:35:\nadm:x:4:www,other\nlog:x:5:other,www\nbad:x:y:www\n"


@pytest.fixture
def view(tmp_path: Path) -> RootView:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(PASSWD)
    (tmp_path / "etc" / "group").write_text(GROUP)
    (tmp_path / "owned").write_text("")
    os.chown(tmp_path / "owned", 123, 456)
    (tmp_path / "link").symlink_to("owned")
    return RootView([str(tmp_path)])


@pytest.mark.parametrize(
    ("user", "group", "wanted"),
    [
        ("root", "root", Identity(0, 0, "/root")),
        ("www", "www", Identity(33, 35, "/var/www")),
        ("33", "34", Identity(33, 34, "/var/www")),
        ("4242", "4243", Identity(4242, 4243, "/")),
        ("0", "0", Identity(0, 0, "/root")),
        ("1000", "0", Identity(7, 0, "/seven")),
        ("/owned", "/owned", Identity(123, 456, "/")),
        ("/link", "/link", Identity(0, 0, "/root")),
        ("nohome", "0", Identity(10, 0, "/")),
        ("short", "0", Identity(9, 0, "/")),
    ],
)
def test_found(view: RootView, user: str, group: str, wanted: Identity) -> None:
    assert lookup_user(view, user, group=group, app="web") == wanted


@pytest.mark.parametrize(
    ("user", "group", "message"),
    [
        ("nobody", "0", 'app web: user "nobody": no such user in the image'),
        ("0", "nogroup", 'app web: group "nogroup": no such group in the image'),
        ("/nofile", "0", 'app web: user "/nofile": no such file in the image'),
        ("0", "/nofile", 'app web: group "/nofile": no such file in the image'),
        ("4294967295", "0", 'app web: user "4294967295": larger than 4294967294'),
        ("0", "99999999999", 'app web: group "99999999999": larger than 4294967294'),
        ("-1", "0", 'app web: user "-1": no such user in the image'),
        ("wide", "0", 'app web: user "wide": no such user in the image'),
        ("superscript", "0", 'app web: user "superscript": no such user in the image'),
        ("", "0", 'app web: user "": no such user in the image'),
    ],
)
def test_refused(view: RootView, user: str, group: str, message: str) -> None:
    with pytest.raises(RktError) as caught:
        lookup_user(view, user, group=group, app="web")
    assert str(caught.value) == message


def test_root_needs_no_files(tmp_path: Path) -> None:
    found = lookup_user(RootView([str(tmp_path)]), "root", group="root", app="web")
    assert found == Identity(0, 0, "/root")


def test_docker_takes_the_primary_group(view: RootView) -> None:
    with pytest.raises(NotFound):
        lookup_user(view, "nohome", group="nohome", app="web")
    assert lookup_user(view, "nohome", group="nohome", docker=True, app="web").gid == 10
    assert lookup_user(view, "4242", group="4242", docker=True, app="web").gid == 4242
    with pytest.raises(NotFound):
        lookup_user(view, "nohome", group="other", docker=True, app="web")


def test_supplementary_groups(view: RootView) -> None:
    found = lookup_user(view, "0", group="0", supplementary=(500, 0, 400, 500), app="web")
    assert found.supplementary == (500, 400)
    found = lookup_user(view, "www", group="www", supplementary=(9,), docker=True, app="web")
    assert found.supplementary == (9, 4, 5)
    assert lookup_user(view, "33", group="33", docker=True, app="web").supplementary == ()
    with pytest.raises(BadInput, match="supplementary group -1: out of range"):
        lookup_user(view, "0", group="0", supplementary=(-1,), app="web")
