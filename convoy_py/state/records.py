"""The records as they lie on disk: versioned, checksummed, and never guessed at.

A record that cannot be read raises Unreadable with the reason; docs/state-format.md is the
description for people, tests/golden holds a file of every version ever written.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, Field, ValidationError

from convoy_py.models.names import is_valid_name
from convoy_py.models.volume import Frozen, Spec
from convoy_py.state.migrations import VOLUME_FORMAT, migrate_volume


class Unreadable(Exception):
    """A record's file does not hold a record; the text says what is wrong with it."""


class Record(Frozen):
    """One volume: `<root>/volumes/<name>/volume.json`."""

    name: str
    uuid: str  # a version 4 UUID; also the UUID of a loopback's filesystem
    created: AwareDatetime
    spec: Spec


class Hold(Frozen):
    """How often one mount ID holds a volume, and in which life of its engine it said so."""

    count: int
    epoch: str


class References(Frozen):
    """Who holds one volume: `<run>/references/<name>.json`; true only under its boot id."""

    format: Literal[1] = 1
    boot: str
    holds: dict[str, Hold] = Field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(hold.count for hold in self.holds.values())


def encode(record: Record) -> bytes:
    """The file of a record: JSON for people to read, with a checksum of its volume part."""
    volume = record.model_dump(mode="json")
    document = {"format": VOLUME_FORMAT, "checksum": _checksum(volume), "volume": volume}
    return json.dumps(document, indent=2).encode() + b"\n"


def decode(data: bytes, name: str) -> Record:
    """The record in a file that lies in the folder of volume `name`; raises Unreadable."""
    try:
        document = json.loads(data)
        version, volume = document["format"], document["volume"]
        checksum = document["checksum"]
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(f"not a volume record ({error!r})") from None
    if checksum != _checksum(volume):
        raise Unreadable("its checksum does not match its content")
    if not isinstance(version, int) or version > VOLUME_FORMAT:
        raise Unreadable(f"its format {version!r} is newer than {VOLUME_FORMAT}, the newest known")
    try:
        record = Record.model_validate(migrate_volume(volume, version))
    except (ValidationError, LookupError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise Unreadable(f"its content is not a volume: {first}") from None
    if record.name != name or not is_valid_name(record.name):
        raise Unreadable(f"it is the record of {record.name!r}")
    return record


def timestamp(seconds: float) -> datetime:
    """POSIX seconds as the aware UTC time that records hold, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC)


def _checksum(volume: Any) -> str:
    canonical = json.dumps(volume, sort_keys=True, separators=(",", ":")).encode()
    return "sha256:" + hashlib.sha256(canonical).hexdigest()
