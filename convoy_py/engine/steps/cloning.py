"""The blocking steps that build a volume from data which is there: clones, conversion, adoption.

Runs in worker threads; the caller sees to it that what is read stays. What is being made lies under
a `.new-` name until it is complete.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from convoy_py.backends.base import COMMON, Backend, Place
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.steps import loading
from convoy_py.engine.steps.parts import opened, power
from convoy_py.engine.steps.snapshots import Copying
from convoy_py.engine.steps.volumes import Steps
from convoy_py.errors import (
    Conflict,
    ConvoyError,
    InvalidOption,
    OperationFailed,
    Unavailable,
    Unsettled,
    Unsupported,
)
from convoy_py.linux import files, trees
from convoy_py.linux.reflink import Step
from convoy_py.linux.trees import Tree
from convoy_py.models.volume import SCHEDULE, UNSCHEDULED, Options, Spec, show
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import Record, SnapshotRecord, timestamp
from convoy_py.state.store import STAGING
from convoy_py.state.trash import RemovedVolume, is_replaced, trash_key


@dataclass(frozen=True)
class Converted:
    """A volume that is complete but for its record, and is to take the place of another."""

    old: Record  # of the other, when it was copied
    record: Record
    home: Path  # for the time being
    promised_as: str  # under what it has its space until then
    building: ExitStack  # abandons it if it is left with an error


class Cloning:
    """What clones do on this host."""

    def __init__(self, steps: Steps, copying: Copying) -> None:
        self.steps = steps
        self._host = steps.host
        self._copying = copying

    def clone(self, name: str, source: Entry, options: Options, step: Step) -> Entry:
        """Build a volume as a copy of a volume or snapshot, and rename it into place."""
        backend, spec = self.clone_spec(source, options)
        if spec.per_mount and source.backend is backend:
            _refuse_slow_clones(backend, source.usable()[1])

        def fill(place: Place) -> Spec:
            return self._filled(source, backend, place, step, options)

        return self.steps.built(name, backend, spec, fill)

    def private_clone(self, volume: Entry, name: str) -> Entry:
        """Build the clone of a volume that one mount ID gets."""
        clone = loading.clone_entry(self._host, volume, name)
        backend, place = clone.usable()
        _, source = volume.usable()
        with self.steps.building(backend, place) as staged:
            self._copying.copy_at_once([(volume, staged)], _uncounted, nullcontext(), clone=True)
            power(backend, name).finish(source, staged, _uncounted)
            place.home.parent.mkdir(mode=0o700, exist_ok=True)
            staged.home.rename(place.home)  # the point of no return
        return clone

    def clone_bytes(self, source: Entry) -> int:
        """How many bytes a clone of a source would roughly copy."""
        backend, place = source.usable()
        return power(backend, source.name).plan(place, clone=True).bytes

    def clone_spec(self, source: Entry, options: Options) -> tuple[Backend, Spec]:
        """(backend, spec) of a clone: what is not given is as at the source."""
        refuse_path(options)
        backend, place = source.usable()
        spec = place.spec
        if options.backend in (None, spec.backend):
            inherited = dict(backend.inherited(spec, options))
        else:  # what one backend means by anything else may mean nothing to another
            inherited = {key: getattr(spec, key) for key in COMMON}
        ours = "ro" if isinstance(source.record, SnapshotRecord) else ""
        kept = tuple(option for option in spec.mount_options or () if option != ours)
        inherited |= {
            "path": None,
            "per_mount": None,
            "backup": None,
            "mount_options": kept or None,
            **UNSCHEDULED,
        }
        given = {key: value for key, value in options if value is not None}
        return self._host.choose(Options.model_validate({**inherited, **given}))

    def _filled(
        self, source: Entry, backend: Backend, place: Place, step: Step, options: Options
    ) -> Spec:
        """Fill the home of a new volume with a copy of the source; its spec as settled."""
        theirs, data = source.usable()
        able = power(theirs, source.name)
        if able.clones(data, place.spec):
            with self._host.ledger.room(place.name, able.plan(data, clone=True).takes):
                self._copying.copy_at_once([(source, place)], step, nullcontext(), clone=True)
            return able.finish(data, place, step)
        if source.has_own_filesystem and source.mounted and isinstance(source.record, Record):
            raise Unsupported(
                f"volume {source.name} is mounted, and its files would be copied one by one while "
                f"they change: clone a snapshot of it (`convoy snapshot create {source.name}`)"
            )
        with able.reading(data) as folder:
            settled, _ = self._copied(folder, backend, place, step, options, verify=False)
        return settled

    def convert(self, volume: Entry, options: Options, step: Step) -> Converted:
        """Copy a vacated volume into another kind of volume, and verify it; `swap` is next."""
        refuse_schedule(options)
        old, host = volume.volume_record(), self._host
        backend, spec = self.clone_spec(volume, options)
        host.refuse_others(backend, Options(schedule_raw=old.spec.schedule_raw))
        per_mount = spec.per_mount if options.per_mount is not None else old.spec.per_mount
        spec = spec.model_copy(
            update={
                "source": old.spec.source,
                "backup": old.spec.backup,
                "per_mount": per_mount,
                **{key: getattr(old.spec, key) for key in SCHEDULE},
            }
        )
        record = host.record(volume.name, spec)
        key = f"{STAGING}{secrets.token_hex(8)}"  # until the swap both hold space
        building = self.steps.building(
            backend, host.place(record), promised_as=key, replaced=trash_key(old)
        )
        with ExitStack() as stack:
            staged = stack.enter_context(building)
            with opened(volume) as folder:
                settled, _ = self._copied(folder, backend, staged, step, options)
            record = record.model_copy(update={"spec": settled})
            return Converted(old, record, staged.home, key, stack.pop_all())

    def swap(self, converted: Converted, old: Record | None) -> tuple[Entry, RemovedVolume]:
        """Give a converted volume the place of the old one, which goes to the trash.

        `old` is that one's record as it is by now: what was changed meanwhile is not lost. It is
        None where it cannot be known what became of the volume: then nothing is done. Caller has
        the volume's lock. Returns the new volume, and the old one. Raises Unsettled if the new one
        has the name, but the old one is not in the trash for sure.
        """
        host, staging, new = self._host, converted.home, converted.record
        with converted.building:
            if old is None or old.spec != converted.old.spec:
                raise Conflict(
                    f"volume {converted.old.name} was changed meanwhile; repeat the command"
                )
            record = old.model_copy(update={"uuid": new.uuid, "spec": new.spec, "data": new.data})
            runs = host.run_store.load(old) if old.spec.is_scheduled else None
            host.store.seal(staging, record)
            try:
                host.trash.mark(old, timestamp(host.wall_clock()))
                # The exchange is the point of no return: from there on the old volume, which may
                # be the only copy that is on the disk, lies in staging and is never abandoned.
                host.store.swap(staging, old.name)
                removed = host.trash.take_in(old, staging)
            except ConvoyError as error:
                if staging.exists() and not is_replaced(staging):
                    raise
                raise _half_swapped(old.name, staging, error) from error
        host.ledger.forget(converted.promised_as)
        if runs is not None:
            with suppress(OSError, Unreadable, Unavailable):  # then its schedule begins anew
                host.run_store.save(old.name, runs.model_copy(update={"volume": new.uuid}))
        return loading.entry(host, old.name, record), removed

    def check_adoption(self, name: str, size: int, options: Options) -> None:
        """Raise what would stand in the way of adopting so many bytes, before anything is done."""
        refuse_path(options)
        refuse_schedule(options)
        backend, spec = self._host.choose(options)
        ledger, preallocated = self._host.ledger, backend.reserves(spec)
        key = f"{STAGING}{secrets.token_hex(8)}"
        with (
            ledger.room(name, size),
            ledger.promise(name, backend.promised(spec), preallocated=preallocated, key=key),
        ):
            pass
        ledger.forget(key)

    def adopt(self, name: str, folder: Path, options: Options, step: Step) -> tuple[Entry, int]:
        """Build a volume with a copy of a folder of the host in it, compared byte for byte.

        Returns it, and how many files it has.
        """
        backend, spec = self._host.choose(options)
        found: list[Tree] = []

        def fill(place: Place) -> Spec:
            settled, tree = self._copied(folder, backend, place, step, options)
            found.append(tree)
            return settled

        entry = self.steps.built(name, backend, spec, fill)
        return entry, found[0].files

    def _copied(
        self,
        folder: Path,
        backend: Backend,
        place: Place,
        step: Step,
        options: Options,
        *,
        verify: bool = True,
    ) -> tuple[Spec, Tree]:
        """Fill a new volume with the files of a folder; returns its spec, and what there was.

        With `verify` they are compared byte for byte. The owner and the mode are the folder's,
        where no others are asked for.
        """
        able = power(backend, place.name)
        with self._host.ledger.room(place.name, files.disk_usage(folder)[1]):
            settled = backend.create(place)
            place = replace(place, spec=settled)
            if settled.per_mount:
                _refuse_slow_clones(backend, place)
            with able.writing(place) as target, fitting(place):
                tree = trees.copy(folder, target, step)
                if verify:
                    trees.verify(folder, target, step)
                give_owner(target, options)
                files.sync_filesystem(target)
                found = target.stat()
        mode = stat.S_IMODE(found.st_mode)
        update = {"uid": found.st_uid, "gid": found.st_gid, "mode": mode}
        return settled.model_copy(update=update), tree


@contextmanager
def fitting(place: Place) -> Iterator[None]:
    """Tell that a volume is too small for what is copied into it: the host is not to blame."""
    try:
        yield
    except OSError as error:
        size, inodes = place.spec.size, place.spec.inodes
        limits = [] if size is None else [show("size", size)]
        limits += [] if inodes is None else [f"inodes={inodes}"]
        if not limits or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OperationFailed(
            f"volume {place.name}: the files do not fit into {', '.join(limits)}: give it a larger "
            "size, or more inodes if they are many and small"
        ) from error


def _half_swapped(name: str, staging: Path, error: ConvoyError) -> Unsettled:
    where = "the trash"
    if staging.exists():
        where = f"{staging}, from where the next start puts it into the trash"
    return Unsettled(f"volume {name} is converted; what it was lies in {where} ({error})")


def refuse_path(options: Options) -> None:
    if options.path is not None:
        raise InvalidOption(
            "option path: a copy goes into a volume of its own, not into a folder of the host"
        )


def refuse_schedule(options: Options) -> None:
    if options.given().keys() & set(SCHEDULE):
        raise InvalidOption("a schedule is set for a volume that is there: `convoy schedule set`")


def _refuse_slow_clones(backend: Backend, place: Place) -> None:
    """Raise Unsupported if every Mount of a volume with private clones would wait for a copy."""
    plan = power(backend, place.name).plan(place, clone=True)
    if not plan.instant:
        raise Unsupported(
            f"option per_mount needs clones that are made at once, and this one would be {plan.way}"
            + (f": {plan.hint}" if plan.hint else "")
        )


def give_owner(folder: Path, options: Options) -> None:
    """Give a copy the owner and mode that were asked for."""
    if options.uid is not None or options.gid is not None:
        uid = -1 if options.uid is None else options.uid
        os.chown(folder, uid, -1 if options.gid is None else options.gid)
    if options.mode is not None:
        folder.chmod(options.mode)


def _uncounted(count: int) -> None:
    """A step of work that nobody follows."""
