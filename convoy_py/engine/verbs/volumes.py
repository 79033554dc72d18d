"""The verbs on volumes: create, remove, rename, protect, and what Get and List say."""

from convoy_py.backends.base import Place
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.views import volume_view
from convoy_py.engine.running.deletions import Deletions
from convoy_py.engine.running.jobs import Jobs, Progress
from convoy_py.engine.running.mirror import as_on_disk, rerecord
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps import loading
from convoy_py.engine.steps.cloning import Cloning
from convoy_py.engine.verbs.restores import Restores
from convoy_py.engine.verbs.room import Room
from convoy_py.engine.verbs.schedules import Schedules
from convoy_py.engine.verbs.trash import TrashBin
from convoy_py.engine.verbs.uses import Uses
from convoy_py.errors import (
    AlreadyExists,
    ConvoyError,
    Invalid,
    OptionsDiffer,
    Unsupported,
    VolumeElsewhere,
    VolumeNotFound,
    VolumeProtected,
    replaced,
)
from convoy_py.models.names import NameKind, check_name, kind_of, volume_of
from convoy_py.models.volume import Options, State, View
from convoy_py.state.trash import trash_key


class Volumes:
    """The volumes of one daemon."""

    def __init__(
        self,
        operations: Operations,
        uses: Uses,
        trash: TrashBin,
        room: Room,
        cloning: Cloning,
        *,
        restores: Restores,
        schedules: Schedules,
        deletions: Deletions,
        jobs: Jobs,
    ) -> None:
        self._operations = operations
        self._restores = restores
        self._schedules = schedules
        self._entries = operations.entries
        self._steps = cloning.steps
        self._host = cloning.steps.host
        self._cloning = cloning
        self._deletions = deletions
        self._jobs = jobs
        self._trash = trash
        self._room = room
        self._uses = uses

    # Reads

    def get(self, name: str) -> View:
        """A volume, or a snapshot by its full name."""
        return self._unless_away(volume_view(self._entries.get(name)))

    def views(self) -> list[View]:
        return [self._unless_away(volume_view(e)) for _, e in sorted(self._entries.volumes.items())]

    def _unless_away(self, view: View) -> View:
        """A volume as it is while the root is away: it is known, and cannot be mounted."""
        away = self._host.store.presence.away
        if not away:
            return view
        state = view.state if view.state is State.MOUNTED else State.BROKEN
        return view.model_copy(update={"reason": view.reason or away, "state": state})

    def for_engine(self, name: str) -> View:
        """A volume for an engine, which is not to see what it takes the name of."""
        if self._entries.get(name).leaving:
            raise VolumeNotFound(name)
        return self.get(name)

    def listing(self) -> list[tuple[str, str]]:
        """(name, mountpoint or "") of every volume that engines see; snapshots are not listed."""
        entries = self._entries.volumes.items()
        return [(name, entry.mountpoint()) for name, entry in entries if not entry.leaving]

    # Changes

    async def create(
        self,
        name: str,
        options: Options,
        *,
        adopt: bool = False,
        patience: float = 0.0,
        by_engine: bool = False,
    ) -> None:
        """Make a volume; do nothing if it exists and the given options match.

        One that begins as a backup is restored in the background, for which `patience` seconds are
        waited: what fails by then leaves nothing. `adopt` takes over the data that already lies in
        the volume's place. `by_engine`: who asks is whoever may name volumes.
        Raises OptionsDiffer, Invalid, Unsupported, NoSpace, AlreadyExists, StillRunning.
        """
        if kind_of(name) is NameKind.SNAPSHOT:
            if self._entries.find(name) is None or options != Options():
                raise Invalid(
                    f"{name} is a snapshot's name: `convoy snapshot create` makes it, without "
                    "options"
                )
            return
        check_name(name)
        await self._operations.seek(name)
        try:
            await self._operations.bounded(
                name,
                "create",
                self._create(name, options, adopt=adopt, by_engine=by_engine, progress=None),
            )
        except VolumeElsewhere:
            if not await self._is_there(name, options, adopt=False):
                raise
        if options.backup is not None:
            await self._restores.settled(name, patience)

    async def clone(self, name: str, options: Options, progress: Progress) -> View:
        """Make a volume from the source in `options`, as part of a job; as `create` does."""
        check_name(name)
        await self._create(name, options, adopt=False, progress=progress)
        return self.get(name)

    async def remove(self, name: str, *, keep_data: bool = False, to_trash: bool = True) -> None:
        """Move a volume to the trash with its snapshots, or with `keep_data` only forget it.

        What is not `to_trash` is deleted, as all is where the trash keeps nothing.

        Raises VolumeNotFound; VolumeInUse, naming the holders; VolumeProtected; BrokenVolume;
        StillRunning; Unsupported for a snapshot.
        """
        self.refuse_within(name, f"`convoy snapshot delete {name}` deletes it")
        await self._operations.bounded(
            name,
            "remove",
            self._remove(name, keep_data=keep_data, to_trash=to_trash and self._trash.keeps),
        )

    async def rename(self, name: str, new: str) -> View:
        """Give a volume that nobody uses another name. Raises as `remove` does; AlreadyExists."""
        self.refuse_within(name, "it has its name for good")
        return await self._operations.bounded(name, "rename", self._rename(name, check_name(new)))

    async def protect(self, name: str, *, on: bool) -> View:
        """Have Remove refuse the volume, or let it be removed again."""
        self.refuse_within(name, "protect its volume")
        return await self._operations.bounded(name, "protect", self._protect(name, on=on))

    def refuse_within(self, name: str, instead: str) -> None:
        """Refuse what is no volume by itself; raises VolumeNotFound."""
        if kind_of(name) is NameKind.CLONE:
            raise VolumeNotFound(name)  # a private clone is its volume's own affair
        self._entries.get(name)
        if kind_of(name) is NameKind.SNAPSHOT:
            raise Unsupported(f"{name} is a snapshot; {instead}")

    # Under the volume's lock

    async def _create(
        self,
        name: str,
        options: Options,
        *,
        adopt: bool,
        progress: Progress | None,
        by_engine: bool = False,
    ) -> None:
        if options.source is not None and options.backup is not None:
            raise Invalid("options from and backup: a volume begins as one of the two")
        if options.path is not None and options.backup is not None:
            raise Invalid("options path and backup: what is in a folder of the host stays as it is")
        if options.source is None and options.per_mount:
            raise Invalid("option per_mount needs `from`: what the private clones are made of")
        options = self._schedules.settled(options)

        async def built() -> None:
            async with self._operations.locked(name):
                if await self._is_there(name, options, adopt=adopt):
                    return
                if options.backup is not None:
                    await self._restores.begin(name, options, known_only=by_engine)
                    return
                if options.source is None:
                    at, build = options.path, self._steps.adopt if adopt else self._steps.create
                    if adopt and at is None:
                        kept = self._steps.kept_path
                        at = await self._operations.do(name, "create", kept, name)
                    self._entries.put(
                        await self._operations.do_at(at, name, "create", build, name, options)
                    )
                    return
            await self._build_clone(name, options, options.source, progress)

        await self._room.made_for(built)

    async def _is_there(self, name: str, options: Options, *, adopt: bool) -> bool:
        """Whether a volume exists, with these options; raises OptionsDiffer."""
        entry = self._entries.volumes.get(name)
        if entry is None or (adopt and entry.restoring is None and await self._lacks_record(entry)):
            return False
        if entry.restoring is not None:
            if differences := entry.restoring.options.differences(options):
                raise OptionsDiffer(name, differences)
            entry.restoring.begin()
            return True
        spec = entry.volume_record().spec
        do = self._operations.do_at
        asked = await do(options.path, name, "create", self._settled, entry, options)
        if differences := spec.differences(asked):
            raise OptionsDiffer(name, differences)
        return True

    async def _build_clone(
        self, name: str, options: Options, origin: str, progress: Progress | None
    ) -> None:
        """Clone a source that stays as it is meanwhile; as a job of its own, if it is not in one.

        The name stays locked until it is done, and so whoever asks for it again joins.
        """
        read = [self._entries.get(origin)]
        if read[0].lies_inside:
            # Then the image is copied that is its volume's.
            read.append(self._entries.get(volume_of(origin)))
        async with self._operations.locked_idle(name, *(entry.name for entry in read)) as locked:
            if await self._is_there(name, options, adopt=False):
                return
            source = self._entries.get(origin)
            if source is not read[0]:
                raise replaced(origin)
            doing = f"the clone {name}, which is being made"

            async def cloned(progress: Progress) -> Entry:
                operations, cloning, at = self._operations, self._cloning, source.path
                async with self._uses.steady(doing, locked, *read):
                    progress.total += await operations.do_at(
                        at, name, "clone", cloning.clone_bytes, source
                    )
                    return await operations.do_long_at(
                        at, name, "clone", cloning.clone, name, source, options, progress
                    )

            if progress is None:
                clone = await self._jobs.run("clone", name, cloned)
            else:
                clone = await cloned(progress)
            self._entries.put(clone)

    def _settled(self, entry: Entry, options: Options) -> Options:
        """The options as the volume's backend would record them: it rounds a size, for instance."""
        backend, _ = entry.usable()
        try:
            spec = backend.resolve(options)
        except ConvoyError:
            return options  # what the backend would refuse differs from what it has
        asked = {key for key, value in options if value is not None} - {"backend"}
        return options.model_copy(update={key: getattr(spec, key) for key in asked})

    async def _lacks_record(self, entry: Entry) -> bool:
        """Whether a volume is broken only for want of a record, which adopting would give it."""
        if entry.record is not None:
            return False
        has_record = self._host.store.has_record
        return not await self._operations.do(entry.name, "create", has_record, entry.name)

    async def _remove(self, name: str, *, keep_data: bool, to_trash: bool) -> None:
        await self._restores.cancel(name)
        async with self._operations.locked(name):
            if await self._restores.give_up(name):
                return
            entry = self._entries.get(name)
            _, place = entry.usable()
            if entry.volume_record().protected:
                raise VolumeProtected(name)
            await self._uses.vacate(entry, "remove", *entry.within())
            if entry.volume_record().protected:  # by another host, until we had it alone
                raise VolumeProtected(name)
            if keep_data:
                async with as_on_disk(self._operations, self._host, name):
                    await self._operations.do(name, "remove", self._steps.keep, place)
                self._entries.forget(name)
                return
            gone = await self._take_away(entry, to_trash=to_trash)
        if gone is not None:
            await self._deletions.delete(gone)

    async def let_go(self, entry: Entry) -> None:
        """Move a vacated volume to the trash, or delete it, whose data is elsewhere by now."""
        async with self._operations.locked(entry.name):
            gone = await self._take_away(entry, to_trash=self._trash.keeps)
        if gone is not None:
            self._deletions.begin(gone)

    async def _take_away(self, entry: Entry, *, to_trash: bool) -> Place | None:
        """Forget a volume that is vacated; returns what is to be deleted, if it is not kept."""
        name, record, do = entry.name, entry.volume_record(), self._operations.do
        gone = None
        async with (
            self._trash.as_on_disk(trash_key(record)),
            as_on_disk(self._operations, self._host, name),
        ):
            if to_trash:
                self._trash.add(await do(name, "remove", self._steps.discard, record))
            else:
                gone = await do(name, "remove", self._steps.retire, entry.usable()[1])
        self._entries.forget(name)
        return gone

    async def _rename(self, name: str, new: str) -> View:
        async with self._operations.locked(name, new):
            entry = self._entries.get(name)
            if new in self._entries.volumes:
                raise AlreadyExists(f"volume {new} exists already")
            entry.volume_record()  # or it is being restored, or broken: then it is left as it is
            await self._uses.vacate(entry, "rename", *entry.within())
            record = entry.volume_record()  # another host may have changed it until then
            async with as_on_disk(self._operations, self._host, name, new):
                renamed = await self._operations.do(
                    name, "rename", self._host.store.rename, record, new
                )
            self._entries.forget(name)
            self._host.ledger.rename(name, new)
            loading.rerecord(self._host, entry, renamed)
            self._entries.put(entry)
            return volume_view(entry)

    async def _protect(self, name: str, *, on: bool) -> View:
        async with self._operations.locked(name):
            entry = self._entries.get(name)
            record = entry.volume_record().model_copy(update={"protected": on})
            await rerecord(self._operations, self._host, entry, record)
            return volume_view(entry)
