"""Every flag, as data: the parser, the help and the tests read this and nothing else.

It holds all flags that rkt 1.30 has for these commands. One with ``refused`` is known and answered
with that reason; no flag is accepted and then ignored.
"""

from typing import NamedTuple

BOOL, VALUE, OPTIONAL = "bool", "value", "optional"
POD, APP, BOTH = "pod", "app", "both"


class Flag(NamedTuple):
    """``kind``: a BOOL needs no value, an OPTIONAL has ``default`` when given without ``=VALUE``.

    ``scope``: APP flags belong to the image before them; BOTH do so once there is an image.
    ``several``: may be repeated, and ``several`` per image for an APP flag.
    """

    name: str
    kind: str = BOOL
    metavar: str = ""
    help: str = ""
    default: str = "true"
    scope: str = POD
    several: bool = False
    short: str = ""
    refused: str | None = None


def _value(name: str, metavar: str, help: str, *, several: bool = False, short: str = "") -> Flag:
    return Flag(name, VALUE, metavar, help, several=several, short=short)


def _app(name: str, metavar: str, help: str, *, several: bool = False) -> Flag:
    return Flag(name, VALUE, metavar, help, scope=APP, several=several)


def _refused(name: str, reason: str, *, kind: str = VALUE, scope: str = POD) -> Flag:
    return Flag(name, kind, refused=reason, scope=scope)


NOT_DONE = "is not done by this version"

GLOBAL = (
    Flag("debug", help="print the causes of errors"),
    _value("dir", "DIR", "data directory (/var/lib/rkt)"),
    _value("system-config", "DIR", "configuration of the system (/usr/lib/rkt)"),
    _value("local-config", "DIR", "configuration of this machine (/etc/rkt)"),
    _value("user-config", "DIR", "configuration of yours, with precedence (none)"),
    _value(
        "insecure-options",
        "LIST",
        "what to do without: image, tls, http, pubkey, capabilities, paths, seccomp, all-fetch,"
        " all-run, all",
        several=True,
    ),
    Flag("trust-keys-from-https", help="trust keys that discovery finds over https"),
    _refused("cpuprofile", f"--cpuprofile {NOT_DONE}: there is no Go runtime to profile"),
    _refused("memprofile", f"--memprofile {NOT_DONE}: there is no Go runtime to profile"),
    Flag("help", help="show this help", short="h"),
)

_PULL = (
    _value("pull-policy", "POLICY", "when to ask the remote side: new, update or never"),
    Flag("store-only", help="the same as --pull-policy=never"),
    Flag("no-store", help="the same as --pull-policy=update"),
    Flag("platform", VALUE, "OS/ARCH", "fetch images for another machine", scope=BOTH),
)
_SIGNATURE = _app("signature", "FILE", "detached signature of a local ACI")

FETCH = (Flag("full", help="print the whole image ID"), *_PULL, _SIGNATURE)

_STAGE1 = (
    _value("stage1-name", "NAME", "what runs the apps: nspawn, fly, or rkt's name of an image"),
    _value("stage1-path", "FILE", "the same by the file name of rkt's image"),
    _value("stage1-url", "URL", "the same by the file name in a URL"),
    _value("stage1-from-dir", "FILE", "the same by the file name"),
    _refused("stage1-hash", f"--stage1-hash {NOT_DONE}: no hash tells a flavor; use --stage1-name"),
)
_INTERACTIVE = Flag("interactive", help="give the app our terminal, or our standard input")
_DETACH_KEYS = _value("detach-keys", "KEYS", "keys that leave it to itself (ctrl-p,ctrl-q)")

# What may be said when a pod is started.
_START = (
    Flag(
        "net",
        OPTIONAL,
        "NETWORK[,...]",
        "networks to join: default, host, none, or names of files in net.d",
        default="default",
        several=True,
    ),
    _value("dns", "IP|host|none", "name servers in resolv.conf", several=True),
    _value("dns-search", "DOMAIN", "search domains in resolv.conf", several=True),
    _value("dns-opt", "OPTION", "options in resolv.conf", several=True),
    _value("dns-domain", "DOMAIN", "the local domain in resolv.conf"),
    _value("hosts-entry", "IP=NAME|host", "entries of /etc/hosts", several=True),
    _value("hostname", "NAME", "host name of the pod (rkt-UUID)"),
    _value("ipc", "auto|private|parent", "IPC of the apps: their own in common, or the host's"),
    Flag("mds-register", help="tell the metadata service of the pod, and the apps where it is"),
    _value("pid", "private|shared", "processes of the apps: each its own, or all in common"),
    _INTERACTIVE,
    _DETACH_KEYS,
)

_NO_OVERLAY = _refused(
    "no-overlay", f"--no-overlay {NOT_DONE}: the root of an app is an overlay", kind=BOOL
)

# What a pod is made from.
_PREPARE = (
    _value("port", "NAME:[IP:]PORT", "publish the port NAME of an app", several=True),
    _value("volume", "NAME,kind=KIND,...", "a volume of the pod", several=True),
    Flag("follow-links", help="take symbolic links in the sources of volumes"),
    Flag("inherit-env", help="give apps the environment of this command"),
    _value("sysctl", "NAME=VALUE", "a kernel setting of the pod's own namespaces", several=True),
    _value("network-bandwidth", "QUANTITY", "bytes a second on each interface of the pod"),
    _value("shm-size", "QUANTITY", "size of /dev/shm"),
    Flag("strict", help="do not run what this machine cannot do in full"),
    _value("set-env", "NAME=VALUE", "environment of all apps", several=True),
    _value("set-env-file", "FILE", "environment of all apps, a line each", several=True),
    *_PULL,
    _value("pod-manifest", "FILE", "run this appc pod manifest instead of images"),
    Flag("private-users", help="give the pod a range of users of its own"),
    _NO_OVERLAY,
    *_STAGE1,
)

_APPS = (
    _SIGNATURE,
    _app("exec", "PATH", "execute this; arguments after -- are appended"),
    Flag(
        "name",
        VALUE,
        "NAME",
        "name of the app (the last part of the image's); before the images, of the pod",
        scope=BOTH,
    ),
    _app("user", "USER", "user: a name, a number, or a file in the image that he owns"),
    _app("group", "GROUP", "group, in the same ways"),
    _app("supplementary-gids", "GID,...", "further groups"),
    _app("working-dir", "DIR", "working directory"),
    Flag("readonly-rootfs", OPTIONAL, "BOOL", "root of the app is read-only", scope=APP),
    Flag(
        "mount",
        VALUE,
        "volume=NAME,target=PATH",
        "mount a volume: before the images in all apps, after one in that app",
        scope=BOTH,
        several=True,
    ),
    _app("environment", "NAME=VALUE", "environment of the app", several=True),
    _app("annotation", "NAME=VALUE", "annotation of the app", several=True),
    _app("user-annotation", "NAME=VALUE", "annotation that nothing interprets", several=True),
    _app("user-label", "NAME=VALUE", "label that nothing interprets", several=True),
    _app("memory", "QUANTITY", "most memory, like 512Mi"),
    _app("cpu", "QUANTITY", "most processors, like 500m"),
    _app("cpu-shares", "NUMBER", "weight beside others, 2 to 262144"),
    _app("caps-retain", "CAP,...", "all capabilities that the app keeps"),
    _app("caps-remove", "CAP,...", "capabilities that the app loses"),
    _app("cap-retain", "CAP,...", "the same as --caps-retain"),
    _app("cap-remove", "CAP,...", "the same as --caps-remove"),
    _app("oom-score-adj", "NUMBER", "how soon it is killed without memory, -1000 to 1000"),
    _app(
        "seccomp",
        "mode=retain|remove[,errno=ERROR],CALL,...",
        "system calls that the app keeps or loses",
    ),
    _app("stop-signal", "SIGNAL", "what asks the app to stop (SIGTERM, or the image's)"),
    Flag("no-healthcheck", help="no health checks, though the image has one", scope=APP),
    _app("output", "log|tty", "whether standard output is a terminal, and can be opened by name"),
    _app("pids", "NUMBER", "most processes and threads"),
    _app("rlimit", "NAME=SOFT[:HARD]", "a limit of getrlimit(2), like nofile=4096", several=True),
    _app("block-bandwidth", "QUANTITY", "bytes a second read from, and written to, disks"),
    _app("block-iops", "QUANTITY", "operations a second on disks"),
    _app("selinux-context", "USER:ROLE:TYPE[:LEVEL]", "SELinux context of the app"),
    _app("apparmor-profile", "NAME", "AppArmor profile of the app"),
    _app(
        "insecure",
        "LIST",
        "what this app does without: capabilities, paths, seccomp, all-run",
        several=True,
    ),
    _app("stdin", "null|stream|tty", "what the app reads: nothing, or who attaches to it"),
    _app("stdout", "log|null|stream|tty", "where its output goes: journal, nowhere, who attaches"),
    _app("stderr", "log|null|stream|tty", "where its errors go, in the same ways"),
)

_UUID_FILE = _value("uuid-file", "FILE", "read the UUID from FILE")
_UUID_FILE_SAVE = _value("uuid-file-save", "FILE", "write the UUID of the pod to FILE")

_REPLACE = Flag("replace", help="remove the pod that has the --name first, also when it runs")
_DETACH = Flag("detach", help="start the pod, print its UUID, and leave it", short="d")
_RM = Flag("rm", help="remove the pod when it has ended")

RUN = (_DETACH, _RM, _REPLACE, *_START, *_PREPARE, _UUID_FILE_SAVE, *_APPS)
PREPARE = (
    Flag("quiet", help="print nothing but the UUID"),
    _REPLACE,
    *_PREPARE,
    _UUID_FILE_SAVE,
    *_APPS,
)

_SANDBOX = ("net", "dns", "dns-search", "dns-opt", "dns-domain", "hosts-entry", "hostname")
APP_SANDBOX = (
    _DETACH,
    _RM,
    _value("name", "NAME", "name of the pod, which it keeps"),
    _REPLACE,
    *(flag for flag in _START if flag.name in _SANDBOX),
    _value("port", "NAME:PROTOCOL:PORT:[IP]:HOSTPORT", "publish a port of the pod", several=True),
    _value("volume", "NAME,kind=KIND,...", "a volume of the pod", several=True),
    Flag("follow-links", help="take symbolic links in the sources of volumes"),
    _value("annotation", "NAME=VALUE", "annotation of the pod", several=True),
    _value("user-annotation", "NAME=VALUE", "annotation that nothing interprets", several=True),
    _value("user-label", "NAME=VALUE", "label that nothing interprets", several=True),
    _NO_OVERLAY,
    _UUID_FILE_SAVE,
)
APP_ADD = (
    *_PULL,
    _UUID_FILE,
    # There is nothing before the image that these could be about.
    _app("name", "NAME", "name of the app (the last part of the image's)"),
    _app("mount", "volume=NAME,target=PATH", "mount a volume of the pod", several=True),
    *(flag for flag in _APPS if flag.scope == APP),
    _app("mnt-volume", "name=NAME,kind=KIND,target=PATH,...", "a volume of its own", several=True),
)

_OVERWRITE = Flag("overwrite", help="replace what is there")
_WHERE = "write to POD.toml, or to DIR (standard output)"
_GENERATE = (_OVERWRITE, Flag("force", help="the same as --overwrite"))
GENERATE = (
    _value("output", "FILE|DIR", _WHERE, short="o"),
    *_GENERATE,
    Flag("strict", help="write nothing when something cannot be carried over"),
)
# --output is another flag behind an image, and --strict one of rkt run as well.
GENERATE_RUN = (
    Flag("output", VALUE, "FILE|DIR", f"{_WHERE}; of an app, log or tty", scope=BOTH, short="o"),
    *_GENERATE,
    *(flag for flag in RUN if flag.name != "output"),
)

_FORMAT = _value("format", "json|json-pretty", "print JSON")
_NO_LEGEND = Flag("no-legend", help="print no header")
_ONE_APP = _value("app", "APP", "the app; needed where the pod has several")
APP_CHANGE = (_ONE_APP, _UUID_FILE)
APP_LIST = (_NO_LEGEND, _FORMAT, _UUID_FILE)
APP_STATUS = (_ONE_APP, _FORMAT, _UUID_FILE)
RUN_PREPARED = (_DETACH, _RM, _UUID_FILE, *_START)

LIST = (Flag("full", help="whole UUIDs, image IDs and times"), _NO_LEGEND, _FORMAT)
_WAIT = "BOOL|TIME"
STATUS = (
    Flag("wait", OPTIONAL, _WAIT, "wait until the pod has ended"),
    Flag("wait-ready", OPTIONAL, _WAIT, "wait until all apps are started"),
    _FORMAT,
    _UUID_FILE,
)
_PRETTY = Flag("pretty-print", OPTIONAL, "BOOL", "indent the JSON (true)")
CONFIG = (_PRETTY,)
CAT_MANIFEST = (_UUID_FILE, _PRETTY)
_INSTANCE = _value("instance", "NAME", "read a template for POD@NAME (instance)")
POD_CHECK = (_INSTANCE,)
POD_INIT = (_OVERWRITE,)
POD_DIFF = (_UUID_FILE,)
POD_SHOW = (_INSTANCE, _PRETTY)
POD_UNITS = (_INSTANCE, _FORMAT)
START = (_UUID_FILE,)
STOP = (
    Flag("force", help="kill the apps at once"),
    _value("timeout", "TIME", "kill what has not ended by then (what the apps ask for)", short="t"),
    _value("signal", "SIGNAL", "ask the apps with this signal first", short="s"),
    _UUID_FILE,
)
RM = (_UUID_FILE,)
GC = (
    _value("grace-period", "TIME", "keep ended pods for TIME after they were marked (30m)"),
    _value("expire-prepared", "TIME", "remove prepared pods older than TIME (24h)"),
    Flag("mark-only", help="mark ended pods, remove nothing"),
)
ATTACH = (
    _value("app", "APP", "the app; needed where the pod has several"),
    _value(
        "mode",
        "auto|list|tty|tty-in|tty-out|stdin,stdout,stderr",
        "what to join, or to list it (auto)",
    ),
    _DETACH_KEYS,
    _UUID_FILE,
)
ENTER = (
    _ONE_APP,
    Flag("privileged", help="as root, with all that the app itself may not do"),
    Flag("tty", OPTIONAL, "BOOL", "give the command a terminal (when we have one)", short="t"),
    _value("environment", "NAME=VALUE", "environment of the command", several=True),
    _value("working-dir", "DIR", "working directory (the app's)"),
    _UUID_FILE,
)
METADATA_SERVICE = (
    _value("listen-port", "PORT", "the port on 127.0.0.1 (18112)"),
    Flag("rotate-key", help="make a new key for HMACs, serve nothing"),
)
_SOME_APPS = _value("app", "APP,...", "these apps only", several=True)
KILL = (
    _SOME_APPS,
    _value("signal", "SIGNAL", "the signal, by name or number (KILL)", short="s"),
    _UUID_FILE,
)
PAUSE = (_SOME_APPS, _UUID_FILE)
CP = (Flag("archive", help="keep owners, set-user-ID bits, devices and capabilities", short="a"),)
EXPORT = (
    _ONE_APP,
    Flag("overwrite", help="replace what is there"),
    _value("to-store", "NAME[:VERSION]", "store it as an image of that name, and print its ID"),
    Flag("full", help="print the whole image ID"),
    _UUID_FILE,
)
DIFF = (
    _ONE_APP,
    _FORMAT,
    _UUID_FILE,
)
STATS = (_NO_LEGEND, _FORMAT, _UUID_FILE)
TOP = (
    _value("interval", "TIME", "time between two rounds (2s)"),
    _value("count", "NUMBER", "end after so many rounds"),
    *STATS,
)
EVENTS = (
    _SOME_APPS,
    _value("count", "NUMBER", "end after so many events", short="n"),
    _value("until", "TIME", "end at TIME, as journalctl(1) takes it: +1h, 18:00"),
    _NO_LEGEND,
    _FORMAT,
    _UUID_FILE,
)
LOGS = (
    _value("app", "APP,...", "of these apps only", several=True),
    Flag("follow", help="go on with new lines as they come", short="f"),
    _value("lines", "NUMBER", "the last lines only", short="n"),
    _value("tail", "NUMBER", "the same as --lines"),
    _value("since", "TIME", "from TIME on, as journalctl(1) takes it"),
    _value("until", "TIME", "up to TIME"),
    _value("run", "0|-1|-2...", "of the last run, or of one before it"),
    _value("format", "FORMAT", "as journalctl --output: json, short-iso, cat and so on (short)"),
    _UUID_FILE,
)
TRUST = (
    _value("prefix", "PREFIX", "for images whose names are below PREFIX"),
    Flag("root", help="for all images"),
    Flag("skip-fingerprint-review", help="do not ask"),
    Flag("insecure-allow-http", help="take keys over http too"),
    Flag("list", help="list the keys instead; with --prefix, those for images of that name"),
    Flag("remove", help="trust the keys with these fingerprints no longer"),
    _NO_LEGEND,
    _FORMAT,
)
IMAGE_LIST = (
    _value(
        "fields",
        "FIELD,...",
        "columns: id, name, size, importtime, lastused; verifiedby",
        several=True,
    ),
    _value("sort", "FIELD,...", "order by name, importtime, lastused, size", several=True),
    _value("order", "asc|desc", "ascending or descending (asc)"),
    Flag("full", help="whole IDs, bytes and times"),
    _NO_LEGEND,
    _FORMAT,
)
IMAGE_EXPORT = (_OVERWRITE,)
IMAGE_EXTRACT = (Flag("rootfs-only", help="the root alone, without the manifest"), _OVERWRITE)
IMAGE_GC = (
    _value("grace-period", "TIME", "keep images that were used within TIME (24h)"),
    _value("keep", "NUMBER", "keep the NUMBER images of each name that were imported last"),
)
IMAGE_INSPECT = (_FORMAT,)
_DRAWING = _value("format", "tree|dot", "draw a tree, or print what dot(1) draws (tree)")
POD_GRAPH = (_DRAWING, _UUID_FILE)
IMAGE_TREE = (Flag("full", help="whole IDs"), _DRAWING)
IMAGE_CAT_MANIFEST = (_PRETTY,)
VOLUME_LIST = (_NO_LEGEND, _FORMAT)
VOLUME_INSPECT = (_FORMAT,)
_MANIFEST = (
    _value("manifest", "FILE", "begin with this appc image manifest (none)"),
    _value("name", "NAME[:VERSION]", "name of the image, with labels as in image references"),
    _value("label", "NAME=VALUE", "label of the image (os and arch of this machine)", several=True),
    _value("annotation", "NAME=VALUE", "annotation of the image", several=True),
    _value("dependency", "NAME[:VERSION]", "image whose root lies below this one", several=True),
    _value("exec", "PATH", "program of the app; words after -- are its arguments"),
    _value("user", "USER", "user: a name, a number, or a file in the image that he owns (0)"),
    _value("group", "GROUP", "group, in the same ways (0)"),
    _value("supplementary-gids", "GID,...", "further groups"),
    _value("working-directory", "DIR", "working directory"),
    _value("env", "NAME=VALUE", "environment of the app", several=True),
    _value("port", "NAME:PORT[/PROTOCOL]", "a port that the app listens on", several=True),
    _value("mount", "NAME:PATH[:ro]", "a place for the volume NAME", several=True),
    _value("user-annotation", "NAME=VALUE", "annotation that nothing interprets", several=True),
    _value("user-label", "NAME=VALUE", "label that nothing interprets", several=True),
    _value("memory", "QUANTITY", "most memory, like 512Mi"),
    _value("cpu", "QUANTITY", "most processors, like 500m"),
    _value("cpu-shares", "NUMBER", "weight beside others, 2 to 262144"),
    _value("caps-retain", "CAP,...", "all capabilities that the app keeps"),
    _value("caps-remove", "CAP,...", "capabilities that the app loses"),
    _value("oom-score-adj", "NUMBER", "how soon it is killed without memory, -1000 to 1000"),
    _value("owner", "UID[:GID]", "give every file of the image this owner"),
)
IMAGE_VERIFY = (
    Flag("fetch", help="get what is damaged or missing again, from where it came"),
    _FORMAT,
)
IMAGE_PUSH = (Flag("overwrite", help="replace an archive that is there"),)
IMAGE_BUILD = (
    *_MANIFEST,
    _value("compression", "FORMAT", "gzip, bzip2, xz or none (gzip)"),
    Flag("sign", help="sign the image with your usual OpenPGP key, to FILE.asc"),
    _value("sign-by", "KEY", "sign with this key of yours"),
    _OVERWRITE,
)
IMAGE_IMPORT = (
    *_MANIFEST,
    Flag("full", help="print the whole image ID"),
    _value("pull-policy", "POLICY", "for dependencies: new, update or never (new)"),
)
_AUTHFILE = _value("authfile", "FILE", "the file of credentials (auth.json in /etc/rkt)")
LOGIN = (
    _value("username", "USER", "user name; asked for without it", short="u"),
    Flag("password-stdin", help="read the password from standard input"),
    _AUTHFILE,
)
LOGOUT = (_AUTHFILE,)
