"""What a snapshot is to be, before it is taken; who can take it, and how data is opened."""

import secrets
import uuid as uuids
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from convoy_py.backends.base import Backend, Snapshottable
from convoy_py.engine.memory.entry import Entry
from convoy_py.errors import Unsupported
from convoy_py.models.snapshot import Consistency, Plan, Way
from convoy_py.models.volume import UNSCHEDULED, Spec
from convoy_py.state.records import SnapshotRecord, timestamp


@dataclass(frozen=True)
class Purpose:
    """What a snapshot is for: who may delete it again, and the beginning of its name."""

    prefix: str = ""
    automatic: bool = False
    scheduled: bool = False
    base_of: str = ""


BY_HAND = Purpose()
BY_ROLLBACK = Purpose("before-rollback-", automatic=True)
BY_SCHEDULE = Purpose("scheduled-", scheduled=True)


def for_backup(repository: str) -> Purpose:
    """For a backup, and for the next one into that repository to be compared with: unlisted."""
    return Purpose("backup-", base_of=repository)


@dataclass(frozen=True)
class Part:
    """One snapshot that is to be taken: of which volume, and as what."""

    volume: Entry
    record: SnapshotRecord
    mounted_at: float  # the volume's last Mount by now
    takes: int  # bytes that the host has to give for it at once

    def settled(self, spec: Spec) -> SnapshotRecord:
        """The record of the snapshot that was taken."""
        consistency = self.record.consistency
        # A folder that nobody had mounted may have been mounted while it was read.
        if consistency is Consistency.OFFLINE and self.volume.mounted_at != self.mounted_at:
            consistency = Consistency.PER_FILE
        return self.record.model_copy(update={"spec": spec, "consistency": consistency})


def power(backend: Backend, name: str) -> Snapshottable:
    """The backend's power to take snapshots; raises Unsupported."""
    if isinstance(backend, Snapshottable):
        return backend
    raise Unsupported(f"volume {name}: backend {backend.name} takes no snapshots")


def opened(entry: Entry, *, write: bool = False) -> AbstractContextManager[Path]:
    """The folder with the data of a volume or snapshot, to be read or written."""
    backend, place = entry.usable()
    able = power(backend, entry.name)
    return able.writing(place) if write else able.reading(place)


def planned(
    volume: Entry,
    name: str,
    plan: Plan,
    now: float,
    group: str = "",
    purpose: Purpose = BY_HAND,
    *,
    paused: bool = False,
) -> Part:
    """The snapshot that is to be taken of a volume; `paused` if its containers stand still.

    `now` is POSIX time in seconds.
    """
    spec = volume.volume_record().spec
    read_only = tuple(sorted({*(spec.mount_options or ()), "ro"}))
    record = SnapshotRecord(
        name=name,
        uuid=str(uuids.UUID(bytes=secrets.token_bytes(16), version=4)),
        created=timestamp(now),
        spec=spec.model_copy(
            update={
                "mount_options": read_only,
                "autogrow": None,
                "per_mount": None,
                **UNSCHEDULED,
            }
        ),
        way=plan.way,
        consistency=_consistency(volume, plan.way, paused=paused),
        group=group,
        automatic=purpose.automatic,
        scheduled=purpose.scheduled,
        base_of=purpose.base_of,
    )
    return Part(volume, record, volume.mounted_at, plan.takes)


def _consistency(volume: Entry, way: Way, *, paused: bool) -> Consistency:
    backend, place = volume.usable()
    if way.atomic:
        return Consistency.ATOMIC
    if not volume.mounted:
        return Consistency.OFFLINE
    if power(backend, volume.name).freezable(place):
        return Consistency.FROZEN
    return Consistency.PAUSED if paused else Consistency.PER_FILE
