"""The blocking steps of the verbs: record, backend, mountpoint and references in the right order.

Runs in worker threads; the caller holds the volume's lock. Each step leaves either the state before
or the state after, or something under a `.new-` or `rm-` name that the next start sweeps.
"""

import logging
import secrets
import time
import uuid as uuids
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from convoy_py.backends import mountpoints
from convoy_py.backends.base import Backend, Place
from convoy_py.engine import adopting
from convoy_py.engine.entry import Entry
from convoy_py.engine.ledger import Ledger
from convoy_py.errors import ConvoyError, Unavailable, Unsupported, VolumeInUse, failed
from convoy_py.linux import files, holders, mounts, peers
from convoy_py.linux.holders import Census
from convoy_py.logs import event
from convoy_py.models.names import AT, HASH, joined
from convoy_py.models.volume import Options, Spec, Usage
from convoy_py.state.ballast import is_full, relieved
from convoy_py.state.formats import Unreadable
from convoy_py.state.passed import PassedTime
from convoy_py.state.records import Record, References, SnapshotRecord, timestamp
from convoy_py.state.references import ReferenceStore
from convoy_py.state.snapshots import SnapshotStore
from convoy_py.state.store import STAGING, Store
from convoy_py.state.trash import Removed, Trash, is_replaced

log = logging.getLogger("convoy.engine")

# A Remove that finds the volume busy, but nobody who holds it, looks again for 2.5 s.
PATIENCE = 50
BREATH = 0.05  # seconds


@dataclass(frozen=True)
class Unmounted:
    """What an unmount came to: whether all is let go of, and whether it is still mounted."""

    detached: bool
    mounted: bool
    usage: Usage | None  # as it was just before


class Steps:
    """What the verbs do on this host: below one root, one run folder and one mounts folder."""

    def __init__(
        self,
        store: Store,
        reference_store: ReferenceStore,
        backends: Mapping[str, Backend],
        ledger: Ledger,
        mounts_dir: Path,
        passed: PassedTime,
    ) -> None:
        """`backends` in the order of preference; by `passed` ages what lies in the trash."""
        self.store = store
        self.ballast = store.ballast
        self.snapshot_store = SnapshotStore(store)
        self.trash = Trash(store, passed)
        self.reference_store = reference_store
        self.backends = backends
        self.ledger = ledger
        self.mounts_dir = mounts_dir
        self.wall_clock = passed.wall_clock  # POSIX seconds
        self.isolation = ""  # why mounts made here would not reach containers

    def problems(self) -> list[str]:
        """What keeps the daemon from serving. No I/O."""
        store = self.store
        return list(filter(None, (self.isolation, store.failure, store.presence.away)))

    def isolation_from(self, pid: int) -> str:
        """Why mounts made here are not seen by a process; "" if they are or that cannot be told.

        Costs a look or two at /proc.
        """
        ours, theirs = peers.mount_namespace(), peers.mount_namespace(pid)
        if theirs in (None, ours) or mounts.is_shared(self.mounts_dir):
            return ""
        return (
            f"mounts below {self.mounts_dir} do not reach containers: this daemon has a mount "
            "namespace of its own and the folder does not propagate (run the daemon outside, or "
            "make the folder shared)"
        )

    def place(self, record: Record) -> Place:
        name = record.name
        return Place(name, record.uuid, self.store.home(name), self.mounts_dir / name, record.spec)

    def staged(self, place: Place, staging: Path) -> Place:
        """The place of a volume or snapshot while it is built.

        Its mountpoint too bears a name that no volume can have: leftovers are known by it.
        """
        return replace(place, home=staging, mountpoint=self.mounts_dir / staging.name)

    def entry(self, name: str, record: Record | Unreadable) -> Entry:
        """A volume as it was read from disk; unmounted and without references."""
        entry = Entry(name, self.reference_store.none())
        if isinstance(record, Unreadable):
            entry.reason = str(record)
            return entry
        entry.record = record
        backend = self.backends.get(record.spec.backend)
        if backend is None:
            entry.reason = f"its backend {record.spec.backend} is not on (setting drivers)"
            return entry
        entry.backend, entry.place = backend, self.place(record)
        promised = backend.promised(record.spec)
        # Until the first sample: what was reserved is allocated, of anything else nothing is known.
        allocated = promised if record.spec.sparse is False else 0
        self.ledger.record(name, promised, allocated)
        try:
            self._load_within(entry, record, promised)
        except OSError as error:
            entry.reason = str(failed("its snapshots cannot be read", error))
        return entry

    def _load_within(self, volume: Entry, record: Record, promised: int) -> None:
        """Give a volume's entry its snapshots and private clones, each promised as much."""
        for snapshot, found in self.snapshot_store.load(record.name).items():
            within = self.snapshot_entry(volume, snapshot, found)
            volume.snapshots[within.name] = within
        if record.spec.per_mount:
            for key in self.store.clones(record.name):
                clone = self.clone_entry(volume, f"{record.name}{HASH}{key}")
                volume.clones[clone.name] = clone
                self.ledger.record(clone.name, promised, 0)

    def snapshot_entry(
        self, volume: Entry, name: str, record: SnapshotRecord | Unreadable
    ) -> Entry:
        """A snapshot as it was read from disk; unmounted and without references."""
        entry = Entry(joined(volume.name, name), self.reference_store.none())
        if isinstance(record, Unreadable):
            entry.reason = str(record)
            return entry
        entry.record, entry.backend = record, self.backends.get(record.spec.backend)
        if entry.backend is None:
            entry.reason = f"its backend {record.spec.backend} is not on (setting drivers)"
        else:
            entry.place = self.snapshot_place(volume, record)
        return entry

    def clone_entry(self, volume: Entry, name: str) -> Entry:
        """The private clone of a volume that a mount ID has; its uuid follows from its name."""
        record = volume.volume_record()
        home = self.store.clone_home(volume.name, name.partition(HASH)[2])
        uuid = str(uuids.uuid5(uuids.UUID(record.uuid), home.name))
        spec = record.spec.model_copy(update={"per_mount": None, "autogrow": None})
        entry = Entry(name, self.reference_store.none(), record, volume.backend)
        entry.place = Place(name, uuid, home, self.mounts_dir / name, spec)
        return entry

    def rerecord(self, entry: Entry, record: Record) -> None:
        """Take a volume's new record into memory, with what follows from it for its snapshots."""
        entry.name, entry.record, entry.place = record.name, record, self.place(record)
        for snapshot in list(entry.snapshots.values()):
            del entry.snapshots[snapshot.name]
            name = snapshot.name.partition(AT)[2]
            snapshot.name = joined(record.name, name)
            if isinstance(snapshot.record, SnapshotRecord):
                snapshot.place = self.snapshot_place(entry, snapshot.record)
            entry.snapshots[snapshot.name] = snapshot

    def snapshot_place(self, volume: Entry, record: SnapshotRecord) -> Place:
        full = joined(volume.name, record.name)
        home = self.snapshot_store.home(volume.name, record.name)
        mountpoint = self.mounts_dir / full
        return Place(full, record.uuid, home, mountpoint, record.spec, within=volume.place)

    def choose(self, options: Options) -> tuple[Backend, Spec]:
        """The backend that the options name, or the first that can do what they ask."""
        if options.backend is not None:
            backend = self.backends.get(options.backend)
            if backend is None:
                known = ", ".join(self.backends)
                raise Unsupported(f"backend {options.backend} is not on here; use {known}")
            return backend, backend.resolve(options)
        refusals = []
        for backend in self.backends.values():
            try:
                return backend, backend.resolve(options)
            except Unsupported as error:
                refusals.append(f"{backend.name}: {error}")
        raise Unsupported("no backend can do this here: " + "; ".join(refusals))

    def create(self, name: str, options: Options) -> Entry:
        """Build a volume beside the others and rename it into place."""
        backend, spec = self.choose(options)
        entry = self.built(name, backend, spec, backend.create)
        _, place = entry.usable()
        if not backend.keeps_data(place):  # nothing is in it yet, so to measure it costs nothing
            with suppress(OSError, ConvoyError):
                entry.usage = backend.usage(place, self.wall_clock())
        return entry

    def built(
        self, name: str, backend: Backend, spec: Spec, fill: Callable[[Place], Spec]
    ) -> Entry:
        """Build a volume beside the others and rename it into place; `fill` settles its spec."""
        record = self.record(name, spec)
        with self.building(backend, self.place(record)) as place:
            record = record.model_copy(update={"spec": fill(place)})
            self.store.commit(place.home, record)  # the point of no return
        return self.entry(name, record)

    @contextmanager
    def building(
        self, backend: Backend, place: Place, *, promised_as: str = "", replaced: str = ""
    ) -> Iterator[Place]:
        """Where a volume is built, with the space for it promised; nothing is left if that fails.

        The promise is kept under `promised_as`, where that is not the volume's name; `replaced` is
        the trash key of the volume whose place the new one takes.
        """
        promised, preallocated = backend.promised(place.spec), place.spec.sparse is False
        with self.ledger.promise(place.name, promised, preallocated=preallocated, key=promised_as):
            staged = self.staged(place, self.store.stage(replaced))
            try:
                yield staged
            except BaseException:
                # What it replaced may be the only copy: that is for the next start to take in.
                if not is_replaced(staged.home):
                    self.abandon(backend, staged)
                raise

    def adopt(self, name: str, options: Options) -> Entry:
        """Give a record to the data that lies in the volume's place, or in the user's folder."""
        if options.path is not None and not self.store.home(name).exists():
            return self.create(name, options)
        old = adopting.known(self.store, name)
        backend = adopting.backend(self.backends, self.store.home(name), options, old)
        spec = old.spec if old else Spec(backend=backend.name)
        record = (old or self.record(name, spec)).model_copy(update={"spec": spec})
        # To look inside, it is mounted where the next start would sweep.
        beside = self.mounts_dir / f"{STAGING}{secrets.token_hex(8)}"
        settled = backend.adopt(replace(self.place(record), mountpoint=beside), options)
        record = record.model_copy(update={"spec": settled})
        self.store.adopt(record)
        return self.entry(name, record)

    @relieved
    def mount(self, backend: Backend, place: Place, held: References) -> bool:
        """Mount and record the references, neither without the other; False if it was mounted."""
        fresh = not self._is_mounted(backend, place) or (
            backend.is_dead(place) and backend.unmount(place)
        )
        if fresh:
            mountpoints.make(place.mountpoint)
            backend.mount(place)
        try:
            self.save_references(place.name, held)
        except OSError:
            if fresh:
                backend.unmount(place)
            raise
        return fresh

    def _is_mounted(self, backend: Backend, place: Place) -> bool:
        """Whether it is mounted; while the root is away, what is so stays in use."""
        presence = self.store.presence
        if presence.look() and not presence.away:
            return backend.is_mounted(place)
        if mounts.is_mountpoint(place.mountpoint):
            return True
        raise Unavailable(f"{place}: {presence.away}")

    def save_references(self, name: str, held: References) -> None:
        """Record who holds a volume; on a full disk only this daemon knows, which is safe.

        The next one believes what was recorded before, or that nobody does: who really holds it is
        looked up before its data is touched. The janitor records it once there is room.
        """
        try:
            self.ballast.relieve(lambda: self.reference_store.save(name, held))
        except OSError as error:
            if not is_full(error):
                raise
            event(log, logging.WARNING, "references not recorded", volume=name, failure=error)

    @relieved
    def unmount(self, backend: Backend, place: Place) -> Unmounted:
        """Unmount if nothing holds it; the mountpoint goes too, so that nobody can write there."""
        usage = None
        if backend.is_mounted(place):
            with suppress(OSError):  # deleted beneath its mount: all the more reason to unmount
                usage = backend.parting_usage(place, self.wall_clock())
        detached = backend.unmount(place)
        mounted = not detached and backend.is_mounted(place)
        if not mounted:
            mountpoints.remove(place.mountpoint)
        return Unmounted(detached, mounted, usage)

    @relieved
    def vacate(self, backend: Backend, place: Place) -> None:
        """Unmount for good what nobody uses, or raise VolumeInUse, naming who does.

        References do not count here, for they leak; mounts in any namespace do. They are looked up
        beside our own mount, if there is one, and again without it, when every mount is a holder.
        """
        if backend.is_mounted(place):
            self.refuse_holders(backend, place)
        self._let_go(backend, place)
        self.reference_store.save(place.name, self.reference_store.none())

    def keep(self, place: Place) -> None:
        """Forget a volume that is vacated, and keep its data where it is."""
        self.store.keep(place.name)
        self.ledger.forget(place.name)

    def discard(self, record: Record) -> Removed:
        """Move a volume that is vacated to the trash."""
        removed = self.trash.put(record, timestamp(self.wall_clock()))
        self.ledger.forget(record.name)
        return removed

    def retire(self, place: Place) -> Place:
        """Take a volume or clone that is vacated away; returns where it is to be destroyed."""
        gone = replace(place, home=self.store.retire(place.home))
        self.ledger.forget(place.name)
        return gone

    def nameless(self, home: Path, spec: Spec | None = None) -> Place:
        """A folder that is to be destroyed, whatever it held."""
        return Place(home.name, "", home, self.mounts_dir / home.name, spec or Spec(backend=""))

    def destroy(self, place: Place) -> None:
        """Delete the data of a volume, snapshot or clone that was retired."""
        backend = self.backends.get(place.spec.backend)
        if backend is None:
            files.remove_tree(place.home)
        else:
            backend.destroy(place)

    def refuse_holders(self, backend: Backend, place: Place) -> None:
        """Raise VolumeInUse, naming who sees or holds the volume's mount and would lose data."""
        if backend.keeps_data(place):
            return
        if found := backend.holders(place, Census.take()):
            raise VolumeInUse(place.name, dict.fromkeys(map(str, found)))

    def sweep(self, homes: Sequence[Path]) -> None:
        """Delete what crashes left under `.new-` and `rm-` names, with its mounts and devices."""
        for home in homes:
            place = self.nameless(home)
            for backend in self.backends.values():
                self.abandon(backend, place)

    def abandon(self, backend: Backend, place: Place) -> None:
        try:
            backend.abandon(place)
            files.remove_tree(place.home)
            mountpoints.remove(place.mountpoint)
        except Exception as error:  # noqa: BLE001 - whatever users left there, the daemon goes on
            log.warning("sweep %s: %s; it is tried again at the next start", place.home, error)

    def _let_go(self, backend: Backend, place: Place) -> None:
        """Unmount for good, and remove the mountpoint; or raise VolumeInUse.

        Once it is unmounted every mount that is left is a holder's.

        What merely looks at a new or dying device, as udev does, is waited for.
        """
        for _ in range(PATIENCE):
            detached = backend.unmount(place)
            self.refuse_holders(backend, place)
            if detached:
                mountpoints.remove(place.mountpoint)
                return
            time.sleep(BREATH)
        busy = [str(holder) for holder in holders.of_open_files(place.mountpoint)]
        raise VolumeInUse(place.name, busy or ["something that this daemon cannot see"])

    def record(self, name: str, spec: Spec) -> Record:
        """The record of a volume that is being made."""
        # Random bits only: a name-based or clock-based id could repeat on another host.
        uuid = uuids.UUID(bytes=secrets.token_bytes(16), version=4)
        return Record(name=name, uuid=str(uuid), created=timestamp(self.wall_clock()), spec=spec)

    def kept_path(self, name: str) -> str | None:
        """The user's folder of a volume that was forgotten; None if it had none."""
        kept = adopting.known(self.store, name)
        return kept.spec.path if kept else None
