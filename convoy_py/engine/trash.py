"""The trash: what was removed stays for a while, and goes first when space runs short."""

import asyncio
import bisect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from convoy_py.engine.aging import Aging
from convoy_py.engine.deletions import PATIENCE, Deletions
from convoy_py.engine.entry import Entry
from convoy_py.engine.gain import Gain, measure
from convoy_py.engine.mirror import as_on_disk
from convoy_py.engine.operations import Operations
from convoy_py.engine.pace import Pace
from convoy_py.engine.steps import Steps
from convoy_py.engine.unwritten import Unwritten
from convoy_py.errors import (
    AlreadyExists,
    ConvoyError,
    Corrupt,
    HostFull,
    NoSpace,
    NotFound,
    OperationFailed,
    Unsettled,
)
from convoy_py.linux import mounts, space
from convoy_py.logs import event
from convoy_py.models.names import check_name
from convoy_py.models.trash import RemovedView
from convoy_py.models.volume import View
from convoy_py.state.trash import Removed, age

log = logging.getLogger("convoy.trash")
T = TypeVar("T")

# Seconds between two looks at the free space, and until the next if the trash had nothing to give.
LOOK = 0.5
RETRY = 30.0
# A purge is counted on to last so many seconds at least, and at most.
SHORTEST, LONGEST = 3.0, 15.0
# How often room is made for one wish: others may take it.
ATTEMPTS = 5


class TrashBin:
    """The removed volumes of one daemon, in memory, oldest first."""

    def __init__(
        self,
        operations: Operations,
        steps: Steps,
        deletions: Deletions,
        clock: Callable[[], float],
        *,
        keep: float,
    ) -> None:
        """`keep` is in seconds; 0: nothing is kept. `clock` gives seconds that never go back."""
        self._operations = operations
        self._steps = steps
        self._deletions = deletions
        self._clock = clock
        self._aging = Aging(steps.trash.passed, steps.wall_clock, keep=keep)
        self._giving = asyncio.Lock()  # what one purges may be enough for the next
        self._pace = Pace()
        self._unwritten = Unwritten(space.in_memory)
        self._lasts = SHORTEST  # seconds from the decision to purge until the space is free
        self._not_before = 0.0
        self._removed: list[Removed] = []

    @property
    def keeps(self) -> bool:
        return self._aging.keep > 0

    def notes(self) -> list[str]:
        """What is to be known of why things are kept for longer than the wall clock says."""
        return self._aging.notes()

    def open(self, removed: Sequence[Removed]) -> None:
        """Take what lay in the trash at start."""
        self._removed = list(removed)

    def add(self, removed: Removed) -> None:
        """Take in what was removed, or could not be restored or purged."""
        bisect.insort(self._removed, removed, key=age)
        self._not_before = 0.0
        self._pace.forget()  # it may be what wrote

    @asynccontextmanager
    async def as_on_disk(self, key: str) -> AsyncIterator[None]:
        """Where the block fails, have memory be what the disk has under a key."""
        try:
            yield
        except (OSError, ConvoyError):
            await self._look(key)
            raise

    def views(self) -> list[RemovedView]:
        """Everything in the trash, oldest first."""
        return [self._view(removed) for removed in self._removed]

    async def size(self) -> int:
        """Bytes of the host that are free once all of the trash is purged; may take seconds.

        None are told while the root is away.
        """
        if not await self._operations.blocking.run(self._steps.store.presence.look):
            return 0
        return (await self._gain()).of([removed.key for removed in self._removed])

    async def restore(self, name: str, as_name: str = "") -> View:
        """Give a volume back, under another name if one is given; the last of several of its name.

        Raises NotFound, AlreadyExists, Corrupt if its record cannot be read.
        """
        removed = self._named(name)[-1]
        target = check_name(as_name or removed.name)
        if removed.record is None:
            raise Corrupt(
                f"{removed.home} has no record that can be read ({removed.problem}); "
                "look at it by hand"
            )
        return await self._operations.bounded(
            target, "restore", self._restore(removed, name, target)
        )

    async def purge(self, name: str = "") -> list[str]:
        """Delete one volume, or all of its name, or with no name everything; returns their keys."""
        chosen = self._named(name) if name else list(self._removed)
        return await self._operations.bounded(name or "--all", "purge", self._purge(chosen))

    async def with_room(self, build: Callable[[], Awaitable[T]]) -> T:
        """Build something; if the host has no room for it, again when some has been made."""
        for attempt in range(ATTEMPTS):
            try:
                return await build()
            except NoSpace as error:
                # What is being deleted may be the room that is missing.
                if attempt == 0 and self._deletions.pending:
                    await self._deletions.settled(self._operations.time_limit)
                # But nothing that was removed goes for what no purge of it can help.
                elif not isinstance(error, HostFull) or not await self._give_way(
                    partial(self._missing, error.needs)
                ):
                    raise
        return await build()

    async def expire(self) -> None:
        """Delete what was kept for its time."""
        await self._operations.blocking.run(self._aging.look)
        for removed in list(self._removed):
            if self._aging.left(removed.moment) <= 0:
                event(log, logging.INFO, "purged: its time is up", volume=removed.name)
                try:
                    await self._delete(removed)
                except ConvoyError as error:
                    event(log, logging.WARNING, "not purged", volume=removed.name, failure=error)

    async def watch(self) -> None:
        """Have room for what is being written, before it is missing; to be done every LOOK s."""
        if not self._removed:
            return
        if await self._operations.blocking.run(self._soon_missing) <= 0:
            return
        if self._clock() >= self._not_before and not await self._give_way(
            self._soon_missing, partly=True
        ):
            self._not_before = self._clock() + RETRY

    def _missing(self, needs: int) -> int:
        return needs - self._steps.ledger.free()

    def _soon_missing(self) -> int:
        """Bytes that the host lacks of its reserve and of what is written while a purge lasts.

        What is written into an image counts when it is, not when the image takes it of the host.
        Where nothing of ours is mounted nobody is to be cut off by what others write.
        """
        ledger = self._steps.ledger
        free = ledger.free() - self._unwritten.look(self._mounted())
        pace = self._pace.look(self._clock(), free, ledger.takers())
        if not any(entry.mounted or entry.clones for entry in self._volumes()):
            self._pace.forget()
            pace = 0.0
        return ledger.reserve + int(pace * (LOOK + self._lasts)) - free

    async def _give_way(self, missing: Callable[[], int], *, partly: bool = False) -> bool:
        """Purge the oldest, one by one, until nothing is missing; whether that was reached.

        Nothing goes that does not have to, and nothing at all if all of it together would not do,
        unless what it gives is to be had `partly`. What has no date is left to people.
        """
        run = self._operations.blocking.run
        async with self._giving:
            if await run(missing) <= 0:
                return True
            # It may be there already: of what users deleted, or XFS has set aside for their files.
            if not await self._given_back():
                return False
            gain, stuck = await self._gain(), set[str]()
            while (lacks := await run(missing)) > 0:
                dated = {r.key: r for r in self._removed if r.removed and r.key not in stuck}
                most = gain.of(dated)
                chosen = gain.choose(list(dated), min(lacks, most) if partly else lacks)
                if not chosen:
                    return False
                removed = dated[chosen[0]]
                try:
                    if not await self._purge_early(removed):
                        return False
                except OperationFailed as error:  # but another may go
                    event(log, logging.WARNING, "not purged", volume=removed.name, failure=error)
                    stuck.add(removed.key)
                else:
                    gain = gain.without(removed.key)
            return True

    async def _purge_early(self, removed: Removed) -> bool:
        """Purge for the sake of its blocks; False if they are not free before long."""
        event(log, logging.WARNING, "purged early: the host needs its space", volume=removed.name)
        began = self._clock()
        deletion = await self._delete(removed)
        if deletion is None:
            return False
        await asyncio.wait({deletion}, timeout=self._operations.time_limit)
        if not deletion.done() or not deletion.result() or not await self._given_back():
            return False  # whatever is measured now, it is not what it will be
        self._lasts = min(max(SHORTEST, self._clock() - began), LONGEST)
        return True

    async def _given_back(self) -> bool:
        """Wait until the host's figures are true of what was deleted; False if they are not."""
        try:
            return await self._operations.blocking.run(
                space.given_back, self._steps.store.root, self._operations.time_limit
            )
        except OSError as error:
            event(log, logging.WARNING, "free space is not certain", failure=error)
            return False

    async def _gain(self) -> Gain:
        """What the trash would give back."""
        paths = [
            Path(entry.spec.path)
            for entry in self._volumes()
            if entry.spec is not None and entry.spec.path is not None
        ]
        return await self._operations.blocking.run(
            self._measure, {removed.key: removed.home for removed in self._removed}, paths
        )

    def _volumes(self) -> list[Entry]:
        return list(self._operations.entries.values())

    def _mounted(self) -> list[Entry]:
        """The volumes and private clones that are; their snapshots do not grow."""
        found = [each for volume in self._volumes() for each in (volume, *volume.clones.values())]
        return [entry for entry in found if entry.mounted]

    def _measure(self, homes: Mapping[str, Path], paths: Sequence[Path]) -> Gain:
        store = self._steps.store
        return measure(homes, [store.volumes, *mounts.beside(store.volumes, paths)])

    async def _restore(self, removed: Removed, name: str, target: str) -> View:
        operations = self._operations
        async with operations.hold(target):
            if target in operations.entries:
                raise AlreadyExists(
                    f"volume {target} exists; restore it under another name: "
                    f"`convoy trash restore {name} --as OTHER`"
                )
            if removed not in self._removed:
                raise NotFound(f"{name} is in the trash no longer")
            async with self._taken(removed), as_on_disk(operations, self._steps, target):
                record = await operations.do(
                    target, "restore", self._steps.trash.restore, removed, target
                )
            entry = await operations.do(target, "restore", self._steps.entry, target, record)
            operations.put(entry)
            return entry.view()

    async def _purge(self, chosen: Sequence[Removed]) -> list[str]:
        keys, problem = [], None
        for removed in chosen:
            try:
                if await self._delete(removed):
                    keys.append(removed.key)
            except ConvoyError as error:
                # What somebody deleted by hand is gone, as it was to be.
                if isinstance(error, Unsettled) or self._is_there(removed):
                    problem = error
        await self._deletions.settled(PATIENCE)
        if problem is not None:
            raise problem
        return keys

    async def _delete(self, removed: Removed) -> asyncio.Task[bool] | None:
        """Begin to delete something; None if another purge, or a restore, was quicker."""
        if removed not in self._removed:
            return None
        async with self._taken(removed):
            home = await self._operations.do(
                removed.name, "purge", self._steps.trash.retire, removed
            )
        spec = removed.record.spec if removed.record else None
        return self._deletions.begun(self._steps.nameless(home, spec))

    @asynccontextmanager
    async def _taken(self, removed: Removed) -> AsyncIterator[None]:
        """Take something out of memory, for good unless the block fails and it is still there."""
        self._removed.remove(removed)
        try:
            yield
        except BaseException:
            self.add(removed)
            await self._look(removed.key)
            raise

    async def _look(self, key: str) -> None:
        try:
            found = await self._operations.blocking.run(self._steps.trash.find, key)
            await self._operations.blocking.run(self._steps.store.presence.refuse)
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "not looked at again", volume=key, failure=error)
            return
        self._removed = [removed for removed in self._removed if removed.key != key]
        if found is not None:
            self.add(found)

    def _is_there(self, removed: Removed) -> bool:
        return any(each.key == removed.key for each in self._removed)

    def _named(self, name: str) -> list[Removed]:
        """Those of a key, or of a name; oldest first. Raises NotFound."""
        found = [r for r in self._removed if r.key == name] or [
            r for r in self._removed if r.name == name
        ]
        if not found:
            raise NotFound(f"no {name} in the trash; `convoy trash list` shows what is there")
        return found

    def _view(self, removed: Removed) -> RemovedView:
        return RemovedView(
            name=removed.name,
            key=removed.key,
            backend=removed.record.spec.backend if removed.record else "",
            removed=removed.removed,
            until=self._aging.until(removed.removed, removed.moment),
            snapshots=removed.snapshots,
        )
