"""How volumes are used: mounted, unmounted, held, and kept as they are while they are read.

Snapshots, and the private clones of one mount ID, are mounted and unmounted like volumes.
"""

import asyncio
import logging
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from convoy_py.engine.memory import references
from convoy_py.engine.memory.entry import Entry, Work
from convoy_py.engine.running.deletions import Deletions
from convoy_py.engine.running.mirror import rerecord
from convoy_py.engine.running.operations import Locked, Operations, translated
from convoy_py.engine.steps.cloning import Cloning
from convoy_py.engine.steps.volumes import Steps
from convoy_py.engine.verbs.room import Room
from convoy_py.errors import ConvoyError, Corrupt, StillRestoring, Unavailable, VolumeInUse
from convoy_py.logs import event
from convoy_py.models.names import NameKind, clone_name, volume_of
from convoy_py.state.records import Record, References

log = logging.getLogger("convoy.engine")

# A container's start follows its Mount at once, but not in the same instant: for this long a
# reference counts as used although no mount namespace shows it yet.
FRESH_SECONDS = 10.0


class Uses:
    """Who uses which volume of one daemon."""

    def __init__(
        self,
        operations: Operations,
        room: Room,
        steps: Steps,
        cloning: Cloning,
        *,
        deletions: Deletions,
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        """`clock` gives seconds that never go back; so many a Mount waits for a restore."""
        self._patience = patience
        self._operations = operations
        self._entries = operations.entries
        self._steps = steps
        self._host = steps.host
        self._cloning = cloning
        self._deletions = deletions
        self._room = room
        self._clock = clock
        self.mounted = asyncio.Event()  # set by every Mount, for who waits for one

    async def mount(self, name: str, reference: str, epoch: str) -> str:
        """Mount if it is not mounted, count the reference, return the exposed folder."""
        await self._operations.seek(name)
        await self._restored(self._entries.get(name))

        async def undo() -> None:
            await self._unmount(name, reference, epoch)

        work = self._mount(name, reference, epoch)
        return await self._operations.bounded(name, "mount", work, undo)

    async def _restored(self, entry: Entry) -> None:
        """Wait until a volume that is being restored is there, as long as an engine waits.

        One of which that failed begins anew. Raises StillRestoring with how far it is, or what it
        failed for.
        """
        restoring = entry.restoring
        if restoring is None:
            return
        restoring.begin()
        if (work := entry.work) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await work.ended.wait()
        if self._entries.find(entry.name) is entry:
            if entry.reason:
                raise Unavailable(f"volume {entry.name}: {entry.reason}")
            raise StillRestoring(entry.name, restoring.told(self._clock()))

    async def unmount(self, name: str, reference: str) -> None:
        """Drop one count of the reference; with the last one unmount, now or later.

        An unknown volume or reference is no error: engines repeat and lose calls. In whichever
        life of the engine it was counted, the engine that says it is over is believed.
        """
        if self._entries.find(name):
            work = self._unmount(name, reference)
            await self._operations.bounded(name, "unmount", work)
            await self._operations.let_go(name)

    async def release(self, name: str, reference: str, epoch: str) -> None:
        """Take back one Mount of this epoch whose answer could not be given."""
        if self._entries.find(name):
            work = self._unmount(name, reference, epoch)
            await self._operations.bounded(name, "unmount", work)
            await self._operations.let_go(name)

    async def vacate(self, entry: Entry, operation: str, *within: Entry) -> None:
        """See to it that nobody uses a volume, nor what is `within` it, and unmount it for good.

        Caller has the volume's lock. Raises VolumeInUse, naming who does.
        """
        entry.idle()
        claims = self._operations.claims
        if claims is not None:
            await claims.refuse_others(volume_of(entry.name))
        # First what is within, for it may be what holds the volume's device.
        for one in (*within, entry):
            if one.place is None and one is not entry:
                continue  # a snapshot that cannot be read was never mounted
            try:
                await self._vacate(one, operation)
            except VolumeInUse as error:
                if one.kind is not NameKind.CLONE:
                    raise
                # Of the names of private clones nobody outside knows.
                raise VolumeInUse(entry.name, error.holders) from None
            await self._drop_private(one)
        if claims is not None:
            await claims.alone(volume_of(entry.name))

    async def _vacate(self, entry: Entry, operation: str) -> None:
        backend, place = entry.usable()
        name, do = entry.name, self._operations.do
        entry.idle()
        if names := references.operators(entry.references):
            raise VolumeInUse(name, (_operator(name, held) for held in names))
        if references.unseen(entry.references):
            raise VolumeInUse(name, ["an engine whose containers this daemon cannot see"])
        age = self._clock() - entry.mounted_at
        if entry.references.holds and age < FRESH_SECONDS:
            await do(name, operation, self._steps.refuse_holders, backend, place)
            raise VolumeInUse(name, [f"a mount made or taken over {age:.0f} s ago"])
        try:
            await do(name, operation, self._steps.vacate, backend, place)
        except ConvoyError:
            entry.mounted = await do(name, operation, backend.is_mounted, place)
            raise
        entry.vacated(self._host.reference_store.none())

    @asynccontextmanager
    async def steady(
        self, doing: str, locked: Locked, *entries: Entry, still: bool = False
    ) -> AsyncIterator[None]:
        """Have volumes and snapshots stay as they are while long work reads them.

        Their locks, which the caller has by `locked_idle`, are given back so that unmounts go on
        meanwhile; other long work waits, and all that would take them away is refused. They can be
        mounted, unless they are to be `still`, or a volume is an image that nobody has mounted: a
        mount would change it, so it waits.
        """
        work = Work(doing, still or any(map(_changed_by_a_mount, entries)))
        for entry in entries:
            entry.work = work
        await locked.release(*(entry.name for entry in entries))
        try:
            yield
        finally:
            work.ended.set()
            for entry in entries:
                entry.work = None
                if entry.lingering or self._operations.claims is not None:
                    self._operations.track(asyncio.create_task(self._revisit(entry)))

    async def _revisit(self, entry: Entry) -> None:
        """Complete an unmount that had to wait, and let other hosts have what is used no more."""
        async with self._operations.locked_here(entry.name):
            if self._entries.find(entry.name) is entry and entry.lingering:
                await self.settle(entry, entry.references)
        await self._operations.let_go(entry.name)

    # Under the volume's lock

    async def _mount(self, name: str, reference: str, epoch: str) -> str:
        if self._host.isolation:
            raise Unavailable(f"volume {name}: {self._host.isolation}")
        spec = self._entries.get(name).spec
        if spec is not None and spec.per_mount and epoch != references.OPERATOR:
            volume, name = name, clone_name(name, reference)
            await self._have_private(volume, name)
        async with self._operations.locked_mountable(name):
            entry = self._entries.get(name)
            try:
                return await self._mount_locked(entry, reference, epoch)
            except ConvoyError:
                if entry.kind is NameKind.CLONE:
                    await self.settle(entry, entry.references)
                raise

    async def _mount_locked(self, entry: Entry, reference: str, epoch: str) -> str:
        backend, place = entry.usable()
        if references.is_anothers(entry.references, reference, epoch):
            raise VolumeInUse(
                entry.name, [f"an engine under the ID {reference}; take another name"]
            )
        held = references.acquire(entry.references, reference, epoch)
        threads = await self._operations.threads(entry.name)
        try:
            # Not by `do`: while the root is away, what is mounted can be used.
            with translated(entry.name, "mount"):
                fresh = await threads.run(self._steps.mount, backend, place, held)
        except ConvoyError as error:
            entry.mount_failed(str(error) if isinstance(error, Corrupt) else "")
            raise
        entry.mounted_by(held, self._clock())
        self.mounted.set()
        if fresh:
            await self.note_growth(entry)
        return str(backend.exposed(place))

    async def _unmount(self, name: str, reference: str, epoch: str | None = None) -> None:
        async with self._operations.locked_here(name):
            entry = self._entries.find(name)
            if entry is None:
                return
            entry = entry.clones.get(clone_name(name, reference), entry)
            held = references.release(entry.references, reference, epoch)
            if held is entry.references:
                return
            await self.settle(entry, held)

    async def settle(self, entry: Entry, held: References) -> None:
        """Record who still holds the volume and unmount it if nobody does.

        Caller has the volume's lock. What something else still holds stays mounted, and the
        janitor comes back for it: an Unmount that failed would make the engine keep its count.
        """
        entry.held_by(held)
        run = self._operations.blocking.run
        try:
            await run(self._steps.save_references, entry.name, held)
            if held.holds or entry.doing:
                return
            backend, place = entry.usable()
            threads = await self._operations.threads(entry.name)
            left = await threads.run(self._steps.unmount, backend, place)
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "unmount later", volume=entry.name, failure=error)
            return
        entry.unmounted(mounted=left.mounted, detached=left.detached, usage=left.usage)
        if left.detached:
            await self._drop_private(entry)

    # Private clones

    async def _have_private(self, volume: str, name: str) -> None:
        """Make the clone of a volume that one mount ID gets, unless it has it."""
        async with self._operations.locked_idle(volume) as locked:
            entry = self._entries.get(volume)
            entry.usable()
            if name in entry.clones:
                return
            async with self.steady("a private clone, which is being made", locked, entry):
                clone = await self._room.made_for(
                    lambda: self._operations.do(
                        volume, "mount", self._cloning.private_clone, entry, name
                    )
                )
                self._entries.put(clone)

    async def _drop_private(self, entry: Entry) -> None:
        """Delete a private clone that nobody has mounted any more; of others nothing is done.

        After a live-restore an engine may count to zero under a container that runs: so who really
        has it is looked up, and the janitor comes back for it.
        """
        if entry.kind is not NameKind.CLONE:
            return
        backend, place = entry.usable()
        try:
            await self._operations.do(entry.name, "unmount", self._steps.vacate, backend, place)
            gone = await self._operations.do(entry.name, "unmount", self._steps.retire, place)
        except ConvoyError as error:
            entry.lingering = True
            event(log, logging.INFO, "deleted later", volume=entry.name, failure=error)
            return
        self._entries.forget(entry.name)
        self._deletions.begin(gone)

    # Growth

    async def note_growth(self, entry: Entry) -> None:
        """Record that a growth is complete, as it is with a mount; if that fails, the next does."""
        if entry.kind is not NameKind.VOLUME:
            return
        record = entry.volume_record()
        if record.spec.grows_from is None:
            return
        spec = record.spec.model_copy(update={"grows_from": None})
        try:
            record = record.model_copy(update={"spec": spec})
            await rerecord(self._operations, self._host, entry, record)
        except ConvoyError as error:
            event(log, logging.WARNING, "growth is noted later", volume=entry.name, failure=error)


def _changed_by_a_mount(entry: Entry) -> bool:
    """Whether to mount it would write to what is read: an image of a volume, at rest."""
    return isinstance(entry.record, Record) and entry.has_own_filesystem and not entry.mounted


def _operator(name: str, hold: str) -> str:
    return f"`convoy mount` (end it with `convoy umount {name} --hold {shlex.quote(hold)}`)"
