"""Messages of the admin API about snapshots, clones, and what else becomes of volumes' data."""

from typing import Any

from pydantic import Field

from convoy_py.wire.admin import Message, Moment, Query, SnapshotInfo, Space

PATH = r"below the volume's root; \xHH is a byte that cannot be printed, \\ a backslash"


class JobInfo(Message):
    """Long work. `done` and `total` in bytes; `result`, once it is done, is the verb's answer."""

    id: str
    verb: str
    volume: str
    state: str  # running, done, failed or cancelled
    started: Moment
    ended: Moment = ""
    done: int = 0
    total: int = 0  # 0: nothing is copied, or it is not known yet
    note: str = ""
    error: str = ""
    kind: str = ""
    result: Any = None


class JobList(Message):
    jobs: list[JobInfo]


class CreateSnapshot(Message):
    """`name` is made up when it is empty; `pause` has the containers stand still meanwhile."""

    name: str = ""
    pause: bool = False


class CreateGroup(Message):
    """Snapshots of several volumes at one moment: those named, a project's and a container's."""

    volumes: list[str] = Field(default_factory=list)
    compose_project: str = ""
    container: str = ""
    name: str = ""
    pause: bool = False


class SnapshotList(Message):
    snapshots: list[SnapshotInfo]


class PlanInfo(Message):
    """How a snapshot would be made now."""

    way: str
    instant: bool
    bytes: int
    seconds: float
    freezes: bool  # writers wait meanwhile
    hint: str


class Rollback(Message):
    snapshot: str = Field(min_length=1)
    stop_containers: bool = False
    keep: bool = True  # the snapshot of what is there now


class RolledBack(Message):
    """`saved_as` is the snapshot of what was there before; empty if it was not to be kept."""

    snapshot: str
    saved_as: str
    stopped: list[str] = Field(default_factory=list)  # containers, started again
    deleted: list[str] = Field(default_factory=list)  # snapshots by rollbacks, too many of them


class CloneVolume(Message):
    """`snapshot` is empty to clone the volume as it is now."""

    name: str = Field(min_length=1)
    snapshot: str = ""
    options: dict[str, str] = Field(default_factory=dict)


class ResizeVolume(Message):
    size: str = Field(min_length=1)  # as people write it: 20G, or +10G for so much more


class Resized(Message):
    size: int
    pending: str = ""  # why it takes effect at the next mount only


class Trimmed(Message):
    """Bytes given back to the host; `skipped` says of volumes why they were not trimmed."""

    bytes: int
    volumes: dict[str, int] = Field(default_factory=dict)
    skipped: dict[str, str] = Field(default_factory=dict)


class ConvertVolume(Message):
    options: dict[str, str]


class RenameVolume(Message):
    name: str = Field(min_length=1)


class ProtectVolume(Message):
    on: bool = True


class DiffQuery(Query):
    from_: str = Field(alias="from", min_length=1, description="a snapshot of the volume")
    to: str = Field("", description="another; the volume as it is now, where none is given")


class ChangeInfo(Message):
    kind: str  # added, changed or removed
    path: str = Field(description=PATH)
    size: int  # bytes of the file; of a removed one, those it had
    what: list[str] = Field(default_factory=list)  # of a changed one: content, mode, owner, …


class Difference(Message):
    """What came between two trees; `changes` has the first of them, the counts have all."""

    added: int
    changed: int
    removed: int
    bytes: int  # of added and changed files
    changes: list[ChangeInfo]
    truncated: bool = False


class RestoreFile(Message):
    snapshot: str = Field(min_length=1)
    path: str = Field(min_length=1, description=PATH)


class RestoredFile(Message):
    path: str
    bytes: int


class Adopt(Message):
    """Take over volumes of Docker's `local` driver: one, or all of a compose project."""

    docker_volume: str = ""
    compose_project: str = ""
    name: str = ""  # of the one; default: the same
    options: dict[str, str] = Field(default_factory=dict)
    dry_run: bool = False
    stop_containers: bool = False


class AdoptedVolume(Message):  # what was taken over, or would be
    docker_volume: str
    name: str
    bytes: int
    files: int = 0
    note: str = ""  # what stands in the way, or what to do next


class Adopted(Message):
    volumes: list[AdoptedVolume]
    dry_run: bool = False


class Release(Message):
    """Give volumes to Docker's driver `local`: one, or all of a compose project."""

    name: str = ""
    compose_project: str = ""
    docker_volume: str = ""  # what to call the one; default: the same
    dry_run: bool = False


class ReleasedVolume(Message):  # what was given away, or would be
    name: str
    docker_volume: str
    bytes: int
    files: int = 0
    note: str = ""  # what stands in the way, or what to do next


class Released(Message):
    volumes: list[ReleasedVolume]
    dry_run: bool = False


class SnapshotSpace(Message):
    """`frees` is what deleting this one alone would give back; None where it is not known."""

    name: str
    frees: int | None


class VolumeSpace(Message):
    """One volume's space in bytes; None where it is not known or means nothing.

    `note` is "no answer" if its storage hangs, else "".
    """

    name: str
    promised: int | None
    used: int | None
    allocated: int | None
    shared: int | None
    reclaimable: int | None  # by trim
    inodes: int | None = None  # how many files there may be, and how many there are
    inodes_used: int | None = None
    snapshots: list[SnapshotSpace]
    note: str = ""


class SpaceReport(Message):
    volumes: list[VolumeSpace]
    trash: int  # bytes in the trash
    host: Space


class Removed(Message):
    """One volume in the trash; `key` tells it from others of its name."""

    name: str
    key: str
    driver: str
    removed: str  # RFC 3339, UTC; "" where it is not known
    until: str  # when it is deleted
    snapshots: list[str]


class TrashList(Message):
    volumes: list[Removed]


class RestoreTrash(Message):
    """`name` is a name or a key; `as_name` another name for the volume."""

    name: str = Field(min_length=1)
    as_name: str = ""


class PurgeTrash(Message):
    """`name` is a name or a key; `all`, which has to be said, is everything."""

    name: str = ""
    all: bool = False


class Purged(Message):
    keys: list[str]
