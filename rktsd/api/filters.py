"""Which pods and images a caller wants listed, by the rules of rkt's gRPC API. Pure.

What one filter says must all hold; of several filters one is enough; without any, all are listed.
An empty field says nothing. See PodFilter and ImageFilter in rkt's api/v1alpha/api.proto.
"""

from __future__ import annotations

from rktsd.api.options import invalid, read
from rktsd.api.values import texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from rktsd.api.values import Typed
    from rktsd.pods.query import PodStatus
    from rktsd.store.records import ImageRecord

POD_FIELDS = {
    "ids": "as",
    "names": "as",
    "states": "as",
    "app_names": "as",
    "image_ids": "as",
    "network_names": "as",
    "annotations": "a{ss}",
    "cgroups": "as",
    "pod_sub_cgroups": "as",
}
IMAGE_FIELDS = {
    "ids": "as",
    "prefixes": "as",
    "base_names": "as",
    "keywords": "as",
    "full_names": "as",
    "labels": "a{ss}",
    "annotations": "a{ss}",
    "imported_after": "t",
    "imported_before": "t",
}
_MOST = 64


def parse(given: Sequence[Mapping[str, Typed]], fields: Mapping[str, str]) -> list[dict[str, Any]]:
    """Filters as values, without fields that say nothing. Raises Refused."""
    if len(given) > _MOST:
        raise invalid(f"more than {_MOST} filters")
    found = [read(each, fields, "filter") for each in given]
    return [{name: value for name, value in each.items() if value} for each in found]


def wants_group(filters: Sequence[Mapping[str, Any]]) -> bool:
    """Whether control groups have to be known."""
    return any("cgroups" in each or "pod_sub_cgroups" in each for each in filters)


def pod_matches(
    status: PodStatus, filters: Sequence[Mapping[str, Any]], *, group: Callable[[], str]
) -> bool:
    """Whether a pod is wanted; ``group`` is asked for its control group, empty for none."""
    return not filters or any(_pod_fits(status, each, group) for each in filters)


def _pod_fits(status: PodStatus, wanted: Mapping[str, Any], group: Callable[[], str]) -> bool:
    apps = status.apps
    found: dict[str, Callable[[Any], bool]] = {
        "names": lambda words: status.place.name in words,
        "ids": lambda words: status.place.uuid in map(str.lower, words),
        "states": lambda words: status.state in words,
        "app_names": lambda words: {app.name for app in apps}.issuperset(words),
        "image_ids": lambda words: {app.image_id for app in apps}.issuperset(words),
        "network_names": lambda words: {each.get("netName") for each in status.networks}.issuperset(
            words
        ),
        "annotations": lambda pairs: _has_all(status.manifest.get("annotations"), pairs),
        "cgroups": lambda words: bool(group()) and group() in words,
        "pod_sub_cgroups": lambda words: is_below(group(), words),
    }
    return all(found[name](value) for name, value in wanted.items())


def is_below(group: str, below: Sequence[str]) -> bool:
    """Whether one of the control groups ``below`` is ``group`` or in it."""
    return bool(group) and any(f"{each}/".startswith(f"{group}/") for each in below)


def image_matches(
    record: ImageRecord,
    filters: Sequence[Mapping[str, Any]],
    *,
    annotations: Callable[[], object],
) -> bool:
    """Whether an image is wanted; ``annotations`` is asked for those of its manifest."""
    return not filters or any(_image_fits(record, each, annotations) for each in filters)


def _image_fits(
    record: ImageRecord, wanted: Mapping[str, Any], annotations: Callable[[], object]
) -> bool:
    name, version = record.name, record.label("version")
    labels = {label.name: label.value for label in record.labels}
    found: dict[str, Callable[[Any], bool]] = {
        "ids": lambda words: record.id in words,
        "prefixes": lambda words: name.startswith(tuple(words)),
        "base_names": lambda words: name.rpartition("/")[2] in words,
        "keywords": lambda words: any(word in name for word in words),
        "full_names": lambda words: name in words or f"{name}:{version}" in words,
        "labels": lambda pairs: labels.items() >= pairs.items(),
        "annotations": lambda pairs: _has_all(annotations(), pairs),
        "imported_after": lambda when: record.import_time // 1000 > when,
        "imported_before": lambda when: record.import_time // 1000 < when,
    }
    return all(found[field](value) for field, value in wanted.items())


def _has_all(annotations: object, pairs: Mapping[str, str]) -> bool:
    return texts(annotations).items() >= pairs.items()
