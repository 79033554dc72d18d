"""Brings records of older formats up to the present one, a step per version."""

from collections.abc import Callable
from typing import Any

VOLUME_FORMAT = 3
SNAPSHOT_FORMAT = 2


def _fields_added(volume: dict[str, Any]) -> dict[str, Any]:
    """All that the next format has more may be missing."""
    return volume


# _STEPS[n] turns the content of format n into that of n + 1.
_STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _fields_added,
    2: _fields_added,
}


def migrate_volume(volume: dict[str, Any], version: int) -> dict[str, Any]:
    """The content of a record of format `version` in the present format; LookupError if none."""
    for step in range(version, VOLUME_FORMAT):
        volume = _STEPS[step](volume)
    return volume
