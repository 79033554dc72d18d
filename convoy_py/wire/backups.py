"""Messages about backups: make, list, delete, forget, prune, verify, restore."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from convoy_py.wire.base import HOOK, Message, Moment, Query


def _bytes(value: object) -> object:
    return str(value) if isinstance(value, int) else value or ""


Bytes = Annotated[str, BeforeValidator(_bytes)]  # as text, as in Convoy; "" where it is not known

REFERENCE = "a backup's URL, or the first digits of its id in a repository"


class CreateBackups(Message):
    """Back up volumes and snapshots: those that are named, all, or a compose project's."""

    sources: list[str] = Field(default_factory=list)
    all: bool = False
    compose_project: str = ""
    repository: str = Field("", description="empty: the default, or the only one")
    raw: bool = Field(default=False, description="the filesystem of each, an image, as one file")
    pause: bool = False
    stop: bool = False
    before: list[str] = Field(default_factory=list, description=HOOK)
    after: list[str] = Field(default_factory=list, description=HOOK)


class BackupsQuery(Query):
    volume: str = ""
    repository: str = Field("", description="empty: all that are known")
    described: bool = Field(
        default=False,
        description="with DriverName, VolumeSize, VolumeCreatedAt: each is looked into",
    )


class BackupQuery(Query):
    backup: str = Field(min_length=1, description=REFERENCE)
    repository: str = ""


class BackupInfo(Message):
    """What Convoy told of a backup, too, has its keys."""

    url: str = Field(alias="BackupURL")
    name: str = Field(alias="BackupName")
    id: str
    repository: str
    volume: str = Field(alias="VolumeName")
    host: str
    created: Moment = Field(alias="CreatedTime")
    snapshot: str = Field("", description="the id of the volume's snapshot that it is a copy of")
    snapshot_name: str = Field("", description="of a snapshot that a user took")
    snapshot_created: Moment = Field("", alias="SnapshotCreatedAt")
    volume_id: str = ""
    raw: bool = Field(default=False, description="the filesystem as one file")
    protected: bool = Field(default=False, description="no policy deletes it")
    driver: str = Field("", alias="DriverName", description="of what is described")
    volume_size: Bytes = Field("", description="the volume's limit; 0: none")
    volume_created: Moment = Field("", alias="VolumeCreatedAt")
    size: int  # bytes of all files
    added: int  # bytes that the repository grew by
    files: int
    proven: Moment = Field("", description="when it was restored and compared here; empty: never")


class BackupList(Message):
    backups: list[BackupInfo]


class DeleteBackups(Message):
    backups: list[str] = Field(min_length=1, description=REFERENCE)
    repository: str = ""


class ProtectBackups(Message):
    """Have backups stay whatever a policy keeps, and refuse to delete them; or no more."""

    backups: list[str] = Field(min_length=1, description=REFERENCE)
    repository: str = ""
    on: bool = True


class ForgetBackups(Message):
    """Delete the backups of the daemon's host that a policy does not keep."""

    volume: str = Field("", description="empty: of each volume by itself")
    repository: str = ""
    keep: str = Field(min_length=1, description="such as 24h,7d,4w,12m,3y; 5last: the last five")
    dry_run: bool = False


class Forgotten(Message):
    """What is gone, or would be; `problems` tell of which volumes nothing was deleted, and why."""

    backups: list[BackupInfo]
    problems: list[str]
    dry_run: bool = False


class PruneRepository(Message):
    """Give back what no snapshot in a repository needs any more."""

    repository: str = ""
    dry_run: bool = False


class Pruned(Message):
    """What was done with the packs of a repository, or would be; bytes as they are stored."""

    snapshots: int
    kept: int
    repacked: int = Field(description="what is needed of these is in new packs")
    deleted: int
    repacked_bytes: int
    freed_bytes: int
    unneeded_bytes: int = Field(description="that stay, for it is not worth it")
    dry_run: bool = False


class ProveBackups(Message):
    """Restore backups into a place beside, and compare: those that are named, or the newest of all.

    All: of each volume of each host.
    """

    backups: list[str] = Field(default_factory=list, description=REFERENCE)
    all: bool = False
    repository: str = ""


class Proved(Message):
    """The backups that are what they should be, and what is not so in others."""

    backups: list[BackupInfo]
    problems: list[str]


class VerifyRepository(Message):
    repository: str = ""
    read_data: int = Field(0, ge=0, le=100, description="the part of a hundred that is read")


class Verified(Message):
    problems: list[str]


class RestoreBackup(Message):
    """Make a volume of a backup: of the one that is named, or of a volume's newest."""

    backup: str = Field(min_length=1, description=f"{REFERENCE}; or a volume's name")
    repository: str = ""
    at: str = Field(
        "",
        description="of a volume's: a time, up to which the newest counts, or an id's first digits",
    )
    name: str = ""  # of the volume; default: as it was
    options: dict[str, str] = Field(default_factory=dict)
