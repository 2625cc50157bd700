"""Every command, as data: where it is carried out, what it takes, how it is explained."""

from typing import NamedTuple

from rktsd.cli import flags
from rktsd.cli.flags import Flag

PLAIN, IMAGES, IMAGES_WITH_ARGUMENTS = "plain", "images", "images with arguments"
# Flags end at the first word: what follows is for another program.
INNER = "inner"


class Command(NamedTuple):
    """``module`` in rktsd.cli has ``function``(context, parsed) -> exit status."""

    module: str
    function: str
    summary: str
    usage: str
    flags: tuple[Flag, ...] = ()
    grammar: str = PLAIN
    examples: tuple[str, ...] = ()
    root: bool = False


_FETCH = Command(
    "refetching",
    "fetch",
    "Fetch images, verify them, and store them",
    "IMAGE [--signature=FILE] ...",
    flags.FETCH,
    IMAGES,
    (
        "fetch example.com/web:1.2",
        "fetch ./web.aci --signature=web.aci.asc",
        "--insecure-options=image fetch docker://registry.example.com/web",
    ),
)

_ENTER = Command(
    "entering",
    "enter",
    "Run a command in a running app, confined as the app is",
    "[FLAG...] POD [COMMAND [ARGUMENT...]]",
    flags.ENTER,
    INNER,
    ("enter web", "enter --app=redis web redis-cli info", "enter --privileged 5bc0 /bin/sh"),
    root=True,
)

COMMANDS: dict[str, Command] = {
    "cat-manifest": Command(
        "queries",
        "cat_manifest",
        "Print the manifest of a pod",
        "POD",
        flags.CAT_MANIFEST,
        examples=("cat-manifest 5bc0", "cat-manifest --pretty-print=false web"),
    ),
    "completion": Command(
        "completing",
        "completion",
        "Print what lets a shell complete the words of rkt",
        "bash|zsh|fish",
        (),
        INNER,
        ("completion bash",),
    ),
    "enter": _ENTER,
    "exec": _ENTER._replace(examples=("exec web", "exec --app=redis web redis-cli info")),
    "fetch": _FETCH,
    "gc": Command(
        "actions",
        "gc",
        "Remove ended pods, and what no image or pod needs",
        "",
        flags.GC,
        examples=("gc", "gc --grace-period=0s", "gc --mark-only"),
        root=True,
    ),
    "image": Command("images", "", "Work with stored images", "COMMAND"),
    "image build": Command(
        "building",
        "build",
        "Make an ACI of a directory or tar archive, and sign it",
        "DIR|TAR|- FILE [FLAG...] [-- ARGUMENT...]",
        flags.IMAGE_BUILD,
        examples=(
            "image build ./root web.aci --name=example.com/web:1.0 --exec=/bin/web --sign",
            "image build root.tar.gz web.aci --manifest=manifest.json",
        ),
    ),
    "image cat-manifest": Command(
        "images",
        "cat_manifest",
        "Print the manifest of a stored image",
        "IMAGE",
        flags.IMAGE_CAT_MANIFEST,
        examples=("image cat-manifest example.com/web",),
    ),
    "image export": Command(
        "exporting",
        "export",
        "Write a stored image to a file, as an uncompressed ACI",
        "IMAGE FILE",
        flags.IMAGE_EXPORT,
        examples=("image export example.com/web web.aci",),
    ),
    "image extract": Command(
        "exporting",
        "extract",
        "Write a stored image to a directory, without what it depends on",
        "IMAGE DIR",
        flags.IMAGE_EXTRACT,
        examples=("image extract example.com/web ./web",),
        root=True,
    ),
    "image fetch": _FETCH,
    "image gc": Command(
        "images",
        "gc",
        "Remove images that nobody used for a while, and what nobody needs",
        "",
        flags.IMAGE_GC,
        examples=("image gc", "image gc --grace-period=0s", "image gc --keep=3"),
        root=True,
    ),
    "image import": Command(
        "building",
        "import_",
        "Store a directory or tar archive as an image",
        "DIR|TAR|- [FLAG...] [-- ARGUMENT...]",
        flags.IMAGE_IMPORT,
        examples=("image import ./root --name=example.com/web --exec=/bin/web --port=http:80",),
        root=True,
    ),
    "image inspect": Command(
        "inspecting",
        "inspect",
        "Show layers, sizes, origin, signature and users of stored images",
        "IMAGE...",
        flags.IMAGE_INSPECT,
        examples=("image inspect example.com/web", "image inspect --format=json sha512-91e9"),
    ),
    "image list": Command(
        "images",
        "list_images",
        "List stored images",
        "",
        flags.IMAGE_LIST,
        examples=("image list", "image list --sort=size --order=desc --fields=name,size"),
    ),
    "image push": Command(
        "pushing",
        "push",
        "Send a stored image to a registry, an OCI layout, or an archive",
        "IMAGE docker://NAME[:TAG]|oci:DIR[:TAG]|oci-archive:FILE[:TAG]",
        flags.IMAGE_PUSH,
        examples=(
            "image push example.com/web docker://registry.example.com/team/web:1.0",
            "image push sha512-91e9 oci-archive:web.tar:1.0",
        ),
    ),
    "image render": Command(
        "exporting",
        "render",
        "Write a stored image with all that it depends on to a directory",
        "IMAGE DIR",
        flags.IMAGE_EXTRACT,
        examples=("image render --rootfs-only example.com/web ./root",),
        root=True,
    ),
    "image rm": Command(
        "images",
        "remove",
        "Remove images from the store; pods made from them keep working",
        "IMAGE...",
        examples=("image rm example.com/web:1.2", "image rm sha512-91e98d7f1679"),
        root=True,
    ),
    "image verify": Command(
        "verifying",
        "verify",
        "Check stored images to the last byte, and repair them",
        "[IMAGE...]",
        flags.IMAGE_VERIFY,
        examples=("image verify", "image verify --fetch example.com/web"),
        root=True,
    ),
    "kill": Command(
        "signalling",
        "kill",
        "Send a signal to the apps of pods",
        "POD...",
        flags.KILL,
        examples=("kill web", "kill --signal=HUP --app=nginx web"),
        root=True,
    ),
    "list": Command(
        "queries",
        "list_pods",
        "List pods",
        "",
        flags.LIST,
        examples=("list", "list --full --no-legend", "list --format=json"),
    ),
    "login": Command(
        "login",
        "login",
        "Log in to a registry, and keep the credentials",
        "REGISTRY",
        flags.LOGIN,
        examples=("login registry.example.com", "login -u me --password-stdin docker.io"),
    ),
    "logout": Command(
        "login",
        "logout",
        "Forget the credentials for a registry",
        "REGISTRY",
        flags.LOGOUT,
        examples=("logout registry.example.com",),
    ),
    "logs": Command(
        "logs",
        "logs",
        "Show what the apps of a pod wrote, from the journal",
        "POD",
        flags.LOGS,
        examples=("logs web", "logs -f --app=nginx web", "logs -n 20 5bc0", "logs --run=-1 web"),
    ),
    "pause": Command(
        "signalling",
        "pause",
        "Stop all processes of pods where they are",
        "POD...",
        flags.PAUSE,
        examples=("pause web", "pause --app=worker web"),
        root=True,
    ),
    "pod": Command("podfiles", "", "Look at pod files", "COMMAND"),
    "pod check": Command(
        "podfiles",
        "check",
        "Find out whether pod files are valid",
        "FILE|POD...",
        flags.POD_CHECK,
        examples=("pod check web", "pod check ./web.toml", "pod check --instance=1 ./web@.toml"),
    ),
    "pod show": Command(
        "podfiles",
        "show",
        "Print the manifest that a pod file becomes with its stored images",
        "FILE|POD",
        flags.POD_SHOW,
        examples=("pod show web", "pod show ./web.toml"),
    ),
    "pod units": Command(
        "podfiles",
        "units",
        "Print every unit and bundle of a pod, and start nothing",
        "FILE|POD",
        flags.POD_UNITS,
        examples=("pod units web", "pod units --format=json-pretty ./web.toml"),
    ),
    "prepare": Command(
        "running",
        "prepare",
        "Make a pod that is started later, and print its UUID",
        "[FLAG...] IMAGE [FLAG...] [-- ARGUMENT...] [--- IMAGE ...]",
        flags.PREPARE,
        IMAGES_WITH_ARGUMENTS,
        ("prepare example.com/web:1.2 --memory=256Mi", "prepare --pod-manifest=pod.json"),
        root=True,
    ),
    "rm": Command(
        "actions",
        "rm",
        "Remove pods that do not run",
        "POD...",
        flags.RM,
        examples=("rm 5bc0", "rm --uuid-file=/run/web.uuid"),
        root=True,
    ),
    "run": Command(
        "running",
        "run",
        "Run a pod in the foreground; exits as its app does",
        "[FLAG...] IMAGE [FLAG...] [-- ARGUMENT...] [--- IMAGE ...]",
        flags.RUN,
        IMAGES_WITH_ARGUMENTS,
        (
            "run example.com/web:1.2 --memory=256Mi -- --verbose",
            "run --port=http:8080 --volume=data,kind=host,source=/srv example.com/web",
            "run --net=none example.com/one -- a b --- example.com/two --user=33",
        ),
        root=True,
    ),
    "run-prepared": Command(
        "running",
        "run_prepared",
        "Run a prepared pod in the foreground",
        "UUID",
        flags.RUN_PREPARED,
        examples=("run-prepared 5bc0", "run-prepared --net=host 5bc0"),
        root=True,
    ),
    "status": Command(
        "queries",
        "status",
        "Show the state of a pod",
        "POD",
        flags.STATUS,
        examples=("status web", "status --wait 5bc0", "status --wait-ready=10s web"),
    ),
    "stop": Command(
        "actions",
        "stop",
        "Stop pods",
        "POD...",
        flags.STOP,
        examples=("stop web", "stop --force 5bc0"),
    ),
    "trust": Command(
        "trusting",
        "trust",
        "Trust keys to sign images, list and remove them",
        "--prefix=PREFIX|--root [FILE|URL...|--remove FINGERPRINT...], or --list",
        flags.TRUST,
        examples=(
            "trust --prefix=example.com",
            "trust --root ./key.asc",
            "trust --list",
            "trust --remove --prefix=example.com 7A821D9426CD4977",
        ),
    ),
    "unpause": Command(
        "signalling",
        "unpause",
        "Let the processes of paused pods go on",
        "POD...",
        flags.PAUSE,
        examples=("unpause web",),
        root=True,
    ),
    "version": Command(
        "version", "version", "Print versions and features", "", examples=("version",)
    ),
    "volume": Command("volumes", "", "Work with volumes that outlive pods", "COMMAND"),
    "volume inspect": Command(
        "volumes",
        "inspect",
        "Show where named volumes lie, their sizes and users",
        "VOLUME...",
        flags.VOLUME_INSPECT,
        examples=("volume inspect pgdata", "volume inspect --format=json pgdata"),
        root=True,
    ),
    "volume list": Command(
        "volumes",
        "list_volumes",
        "List named volumes",
        "",
        flags.VOLUME_LIST,
        examples=("volume list", "volume list --format=json"),
        root=True,
    ),
    "volume prune": Command(
        "volumes",
        "prune",
        "Remove named volumes that no pod and no pod file uses, with all data",
        "",
        examples=("volume prune",),
        root=True,
    ),
    "volume rm": Command(
        "volumes",
        "rm",
        "Remove named volumes that are not in use, with all data",
        "VOLUME...",
        examples=("volume rm pgdata",),
        root=True,
    ),
}
