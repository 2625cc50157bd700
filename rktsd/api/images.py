"""What is asked about images and done to them, as in ``api.pods``."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from rktsd.api import filters, objects, state
from rktsd.api.errors import LIMITS_EXCEEDED, NO_SUCH_IMAGE, PREFIX, Refused
from rktsd.api.interfaces import image_path
from rktsd.api.options import invalid, read
from rktsd.api.values import Typed, only
from rktsd.errors import NotFound, RktError
from rktsd.images.fetch import POLICIES, called
from rktsd.store.sizes import size_in_store
from rktsd.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rktsd.paths import Paths

_FETCH = {"pull-policy": "s", "platform": "s"}
# rkt-fetch@.service serves so many of one user at a time, and we are one user.
_AT_ONCE = 4
_OF_ONE = 2


class Slots:
    """Fetches under way: of a caller no more than some, and the others wait for their turn."""

    def __init__(self) -> None:
        self._free = threading.Semaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._held: dict[int, int] = {}

    @contextmanager
    def taken(self, uid: int) -> Iterator[None]:
        """One slot. Raises Refused."""
        with self._lock:
            if self._held.get(uid, 0) >= _OF_ONE:
                message = f"{_OF_ONE} fetches of yours are under way already"
                raise Refused(LIMITS_EXCEEDED, message)
            self._held[uid] = self._held.get(uid, 0) + 1
        try:
            with self._free:
                yield
        finally:
            with self._lock:
                self._held[uid] -= 1
                if not self._held[uid]:
                    del self._held[uid]


def list_images(
    paths: Paths, given: Sequence[Mapping[str, Typed]], detail: bool
) -> tuple[list[tuple[str, dict[str, Typed]]]]:
    """Those that fit one of the filters."""
    wanted = filters.parse(given, filters.IMAGE_FIELDS)
    found = list[tuple[str, dict[str, Typed]]]()
    try:
        store = Store.open(paths.store)
    except NotFound:
        return (found,)
    layers = store.layer_sizes()
    for record in store.images():

        def annotations(image_id: str = record.id) -> object:
            return objects.annotations_of(_manifest(store, image_id))

        if filters.image_matches(record, wanted, annotations=annotations):
            size = size_in_store(store, record, layers)
            if detail:
                shown = objects.image(record, size=size, manifest=_manifest(store, record.id))
            else:
                shown = only(objects.image_in_brief(record, size=size), objects.IMAGE_IN_BRIEF)
            found.append((image_path(record.id), shown))
    return (found,)


def _manifest(store: Store, image_id: str) -> str:
    """Empty for an image that is removed meanwhile."""
    try:
        return store.manifest_bytes(image_id).decode(errors="replace")
    except RktError:
        return ""


def every(paths: Paths) -> dict[str, dict[str, Typed]]:
    """All properties of all images, by ID."""
    ((rows),) = list_images(paths, (), True)
    return {shown["Id"].value: shown for _, shown in rows}


def properties(paths: Paths, image_id: str) -> dict[str, Typed]:
    """All properties of an image."""
    try:
        return state.image(paths, image_id)
    except NotFound as error:
        raise Refused(NO_SUCH_IMAGE, str(error)) from error


def get(paths: Paths, image: str) -> tuple[str]:
    """By its name, its ID or the beginning of it."""
    return (image_path(_named(_store(paths, image), image)),)


def remove(paths: Paths, image: str) -> tuple[()]:
    """Forget it, and free what nobody needs any more."""
    from rktsd.pods.remove import free_images

    store = _store(paths, image)
    store.remove(_named(store, image))
    free_images(paths, store, warn=lambda line: None)
    return ()


def _store(paths: Paths, image: str) -> Store:
    try:
        return Store.open(paths.store)
    except NotFound as error:
        raise Refused(NO_SUCH_IMAGE, f'image "{image}" is not in the store') from error


def _named(store: Store, image: str) -> str:
    try:
        return called(image, store).id
    except NotFound as error:
        raise Refused(NO_SUCH_IMAGE, str(error)) from error


def fetch(slots: Slots, uid: int, image: str, options: Mapping[str, Typed]) -> tuple[str]:
    """Have rkt-fetch.socket fetch it: verified, by the system's own configuration and trust."""
    from rktsd.services.asking import ask

    given = read(options, _FETCH, "option")
    policy = given.get("pull-policy") or "update"
    if policy not in POLICIES:
        raise invalid(f'pull-policy "{policy}" is not one of {", ".join(POLICIES)}')
    wish = {"image": image}
    if given.get("platform"):
        wish["platform"] = given["platform"]
    with slots.taken(uid):
        try:
            *_, found = ask([wish], policy=policy, report=lambda line: None)
        except Refused:
            raise
        except RktError as error:
            raise Refused(f"{PREFIX}.FetchFailed", str(error)) from error
    return (image_path(found),)
