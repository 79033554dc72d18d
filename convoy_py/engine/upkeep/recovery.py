"""Takes over at start what an earlier daemon left: observe, plan, apply, then sweep.

`load` is what answers have to wait for, so it reads records and the mount table and little else;
`sweep` deletes leftovers afterwards, while the daemon serves. What is a leftover is settled before
that: then what is being made or deleted looks the same.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from convoy_py.backends import mountpoints
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.steps import loading
from convoy_py.engine.steps.renewing import Renewing
from convoy_py.engine.steps.snapshots import Copying
from convoy_py.engine.steps.volumes import Steps
from convoy_py.engine.upkeep.plan import Repair, plan
from convoy_py.errors import ConvoyError
from convoy_py.linux import files, mounts
from convoy_py.logs import event
from convoy_py.state.ballast import is_full
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import References
from convoy_py.state.store import STAGING

log = logging.getLogger("convoy.recovery")


class Recovery:
    """Start-up of one daemon. Both methods block and run in a worker thread."""

    def __init__(self, steps: Steps, copying: Copying, clock: Callable[[], float]) -> None:
        self._steps = steps
        self._host = steps.host
        self._copying = copying
        self._renewing = Renewing(steps.host)
        self._clock = clock
        self._leftovers: set[Path] = set()
        self._told: dict[Path, str] = {}  # why one of them is still there
        self.half_taken: list[tuple[Entry, Path]] = []  # snapshots, for Snapshots.sweep
        self.half_restored: list[Entry] = []  # for Copies.sweep

    def load(self, *, is_quiet: bool = True) -> dict[str, Entry]:
        """Every volume with its mount and references; one bad record is one bad volume.

        Unless `is_quiet` somebody may be making what looks like a leftover, and nothing is swept.
        """
        steps = self._steps
        for mountpoint in self._copying.recover():
            log.warning("thawed %s: frozen by a daemon that was interrupted", mountpoint)
        self._make_folders()
        self._drop_copies()
        steps.host.isolation = steps.host.isolation_from(1)
        self._tidy(is_quiet=is_quiet)
        records = steps.host.store.load()
        held = steps.host.reference_store.load()
        entries = {
            name: loading.entry(steps.host, name, record) for name, record in records.items()
        }
        for name, record in records.items():
            if isinstance(record, Unreadable):
                event(log, logging.WARNING, "broken", volume=name, failure=record)
        self._add_pending(entries)
        known = _everything(entries)
        mounted = self._mounted()
        repairs = plan(set(known), mounted, set(held))
        for name, repair in repairs.items():
            self._apply(name, repair, known, held)
        for entry in entries.values():
            self._drop_clones(entry)
        half_made = steps.host.snapshot_store.half_made()
        # For a start that can give them their names.
        waiting = steps.host.snapshot_store.unnamed(half_made)
        self.half_taken = [
            (entries[volume], home)
            for volume, home in half_made
            if volume in entries and home not in waiting
        ]
        store = steps.host.store
        self.half_restored = [
            entries[name]
            for name in store.half_restored()
            if name in entries and store.records.is_ours(store.home(name))
        ]
        self._leftovers = self._find_leftovers() if is_quiet else set()
        self._remove_mountpoints({*_everything(entries), *mounted})
        return entries

    def _add_pending(self, entries: dict[str, Entry]) -> None:
        """What is yet to be made of a backup is a volume, too, for Docker was told so."""
        host = self._host
        for name, pending in host.restore_store.load().items():
            if name not in entries:
                entries[name] = loading.pending_entry(host, name, pending)
            elif entries[name].record is not None:
                try:
                    host.restore_store.forget(name)
                except ConvoyError as error:
                    event(log, logging.WARNING, "note not deleted", volume=name, failure=error)

    def _make_folders(self) -> None:
        """Make what is missing below the run folder; on a full disk some of it is done without."""
        steps = self._steps
        for make in (
            partial(mountpoints.make_folder, steps.host.mounts_dir),
            steps.host.reference_store.open,
        ):
            try:
                steps.host.ballast.relieve(make)
            except OSError as error:
                if not is_full(error):
                    raise
                event(log, logging.WARNING, "the run folder's disk is full", failure=error)

    def _tidy(self, *, is_quiet: bool) -> None:
        """Put right on disk what a crash left between two steps of one change of the state."""
        steps = self._steps
        for repair in (
            # Of a shared root another host may write such a file just now.
            steps.host.store.tidy if not steps.host.store.mark else lambda: None,
            steps.host.snapshot_store.complete_groups,
            steps.host.trash.complete,
            *((self._renewing.complete_all,) if is_quiet else ()),
        ):
            try:
                repair()
            except (OSError, ConvoyError) as error:
                event(log, logging.WARNING, "put right at the next start", failure=error)

    def sweep(self) -> None:
        """Delete what crashes left half made or half deleted, with its mounts and devices.

        What took the place of some of it must be on the disk first. What somebody looks into just
        now is tried again by the next call.
        """
        leftovers = self._leftovers  # when the root is opened anew it has others
        if not leftovers:
            return
        try:
            files.sync_filesystem(self._host.store.root)
        except OSError as error:
            log.warning("not swept, for the disk fails: %s", error)
            return
        for home in sorted(leftovers):
            if home not in self._told:
                log.warning("sweep %s: left by a daemon that was interrupted", home)
            self._sweep(home, leftovers)

    def _sweep(self, home: Path, leftovers: set[Path]) -> None:
        try:
            self._steps.sweep(home)
        except Exception as error:  # noqa: BLE001 - whatever users left there, the daemon goes on
            if self._told.get(home) != str(error):
                log.warning("sweep %s: %s; it is tried again", home, error)
            self._told[home] = str(error)
        else:
            leftovers.discard(home)
            self._told.pop(home, None)

    def _drop_copies(self) -> None:
        """Let go of what an engine copied into the namespace of a plugin that it starts anew."""
        try:
            shown = mountpoints.beneath(self._host.mounts_dir)
            for mountpoint in mounts.drop_copies(shown):
                log.info("dropped %s: a copy of what is mounted for containers", mountpoint)
        except OSError as error:
            log.warning("copies of mounts stay, and their volumes in use: %s", error)

    def _drop_clones(self, volume: Entry) -> None:
        """Take away the private clones that nobody has mounted: their mounts are over."""
        for clone in list(volume.clones.values()):
            if clone.mounted or clone.references.holds:
                continue
            try:
                self._steps.retire(clone.usable()[1])
            except ConvoyError as error:
                event(log, logging.WARNING, "not deleted", volume=clone.name, failure=error)
            else:
                del volume.clones[clone.name]

    def _find_leftovers(self) -> set[Path]:
        """The homes of all that is half made or half deleted; of some only a mountpoint is left."""
        store = self._host.store
        names = {path.name for path in self._host.mounts_dir.glob(f"{STAGING}*")}
        names |= {path.name for path in store.half_made()}
        # What a conversion replaced, and what kept it from being taken into the trash just now.
        names -= {path.name for path in self._host.trash.replaced()}
        return {store.volumes / name for name in names} | set(store.half_deleted())

    def _remove_mountpoints(self, names: set[str]) -> None:
        """Remove mountpoints without a volume, as an interrupted adopt leaves.

        Of what is mounted nothing is asked: it may not answer.
        """
        for path in self._host.mounts_dir.iterdir():
            if path.name in names or path.name.startswith(STAGING):
                continue
            if not mountpoints.is_one(path):
                continue
            try:
                mountpoints.remove(path)
            except OSError as error:
                log.warning("mountpoint %s of no volume: %s", path, error)

    def _mounted(self) -> set[str]:
        """Names at which something is mounted directly below the mounts folder."""
        folder = self._host.mounts_dir
        paths = (Path(mount.mountpoint) for mount in mounts.table())
        return {
            path.name
            for path in paths
            if path.parent == folder and not path.name.startswith(STAGING)
        }

    def _apply(
        self,
        name: str,
        repair: Repair,
        entries: dict[str, Entry],
        held: Mapping[str, References],
    ) -> None:
        match repair:
            case Repair.ADOPT:
                entries[name].taken_over(held[name], self._clock())
                entries[name].mounted = self._really_mounted(entries[name])
            case Repair.UNMOUNT:
                # The janitor's first look does it: mounted and held by nobody.
                entries[name].mounted = self._really_mounted(entries[name])
                event(log, logging.WARNING, "mounted but held by no reference", volume=name)
            case Repair.DROP:
                self._drop(name, held[name])
            case Repair.STRANGER:
                # Whose it is cannot be known, so it stays; a volume of that name says so at Mount.
                path = self._host.mounts_dir / name
                log.warning("something is mounted at %s, but there is no volume %s", path, name)
            case Repair.NOTHING:
                pass

    def _drop(self, name: str, references: References) -> None:
        try:
            self._steps.save_references(name, self._host.reference_store.none())
        except OSError as error:
            event(log, logging.WARNING, "references not dropped", volume=name, failure=error)
        else:
            dropped = "not mounted: references dropped"
            event(log, logging.INFO, dropped, volume=name, references=references.total)

    def _really_mounted(self, entry: Entry) -> bool:
        try:
            backend, place = entry.usable()
            if place.spec.path is not None:
                return True  # its storage may not answer, and nobody must wait for that
            return backend.is_mounted(place)
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "not adopted", volume=entry.name, failure=error)
            return False


def _everything(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The volumes and what is within them, by full name."""
    return {each.name: each for entry in entries.values() for each in (entry, *entry.within())}
