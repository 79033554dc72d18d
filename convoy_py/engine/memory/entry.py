"""One volume or snapshot in the daemon's memory: its record, who holds it, what was last seen."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from convoy_py.backends.base import Backend, Place
from convoy_py.engine.memory.restoring import Restoring
from convoy_py.errors import BrokenVolume, StillRestoring, VolumeInUse
from convoy_py.models.names import NameKind, kind_of
from convoy_py.models.volume import Spec, State, Usage
from convoy_py.state.records import Record, References, Runs, SnapshotRecord

_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class Work:
    """Long work on a volume or snapshot, which goes on without the lock."""

    what: str
    still: bool  # it must not be mounted meanwhile, for that would change it
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Entry:
    """Get and List are answered from this alone. Changed only under the volume's lock.

    `record`, `backend` and `place` are None together: where the record cannot be read. What is
    mounted from a volume besides itself, snapshots and private clones, are entries of their own
    within it, by full name; they have its lock.
    """

    name: str
    references: References
    record: Record | SnapshotRecord | None = None
    backend: Backend | None = None
    place: Place | None = None
    reason: str = ""  # why it is broken
    mounted: bool = False  # as the kernel said when it was last asked
    seen: int | None = None  # which mount that was, by an id that no other gets
    lingering: bool = False  # an unmount is not complete: something holds the mount or the device
    usage: Usage | None = None
    runs: Runs | None = None  # what became of a volume's schedule
    mounted_at: float = 0.0  # clock of the last Mount, or of the start that took it over, seconds
    held_at: float = 0.0  # clock of the last Mount, or look, that showed someone who holds it
    suspects: frozenset[str] = frozenset()  # mount IDs that nobody held at the janitor's last look
    work: Work | None = None  # what reads it without the lock: it stays, and stays mounted
    restoring: Restoring | None = None  # it is yet to be made of a backup: there is no record
    only_noted: bool = False  # the same, by a note that cannot be followed: nothing else is there
    hosts: tuple[str, ...] = ()  # which hosts of a shared root use it, this one included
    leads: bool = True  # whether its schedule is for this host to follow
    leaving: bool = False  # its name is being given to a volume of Docker's own: engines see none
    snapshots: dict[str, "Entry"] = field(default_factory=dict)
    clones: dict[str, "Entry"] = field(default_factory=dict)

    def usable(self) -> tuple[Backend, Place]:
        """The volume's backend and place; raises BrokenVolume if its record cannot be read."""
        self._refuse_restoring()
        if self.place is None:
            raise BrokenVolume(self.name, self.reason)
        assert self.backend is not None
        return self.backend, self.place

    def volume_record(self) -> Record:
        """The record of a volume; raises BrokenVolume if it cannot be read."""
        self._refuse_restoring()
        if not isinstance(self.record, Record):
            raise BrokenVolume(self.name, self.reason)
        return self.record

    def _refuse_restoring(self) -> None:
        if self.restoring and not self.reason:
            raise StillRestoring(self.name, "still being restored from a backup")

    @property
    def doing(self) -> str:
        """The long work that goes on with it, in words."""
        if self.work and self.restoring:
            return f"{self.work.what}: {self.restoring.far}"
        return self.work.what if self.work else ""

    def idle(self) -> None:
        """Raise VolumeInUse while long work reads the volume."""
        if self.doing:
            raise VolumeInUse(self.name, [self.doing])

    # What becomes of it: nothing else writes who has it, and whether it is mounted and well.

    def mounted_by(self, held: References, now: float) -> None:
        """A Mount succeeded at `now`, the clock's seconds."""
        self.references, self.mounted, self.lingering, self.reason = held, True, False, ""
        self.mounted_at = self.held_at = now

    def mount_failed(self, broken: str = "") -> None:
        """Something may be mounted all the same: the janitor has a look."""
        self.reason = broken or self.reason
        self.lingering = not self.references.holds

    def held_by(self, held: References) -> None:
        """One lets go of it; the last one leaves an unmount to be completed."""
        self.references, self.lingering = held, not held.holds

    def unmounted(self, *, mounted: bool, detached: bool, usage: Usage | None) -> None:
        """What an unmount came to; `usage` is from just before."""
        self.mounted, self.lingering, self.usage = mounted, not detached, usage or self.usage

    def vacated(self, nobody: References) -> None:
        self.references, self.mounted, self.lingering = nobody, False, False

    def taken_over(self, held: References, now: float) -> None:
        """An earlier daemon mounted it: when, and for whom last, nobody knows any more."""
        self.references, self.mounted_at, self.held_at = held, now, now

    def not_as_it_should_be(self) -> None:
        """What the kernel has is not ours to unmount as it stands, but to be looked at again."""
        self.mounted, self.lingering = False, not self.references.holds

    def overwritten(self) -> None:
        """It has other data: why it was broken, and what it used, was of that of before."""
        self.reason, self.usage = "", None

    def goes_on_as(self, known: "Entry") -> None:
        """It was read anew while it was mounted, of which `known` tells more than the records."""
        self.references, self.usage = known.references, known.usage
        self.mounted_at, self.held_at = known.mounted_at, known.held_at

    def hidden(self, reason: str) -> None:
        """It is on the disk no more, as the reason says; what is mounted stays so."""
        self.reason = reason
        if not self.mounted:
            self.record = self.backend = self.place = None
            self.snapshots, self.clones = {}, {}

    # What it is

    @property
    def kind(self) -> NameKind:
        return kind_of(self.name)

    def within(self) -> Iterator["Entry"]:
        """Its snapshots and private clones."""
        yield from self.snapshots.values()
        yield from self.clones.values()

    @property
    def lies_inside(self) -> bool:
        """Whether it is a snapshot whose data lies in its volume's image."""
        return isinstance(self.record, SnapshotRecord) and self.record.way.inside

    @property
    def has_own_filesystem(self) -> bool:
        """Whether a mount changes it, and shows what is used; see the contract of backends."""
        if self.backend is None or self.place is None:
            return False
        return self.backend.has_own_filesystem(self.place.spec)

    @property
    def spec(self) -> Spec | None:
        return self.record.spec if self.record else None

    @property
    def path(self) -> str | None:
        """The user's folder in which its data lies, on whatever storage; None if below the root."""
        return self.place.spec.path if self.place else None

    @property
    def created(self) -> datetime | None:
        return self.record.created if self.record else None

    @property
    def state(self) -> State:
        if self.reason:
            return State.BROKEN
        if self.restoring:
            return State.RESTORING
        mounted = self.mounted or any(clone.mounted for clone in self.clones.values())
        return State.MOUNTED if mounted else State.READY

    def mountpoint(self) -> str:
        """What a container sees, or "" while the volume is not mounted."""
        if not self.mounted:
            return ""
        backend, place = self.usable()
        return str(backend.exposed(place))
