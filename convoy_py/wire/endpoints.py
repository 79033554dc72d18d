"""The calls of the admin API, one row each: what the daemon serves, describes, and the CLI asks.

A row names its messages without loading them: a short command needs none.
"""

import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from convoy_py import wire

if TYPE_CHECKING:
    from pydantic import BaseModel

Form = TypeVar("Form", bound="BaseModel")
Answer = TypeVar("Answer", bound="BaseModel")


@dataclass(frozen=True)
class Endpoint(Generic[Form, Answer]):
    """`form` is the body of a POST, the query of any other method; what fails is a Failure.

    `statuses` are those of an `answer`, which is Nothing where there is no body, or none of ours.
    """

    method: str
    path: str
    summary: str
    asked: Callable[[], type[Form]]
    told: Callable[[], type[Answer]]
    _: KW_ONLY
    statuses: tuple[int, ...] = (200,)
    snapshots: bool = False  # the path may name a snapshot, and does if it has a {snapshot}
    noun: str = "volume"  # what the path names, or else the message

    @property
    def form(self) -> type[Form]:
        return self.asked()

    @property
    def answer(self) -> type[Answer]:
        return self.told()

    @property
    def changes(self) -> bool:
        return self.method not in ("GET", "*")

    @property
    def has_body(self) -> bool:
        return self.method == "POST"

    @property
    def variables(self) -> list[str]:
        """What stands in braces in the path."""
        return re.findall(r"\{(\w+)\}", self.path)


class Direct(Endpoint[Form, Answer]):
    """What is answered at once."""


@dataclass(frozen=True, kw_only=True)
class Long(Endpoint[Form, Answer]):
    """What may take long: it is answered by a JobInfo, whose result in the end is the `answer`."""

    statuses: tuple[int, ...] = (200, 202)


def nothing() -> "type[wire.base.Nothing]":
    return wire.base.Nothing


# Volumes

LIST_VOLUMES = Direct("GET", "/v1/volumes", "All volumes", nothing, lambda: wire.volumes.VolumeList)
CREATE_VOLUME = Direct(
    "POST",
    "/v1/volumes",
    "Make a volume; one that exists with the same options is left as it is",
    lambda: wire.volumes.CreateVolume,
    lambda: wire.volumes.VolumeInfo,
    statuses=(201,),
)
INSPECT_VOLUME = Direct(
    "GET",
    "/v1/volumes/{name}",
    "One volume, or a snapshot as the volume that it is when mounted",
    nothing,
    lambda: wire.volumes.VolumeInfo,
    snapshots=True,
)
DELETE_VOLUME = Direct(
    "DELETE",
    "/v1/volumes/{name}",
    "Move a volume with its snapshots to the trash, or forget it and keep its data",
    lambda: wire.volumes.DeleteQuery,
    nothing,
    statuses=(204,),
)
MOUNT_VOLUME = Direct(
    "POST",
    "/v1/volumes/{name}/mount",
    "Mount a volume or a snapshot on the host and hold it under a name",
    lambda: wire.volumes.MountVolume,
    lambda: wire.volumes.Mounted,
    snapshots=True,
)
UMOUNT_VOLUME = Direct(
    "POST",
    "/v1/volumes/{name}/umount",
    "End a hold; what nobody holds is unmounted",
    lambda: wire.volumes.MountVolume,
    nothing,
    statuses=(204,),
    snapshots=True,
)
RENAME_VOLUME = Direct(
    "POST",
    "/v1/volumes/{name}/rename",
    "Give a volume that nobody uses another name",
    lambda: wire.volumes.RenameVolume,
    lambda: wire.volumes.VolumeInfo,
)
PROTECT_VOLUME = Direct(
    "POST",
    "/v1/volumes/{name}/protect",
    "Refuse to delete a volume from now on, or no longer",
    lambda: wire.volumes.ProtectVolume,
    lambda: wire.volumes.VolumeInfo,
)

# Snapshots

LIST_SNAPSHOTS = Direct(
    "GET", "/v1/snapshots", "All snapshots", nothing, lambda: wire.snapshots.SnapshotList
)
CREATE_GROUP = Long(
    "POST",
    "/v1/snapshots",
    "Take snapshots of several volumes at one moment",
    lambda: wire.snapshots.CreateGroup,
    lambda: wire.snapshots.SnapshotList,
)
INSPECT_SNAPSHOT = Direct(
    "GET",
    "/v1/snapshots/{name}",
    "One snapshot: db@nightly, or nightly where only one volume has it",
    nothing,
    lambda: wire.snapshots.SnapshotInfo,
    snapshots=True,
)
DELETE_SNAPSHOT = Direct(
    "DELETE",
    "/v1/snapshots/{name}",
    "Delete a snapshot: db@nightly, or nightly where only one volume has it",
    nothing,
    nothing,
    statuses=(204,),
    snapshots=True,
)
LIST_SNAPSHOTS_OF = Direct(
    "GET",
    "/v1/volumes/{name}/snapshots",
    "A volume's snapshots, oldest first",
    nothing,
    lambda: wire.snapshots.SnapshotList,
)
CREATE_SNAPSHOT = Long(
    "POST",
    "/v1/volumes/{name}/snapshots",
    "Take a snapshot of a volume",
    lambda: wire.snapshots.CreateSnapshot,
    lambda: wire.snapshots.SnapshotInfo,
)
INSPECT_SNAPSHOT_OF = Direct(
    "GET",
    "/v1/volumes/{name}/snapshots/{snapshot}",
    "One snapshot of a volume",
    nothing,
    lambda: wire.snapshots.SnapshotInfo,
    snapshots=True,
)
DELETE_SNAPSHOT_OF = Direct(
    "DELETE",
    "/v1/volumes/{name}/snapshots/{snapshot}",
    "Delete a snapshot of a volume",
    nothing,
    nothing,
    statuses=(204,),
    snapshots=True,
)
PLAN_SNAPSHOT = Direct(
    "GET",
    "/v1/volumes/{name}/plan",
    "How a snapshot of a volume would be made now",
    nothing,
    lambda: wire.snapshots.PlanInfo,
)
ROLLBACK = Long(
    "POST",
    "/v1/volumes/{name}/rollback",
    "Replace a volume's data by a snapshot's, after a snapshot of what is there",
    lambda: wire.snapshots.Rollback,
    lambda: wire.snapshots.RolledBack,
)

# Copies

CLONE_VOLUME = Long(
    "POST",
    "/v1/volumes/{name}/clone",
    "Make a volume that begins as a copy of another, or of a snapshot of it",
    lambda: wire.copies.CloneVolume,
    lambda: wire.volumes.VolumeInfo,
)
DIFF = Long(
    "GET",
    "/v1/volumes/{name}/diff",
    "What changed in a volume between two snapshots, or since one",
    lambda: wire.copies.DiffQuery,
    lambda: wire.copies.Difference,
)
RESTORE_FILE = Long(
    "POST",
    "/v1/volumes/{name}/restore-file",
    "Bring one file, or one folder with all in it, back from a snapshot",
    lambda: wire.copies.RestoreFile,
    lambda: wire.copies.RestoredFile,
)
CONVERT_VOLUME = Long(
    "POST",
    "/v1/volumes/{name}/convert",
    "Change a volume that nobody uses into one of another backend, filesystem or size",
    lambda: wire.copies.ConvertVolume,
    lambda: wire.volumes.VolumeInfo,
)
ADOPT = Long(
    "POST",
    "/v1/adopt",
    "Copy volumes of Docker's local driver into volumes of ours",
    lambda: wire.copies.Adopt,
    lambda: wire.copies.Adopted,
)
RELEASE = Long(
    "POST",
    "/v1/release",
    "Give volumes of ours to Docker's local driver",
    lambda: wire.copies.Release,
    lambda: wire.copies.Released,
)

# Space

RESIZE_VOLUME = Long(
    "POST",
    "/v1/volumes/{name}/resize",
    "Make a volume larger, at once or where that cannot be at its next mount",
    lambda: wire.space.ResizeVolume,
    lambda: wire.space.Resized,
)
TRIM_VOLUME = Long(
    "POST",
    "/v1/volumes/{name}/trim",
    "Give a volume's free blocks back to the host",
    nothing,
    lambda: wire.space.Trimmed,
)
TRIM_ALL = Long(
    "POST",
    "/v1/trim",
    "Give the free blocks of all volumes back to the host",
    nothing,
    lambda: wire.space.Trimmed,
)
REPORT_SPACE = Long(
    "GET",
    "/v1/df",
    "Where the host's bytes are, by volume and snapshot",
    nothing,
    lambda: wire.space.SpaceReport,
)

# Repositories

LIST_REPOSITORIES = Direct(
    "GET",
    "/v1/repositories",
    "The repositories that are known here",
    nothing,
    lambda: wire.repositories.RepositoryList,
)
ADD_REPOSITORY = Long(
    "POST",
    "/v1/repositories",
    "Open a repository, or make it where there is none, and know it by a name",
    lambda: wire.repositories.AddRepository,
    lambda: wire.repositories.RepositoryInfo,
    noun="repository",
)
INSPECT_REPOSITORY = Direct(
    "GET",
    "/v1/repositories/{name}",
    "One repository",
    nothing,
    lambda: wire.repositories.RepositoryInfo,
    noun="repository",
)
REMOVE_REPOSITORY = Direct(
    "DELETE",
    "/v1/repositories/{name}",
    "Forget a repository, which stays as it is",
    nothing,
    nothing,
    statuses=(204,),
    noun="repository",
)

# Backups

CREATE_BACKUPS = Long(
    "POST",
    "/v1/backups",
    "Back up volumes, by a snapshot of all at one moment, or snapshots that are there",
    lambda: wire.backups.CreateBackups,
    lambda: wire.backups.BackupList,
)
LIST_BACKUPS = Long(
    "GET",
    "/v1/backups",
    "The backups in the repositories that are known, of this host and of others",
    lambda: wire.backups.BackupsQuery,
    lambda: wire.backups.BackupList,
)
INSPECT_BACKUP = Long(
    "GET",
    "/v1/backups/inspect",
    "One backup",
    lambda: wire.backups.BackupQuery,
    lambda: wire.backups.BackupInfo,
)
DELETE_BACKUPS = Long(
    "POST",
    "/v1/backups/delete",
    "Delete backups",
    lambda: wire.backups.DeleteBackups,
    lambda: wire.backups.BackupList,
)
FORGET_BACKUPS = Long(
    "POST",
    "/v1/backups/forget",
    "Delete the backups of this host that a policy does not keep",
    lambda: wire.backups.ForgetBackups,
    lambda: wire.backups.Forgotten,
)
VERIFY_REPOSITORY = Long(
    "POST",
    "/v1/backups/verify",
    "Look whether all that backups need is in a repository, and whole",
    lambda: wire.backups.VerifyRepository,
    lambda: wire.backups.Verified,
    noun="repository",
)
RESTORE_BACKUP = Long(
    "POST",
    "/v1/backups/restore",
    "Make a volume with the data of a backup in it",
    lambda: wire.backups.RestoreBackup,
    lambda: wire.volumes.VolumeInfo,
)

# Jobs

LIST_JOBS = Direct(
    "GET",
    "/v1/jobs",
    "The jobs that run and the last that have ended, without their results",
    nothing,
    lambda: wire.jobs.JobList,
)
INSPECT_JOB = Direct(
    "GET",
    "/v1/jobs/{id}",
    "One job, also one that failed; with its result once it is done",
    nothing,
    lambda: wire.jobs.JobInfo,
)
CANCEL_JOB = Direct(
    "DELETE",
    "/v1/jobs/{id}",
    "Have a job end at its next step; nothing is left of what it made",
    nothing,
    lambda: wire.jobs.JobInfo,
    statuses=(202,),
)

# The trash

LIST_TRASH = Direct(
    "GET", "/v1/trash", "The removed volumes, oldest first", nothing, lambda: wire.trash.TrashList
)
RESTORE_TRASH = Direct(
    "POST",
    "/v1/trash/restore",
    "Give a removed volume back, by name or key, under its name or another",
    lambda: wire.trash.RestoreTrash,
    lambda: wire.volumes.VolumeInfo,
)
PURGE_TRASH = Direct(
    "POST",
    "/v1/trash/purge",
    "Delete a removed volume for good, by name or key, or all",
    lambda: wire.trash.PurgeTrash,
    lambda: wire.trash.Purged,
)

# The daemon

INFO = Direct(
    "GET", "/v1/info", "The daemon, its settings and its host", nothing, lambda: wire.daemon.Info
)
METRICS = Direct("GET", "/metrics", "Metrics for Prometheus", nothing, nothing)
HEALTH = Direct(
    "GET",
    "/healthz",
    "Whether the daemon serves, and why not",
    nothing,
    lambda: wire.daemon.Health,
    statuses=(200, 503),
)
DESCRIBE = Direct("GET", "/v1/openapi.json", "This description", nothing, nothing)
