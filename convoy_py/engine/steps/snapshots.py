"""The blocking steps of snapshots: freeze, copy, thaw, finish, commit; and of going back to them.

Runs in worker threads; the caller has the locks, or has seen to it that what is read stays. What
is being made lies under a `.new-` name until it is complete.
"""

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import TypeVar

from convoy_py.backends.base import Place
from convoy_py.backends.common import returning
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.steps import loading
from convoy_py.engine.steps.parts import Part, opened, power
from convoy_py.engine.steps.volumes import Steps
from convoy_py.errors import ConvoyError, NotFound, OperationFailed, Unsettled
from convoy_py.escapes import escaped
from convoy_py.linux import files, freeze, trees
from convoy_py.linux.reflink import Step
from convoy_py.logs import event
from convoy_py.metrics import Metrics
from convoy_py.state.ballast import is_full, relieved
from convoy_py.state.formats import Newer, Unreadable
from convoy_py.state.records import FREEZE, Freeze, SnapshotRecord
from convoy_py.state.snapshots import uuid_of

log = logging.getLogger("convoy.engine")
T = TypeVar("T")
U = TypeVar("U")

# Of a group, so many wait for the disk together: it commits what it is asked for at once.
_AT_A_TIME = 8
# Whoever writes faster than that is caught up with waits for the rest.
_PRECOPIES = 4


class Copying:
    """What snapshots do on this host."""

    def __init__(self, steps: Steps, notes: Path, freeze_limit: float, metrics: Metrics) -> None:
        """`notes` is a folder below the run folder; `freeze_limit` is in seconds."""
        self._steps = steps
        self._host = steps.host
        self.ballast = steps.host.ballast
        self._notes = notes
        self._freeze_limit = freeze_limit
        self._metrics = metrics

    def recover(self) -> list[str]:
        """Thaw what an earlier daemon froze; returns the mountpoints."""
        try:
            make = partial(self._notes.mkdir, mode=0o700, parents=True, exist_ok=True)
            self.ballast.relieve(make)
        except OSError as error:
            if not is_full(error):
                raise
        return freeze.thaw_noted(self._notes, _frozen)

    # Snapshots

    def take(
        self, parts: Sequence[Part], step: Step, pausing: AbstractContextManager[object]
    ) -> list[Entry]:
        """Take snapshots, all at one moment, and commit them: all or none."""
        staged: list[tuple[Part, Place]] = []
        store = self._host.snapshot_store
        try:
            for part in parts:
                home = store.stage(part.volume.name, part.record.uuid)
                place = self._host.snapshot_place(part.volume, part.record)
                staged.append((part, self._host.staged(place, home)))
            room = self._host.ledger.room(parts[0].volume.name, sum(part.takes for part in parts))
            with room:
                volumes = [(part.volume, place) for part, place in staged]
                self.copy_at_once(volumes, step, pausing)
            # One step of all before the next of any: of a group, all are complete before the first
            # gets its name.
            records = _together(lambda each: self._finished(*each, step), staged)
            complete = [
                (place.home, part.volume.name, record)
                for (part, place), record in zip(staged, records, strict=True)
            ]
            if len(complete) > 1:
                _together(lambda each: store.seal(each[0], each[2]), complete)
            _together(lambda each: store.commit(*each), complete)
        except BaseException as error:
            if self._withdrawn(staged):
                raise
            raise Unsettled(
                f"snapshot {parts[0].record.name} is taken, and what of it has no name yet gets it "
                f"from the next start ({error})"
            ) from error
        return [
            loading.snapshot_entry(self._host, part.volume, record.name, record)
            for part, record in zip(parts, records, strict=True)
        ]

    take_when_full = relieved(take)

    def _withdrawn(self, staged: Sequence[tuple[Part, Place]]) -> bool:
        """Take away all that is there of snapshots that are taken together, or nothing of it.

        The first name is the point of no return: as long as one has its name, the next start gives
        all of its group theirs. So names go first, and if one cannot go, all stay.
        """
        store = self._host.snapshot_store
        places: list[Place] = []
        try:
            for part, place in staged:
                home = place.home
                if not home.exists():
                    named = store.home(part.volume.name, part.record.name)
                    home = store.unname(named, part.record.uuid)
                places.append(replace(place, home=home))
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "stays", volume=staged[0][0].volume.name, failure=error)
            for (part, before), place in zip(staged, places, strict=False):
                if place.home != before.home:
                    with self._quietly(part.volume.name):
                        named = store.home(part.volume.name, part.record.name)
                        self._host.store.put_back(place.home, named)
            return False
        for (part, _), place in zip(staged, places, strict=True):
            with self._quietly(part.volume.name):
                self.undo(part.volume, place)
        return True

    def _finished(self, part: Part, place: Place, step: Step) -> SnapshotRecord:
        backend, source = part.volume.usable()
        return part.settled(power(backend, part.volume.name).finish(source, place, step))

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
        home = self._host.snapshot_store.home(volume.name, staging)
        if volume.place is None:
            files.remove_tree(home)  # what lies inside the volume goes with it
            return
        spec = volume.place.spec
        mountpoint = self._host.mounts_dir / home.name
        self.undo(
            volume, Place(home.name, uuid_of(home), home, mountpoint, spec, within=volume.place)
        )

    def retire(self, place: Place) -> Place:
        """Take a snapshot that is vacated away; returns where it is to be destroyed.

        It has no name first and no data then: cut off in between, the next start goes on. The point
        of no return is where its data goes; what fails before that gives it its name back.
        """
        named, backend = place.home, self._host.backends.get(place.spec.backend)
        if backend is not None:
            unnamed = self._host.snapshot_store.unname(named, place.uuid)
            place = replace(place, home=unnamed)
            try:
                power(backend, place.name).withdraw(place)
            except Unsettled:
                raise
            except BaseException:
                with _nameless(place):
                    self._host.store.put_back(unnamed, named)
                raise
        with _nameless(place):
            return replace(place, home=self._host.store.retire(place.home))

    def copy_at_once(
        self,
        copies: Sequence[tuple[Entry, Place]],
        step: Step,
        pausing: AbstractContextManager[object],
        *,
        clone: bool = False,
    ) -> None:
        """Bring the data that volumes have at one moment into these places.

        `pausing` has other writers stand still; as much as can be is brought before that.
        """
        self._precopy(copies, step)
        with pausing, self._standing_still([volume for volume, _ in copies], clone=clone):
            for volume, target in copies:
                backend, source = volume.usable()
                power(backend, volume.name).copy(source, target, step)

    def _precopy(self, copies: Sequence[tuple[Entry, Place]], step: Step) -> None:
        """Bring what can be brought beside writers; of a group all in turn, for none to lag."""
        for _ in range(_PRECOPIES):
            takes_long = False
            for volume, target in copies:
                backend, source = volume.usable()
                able = power(backend, volume.name)
                takes_long |= able.precopy(source, target, step)
            if not takes_long:
                return

    @contextmanager
    def _standing_still(self, volumes: Sequence[Entry], *, clone: bool) -> Iterator[None]:
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
            with freeze.frozen(
                folders, note=note, encode=_noted, limit=limit, tell=self._metrics.froze
            ):
                yield
        except TimeoutError as error:
            raise OperationFailed(
                f"volume {volumes[0].name}: the copy took longer than the {self._freeze_limit:g} s "
                "for which writers may be kept waiting (setting freeze_limit); take it while no "
                "container uses the volume, keep the root on xfs or btrfs, or use fs=btrfs"
            ) from error

    @relieved
    def rollback(self, volume: Entry, snapshot: Entry, step: Step) -> None:
        """Replace the data of a vacated volume by a snapshot's, atomically."""
        backend, place = volume.usable()
        able = power(backend, volume.name)
        with self._host.ledger.room(volume.name, able.plan(place).takes):
            staging = self._host.store.stage()
            staged = replace(self._host.staged(place, staging), uuid="")
            try:
                able.rollback(place, snapshot.usable()[1], staged, step)
            except Unsettled:
                raise  # what is in staging may be what a power cut brings back: the next start's
            except BaseException:
                self._steps.abandon(backend, staged)
                raise
            self._steps.abandon(backend, staged)

    def restore(
        self,
        source: AbstractContextManager[Path],
        told: str,
        target: Entry,
        ways: Sequence[PurePath],
        step: Step,
    ) -> None:
        """Bring one file or folder back, the first of `ways` that is there; `told` is the source.

        What a crash leaves in the user's data is noted first.
        """
        self.sweep_restored(target)
        store, left = self._host.store, f".restore-{secrets.token_hex(8)}"
        with (
            returning(f"volume {target.name} has it back from {told}") as passed,
            source as before,
            opened(target, write=True) as after,
        ):
            relative = next((way for way in ways if trees.has(before, way)), ways[0])
            store.note_restoring(target.name, str(relative.with_name(left)))
            try:
                trees.copy_one(before, relative, after, step, left)
            except files.Unsettled:
                passed()  # what was there stays beside it, noted for the next start or restore-file
                raise
            except BaseException as error:
                store.forget_restoring(target.name)
                if not isinstance(error, FileNotFoundError):
                    raise
                raise NotFound(f"{told} has no {escaped(str(relative))}") from error
            else:
                passed()
            store.forget_restoring(target.name)

    def sweep_restored(self, volume: Entry) -> None:
        """Take away what was being restored into a volume when a daemon ended."""
        left = self._host.store.restoring(volume.name)
        if left is not None:
            with opened(volume, write=True) as folder:
                trees.remove_one(folder, PurePath(left))
            self._host.store.forget_restoring(volume.name)


def _together(do: Callable[[T], U], each: Sequence[T]) -> list[U]:
    """What comes of each, some at a time: they wait for the disk together.

    All that was begun has ended when this returns, or raises what the first failed of.
    """
    if len(each) == 1:
        return [do(each[0])]
    with ThreadPoolExecutor(_AT_A_TIME, "convoy-snapshots") as pool:
        return list(pool.map(do, each))


def _noted(mountpoints: Sequence[str]) -> bytes:
    return FREEZE.encode(Freeze(tuple(mountpoints)))


def _frozen(note: Path) -> Sequence[str] | None:
    """What a note names; nothing if a crash kept it from being written, before any freeze."""
    try:
        return FREEZE.decode(note.read_bytes()).root
    except Newer as problem:
        log.warning("%s: what it names may stay frozen", problem.at(note))
        return None
    except Unreadable:
        return ()


@contextmanager
def _nameless(snapshot: Place) -> Iterator[None]:
    with returning(f"{snapshot} has lost its name, and goes at the next start") as passed:
        passed()
        yield
