"""What the daemon and a session say to each other: lines of JSON, by its stdin and stdout.

A session is a process of its own that works on one repository. It gets one Request; it tells Events
and ends with Done or Failed. Locks are answered by an empty line, once they are noted.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from convoy_py.models.values import Frozen


class Access(Frozen):
    """How a repository is reached. The secrets in it go through pipes alone."""

    location: str
    password: str = Field(repr=False)
    credentials: dict[str, str] = Field(default_factory=dict, repr=False)
    host: str
    patience: float  # seconds after which a storage that does not answer is given up
    leftover_locks: tuple[str, ...] = ()  # of sessions of ours that were cut off


class Data(Frozen):
    """The data of one snapshot, which nobody changes."""

    uuid: str  # of the snapshot
    path: Path  # the folder; or, if it is raw, the file that is all of its filesystem
    image: Path | None = None  # whose filesystem the folder shows


class Source(Frozen):
    """What is to be backed up of one volume, and with what it can be compared."""

    volume: str
    volume_id: str
    created: datetime
    snapshot_name: str = ""  # if a user took the snapshot
    scheduled: bool = False  # not asked for by hand: what a schedule keeps decides of it
    raw: bool = False  # the filesystem as one file, and not the files in it
    data: Data
    bases: tuple[Data, ...] = ()  # older ones, the newest first
    description: str  # JSON: what the volume is


class Open(Frozen):
    """Open a repository, or make it where there is none."""

    verb: Literal["open"] = "open"
    create: bool = False


class ListBackups(Frozen):
    """All backups of volumes; `described` ones with the description that lies in each."""

    verb: Literal["list"] = "list"
    described: bool = False


class Backup(Frozen):
    verb: Literal["backup"] = "backup"
    sources: tuple[Source, ...]


class Describe(Frozen):
    """Say what one backup is of: the description that lies in it."""

    verb: Literal["describe"] = "describe"
    backup: str


class Restore(Frozen):
    """Bring the data of a backup into an empty folder; what is raw, into a file of zeros."""

    verb: Literal["restore"] = "restore"
    backup: str
    raw: bool = False
    into: Path


class Prove(Frozen):
    """The same, and compare it with the backup."""

    verb: Literal["prove"] = "prove"
    backup: str
    raw: bool = False
    into: Path


class RestoreFile(Frozen):
    """Bring one file or folder of a backup into an empty folder, with the folders on its way.

    The first of `paths` that is there, each in hexadecimal digits, for names are bytes.
    """

    verb: Literal["restore-file"] = "restore-file"
    backup: str
    paths: tuple[str, ...]
    into: Path


class Delete(Frozen):
    verb: Literal["delete"] = "delete"
    backups: tuple[str, ...]


class Protect(Frozen):
    """Have backups stay, whatever a policy keeps; or no more."""

    verb: Literal["protect"] = "protect"
    backups: tuple[str, ...]
    on: bool


class Forget(Frozen):
    """Delete those backups of this host that a policy does not keep."""

    verb: Literal["forget"] = "forget"
    volumes: tuple[str, ...] = ()  # empty: of all
    scheduled: bool = False  # of those alone that schedules made
    keep: str  # as restic.retention.Policy.parse takes it
    dry_run: bool = False


class Verify(Frozen):
    """Check the repository; of the packs, read this part of a hundred."""

    verb: Literal["verify"] = "verify"
    read_data: int = 0


class Prune(Frozen):
    """Delete what no snapshot needs, or only say what that is."""

    verb: Literal["prune"] = "prune"
    dry_run: bool = False


class ListKeys(Frozen):
    verb: Literal["keys"] = "keys"


class AddKey(Frozen):
    """Have the repository open by one more password."""

    verb: Literal["add-key"] = "add-key"
    new_password: str = Field(repr=False)


class RemoveKey(Frozen):
    """Have it open by a password no longer, which is not the one in use."""

    verb: Literal["remove-key"] = "remove-key"
    key: str  # the first digits of its id


class Unlock(Frozen):
    """Remove the locks of those who are gone, or all."""

    verb: Literal["unlock"] = "unlock"
    everything: bool = False


Task = Annotated[
    Open
    | ListBackups
    | Backup
    | Describe
    | Restore
    | RestoreFile
    | Prove
    | Delete
    | Protect
    | Forget
    | Verify
    | Prune
    | ListKeys
    | AddKey
    | RemoveKey
    | Unlock,
    Field(discriminator="verb"),
]


class Request(Frozen):
    # What a session of another version does not understand is not shown by it.
    model_config = ConfigDict(hide_input_in_errors=True)

    access: Access
    task: Task


class BackupFound(Frozen):
    """One backup, as it lies in the repository."""

    id: str
    volume: str
    host: str
    created: datetime
    snapshot: str = ""
    snapshot_name: str = ""
    volume_id: str = ""
    raw: bool = False
    protected: bool = False
    size: int = 0
    added: int = 0
    files: int = 0
    description: str = ""


class Pruned(Frozen):
    """What a prune did, or would do: numbers of snapshots and packs, and bytes."""

    snapshots: int  # whose data stays: all
    kept: int
    repacked: int
    deleted: int
    repacked_bytes: int
    freed_bytes: int
    unneeded_bytes: int  # that stay


class KeyFound(Frozen):
    """A key of a repository: what it says of itself may be empty, or anything."""

    id: str
    created: str
    user: str
    host: str
    in_use: bool = False  # it opens by the password that is known here


class LockFound(Frozen):
    """A lock in a repository."""

    id: str
    exclusive: bool
    told: str  # who has it, and since when, in words


class Locks(Frozen):
    """The locks that may lie in the repository and are this session's; to be noted."""

    event: Literal["locks"] = "locks"
    locks: tuple[str, ...]


class Stepped(Frozen):
    """How far it is, in bytes."""

    event: Literal["stepped"] = "stepped"
    done: int
    total: int
    note: str = ""


class Done(Frozen):
    """What the task came to; what it does not tell is empty."""

    event: Literal["done"] = "done"
    repository: str = ""  # its id
    location: str = ""  # as it is to be spelled from now on
    backups: tuple[BackupFound, ...] = ()
    description: str = ""
    pruned: Pruned | None = None
    made_by: str = ""  # the host that made the repository
    keys: tuple[KeyFound, ...] = ()
    unlocked: tuple[LockFound, ...] = ()  # that are gone
    locked: tuple[LockFound, ...] = ()  # that stay
    problems: tuple[str, ...] = ()


class Failed(Frozen):
    """One line for a user; `kind` is one of errors.Kind."""

    event: Literal["failed"] = "failed"
    kind: str
    message: str


Event = Annotated[Locks | Stepped | Done | Failed, Field(discriminator="event")]
EVENTS: TypeAdapter[Event] = TypeAdapter(Event, config=ConfigDict(defer_build=True))
