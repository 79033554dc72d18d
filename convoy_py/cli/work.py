"""What may take long: for each verb the request that begins it, and the message it comes to."""

from dataclasses import dataclass
from typing import Generic
from urllib.parse import urlencode

from convoy_py.cli.exchange import M, volume_path
from convoy_py.models.names import check_name
from convoy_py.wire.admin import Message, SnapshotInfo, VolumeInfo
from convoy_py.wire.copies import (
    Adopt,
    Adopted,
    CloneVolume,
    ConvertVolume,
    CreateGroup,
    CreateSnapshot,
    Difference,
    Release,
    Released,
    Resized,
    ResizeVolume,
    RestoredFile,
    RestoreFile,
    Rollback,
    RolledBack,
    SnapshotList,
    SpaceReport,
    Trimmed,
)


@dataclass(frozen=True)
class Work(Generic[M]):
    """A request that is answered by a job, whose result is an `answer`."""

    answer: type[M]
    method: str
    target: str
    message: Message | None = None


def snapshot(volume: str, wanted: CreateSnapshot) -> Work[SnapshotInfo]:
    return Work(SnapshotInfo, "POST", volume_path(volume) + "/snapshots", wanted)


def snapshot_group(wanted: CreateGroup) -> Work[SnapshotList]:
    for volume in wanted.volumes:
        check_name(volume)
    return Work(SnapshotList, "POST", "/v1/snapshots", wanted)


def rollback(volume: str, wanted: Rollback) -> Work[RolledBack]:
    return Work(RolledBack, "POST", volume_path(volume) + "/rollback", wanted)


def clone(volume: str, wanted: CloneVolume) -> Work[VolumeInfo]:
    return Work(VolumeInfo, "POST", volume_path(volume) + "/clone", wanted)


def convert(volume: str, wanted: ConvertVolume) -> Work[VolumeInfo]:
    return Work(VolumeInfo, "POST", volume_path(volume) + "/convert", wanted)


def adopt(wanted: Adopt) -> Work[Adopted]:
    return Work(Adopted, "POST", "/v1/adopt", wanted)


def release(wanted: Release) -> Work[Released]:
    return Work(Released, "POST", "/v1/release", wanted)


def diff(volume: str, old: str, new: str) -> Work[Difference]:
    """From one snapshot to another, or to the volume as it is where `new` is empty."""
    query = urlencode({"from": old} | ({"to": new} if new else {}))
    return Work(Difference, "GET", f"{volume_path(volume)}/diff?{query}")


def restore_file(volume: str, wanted: RestoreFile) -> Work[RestoredFile]:
    return Work(RestoredFile, "POST", volume_path(volume) + "/restore-file", wanted)


def resize(volume: str, wanted: ResizeVolume) -> Work[Resized]:
    return Work(Resized, "POST", volume_path(volume) + "/resize", wanted)


def trim(volume: str) -> Work[Trimmed]:
    return Work(Trimmed, "POST", volume_path(volume) + "/trim")


def trim_all() -> Work[Trimmed]:
    return Work(Trimmed, "POST", "/v1/trim")


def space() -> Work[SpaceReport]:
    return Work(SpaceReport, "GET", "/v1/df")
