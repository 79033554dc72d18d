"""Every verb on volumes: create, remove, mount, unmount, and what Get and List answer.

Changes of one volume are serialised by its lock; a repeat waits for what is running and then finds
it done, which is how it joins. Work goes on when the client has gone or the time is up. Reads are
from memory, without a lock.
"""

import asyncio
import logging
import shlex
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from convoy_py.backends.base import Backend, Place
from convoy_py.engine import references
from convoy_py.engine.blocking import Blocking
from convoy_py.engine.entry import Entry
from convoy_py.engine.ledger import HostSpace
from convoy_py.engine.locks import Locks
from convoy_py.engine.steps import Steps
from convoy_py.errors import (
    ConvoyError,
    Corrupt,
    NoSpace,
    OptionsDiffer,
    StillRunning,
    Unavailable,
    VolumeInUse,
    VolumeNotFound,
    failed,
)
from convoy_py.logs import event
from convoy_py.models.names import check_name
from convoy_py.models.volume import Options, View
from convoy_py.state.records import References

log = logging.getLogger("convoy.engine")
T = TypeVar("T")

# Docker gives a managed plugin 30 s; an answer must be on its way before that.
TIME_LIMIT = 25.0
# A container's start follows its Mount at once, but not in the same instant: for this long a
# reference counts as used although no mount namespace shows it yet.
FRESH = 10.0
# How long a Remove waits for the deletion of what it has already taken away.
DELETION_WAIT = 1.0
# Deletions at a time: slow ones must not take all the threads.
DELETIONS = 4


class Volumes:
    """The volumes of one daemon."""

    def __init__(
        self,
        steps: Steps,
        blocking: Blocking,
        clock: Callable[[], float],
        *,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        """`clock` gives seconds that never go back."""
        self._steps = steps
        self._blocking = blocking
        self._clock = clock
        self.locks = Locks()
        self._entries: dict[str, Entry] = {}
        self._ready = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._deletions: set[asyncio.Task[None]] = set()
        self._deleting = asyncio.Semaphore(DELETIONS)
        self._time_limit = time_limit
        self._stopping = False

    # Life

    @property
    def entries(self) -> Mapping[str, Entry]:
        """All volumes in memory; the janitor works on them under their locks."""
        return self._entries

    def open(self, entries: dict[str, Entry]) -> None:
        """Take the volumes that recovery found, and begin to answer."""
        self._entries = entries
        self._ready.set()

    async def ready(self) -> None:
        """Return once the records have been read."""
        if not self._ready.is_set():
            await self._ready.wait()

    def track(self, task: asyncio.Task[None]) -> None:
        """Have `drain` wait for a piece of background work too."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Refuse new changes and wait for those in flight."""
        self._stopping = True
        if pending := self._tasks | self._deletions:
            await asyncio.wait(pending, timeout=seconds)

    # Reads

    def get(self, name: str) -> View:
        return self._entry(name).view()

    def views(self) -> list[View]:
        return [entry.view() for _, entry in sorted(self._entries.items())]

    def listing(self) -> list[tuple[str, str]]:
        """(name, mountpoint or "") of every volume."""
        return [(name, entry.mountpoint()) for name, entry in self._entries.items()]

    def lingering(self) -> int:
        """How many unmounts are not complete, because something else holds the volume."""
        return sum(entry.lingering for entry in self._entries.values())

    def health(self) -> list[str]:
        """What keeps this daemon from serving, in words; empty when it is well."""
        return self._steps.problems()

    def check_reach(self, name: str, pid: int) -> None:
        """Raise Unavailable if what is mounted here would not be seen by the engine's process.

        Its container would write into an empty folder of the host. A pid of 0 is one unseen.
        """
        if pid and (problem := self._steps.isolation_from(pid)):
            raise Unavailable(f"volume {name}: {problem}")

    async def space(self) -> HostSpace:
        return await self._blocking.run(self._steps.ledger.space)

    async def kept(self) -> list[str]:
        return await self._blocking.run(self._steps.store.kept)

    async def drivers(self) -> dict[str, dict[str, str]]:
        """Each backend that is on, with what it can do here."""
        return {
            name: await self._blocking.run(backend.facts)
            for name, backend in self._steps.backends.items()
        }

    # Changes

    async def create(self, name: str, options: Options, *, adopt: bool = False) -> None:
        """Make a volume; do nothing if it exists and the given options match.

        `adopt` takes over the data that already lies in the volume's place.
        Raises OptionsDiffer, Invalid, Unsupported, NoSpace, AlreadyExists, StillRunning.
        """
        check_name(name)
        await self._bounded(name, "create", self._create(name, options, adopt=adopt))

    async def remove(self, name: str, *, keep_data: bool = False) -> None:
        """Delete a volume and its data, or with `keep_data` only forget it.

        Raises VolumeNotFound; VolumeInUse, naming the holders; BrokenVolume; StillRunning.
        """
        self._entry(name)
        await self._bounded(name, "remove", self._remove(name, keep_data=keep_data))

    async def mount(self, name: str, reference: str, epoch: str) -> str:
        """Mount if it is not mounted, count the reference, return the exposed folder."""
        self._entry(name)

        async def undo() -> None:
            await self._unmount(name, reference, epoch)

        return await self._bounded(name, "mount", self._mount(name, reference, epoch), undo)

    async def unmount(self, name: str, reference: str) -> None:
        """Drop one count of the reference; with the last one unmount, now or later.

        An unknown volume or reference is no error: engines repeat and lose calls. In whichever
        life of the engine it was counted, the engine that says it is over is believed.
        """
        if name in self._entries:
            await self._bounded(name, "unmount", self._unmount(name, reference))

    async def release(self, name: str, reference: str, epoch: str) -> None:
        """Take back one Mount of this epoch whose answer could not be given."""
        if name in self._entries:
            await self._bounded(name, "unmount", self._unmount(name, reference, epoch))

    # Under the volume's lock

    async def _create(self, name: str, options: Options, *, adopt: bool) -> None:
        async with self.locks.hold(name):
            entry = self._entries.get(name)
            if entry is not None and not (adopt and await self._lacks_record(entry)):
                entry.usable()
                assert entry.record is not None
                if differences := entry.record.spec.differences(self._settled(entry, options)):
                    raise OptionsDiffer(name, differences)
                return
            build = self._steps.adopt if adopt else self._steps.create
            deletions = set(self._deletions)
            try:
                self._entries[name] = await self._do(name, "create", build, name, options)
            except NoSpace:
                if not deletions:
                    raise
                # What was being deleted may be the room that is missing.
                await asyncio.wait(deletions, timeout=self._time_limit)
                self._entries[name] = await self._do(name, "create", build, name, options)

    def _settled(self, entry: Entry, options: Options) -> Options:
        """The options as the volume's backend would record them: it rounds a size, for instance."""
        backend, _ = entry.usable()
        try:
            spec = backend.resolve(options)
        except ConvoyError:
            return options  # what the backend would refuse differs from what it has
        given = {key: getattr(spec, key) for key, value in options if value is not None}
        return options.model_copy(update=given)

    async def _lacks_record(self, entry: Entry) -> bool:
        """Whether a volume is broken only for want of a record, which adopting would give it."""
        if entry.record is not None:
            return False
        return not await self._do(entry.name, "create", self._steps.store.has_record, entry.name)

    async def _remove(self, name: str, *, keep_data: bool) -> None:
        async with self.locks.hold(name):
            entry = self._entry(name)
            backend, place = entry.usable()
            if names := references.operators(entry.references):
                raise VolumeInUse(name, (_operator(name, held) for held in names))
            if references.unseen(entry.references):
                raise VolumeInUse(name, ["an engine whose containers this daemon cannot see"])
            age = self._clock() - entry.mounted_at
            if entry.references.holds and age < FRESH:
                await self._do(name, "remove", self._steps.refuse_holders, backend, place)
                raise VolumeInUse(name, [f"a mount made {age:.0f} s ago"])
            try:
                gone = await self._do(
                    name, "remove", self._steps.remove, backend, place, keep_data=keep_data
                )
            except ConvoyError:
                entry.mounted = await self._do(name, "remove", backend.is_mounted, place)
                raise
            del self._entries[name]
        if gone is not None:
            deletion = asyncio.create_task(self._delete(backend, gone))
            self._deletions.add(deletion)
            deletion.add_done_callback(self._deletions.discard)
            await asyncio.wait({deletion}, timeout=DELETION_WAIT)

    async def _delete(self, backend: Backend, place: Place) -> None:
        try:
            async with self._deleting:
                await self._blocking.run(backend.destroy, place)
        except Exception as error:  # noqa: BLE001 - whatever lay in the volume, the daemon goes on
            event(log, logging.WARNING, "delete at next start", volume=place.name, failure=error)

    async def _mount(self, name: str, reference: str, epoch: str) -> str:
        async with self.locks.hold(name):
            entry = self._entry(name)
            backend, place = entry.usable()
            if self._steps.isolation:
                raise Unavailable(f"volume {name}: {self._steps.isolation}")
            if references.is_anothers(entry.references, reference, epoch):
                raise VolumeInUse(name, [f"an engine under the ID {reference}; take another name"])
            held = references.acquire(entry.references, reference, epoch)
            try:
                await self._do(name, "mount", self._steps.mount, backend, place, held)
            except ConvoyError as error:
                if isinstance(error, Corrupt):
                    entry.reason = str(error)
                # Something may be mounted all the same: the janitor has a look.
                entry.lingering = not entry.references.holds
                raise
            entry.references = held
            entry.mounted, entry.lingering, entry.reason = True, False, ""
            entry.mounted_at = entry.held_at = self._clock()
            return str(backend.exposed(place))

    async def _unmount(self, name: str, reference: str, epoch: str | None = None) -> None:
        async with self.locks.hold(name):
            entry = self._entries.get(name)
            if entry is None:
                return
            held = references.release(entry.references, reference, epoch)
            if held is entry.references:
                return
            await self.settle(entry, held)

    async def settle(self, entry: Entry, held: References) -> None:
        """Record who still holds the volume and unmount it if nobody does.

        Caller holds the volume's lock. What something else still holds stays mounted, and the
        janitor comes back for it: an Unmount that failed would make the engine keep its count.
        """
        entry.references, entry.lingering = held, not held.holds
        try:
            await self._blocking.run(self._steps.save_references, entry.name, held)
            if held.holds:
                return
            backend, place = entry.usable()
            left = await self._blocking.run(self._steps.unmount, backend, place)
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "unmount later", volume=entry.name, failure=error)
            return
        entry.mounted, entry.lingering = left.mounted, not left.detached
        entry.usage = left.usage or entry.usage

    # How operations run

    async def _bounded(
        self,
        name: str,
        operation: str,
        work: Coroutine[Any, Any, T],
        undo: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        """Run `work` to its end, but wait for it only as long as Docker may wait.

        Work that ends after its caller was told StillRunning is undone by `undo`, if there is one.
        """
        if self._stopping:
            work.close()
            raise Unavailable(f"volume {name}: the daemon is stopping; repeat the command")
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=self._time_limit)
        if task.done():
            return task.result()
        late = asyncio.create_task(self._finish_late(name, operation, task, undo))
        self._tasks.add(late)
        late.add_done_callback(self._tasks.discard)
        raise StillRunning(name, operation, self._time_limit)

    async def _finish_late(
        self,
        name: str,
        operation: str,
        task: asyncio.Task[Any],
        undo: Callable[[], Awaitable[None]] | None,
    ) -> None:
        try:
            await task
            event(log, logging.INFO, f"{operation} done late", volume=name)
            if undo is not None:
                await undo()
        except ConvoyError as error:
            event(log, logging.WARNING, f"{operation} failed late", volume=name, failure=error)

    async def _do(
        self, name: str, operation: str, call: Callable[..., T], *args: Any, **kw: Any
    ) -> T:
        """Run a blocking step of an operation; the system's own errors are told as ours."""
        try:
            return await self._blocking.run(call, *args, **kw)
        except OSError as error:
            raise failed(f"volume {name}: {operation} failed", error) from error

    def _entry(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise VolumeNotFound(name) from None


def _operator(name: str, hold: str) -> str:
    return f"`convoy mount` (end it with `convoy umount {name} --hold {shlex.quote(hold)}`)"
