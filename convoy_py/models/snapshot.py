"""The values that describe one snapshot: how it is made, how consistent it is, what it is."""

from datetime import datetime
from enum import StrEnum

from convoy_py.models.values import Frozen


# Way and Consistency are on disk: one more is a new format of snapshots (state/records.py).
class Way(StrEnum):
    """How the data of a snapshot or a clone comes about on this host."""

    SUBVOLUME = "subvolume"  # a directory on btrfs; at once
    INSIDE = "inside"  # a subvolume in a btrfs image, where snapshots of it lie; at once
    REFLINK = "reflink"  # an image on a host with reflinks; at once
    FILES = "files"  # a directory on a host with reflinks: file by file, but no data is copied
    COPY = "copy"  # every byte

    @property
    def instant(self) -> bool:
        """Whether it takes no longer for more data."""
        return self in (Way.SUBVOLUME, Way.INSIDE, Way.REFLINK)

    @property
    def atomic(self) -> bool:
        """Whether the filesystem makes it a picture of one moment by itself."""
        return self in (Way.SUBVOLUME, Way.INSIDE)

    @property
    def inside(self) -> bool:
        """Whether the data lies in the volume's own filesystem, and needs that to be mounted."""
        return self is Way.INSIDE


class Consistency(StrEnum):
    """What a snapshot is a picture of."""

    OFFLINE = "offline"  # nobody had the volume mounted
    FROZEN = "frozen"  # one moment: its filesystem stood still
    ATOMIC = "atomic"  # one moment: its filesystem makes it so
    PAUSED = "paused"  # one moment: the containers that use it stood still
    PER_FILE = "per-file"  # each file was read at a moment of its own


class Plan(Frozen):
    """How a snapshot would be made, told beforehand."""

    way: Way
    instant: bool
    bytes: int = 0  # to be copied; 0 where it is instant
    takes: int = 0  # bytes that the host has to give for it at once
    seconds: float = 0.0  # roughly
    freezes: bool = False  # writers wait meanwhile
    hint: str = ""  # how to get the fast way; "" where this is it


class SnapshotView(Frozen):
    """One snapshot as the engine tells it to the edges."""

    volume: str
    name: str
    backend: str = ""  # of the volume; "" where the record cannot be read
    created: datetime | None  # aware, UTC; None where the record cannot be read
    way: Way | None = None
    consistency: Consistency | None = None
    size: int | None = None  # bytes: the limit of the volume at that time
    group: str = ""  # what was taken at the same moment bears the same id
    automatic: bool = False  # made by a rollback
    scheduled: bool = False  # taken by a schedule, whose `keep` may delete it
    base_of: str = ""  # the repository whose next backup is compared with it: kept by the daemon
    references: int = 0
    mountpoint: str = ""
    reason: str = ""  # why it is broken
