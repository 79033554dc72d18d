"""What the daemon and a session say to each other: lines of JSON, by its stdin and stdout.

A session is a process of its own that works on one repository. It gets one Request; it tells Events
and ends with Done or Failed. Locks are answered by an empty line, once they are noted.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Literal, dataclass_transform, get_args, get_origin, get_type_hints


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
@dataclass(frozen=True, kw_only=True)
class Message:
    """A dataclass, for pydantic takes longer to load than a session to open a repository.

    What a session says the daemon has pydantic look at: there an unknown field is an error.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)

    def said(self) -> str:
        """A line of ASCII, but for its end."""
        return json.dumps(asdict(self), default=_plain)


class Access(Message):
    """How a repository is reached. The secrets in it go through pipes alone."""

    location: str
    password: str = field(repr=False)
    credentials: dict[str, str] = field(default_factory=dict, repr=False)
    host: str
    patience: float  # seconds after which a storage that does not answer is given up
    leftover_locks: tuple[str, ...] = ()  # of sessions of ours that were cut off


class Data(Message):
    """The data of one snapshot, which nobody changes."""

    uuid: str  # of the snapshot
    path: Path  # the folder; or, if it is raw, the file that is all of its filesystem
    image: Path | None = None  # whose filesystem the folder shows


class Source(Message):
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


class Open(Message):
    """Open a repository, or make it where there is none."""

    verb: Literal["open"] = "open"
    create: bool = False


class ListBackups(Message):
    """All backups of volumes; `described` ones with the description that lies in each.

    Of the volume `newest_of` the newest of each host is described in any case.
    """

    verb: Literal["list"] = "list"
    described: bool = False
    newest_of: str = ""


class Backup(Message):
    verb: Literal["backup"] = "backup"
    sources: tuple[Source, ...]


class Describe(Message):
    """Say what one backup is of: the description that lies in it."""

    verb: Literal["describe"] = "describe"
    backup: str


class Restore(Message):
    """Bring the data of a backup into an empty folder; what is raw, into a file of zeros."""

    verb: Literal["restore"] = "restore"
    backup: str
    raw: bool = False
    into: Path


class Prove(Message):
    """The same, and compare it with the backup."""

    verb: Literal["prove"] = "prove"
    backup: str
    raw: bool = False
    into: Path


class RestoreFile(Message):
    """Bring one file or folder of a backup into an empty folder, with the folders on its way.

    The first of `paths` that is there, each in hexadecimal digits, for names are bytes.
    """

    verb: Literal["restore-file"] = "restore-file"
    backup: str
    paths: tuple[str, ...]
    into: Path


class Delete(Message):
    verb: Literal["delete"] = "delete"
    backups: tuple[str, ...]


class Protect(Message):
    """Have backups stay, whatever a policy keeps; or no more."""

    verb: Literal["protect"] = "protect"
    backups: tuple[str, ...]
    on: bool


class Forget(Message):
    """Delete those backups of this host that a policy does not keep."""

    verb: Literal["forget"] = "forget"
    volumes: tuple[str, ...] = ()  # empty: of all
    scheduled: bool = False  # of those alone that schedules made
    keep: str  # as restic.retention.Policy.parse takes it
    dry_run: bool = False


class Verify(Message):
    """Check the repository; of the packs, read this part of a hundred."""

    verb: Literal["verify"] = "verify"
    read_data: int = 0


class Prune(Message):
    """Delete what no snapshot needs, or only say what that is."""

    verb: Literal["prune"] = "prune"
    dry_run: bool = False


class ListKeys(Message):
    verb: Literal["keys"] = "keys"


class AddKey(Message):
    """Have the repository open by one more password."""

    verb: Literal["add-key"] = "add-key"
    new_password: str = field(repr=False)


class RemoveKey(Message):
    """Have it open by a password no longer, which is not the one in use."""

    verb: Literal["remove-key"] = "remove-key"
    key: str  # the first digits of its id


class Unlock(Message):
    """Remove the locks of those who are gone, or all."""

    verb: Literal["unlock"] = "unlock"
    everything: bool = False


Task = (
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
    | Unlock
)


class Request(Message):
    access: Access
    task: Task


class BackupFound(Message):
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


class Pruned(Message):
    """What a prune did, or would do: numbers of snapshots and packs, and bytes."""

    snapshots: int  # whose data stays: all
    kept: int
    repacked: int
    deleted: int
    repacked_bytes: int
    freed_bytes: int
    unneeded_bytes: int  # that stay


class KeyFound(Message):
    """A key of a repository: what it says of itself may be empty, or anything."""

    id: str
    created: str
    user: str
    host: str
    in_use: bool = False  # it opens by the password that is known here


class LockFound(Message):
    """A lock in a repository."""

    id: str
    exclusive: bool
    told: str  # who has it, and since when, in words


class Locks(Message):
    """The locks that may lie in the repository and are this session's; to be noted."""

    event: Literal["locks"] = "locks"
    locks: tuple[str, ...]


class Stepped(Message):
    """How far it is, in bytes."""

    event: Literal["stepped"] = "stepped"
    done: int
    total: int
    note: str = ""


class Done(Message):
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


class Failed(Message):
    """One line for a user; `kind` is one of errors.Kind."""

    event: Literal["failed"] = "failed"
    kind: str
    message: str


Event = Locks | Stepped | Done | Failed


_READ: dict[Any, Callable[[Any], object]] = {
    datetime: datetime.fromisoformat,
    Path: Path,
    Path | None: lambda told: None if told is None else Path(told),
}


def heard(line: str) -> Request:
    """The request that was `said`. Raises ValueError without a word of what is in it."""
    try:
        request: Request = _made(Request, json.loads(line))
    except (AttributeError, LookupError, TypeError, ValueError):
        raise ValueError("the request is not one of this version's") from None
    return request


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@cache
def _hints(form: type) -> dict[str, Any]:
    return get_type_hints(form)


def _made(form: Any, told: Any) -> Any:
    """A value of the type `form`, of those that occur in a request."""
    forms = get_args(form)
    is_message = isinstance(form, type) and issubclass(form, Message)
    if is_message:
        hints = _hints(form)
        return form(**{name: _made(hints[name], value) for name, value in told.items()})
    if get_origin(form) is tuple:
        return tuple(_made(forms[0], each) for each in told)
    if form in _READ:
        return _READ[form](told)
    if isinstance(form, UnionType):
        (task,) = (each for each in forms if each.verb == told["verb"])
        return _made(task, told)
    return told
