"""The contract of a backend, and the words it uses.

volume      a record with a home folder, where all of its data lies, and a mountpoint
home        `<root>/volumes/<name>`; while it is built, a folder of another name beside it
mountpoint  an empty folder of ours on which the volume is mounted
exposed     the folder at or below the mountpoint that a container sees; it starts out empty
mounted     the kernel's mount table shows the volume at its mountpoint: nothing else counts
holder      a mount of the volume's data anywhere but at its mountpoint, in any mount namespace
snapshot    the data as it was at one time, which nobody changes; it has a home, a mountpoint and
            a place like a volume: all that is said of volumes holds for it, but it is read-only
inside      said of a snapshot whose data lies in its volume's own image
power       what not every backend, or not every volume of one, can do: an ABC of its own

The engine calls, in this order, where staged is a home under another name, and commit its rename
into place, with a record; what fails before that ends in abandon(place):

    create      spec = resolve(options)             those that it takes; all others are refused
                promised(spec), reserves(spec)      set aside for it
                spec = create(place)                staged; commit
    mount       is_mounted(place)                   if not, its mountpoint is made
                mount(place)                        the container gets exposed(place)
    unmount     parting_usage(place)
                unmount(place)                      again later, while that is False
    remove      holders(place), unmount(place)      and holders again, without our own mount
                destroy(place)                      later, out of the trash

    snapshot    plan(volume)                        told beforehand; its space is set aside
                precopy(volume, target)             of all, again while that is worth it
                freezable(volume)                   of all volumes of a group, then frozen
                copy(volume, target)                of all, to have one moment; then thawed
                spec = finish(volume, target)       commit; if it fails: withdraw(target), too
    clone       clones(source, spec)                if not: reading(source) into writing(target)
                the same, with clone=True           target is a volume
    rollback    plan(volume)                        nobody has it mounted; its space is set aside
                rollback(volume, snapshot, staged)  then abandon(staged) in any case
    delete      withdraw(snapshot)                  unmounted, and nameless
                destroy(snapshot)
    resize      spec = resized(spec, size)          recorded, with grows_from
                grow(place)                         else the next mount; recorded without it
    as a file   image(snapshot)                     read; or, of what has none, that of a clone
                suits(made, spec)                   another host, or later: staged again
                begin_image(place, size)            and then it is written there
                spec = take_image(place)            commit
    at start    is_mounted(place)                   of all that has a record
                abandon(place)                      of what is half made: only its home is known
                withdraw(snapshot), destroy(place)  where those were cut off

tests/conformance goes these ways with every backend; third.py there is one as plain as can be.

Methods are synchronous, run in worker threads, and the engine calls them for one volume at a time;
calls for different volumes overlap. All raise ConvoyError with a line that names the cause, and
leave nothing half made that the next call of the same method would trip over.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from convoy_py.linux.extents import Shares
from convoy_py.linux.holders import Census, Holder
from convoy_py.linux.reflink import Step
from convoy_py.models.snapshot import Plan
from convoy_py.models.volume import SCHEDULE, Options, Spec, Usage

# The fields of Options that every backend takes, and means the same by.
COMMON = frozenset(
    {"backend", "uid", "gid", "mode", "mount_options", "source", "per_mount", "backup", *SCHEDULE}
) - {"schedule_raw"}  # which is for what is Imageable


@dataclass(frozen=True)
class Place:
    """Where one volume is, and what it is."""

    name: str
    uuid: str
    home: Path
    mountpoint: Path
    spec: Spec
    within: "Place | None" = None  # of a snapshot: its volume
    data: str | None = None  # the name of its data in the home; None: the backend's usual one

    def __str__(self) -> str:
        """As errors call it: `volume db`, `snapshot db@nightly`."""
        return f"{'volume' if self.within is None else 'snapshot'} {self.name}"

    def held_as(self, usual: str) -> Path:
        """Where in the home the data lies, which the backend usually calls so."""
        return self.home / (self.data or usual)


class Backend(ABC):
    """One way to keep a volume's data."""

    name: ClassVar[str]
    takes: ClassVar[frozenset[str]]  # the fields of Options that mean something here; COMMON too
    usual: ClassVar[str]  # what data in a home is called, where no record names it
    adopts: ClassVar[str]  # what `recognises` looks for in a home, as a person would put it there

    @abstractmethod
    def resolve(self, options: Options) -> Spec:
        """Fill in the defaults; raise Invalid or Unsupported for what this backend cannot do.

        Only options that it `takes` are given; `Spec.of` carries them over, so none gets lost.
        """

    def inherited(self, spec: Spec, asked: Options) -> Options:
        """What a clone has of a volume of this backend, where `asked` does not say otherwise."""
        return spec.options()

    @abstractmethod
    def promised(self, spec: Spec) -> int:
        """Bytes of the host that a volume with `spec` may come to occupy; 0 if unlimited."""

    def reserves(self, spec: Spec) -> bool:
        """Whether all that is promised is allocated from the start, and stays so."""
        return False

    def has_own_filesystem(self, spec: Spec) -> bool:
        """Whether the data lies in a filesystem that is the volume's alone, such as an image.

        Then a mount changes it, its files can be read in peace only from a snapshot while it is
        mounted, and what is used is what that filesystem says.
        """
        return False

    @abstractmethod
    def recognises(self, home: Path, data: str | None = None) -> bool:
        """Whether what lies in a home that has no record looks like this backend's data.

        `data` is its name in a record of before, as a place has it.
        """

    @abstractmethod
    def create(self, place: Place) -> Spec:
        """Build the volume in its home, which exists and is empty; durable on return.

        Returns the spec to be recorded: the given one with what was settled while building.
        After a failure or a crash the engine calls `abandon` and deletes the home.
        """

    @abstractmethod
    def adopt(self, place: Place, options: Options) -> Spec:
        """Take over the data that stands in the home; return what it is. Changes no user data."""

    @abstractmethod
    def exposed(self, place: Place) -> Path:
        """The folder that a container sees while the volume is mounted. No I/O."""

    def data(self, place: Place) -> Path | None:
        """The folder of the data, where it can be read without a mount. No I/O."""
        return None

    @abstractmethod
    def is_mounted(self, place: Place) -> bool:
        """Whether this volume, and no other thing, is mounted at its mountpoint.

        Raises OperationFailed if something foreign is mounted there.
        """

    def is_dead(self, place: Place) -> bool:
        """Whether what is mounted has lost its storage for good: then only a new mount helps."""
        return False

    @abstractmethod
    def mount(self, place: Place) -> None:
        """Mount; does nothing if it is mounted. The exposed folder exists on return."""

    @abstractmethod
    def unmount(self, place: Place) -> bool:
        """Unmount and let go of the devices; does nothing if neither is there.

        Returns False, without an error, while something still holds the mount or a device;
        the engine then calls again later. Never lazy: what is gone is really gone.
        """

    @abstractmethod
    def holders(self, place: Place, census: Census) -> Sequence[Holder]:
        """Who holds the volume's data besides our own mount and its copies on the host.

        `census` is a fresh look at all mount namespaces. Removing a mountpoint detaches the copies
        that private namespaces have of the mount on it, lazily: whoever works in such a copy keeps
        it open, but no look finds it any more. So look before the mountpoint goes.
        """

    def keeps_data(self, place: Place) -> bool:
        """Whether Remove leaves the data where it is, so that no holder loses anything by it."""
        return False

    @abstractmethod
    def abandon(self, place: Place) -> None:
        """Take down whatever mounts and devices a half-made volume in this home may have left."""

    @abstractmethod
    def destroy(self, place: Place) -> None:
        """Delete the data in the home, which has no mount and no holder; resumable."""

    @abstractmethod
    def usage(self, place: Place, now: float) -> Usage:
        """Measure the volume's space now; may be slow, changes nothing."""

    def parting_usage(self, place: Place, now: float) -> Usage | None:
        """Measure, just before an unmount, what can only be seen while mounted.

        Must cost next to nothing. None: `usage` will see all of it afterwards too.
        """
        return None

    def ahead(self, place: Place) -> int | None:
        """Bytes that a mounted volume holds beyond those that it has of the host; may be below 0.

        Must cost next to nothing. None: it has all that it needs, or the host counts it at once.
        """
        return None

    @abstractmethod
    def check(self, place: Place) -> None:
        """Raise Corrupt if the data is plainly missing or damaged (cheap checks only)."""

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What this backend can do on this host, and what not and why; for `convoy info`."""


class Snapshottable(ABC):
    """The power to take snapshots of volumes, to clone them, and to go back to one.

    Where a `place` is only read, it may be a volume's or a snapshot's, mounted or not. Those that
    copy call `step` with the bytes done; what it raises stops the work and is let through.
    """

    @abstractmethod
    def plan(self, place: Place, *, clone: bool = False) -> Plan:
        """How a snapshot of the data, or a clone, would come about here; may probe the host.

        Raises Unsupported where there can be none. A btrfs image is snapshotted inside itself, but
        its clone is another image: the two may differ.
        """

    @abstractmethod
    def freezable(self, place: Place, *, clone: bool = False) -> Path | None:
        """Where the volume's own filesystem is mounted, to be frozen while it is copied.

        None where that need not be (nobody writes, or the copy is atomic) or must not be (the
        filesystem is the host's, or a snapshot inside it is to be made).
        """

    def precopy(self, source: Place, target: Place, step: Step) -> bool:
        """Bring of the data what can be brought beside writers, so that `copy` keeps them shorter.

        What `copy` leaves behind is the same with it and without. Returns whether it took so long
        that another, for what was written meanwhile, is worth it.
        """
        return False

    @abstractmethod
    def copy(self, source: Place, target: Place, step: Step) -> None:
        """Bring the data of `source`, as it is at this moment, into the target's empty home.

        There may be what `precopy` has brought. The target is a snapshot (`within` is its volume)
        or a volume that is being built. Does what
        must be done while the source stands still and no more; `finish` does the rest. Raises
        Unsupported where something would be left out, such as nested subvolumes.
        """

    @abstractmethod
    def finish(self, source: Place, target: Place, step: Step) -> Spec:
        """Complete what `copy` brought, durably: replay journals, give a clone its own identity.

        A clone gets the size, owner and mode of its spec where they differ from the source's, for
        which its size must not be smaller. Returns the spec to be recorded.
        """

    @abstractmethod
    def clones(self, source: Place, spec: Spec) -> bool:
        """Whether `copy` can make a volume of `spec` from the source; else its files are copied."""

    @abstractmethod
    def rollback(self, place: Place, snapshot: Place, staged: Place, step: Step) -> None:
        """Replace the data of a volume that nobody has mounted by a snapshot's; keeps its size.

        Or by that of a volume which was built beside it. It keeps all of its snapshots.

        Builds in the empty home of `staged`, whatever its spec, and leaves there what is then to be
        destroyed. Atomic and durable: whenever it is cut off, the volume has the one content or
        the other. Raises Unsettled if it has the snapshot's but something failed after that: then
        what is in `staged` may be what a power cut brings back.
        """

    @abstractmethod
    def withdraw(self, snapshot: Place) -> None:
        """Delete what of a snapshot lies outside its home; does nothing if there is nothing.

        Raises Unsettled if the data is gone, but something failed after that.
        """

    @abstractmethod
    def reading(self, place: Place) -> AbstractContextManager[Path]:
        """The folder with the data, to be read while the block runs; it may be mounted for that.

        A mountpoint that is made for it is `place.mountpoint`'s sibling with a STAGING name.
        """

    @abstractmethod
    def writing(self, place: Place) -> AbstractContextManager[Path]:
        """The same, to be written: of a volume that nobody else has mounted, or that is mounted."""

    @abstractmethod
    def shares(self, place: Place) -> Shares | None:
        """Bytes of the host, and those of them shared with other copies; may be slow.

        None where nobody can tell, as for what lies inside an image.
        """


class Resizable(ABC):
    """The power to grow volumes, and to give freed space back to the host.

    A record whose spec has `grows_from` says that a change of size is not complete: the data may
    have either size, or one in between. `mount` completes it first, or raises; but what is mounted
    already stays as it is.
    """

    @abstractmethod
    def resized(self, spec: Spec, size: int) -> Spec:
        """The spec of a volume that is to have another size; the same if it has that size.

        Raises InvalidOption, and Unsupported with the way around, as where it cannot shrink.
        """

    @abstractmethod
    def delay(self, place: Place) -> str:
        """Why a volume that is mounted cannot grow before the next mount; "" if it can now."""

    @abstractmethod
    def grow(self, place: Place) -> bool:
        """Make the data as large as the spec says; False if that must wait for the next mount.

        May be repeated, and completed after it was cut off at any point. If it raises NoSpace or
        Unsupported, nothing was changed, and the spec of before holds; after any other error
        growing stays to be completed, with the data whole.
        """

    @abstractmethod
    def trim(self, place: Place) -> int:
        """Give blocks that are free inside back to the host; returns how many bytes it got."""
