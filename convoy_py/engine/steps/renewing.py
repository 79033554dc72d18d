"""The blocking steps that give an image a fresh inode, so that no late writer reaches its data.

    1  snapshots/.lost-…/snapshot.json          what is to become of the old file
    2  .new-image.4                             the copy, synced
    3  image.4                                  its name, synced
    4  volume.json names image.4                the point of no return
    5  snapshots/.lost-…/image                  the old file, which is kept, whoever still writes
    6  snapshots/lost-<host>-<time>/

Cut off anywhere, `complete` goes back before the fourth step, and on after it. Runs in worker
threads; the caller has the volume's lock, and nobody has it mounted here.
"""

import logging
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from convoy_py.backends.base import Backend, Place
from convoy_py.backends.common import returning
from convoy_py.backends.imageable import Imageable
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.parts import planned
from convoy_py.errors import (
    Conflict,
    ConvoyError,
    Corrupt,
    OperationFailed,
    Unsettled,
    Unsupported,
    VolumeInUse,
    replaced,
)
from convoy_py.linux import files, reflink
from convoy_py.linux.fresh import Haste, Written
from convoy_py.linux.reflink import Step
from convoy_py.logs import event
from convoy_py.models.names import check_name
from convoy_py.models.snapshot import Consistency, Plan, Way
from convoy_py.state import data
from convoy_py.state.records import Record, SnapshotRecord, timestamp
from convoy_py.state.snapshots import Lost
from convoy_py.state.store import STAGING

log = logging.getLogger("convoy.engine")

TAKEN_FROM = "lost-"


@dataclass(frozen=True)
class Renewed:
    """What a volume is now, and the snapshot that was its data before."""

    record: Record
    lost: SnapshotRecord


class Renewing:
    """Fresh inodes for the images of one root."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def renew(self, volume: Entry, loser: str, haste: Haste, step: Step) -> Renewed | None:
        """Give a volume a copy of its image; what it was becomes the snapshot `lost-<loser>-…`.

        None, with all as it was, if there is no patience for it. Raises Conflict if somebody wrote
        meanwhile, Unsupported, VolumeInUse; and Unsettled if it has the copy, but the next
        start is to see to the rest. What is in memory is for the caller to bring up to date.
        """
        backend, place = volume.usable()
        _, named = _image(backend, place)
        if backend.is_mounted(place):
            raise VolumeInUse(place.name, [f"its mount at {place.mountpoint}"])
        self.complete(volume.name)
        before = volume.volume_record()
        if self._host.store.find(volume.name) != before:
            raise replaced(f"volume {volume.name}")
        backend.check(place)
        lost, fresh = self._lost(volume, loser, named), data.after(named)
        record = before.model_copy(update={"data": fresh.name})
        try:
            if not self._begun(backend, place, fresh, lost, haste, step):
                self.complete(volume.name)
                return None
            self._host.store.update(record)  # the point of no return
        except Unsettled:
            raise
        except BaseException:
            self._go_back(volume.name)
            raise
        with returning(f"{place} has a copy of its image") as passed:
            passed()
            self.complete(volume.name)
        return Renewed(record, lost)

    def complete(self, name: str) -> None:
        """Go on, or back, from where an earlier one of this volume was cut off.

        Which of the two its record on the disk tells. Deleted is only the copy that was being made,
        if the record does not name it, and what it names is there: nobody ever mounted that copy.
        Raises ConvoyError and OSError, and then all stays for the next time.
        """
        if not (noted := self._host.snapshot_store.lost(name)):
            return
        record = self._host.store.find(name)
        if not isinstance(record, Record):
            raise Corrupt(f"volume {name}: its record does not tell which data is its own")
        backend, place = self._host.backends.get(record.spec.backend), self._host.place(record)
        if backend is None:
            raise Unsupported(f"volume {name}: its backend {record.spec.backend} is not on")
        _, named = _image(backend, place)
        if not named.exists():
            raise Corrupt(f"volume {name}: its data {named} is missing; what else is there stays")
        with self._host.store.changing():
            files.fsync_dir(place.home)  # what the record says now it says after a power cut, too
        for lost in noted:
            if named.name == lost.new:
                self._keep(lost, named.with_name(lost.old))
            elif named.name == lost.old:
                self._undo(lost, named.with_name(lost.new))
            else:
                raise Corrupt(f"volume {name}: its record names neither data of {lost.home}")

    def complete_all(self) -> None:
        """The same of all volumes, at start; raises what stood in the way of the last."""
        problem = None
        store = self._host.store
        for name in dict.fromkeys(lost.volume for lost in self._host.snapshot_store.lost()):
            if not store.records.is_ours(store.home(name)):
                continue  # it may be another host's that is at it
            try:
                self.complete(name)
            except (OSError, ConvoyError) as error:
                event(log, logging.WARNING, "not completed", volume=name, failure=error)
                problem = error
        if problem is not None:
            raise problem

    def _keep(self, lost: Lost, old: Path) -> None:
        """Make what a volume's data was the snapshot that was noted."""
        store = self._host.snapshot_store
        record = store.read_lost(lost)
        if record is None:
            raise Corrupt(f"volume {lost.volume}: nothing tells what {lost.home} is to be")
        if not lost.kept.exists():
            with self._host.store.changing():
                self._host.store.move(old, lost.kept)
        store.commit(lost.home, lost.volume, record)

    def _undo(self, lost: Lost, new: Path) -> None:
        """Delete a copy that was being made; the volume's data is what it was."""
        if lost.kept.exists():
            raise Corrupt(f"volume {lost.volume}: its record does not know of {lost.kept}")
        with self._host.store.changing():
            for path in (_staged(new), new):
                path.unlink(missing_ok=True)
            files.fsync_dir(new.parent)
            files.remove_tree(lost.home)

    def _begun(
        self,
        backend: Backend,
        place: Place,
        fresh: Path,
        lost: SnapshotRecord,
        haste: Haste,
        step: Step,
    ) -> bool:
        """All but what the record says; False if there is no patience for it."""
        host, staged = self._host, _staged(fresh)
        able, named = _image(backend, place)
        try:
            host.snapshot_store.note_lost(place.name, lost, named.name, fresh.name)
            with host.ledger.room(place.name, _takes(backend, place, named)):
                if not able.renew(place, staged, haste, step):
                    return False
            with host.store.changing():
                host.store.move(staged, fresh)
        except Written as error:
            raise Conflict(f"{place}: somebody writes to its image still; repeat it") from error
        except Unsettled as error:
            raise OperationFailed(f"{place} keeps its image, for it failed: {error}") from error
        return True

    def _go_back(self, name: str) -> None:
        try:
            self.complete(name)
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "undone at next start", volume=name, failure=error)

    def _lost(self, volume: Entry, loser: str, named: Path) -> SnapshotRecord:
        """The record of the snapshot that the image of now is to be."""
        now = self._host.wall_clock()
        stem = f"{TAKEN_FROM}{loser}-{timestamp(now):%Y%m%d-%H%M%S}"
        names = (f"{stem}-{number}" if number > 1 else stem for number in count(1))
        home = self._host.snapshot_store.home
        name = next(each for each in names if not home(volume.name, each).exists())
        check_name(name, "snapshot")
        record = planned(volume, name, Plan(way=Way.COPY, instant=True), now).record
        # Whoever still writes there does so while others look: no more can be promised of it.
        spec = record.spec.model_copy(update={"size": named.stat().st_size, "grows_from": None})
        return record.model_copy(update={"spec": spec, "consistency": Consistency.PER_FILE})


def _staged(fresh: Path) -> Path:
    return fresh.with_name(f"{STAGING}{fresh.name}")


def _image(backend: Backend, place: Place) -> tuple[Imageable, Path]:
    """The power to give the place another image, and which it has."""
    if isinstance(backend, Imageable) and (path := backend.image(place)) is not None:
        return backend, path
    raise Unsupported(f"{place}: backend {backend.name} keeps no image that could be copied")


def _takes(backend: Backend, place: Place, path: Path) -> int:
    """Bytes that the host has to give for a copy of the image."""
    if reflink.support(place.home) is None and not backend.reserves(place.spec):
        return 0
    return path.stat().st_blocks * 512
