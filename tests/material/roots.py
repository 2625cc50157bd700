"""Root directories of real programs: busybox, and servers from Debian's packages.

A root is made once: a directory that is there is complete and is used as it is. Archives fetched
by apt are kept in ``archives/`` beside it.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

BUSYBOX = "/bin/busybox"
MERGED = ("bin", "sbin", "lib", "lib64")
UNWANTED = ("share/doc", "share/man", "share/locale", "share/info", "share/lintian", "*/gconv")

# How the names of packages start that only maintainer scripts need, which do not run here.
MAINTAINER_ONLY = (
    "adduser", "debconf", "dpkg", "init-system-helpers", "libdb5", "libfile-find-rule-perl",
    "libgdbm", "libnumber-compare-perl", "libperl", "libsemanage", "libtext-glob-perl", "lsb-base",
    "passwd", "perl", "sysvinit-utils", "tar_", "usrmerge",
)  # fmt: skip

# Accounts that maintainer scripts would have made; base-passwd brings the others, www-data too.
ACCOUNTS = {"redis-server": ("redis", 101, "/var/lib/redis")}

APT = (
    "apt-get", "-qq", "-y", "--no-install-recommends",
    "-o", "APT::Sandbox::User=root", "-o", "DPkg::Lock::Timeout=300",
    "-o", "Dir::State::status=/dev/null", "-o", "pkgCacheGen::ForceEssential=,",
    "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
)  # fmt: skip

# A line for every request goes to standard error. It cannot be an access log: that is opened by
# path, and what the journal gives an app as standard error is a socket.
NGINX_CONFIGURATION = """\
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr notice;
events {}
http {
    access_log off;
    rewrite_log on;
    include /etc/nginx/mime.types;
    include /etc/nginx/conf.d/*.conf;
}
"""
NGINX_SITE = """\
server {
    listen 80;
    root /var/www/html;
    rewrite ^/$ /index.html break;
}
"""
NGINX_PAGE = "<!doctype html><title>nginx</title><p>Served by nginx in a pod.</p>\n"


def busybox_root(directory: str | os.PathLike[str]) -> str:
    """A root with Debian's static busybox under all its names, and accounts root and app (1000)."""
    with _made_once(os.fspath(directory)) as root:
        if root:
            _skeleton(root)
            shutil.copy(BUSYBOX, f"{root}/usr/bin/busybox")
            listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
            for applet in listed.stdout.split():
                if applet != "busybox":
                    os.symlink("busybox", f"{root}/usr/bin/{applet}")
            _write(f"{root}/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
            _write(f"{root}/etc/group", "root:x:0:\n")
            _account(root, "app", 1000, "/")
    return os.fspath(directory)


def debian_root(directory: str | os.PathLike[str], packages: Sequence[str]) -> str:
    """A root with Debian's ``packages`` and what they depend on, unpacked but not configured.

    There is no shell in it unless a package brings one. The packages come from apt's archives, or
    its sources when they are not there.
    """
    with _made_once(os.fspath(directory)) as root:
        if root:
            _skeleton(root)
            archives = f"{os.path.dirname(os.path.abspath(directory))}/archives"
            for archive in _fetch((*packages, "base-passwd"), archives):
                _unpack(archive, root)
            for name in ("passwd", "group"):
                os.rename(f"{root}/usr/share/base-passwd/{name}.master", f"{root}/etc/{name}")
            for package in packages:
                if package in ACCOUNTS:
                    _account(root, *ACCOUNTS[package])
            subprocess.run(["ldconfig", "-r", root], check=True)
    return os.fspath(directory)


def nginx_root(directory: str | os.PathLike[str]) -> str:
    """Debian's nginx on port 80, workers as www-data, a log line per request on standard error."""
    with _made_once(os.fspath(directory)) as root:
        if root:
            os.rmdir(root)
            os.rename(debian_root(f"{root}.debian", ["nginx-light"]), root)
            _write(f"{root}/etc/nginx/nginx.conf", NGINX_CONFIGURATION)
            _write(f"{root}/etc/nginx/conf.d/site.conf", NGINX_SITE)
            _write(f"{root}/var/www/html/index.html", NGINX_PAGE)
    return os.fspath(directory)


def redis_root(directory: str | os.PathLike[str]) -> str:
    """Debian's redis with redis-cli; account redis (101) with its home /var/lib/redis."""
    return debian_root(directory, ["redis-server", "redis-tools"])


@contextlib.contextmanager
def _made_once(directory: str) -> Iterator[str | None]:
    """Yield a new directory that becomes ``directory`` when all went well; None if it exists."""
    if os.path.isdir(directory):
        yield None
        return
    os.makedirs(os.path.dirname(os.path.abspath(directory)), exist_ok=True)
    made = f"{directory}.{os.getpid()}"
    os.mkdir(made, 0o755)
    try:
        yield made
        os.rename(made, directory)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _skeleton(root: str) -> None:
    for name in MERGED:
        os.makedirs(f"{root}/usr/{name}")
        os.symlink(f"usr/{name}", f"{root}/{name}")
    for name in ("dev", "etc", "proc", "root", "run", "sys", "tmp", "var/tmp"):
        os.makedirs(f"{root}/{name}")
    os.chmod(f"{root}/root", 0o700)
    os.chmod(f"{root}/tmp", 0o1777)
    os.chmod(f"{root}/var/tmp", 0o1777)


def _account(root: str, name: str, number: int, home: str) -> None:
    """Add user and group ``name``, and give the user its home."""
    with open(f"{root}/etc/passwd", "a", encoding="ascii") as file:
        file.write(f"{name}:x:{number}:{number}::{home}:/usr/sbin/nologin\n")
    with open(f"{root}/etc/group", "a", encoding="ascii") as file:
        file.write(f"{name}:x:{number}:\n")
    if home != "/":
        os.makedirs(f"{root}{home}", exist_ok=True)
        os.chown(f"{root}{home}", number, number)


def _fetch(packages: Sequence[str], archives: str) -> list[str]:
    """The archives of ``packages`` and all that they depend on, fetched where they are missing."""
    place = ["-o", f"Dir::Cache::archives={archives}"]
    os.makedirs(f"{archives}/partial", exist_ok=True)
    with tempfile.TemporaryDirectory() as empty:
        os.mkdir(f"{empty}/partial")
        nowhere = ["-o", f"Dir::Cache::archives={empty}", "--print-uris"]
        try:
            listed = _apt(*nowhere, "install", *packages)
        except RuntimeError:
            _apt("update")
            listed = _apt(*nowhere, "install", *packages)
    names = [line.split()[1] for line in listed.splitlines()]
    names = [name for name in names if not name.startswith(MAINTAINER_ONLY)]
    for name in names:
        stored = f"/var/cache/apt/archives/{name}"
        if os.path.exists(stored) and not os.path.exists(f"{archives}/{name}"):
            shutil.copy(stored, f"{archives}/{name}")
    if not all(os.path.exists(f"{archives}/{name}") for name in names):
        _apt(*place, "--download-only", "install", *packages)
    return [f"{archives}/{name}" for name in names]


def _apt(*arguments: str) -> str:
    done = subprocess.run(
        [*APT, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"apt-get {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def _unpack(archive: str, root: str) -> None:
    """Unpack a package; directories that are links in ``root`` (the merged /usr) stay links."""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE
    ) as source:
        subprocess.run(
            [
                "tar", "-x", "--keep-directory-symlink", "-C", root,
                *(f"--exclude=./usr/{path}/*" for path in UNWANTED),
            ],
            stdin=source.stdout,
            check=True,
        )  # fmt: skip
    if source.returncode != 0:
        raise RuntimeError(f"dpkg-deb could not read {archive}")


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
