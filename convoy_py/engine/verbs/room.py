"""Makes room on the host: the trash goes first where space runs short, and nothing else ever."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.gain import Gain, measure
from convoy_py.engine.memory.pace import Pace
from convoy_py.engine.memory.unwritten import Unwritten
from convoy_py.engine.running.deletions import Deletions
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.host import Host
from convoy_py.engine.verbs.trash import TrashBin
from convoy_py.errors import HostFull, NoSpace, OperationFailed
from convoy_py.linux import mounts, space
from convoy_py.logs import event
from convoy_py.state.trash import RemovedVolume

log = logging.getLogger("convoy.trash")
T = TypeVar("T")

# Between two looks at the free space, and until the next if the trash had nothing to give.
LOOK_SECONDS = 0.5
RETRY_SECONDS = 30.0
# A purge is counted on to last so long at least, and at most.
SHORTEST_SECONDS, LONGEST_SECONDS = 3.0, 15.0
# How often room is made for one wish: others may take it.
ATTEMPTS = 5


class Room:
    """The host's room for the volumes of one daemon."""

    def __init__(
        self,
        operations: Operations,
        trash: TrashBin,
        host: Host,
        deletions: Deletions,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives seconds that never go back."""
        self._operations = operations
        self._entries = operations.entries
        self._trash = trash
        self._host = host
        self._deletions = deletions
        self._clock = clock
        self._giving = asyncio.Lock()  # what one purges may be enough for the next
        self._pace = Pace()
        self._unwritten = Unwritten(space.in_memory)
        self._lasts = SHORTEST_SECONDS  # seconds from the decision to purge until the space is free
        self._not_before = 0.0
        self._added = 0  # what was in the trash at the last look

    async def in_trash(self) -> int:
        """Bytes of the host that are free once all of the trash is purged; may take seconds.

        None are told while the root is away.
        """
        if not await self._operations.blocking.run(self._host.store.presence.look):
            return 0
        return (await self._gain()).of([removed.key for removed in self._trash.contents()])

    async def made_for(self, build: Callable[[], Awaitable[T]]) -> T:
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

    async def watch(self) -> None:
        """Have room for what is being written, before it is missing; every LOOK_SECONDS."""
        if self._trash.added != self._added:
            self._added, self._not_before = self._trash.added, 0.0
            self._pace.forget()  # what was removed may be what wrote
        if not self._trash.contents():
            return
        if await self._operations.blocking.run(self._soon_missing) <= 0:
            return
        if self._clock() >= self._not_before and not await self._give_way(
            self._soon_missing, partly=True
        ):
            self._not_before = self._clock() + RETRY_SECONDS

    def _missing(self, needs: int) -> int:
        return needs - self._host.ledger.free()

    def _soon_missing(self) -> int:
        """Bytes that the host lacks of its reserve and of what is written while a purge lasts.

        What is written into an image counts when it is, not when the image takes it of the host.
        Where nothing of ours is mounted nobody is to be cut off by what others write.
        """
        ledger = self._host.ledger
        free = ledger.free() - self._unwritten.look(self._mounted())
        pace = self._pace.look(self._clock(), free, ledger.takers())
        if not any(entry.mounted or entry.clones for entry in self._volumes()):
            self._pace.forget()
            pace = 0.0
        return ledger.reserve + int(pace * (LOOK_SECONDS + self._lasts)) - free

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
                there = [each for each in self._trash.contents() if each.key not in stuck]
                dated = {each.key: each for each in there if each.removed}
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

    async def _purge_early(self, removed: RemovedVolume) -> bool:
        """Purge for the sake of its blocks; False if they are not free before long."""
        event(log, logging.WARNING, "purged early: the host needs its space", volume=removed.name)
        began = self._clock()
        deletion = await self._trash.delete(removed)
        if deletion is None:
            return False
        await asyncio.wait({deletion}, timeout=self._operations.time_limit)
        if not deletion.done() or not deletion.result() or not await self._given_back():
            return False  # whatever is measured now, it is not what it will be
        self._lasts = min(max(SHORTEST_SECONDS, self._clock() - began), LONGEST_SECONDS)
        return True

    async def _given_back(self) -> bool:
        """Wait until the host's figures are true of what was deleted; False if they are not."""
        try:
            return await self._operations.blocking.run(
                space.given_back, self._host.store.root, self._operations.time_limit
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
            self._measure, {removed.key: removed.home for removed in self._trash.contents()}, paths
        )

    def _volumes(self) -> list[Entry]:
        return list(self._entries.volumes.values())

    def _mounted(self) -> list[Entry]:
        """The volumes and private clones that are; their snapshots do not grow."""
        found = [each for volume in self._volumes() for each in (volume, *volume.clones.values())]
        return [entry for entry in found if entry.mounted]

    def _measure(self, homes: Mapping[str, Path], paths: Sequence[Path]) -> Gain:
        store = self._host.store
        return measure(homes, [store.volumes, *mounts.beside(store.volumes, paths)])
