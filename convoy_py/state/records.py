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
from convoy_py.models.snapshot import Consistency, Way
from convoy_py.models.values import Frozen
from convoy_py.models.volume import Spec
from convoy_py.state.migrations import SNAPSHOT_FORMAT, VOLUME_FORMAT, migrate_volume


class Unreadable(Exception):
    """A record's file does not hold a record; the text says what is wrong with it."""


class Record(Frozen):
    """One volume: `<root>/volumes/<name>/volume.json`."""

    name: str
    # The name before a rename: the folder has the one or the other, and the folder is right.
    formerly: str | None = None
    uuid: str  # a version 4 UUID; also that of a loopback's filesystem, unless it is a clone
    created: AwareDatetime
    protected: bool = False  # Remove refuses
    spec: Spec


class SnapshotRecord(Frozen):
    """One snapshot: `<root>/volumes/<volume>/snapshots/<name>/snapshot.json`."""

    name: str
    uuid: str  # a version 4 UUID; also the name of the subvolume of one that lies inside
    created: AwareDatetime
    spec: Spec  # the volume's at that time
    way: Way
    consistency: Consistency
    group: str = ""  # what was taken at the same moment bears the same id
    automatic: bool = False


class Moment(Frozen):
    """A reading of the clock of passed time: of which root's, and its seconds."""

    clock: str
    passed: float


class Removal(Frozen):
    """When a volume was removed: `<root>/trash/<name>.<uuid>/removed.json`."""

    removed: AwareDatetime
    moment: Moment | None = None  # the same by the clock of passed time; older daemons had none


class Passed(Frozen):
    """The clock of passed time, and what others said then: `<root>/passed.json`."""

    format: Literal[1] = 1
    moment: Moment
    boot: str
    boottime: float  # seconds since that boot
    wall: AwareDatetime


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
    return _enclosed("volume", VOLUME_FORMAT, record)


def decode(data: bytes, name: str) -> Record:
    """The record in a file that lies in the folder of volume `name`; raises Unreadable."""
    version, volume = _opened("volume", VOLUME_FORMAT, data)
    try:
        record = Record.model_validate(migrate_volume(volume, version))
    except (ValidationError, LookupError) as error:
        raise Unreadable(f"its content is not a volume: {_first(error)}") from None
    if name not in (record.name, record.formerly) or not is_valid_name(name):
        raise Unreadable(f"it is the record of {record.name!r}")
    return record.model_copy(update={"name": name, "formerly": None})


def encode_snapshot(record: SnapshotRecord) -> bytes:
    return _enclosed("snapshot", SNAPSHOT_FORMAT, record)


def decode_snapshot(data: bytes, name: str = "") -> SnapshotRecord:
    """The record in a file that lies in the folder of snapshot `name`; raises Unreadable.

    One that is being taken has no name yet.
    """
    _, snapshot = _opened("snapshot", SNAPSHOT_FORMAT, data)
    try:
        record = SnapshotRecord.model_validate(snapshot)
    except ValidationError as error:
        raise Unreadable(f"its content is not a snapshot: {_first(error)}") from None
    if name not in ("", record.name) or not is_valid_name(record.name):
        raise Unreadable(f"it is the record of {record.name!r}")
    return record


def _enclosed(part: str, version: int, record: Frozen) -> bytes:
    content = record.model_dump(mode="json")
    document = {"format": version, "checksum": _checksum(content), part: content}
    return json.dumps(document, indent=2).encode() + b"\n"


def _opened(part: str, newest: int, data: bytes) -> tuple[int, Any]:
    """(format, content) of a file that holds `part`; raises Unreadable."""
    try:
        document = json.loads(data)
        version, content = document["format"], document[part]
        checksum = document["checksum"]
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(f"not a {part} record ({error!r})") from None
    if checksum != _checksum(content):
        raise Unreadable("its checksum does not match its content")
    if not isinstance(version, int) or version > newest:
        raise Unreadable(f"its format {version!r} is newer than {newest}, the newest known")
    return version, content


def _first(error: Exception) -> str:
    return error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)


def timestamp(seconds: float) -> datetime:
    """POSIX seconds as the aware UTC time that records hold, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC)


def _checksum(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return "sha256:" + hashlib.sha256(canonical).hexdigest()
