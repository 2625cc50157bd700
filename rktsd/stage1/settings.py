"""The ``systemd`` tables of a pod file as properties of its units. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rktsd.errors import BadInput
from rktsd.stage1.bundle import ambient_capabilities
from rktsd.stage1.carriedout import check as check_carried_out
from rktsd.stage1.readiness import check as check_readiness
from rktsd.systemd import names, properties, settings, values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rktsd.systemd.bus import Property


def check_settings(
    table: Mapping[str, object], where: str, *, slice: bool, fly: bool = False
) -> None:
    """Raise BadInput, beginning with ``where``, for settings that ``plan`` would refuse.

    For those who have much to do before they can plan.
    """
    unit_properties(table, where, slice=slice, fly=fly)
    check_readiness(table, where)
    ambient_capabilities(table, where)
    check_carried_out(table, where)
    for setting, value in table.items():
        if setting in properties.LIMIT_FORMS:
            properties.limit(setting, value, f"{where}.{setting}")


def unit_properties(
    table: Mapping[str, object], where: str, *, slice: bool, fly: bool = False
) -> list[Property]:
    """What of a table the unit itself is told. Raises BadInput, beginning with ``where``.

    ``fly`` tells of an app of that flavor, ``slice`` of a pod.
    """
    chosen: list[Property] = []
    for setting, value in table.items():
        at = f"{where}.{setting}"
        if slice and setting not in settings.OF_SLICES and settings.known(setting):
            hint = f"give it to an app, or use systemctl edit {names.pod_unit('POD')}"
            raise BadInput(f"{at}: not a setting of a slice", hint=hint)
        if properties.known(setting):
            chosen += properties.convert(setting, value, at)
        elif fly and not slice and setting in settings.OF_FLY:
            form = settings.OF_FLY[setting]
            read = values.boolean if form == "b" else values.text
            chosen.append((setting, form, read(value, at)))
        elif setting not in settings.TRANSLATED:
            raise _refusal(setting, at)
        elif setting in settings.FIELDS:
            raise BadInput(
                f"{at}: not for an app", hint=f"use the field {settings.FIELDS[setting]}"
            )
    return chosen


def _refusal(setting: str, where: str) -> BadInput:
    from rktsd.systemd.refused import REFUSED

    if setting in REFUSED:
        of_fly = '; stage1 = "fly" in the pod file takes it' if setting in settings.OF_FLY else ""
        reason = f"{REFUSED[setting]}{of_fly}"
        return BadInput(f"{where}: not for an app", hint=reason)
    from difflib import get_close_matches

    close = get_close_matches(setting, [*properties.FORMS, *settings.TRANSLATED], n=1)
    hint = f"did you mean {close[0]}?" if close else None
    return BadInput(f"{where}: no setting of a unit that this version knows", hint=hint)


def merged(chosen: Sequence[Property]) -> list[Property]:
    """One property of each name, the last one, or for those that are added to all of them."""
    found: dict[str, Property] = {}
    for name, signature, value in chosen:
        before = found.get(name)
        if before is not None and name in settings.ADDED:
            value = _added(before[2], value)
        found[name] = (name, signature, value)
    return list(found.values())


def _added(before: Any, value: Any) -> Any:
    if isinstance(before, tuple):
        return tuple([*old, *new] for old, new in zip(before, value, strict=True))
    return [*before, *(each for each in value if each not in before)]
