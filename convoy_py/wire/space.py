"""Messages about space: grow a volume, trim, and where the host's bytes are."""

from pydantic import Field

from convoy_py.wire.base import Message


class Space(Message):
    """The host's filesystem below the root, in bytes."""

    size: int
    free: int
    promised: int  # what images may yet take of it
    may_promise: int  # what further sparse images may still be given


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
