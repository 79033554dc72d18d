"""The blocking steps of snapshots, clones and rollbacks: freeze, copy, thaw, finish, commit.

Runs in worker threads; the caller holds the locks, or has seen to it that what is read stays. What
is being made lies under a `.new-` name until it is complete.
"""

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path, PurePath

from convoy_py.backends.base import Backend, Place
from convoy_py.engine.entry import Entry
from convoy_py.engine.parts import Part, power
from convoy_py.engine.steps import Steps
from convoy_py.errors import ConvoyError, OperationFailed, Unsupported
from convoy_py.linux import files, freeze, trees
from convoy_py.linux.reflink import Step
from convoy_py.logs import event
from convoy_py.metrics import Metrics
from convoy_py.models.volume import Options, Spec
from convoy_py.state.records import Record, SnapshotRecord, timestamp
from convoy_py.state.snapshots import uuid_of
from convoy_py.state.store import STAGING
from convoy_py.state.trash import Removed, trash_key

log = logging.getLogger("convoy.engine")


class Copying:
    """What snapshots and clones do on this host."""

    def __init__(self, steps: Steps, notes: Path, freeze_limit: float, metrics: Metrics) -> None:
        """`notes` is a folder below the run folder; `freeze_limit` is in seconds."""
        self._steps = steps
        self._notes = notes
        self._freeze_limit = freeze_limit
        self._metrics = metrics

    def recover(self) -> list[str]:
        """Thaw what an earlier daemon froze; returns the mountpoints."""
        self._notes.mkdir(mode=0o700, parents=True, exist_ok=True)
        return freeze.thaw_noted(self._notes)

    # Snapshots

    def take(
        self, parts: Sequence[Part], step: Step, pausing: AbstractContextManager[object]
    ) -> list[Entry]:
        """Take snapshots, all at one moment, and commit them: all or none."""
        staged: list[tuple[Part, Place]] = []
        committed: list[Entry] = []
        store = self._steps.snapshot_store
        try:
            for part in parts:
                home = store.stage(part.volume.name, part.record.uuid)
                place = self._steps.snapshot_place(part.volume, home, part.record)
                staged.append((part, place))
            with pausing, self._standing_still([part.volume for part in parts]):
                for part, place in staged:
                    backend, source = part.volume.usable()
                    power(backend, part.volume.name).copy(source, place, step)
            records = [self._finished(part, place, step) for part, place in staged]
            for (part, place), record in zip(staged, records, strict=True):
                store.commit(place.home, part.volume.name, record)
                committed.append(self._steps.snapshot_entry(part.volume, record.name, record))
        except BaseException:
            # Those with a name first: as long as one has it, a restart would complete the group.
            for entry in committed:
                with self._quietly(entry.name):
                    self._steps.destroy(self.retire(entry.usable()[1]))
            for part, place in staged[len(committed) :]:
                with self._quietly(part.volume.name):
                    self.undo(part.volume, place)
            raise
        return committed

    def _finished(self, part: Part, place: Place, step: Step) -> SnapshotRecord:
        """Complete one; of a group all are complete before the first gets its name."""
        backend, source = part.volume.usable()
        record = part.settled(power(backend, part.volume.name).finish(source, place, step))
        if record.group:
            self._steps.snapshot_store.seal(place.home, record)
        return record

    def undo(self, volume: Entry, place: Place) -> None:
        """Take away what there is of a snapshot that was not completed."""
        backend, _ = volume.usable()
        power(backend, volume.name).withdraw(place)
        self._steps.abandon(backend, place)

    @contextmanager
    def _quietly(self, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "undone at next start", volume=name, failure=error)

    def sweep(self, volume: Entry, staging: str) -> None:
        """Take away a snapshot that was being taken, or deleted, when a daemon ended."""
        home = self._steps.snapshot_store.home(volume.name, staging)
        if volume.place is None:
            files.remove_tree(home)  # what lies inside the volume goes with it
            return
        spec = volume.place.spec
        mountpoint = self._steps.mounts_dir / home.name
        self.undo(
            volume, Place(home.name, uuid_of(home), home, mountpoint, spec, within=volume.place)
        )

    def retire(self, place: Place) -> Place:
        """Take a snapshot that is vacated away; returns where it is to be destroyed.

        It has no name first and no data then: cut off in between, the next start goes on.
        """
        backend = self._steps.backends.get(place.spec.backend)
        if backend is not None:
            unnamed = self._steps.snapshot_store.unname(place.home, place.uuid)
            try:
                power(backend, place.name).withdraw(replace(place, home=unnamed))
            except BaseException:
                self._steps.store.put_back(unnamed, place.home)
                raise
            place = replace(place, home=unnamed)
        return replace(place, home=self._steps.store.retire(place.home))

    @contextmanager
    def _standing_still(self, volumes: Sequence[Entry], *, clone: bool = False) -> Iterator[None]:
        """Freeze those filesystems of mounted volumes that have to be, while the block runs."""
        folders = []
        for volume in volumes:
            backend, place = volume.usable()
            folder = power(backend, volume.name).freezable(place, clone=clone)
            if folder is not None:
                folders.append(folder)
        if not folders:
            yield
            return
        note, limit = self._notes / f"{secrets.token_hex(8)}.json", self._freeze_limit
        try:
            with freeze.frozen(folders, note=note, limit=limit, tell=self._metrics.froze):
                yield
        except TimeoutError as error:
            raise OperationFailed(
                f"volume {volumes[0].name}: the copy took longer than the {self._freeze_limit:g} s "
                "for which writers may be kept waiting (setting freeze_limit); take it while no "
                "container uses the volume, keep the root on xfs or btrfs, or use fs=btrfs"
            ) from error

    # Clones

    def clone(self, name: str, source: Entry, options: Options, step: Step) -> Entry:
        """Build a volume as a copy of a volume or snapshot, and rename it into place."""
        backend, spec = self.clone_spec(source, options)
        if spec.per_mount and source.backend is backend:
            _refuse_slow_clones(backend, source.usable()[1])

        def fill(place: Place) -> Spec:
            return self._filled(source, backend, place, step, options)

        return self._built(name, backend, spec, fill)

    def private_clone(self, volume: Entry, name: str) -> Entry:
        """Build the clone of a volume that one mount ID gets."""
        clone = self._steps.clone_entry(volume, name)
        backend, place = clone.usable()
        preallocated = place.spec.sparse is False
        promised = backend.promised(place.spec)
        with self._steps.ledger.promise(name, promised, preallocated=preallocated):
            staging = self._steps.store.stage()
            staged = self._staged(place, staging)
            try:
                with self._standing_still([volume], clone=True):
                    power(backend, name).copy(volume.usable()[1], staged, _uncounted)
                power(backend, name).finish(volume.usable()[1], staged, _uncounted)
                place.home.parent.mkdir(mode=0o700, exist_ok=True)
                staging.rename(place.home)
            except BaseException:
                self._steps.abandon(backend, staged)
                raise
        return clone

    def clone_bytes(self, source: Entry) -> int:
        """How many bytes a clone of a source would roughly copy."""
        backend, place = source.usable()
        return power(backend, source.name).plan(place, clone=True).bytes

    def clone_spec(self, source: Entry, options: Options) -> tuple[Backend, Spec]:
        """(backend, spec) of a clone: what is not given is as at the source."""
        source.usable()
        spec = source.spec
        assert spec is not None
        inherited = {key: getattr(spec, key) for key in Options.model_fields}
        kept = spec.mount_options or ()
        if isinstance(source.record, SnapshotRecord):
            kept = tuple(option for option in kept if option != "ro")
        inherited |= {"path": None, "per_mount": None, "mount_options": kept or None}
        if options.backend not in (None, spec.backend):
            # What is asked of one backend may mean nothing to another.
            inherited |= dict.fromkeys(("size", "fs", "sparse", "autogrow"))
        if options.fs not in (None, spec.fs):
            inherited["autogrow"] = None
        given = {key: value for key, value in options if value is not None}
        return self._steps.choose(Options.model_validate({**inherited, **given}))

    def _filled(
        self, source: Entry, backend: Backend, place: Place, step: Step, options: Options
    ) -> Spec:
        """Fill the home of a new volume with a copy of the source; its spec as settled."""
        theirs, data = source.usable()
        if theirs is backend and power(backend, source.name).clones(data, place.spec):
            with self._standing_still([source], clone=True):
                power(backend, source.name).copy(data, place, step)
            return power(backend, source.name).finish(data, place, step)
        if data.spec.fs is not None and source.mounted and isinstance(source.record, Record):
            raise Unsupported(
                f"volume {source.name} is mounted, and its files would be copied one by one while "
                f"they change: clone a snapshot of it (`convoy snapshot create {source.name}`)"
            )
        settled = backend.create(place)
        place = replace(place, spec=settled)
        if settled.per_mount:
            _refuse_slow_clones(backend, place)
        with (
            power(theirs, source.name).reading(data) as folder,
            power(backend, place.name).writing(place) as target,
        ):
            trees.copy(folder, target, step)
            _own(target, options)
            files.sync_filesystem(target)
        return settled

    def _built(
        self, name: str, backend: Backend, spec: Spec, fill: Callable[[Place], Spec]
    ) -> Entry:
        """Build a volume beside the others and rename it into place; `fill` settles its spec."""
        steps = self._steps
        preallocated = spec.sparse is False
        with steps.ledger.promise(name, backend.promised(spec), preallocated=preallocated):
            staging = steps.store.stage()
            record = steps.record(name, spec)
            place = self._staged(steps.place(record), staging)
            try:
                record = record.model_copy(update={"spec": fill(place)})
                steps.store.commit(staging, record)
            except BaseException:
                steps.abandon(backend, place)
                raise
        return steps.entry(name, record)

    def _staged(self, place: Place, staging: Path) -> Place:
        """The place of a volume while it is built."""
        return replace(place, home=staging, mountpoint=self._steps.mounts_dir / staging.name)

    # Replacing

    def rollback(self, volume: Entry, snapshot: Entry, step: Step) -> None:
        """Replace the data of a vacated volume by a snapshot's, atomically."""
        backend, place = volume.usable()
        staging = self._steps.store.stage()
        staged = self._staged(place, staging)
        try:
            power(backend, volume.name).rollback(place, snapshot.usable()[1], staged, step)
        finally:
            self._steps.abandon(backend, replace(staged, uuid=""))

    def convert(self, volume: Entry, options: Options, step: Step) -> tuple[Entry, Removed]:
        """Copy a vacated volume into another kind of volume, verify it, and swap the two.

        Returns the new volume, and the old one, which goes to the trash.
        """
        old, steps = volume.volume_record(), self._steps
        backend, spec = self.clone_spec(volume, options)
        per_mount = spec.per_mount if options.per_mount is not None else old.spec.per_mount
        spec = spec.model_copy(update={"source": old.spec.source, "per_mount": per_mount})
        record = steps.record(volume.name, spec).model_copy(
            update={"created": old.created, "protected": old.protected}
        )
        key = f"{STAGING}{secrets.token_hex(8)}"  # until the swap both hold space
        with steps.ledger.promise(key, backend.promised(spec), preallocated=spec.sparse is False):
            staging = steps.store.stage(trash_key(old))
            place = self._staged(steps.place(record), staging)
            try:
                theirs, data = volume.usable()
                with power(theirs, volume.name).reading(data) as folder:
                    settled = self._copied(folder, backend, place, step)
                record = record.model_copy(update={"spec": settled})
                removed = self._swapped(staging, record, old)
            except BaseException:
                steps.abandon(backend, place)
                raise
        steps.ledger.forget(key)
        return steps.entry(volume.name, record), removed

    def _swapped(self, staging: Path, record: Record, old: Record) -> Removed:
        """Give a built volume the place of an old one, which goes to the trash; both or neither."""
        steps = self._steps
        steps.trash.mark(old, timestamp(steps.wall_clock()))
        steps.store.swap(staging, record)
        try:
            return steps.trash.take_in(old, staging)
        except BaseException:
            steps.store.swap(staging, old)
            raise

    def restore(self, source: Entry, target: Entry, relative: PurePath, step: Step) -> None:
        """Bring one file or folder back; what a crash leaves in the user's data is noted first."""
        self.sweep_restored(target)
        store, left = self._steps.store, f".restore-{secrets.token_hex(8)}"
        store.note_restoring(target.name, str(relative.with_name(left)))
        try:
            with _open(source) as before, _open(target, write=True) as after:
                trees.copy_one(before, relative, after, step, left)
        finally:
            store.forget_restoring(target.name)

    def sweep_restored(self, volume: Entry) -> None:
        """Take away what was being restored into a volume when a daemon ended."""
        left = self._steps.store.restoring(volume.name)
        if left is not None:
            with _open(volume, write=True) as folder:
                trees.remove_one(folder, PurePath(left))
            self._steps.store.forget_restoring(volume.name)

    def adopt(self, name: str, folder: Path, options: Options, step: Step) -> Entry:
        """Build a volume with a copy of a folder of the host in it, compared byte for byte."""
        backend, spec = self._steps.choose(options)
        return self._built(
            name, backend, spec, lambda place: self._copied(folder, backend, place, step)
        )

    def _copied(self, folder: Path, backend: Backend, place: Place, step: Step) -> Spec:
        """Fill a new volume with the files of a folder, and compare them byte for byte."""
        settled = backend.create(place)
        place = replace(place, spec=settled)
        with power(backend, place.name).writing(place) as target:
            trees.copy(folder, target, step)
            trees.verify(folder, target, step)
            files.sync_filesystem(target)
        return settled


def _refuse_slow_clones(backend: Backend, place: Place) -> None:
    """Raise Unsupported if every Mount of a volume with private clones would wait for a copy."""
    plan = power(backend, place.name).plan(place, clone=True)
    if not plan.instant:
        raise Unsupported(
            f"option per_mount needs clones that are made at once, and this one would be {plan.way}"
            + (f": {plan.hint}" if plan.hint else "")
        )


def _open(entry: Entry, *, write: bool = False) -> AbstractContextManager[Path]:
    backend, place = entry.usable()
    able = power(backend, entry.name)
    return able.writing(place) if write else able.reading(place)


def _own(folder: Path, options: Options) -> None:
    """Give a copy the owner and mode that were asked for."""
    if options.uid is not None or options.gid is not None:
        uid = -1 if options.uid is None else options.uid
        os.chown(folder, uid, -1 if options.gid is None else options.gid)
    if options.mode is not None:
        folder.chmod(options.mode)


def _uncounted(count: int) -> None:
    """A step of work that nobody follows."""
