"""Messages about snapshots."""

from pydantic import Field

from convoy_py.wire.base import HOOK, Message


class SnapshotInfo(Message):
    """One snapshot, in Convoy's keys and with what Convoy's lacked."""

    name: str
    volume_name: str
    full_name: str  # as Docker mounts it: db@nightly
    created_time: str  # RFC 3339, UTC
    way: str  # subvolume, inside, reflink, files or copy; "" where it is not known
    consistency: str  # offline, frozen, atomic, paused, per-file or ""
    size: int = 0  # bytes: the volume's limit at that time; 0: none
    group: str = ""  # the same id for what was taken at the same moment
    automatic: bool = False  # made by a rollback
    scheduled: bool = False  # made by a schedule, whose `keep` may delete it
    references: int = 0
    mount_point: str = ""
    state: str  # ready, mounted or broken
    reason: str = ""
    driver_info: dict[str, str] = Field(default_factory=dict)


class CreateSnapshot(Message):
    """`name` is made up when it is empty; `pause` has the containers stand still meanwhile.

    `before` and `after` are run in containers; `stop` has those that use it stopped meanwhile.
    """

    name: str = ""
    pause: bool = False
    stop: bool = False
    before: list[str] = Field(default_factory=list, description=HOOK)
    after: list[str] = Field(default_factory=list, description=HOOK)


class CreateGroup(Message):
    """Snapshots of several volumes at one moment: those named, a project's and a container's."""

    volumes: list[str] = Field(default_factory=list)
    compose_project: str = ""
    container: str = ""
    name: str = ""
    pause: bool = False
    stop: bool = False
    before: list[str] = Field(default_factory=list, description=HOOK)
    after: list[str] = Field(default_factory=list, description=HOOK)


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
