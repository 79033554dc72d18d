"""The contract of a backend, and the words it uses.

volume      a record with a home folder, where all of its data lies, and a mountpoint
home        `<root>/volumes/<name>`; while it is built, a folder of another name beside it
mountpoint  an empty folder of ours on which the volume is mounted
exposed     the folder at or below the mountpoint that a container sees; it starts out empty
mounted     the kernel's mount table shows the volume at its mountpoint: nothing else counts
holder      a mount of the volume's data anywhere but at its mountpoint, in any mount namespace

Methods are synchronous, run in worker threads, and the engine calls them for one volume at a time;
calls for different volumes overlap. All raise ConvoyError with a line that names the cause, and
leave nothing half made that the next call of the same method would trip over.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from convoy_py.errors import DataDiffers, OperationFailed
from convoy_py.linux import mounts
from convoy_py.linux.holders import Census, Holder
from convoy_py.models.volume import Options, Spec, Usage


@dataclass(frozen=True)
class Place:
    """Where one volume is, and what it is."""

    name: str
    uuid: str
    home: Path
    mountpoint: Path
    spec: Spec


class Backend(ABC):
    """One way to keep a volume's data."""

    name: ClassVar[str]

    @abstractmethod
    def resolve(self, options: Options) -> Spec:
        """Fill in the defaults; raise Invalid or Unsupported for what this backend cannot do."""

    @abstractmethod
    def promised(self, spec: Spec) -> int:
        """Bytes of the host that a volume with `spec` may come to occupy; 0 if unlimited."""

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

    @abstractmethod
    def is_mounted(self, place: Place) -> bool:
        """Whether this volume, and no other thing, is mounted at its mountpoint.

        Raises OperationFailed if something foreign is mounted there.
        """

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

    @abstractmethod
    def check(self, place: Place) -> None:
        """Raise Corrupt if the data is plainly missing or damaged (cheap checks only)."""

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What this backend can do on this host, and what not and why; for `convoy info`."""


def refuse_changes(name: str, found: Spec, options: Options) -> None:
    """Raise DataDiffers if options ask for other than what is there to be adopted."""
    if differences := found.differences(options):
        raise DataDiffers(name, differences)


def foreign_mount(place: Place) -> OperationFailed:
    """The error for something at the volume's mountpoint that is not the volume."""
    mount = mounts.holding(place.mountpoint)
    return OperationFailed(
        f"volume {place.name}: {mount.source} ({mount.fstype}) is mounted over "
        f"{place.mountpoint}; unmount it"
    )
