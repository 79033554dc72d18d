"""The trash: what was removed stays for a while, and goes first when space runs short."""

import bisect
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TypeVar

from convoy_py.engine.deletions import PATIENCE, Deletions
from convoy_py.engine.mirror import as_on_disk
from convoy_py.engine.operations import Operations
from convoy_py.engine.steps import Steps
from convoy_py.errors import AlreadyExists, ConvoyError, Corrupt, NoSpace, NotFound
from convoy_py.linux import files
from convoy_py.logs import event
from convoy_py.models.names import check_name
from convoy_py.models.trash import RemovedView
from convoy_py.models.volume import View
from convoy_py.state.passed import JUMP
from convoy_py.state.records import timestamp
from convoy_py.state.trash import Removed, age

log = logging.getLogger("convoy.trash")
T = TypeVar("T")


class TrashBin:
    """The removed volumes of one daemon, in memory, oldest first."""

    def __init__(
        self, operations: Operations, steps: Steps, deletions: Deletions, *, keep: float
    ) -> None:
        """`keep` is in seconds; 0 means that nothing is kept."""
        self._operations = operations
        self._steps = steps
        self._deletions = deletions
        self._keep = keep
        self._removed: list[Removed] = []

    @property
    def keeps(self) -> bool:
        return self._keep > 0

    def notes(self) -> list[str]:
        """What is to be known of why things are kept for longer than the wall clock says."""
        return [jump] if (jump := self._steps.trash.passed.jump) else []

    def open(self, removed: Sequence[Removed]) -> None:
        """Take what lay in the trash at start."""
        self._removed = list(removed)

    def add(self, removed: Removed) -> None:
        bisect.insort(self._removed, removed, key=age)

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
        """Bytes of the host that the trash holds; may be slow."""
        trash = self._steps.store.trash
        return await self._operations.blocking.run(lambda: files.disk_usage(trash)[1])

    async def restore(self, name: str, as_name: str = "") -> View:
        """Give a volume back, under another name if one is given; the last of several of its name.

        Raises NotFound, AlreadyExists, Corrupt if its record cannot be read.
        """
        removed = self._named(name)[-1]
        target = check_name(as_name or removed.name)
        if removed.record is None:
            raise Corrupt(f"{removed.home} has no record that can be read; look at it by hand")
        return await self._operations.bounded(
            target, "restore", self._restore(removed, name, target)
        )

    async def purge(self, name: str = "") -> list[str]:
        """Delete one volume, or all of its name, or with no name everything; returns their keys."""
        chosen = self._named(name) if name else list(self._removed)
        return await self._operations.bounded(name or "--all", "purge", self._purge(chosen))

    async def with_room(self, build: Callable[[], Awaitable[T]]) -> T:
        """Build something; if there is no room for it, again when some has been made."""
        waited = False
        while True:
            try:
                return await build()
            except NoSpace as error:
                # What is being deleted, or lies in the trash, may be the room that is missing.
                if self._deletions.pending and not waited:
                    waited = True  # once: a deletion may hang on dead storage
                    await self._deletions.settled(self._operations.time_limit)
                    continue
                # But a wish that cannot come true must not cost what others removed by mistake.
                if await self.size() < error.missing or not await self.purge_oldest():
                    raise

    async def purge_oldest(self) -> bool:
        """Make room: delete what was removed first; False if there is nothing.

        What nobody knows the age of is left for people to decide about.
        """
        oldest = next((removed for removed in self._removed if removed.removed), None)
        if oldest is None:
            return False
        event(log, logging.WARNING, "purged early: the host is short of space", volume=oldest.name)
        await self._delete(oldest)
        await self._deletions.settled(self._operations.time_limit)
        return True

    async def expire(self) -> None:
        """Delete what was kept for its time, and what is in the way when the host has no room."""
        await self._operations.blocking.run(self._steps.trash.passed.look)
        for removed in list(self._removed):
            if self._left(removed) <= 0:
                event(log, logging.INFO, "purged: its time is up", volume=removed.name)
                await self._delete(removed)
        while await self._operations.blocking.run(self._steps.ledger.is_short):
            if not await self.purge_oldest():
                return

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
        keys = [removed.key for removed in chosen if await self._delete(removed)]
        await self._deletions.settled(PATIENCE)
        return keys

    async def _delete(self, removed: Removed) -> bool:
        """Delete something; False if another purge, or a restore, was quicker."""
        if removed not in self._removed:
            return False
        async with self._taken(removed):
            home = await self._operations.do(
                removed.name, "purge", self._steps.trash.retire, removed
            )
        spec = removed.record.spec if removed.record else None
        self._deletions.begin(self._steps.nameless(home, spec))
        return True

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
        except OSError as error:
            event(log, logging.WARNING, "not looked at again", volume=key, failure=error)
            return
        self._removed = [removed for removed in self._removed if removed.key != key]
        if found is not None:
            self.add(found)

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
            until=self._until(removed),
            snapshots=removed.snapshots,
        )

    def _left(self, removed: Removed) -> float:
        """For how many seconds more it is kept; what has no date is left to people."""
        age = self._steps.trash.passed.since(removed.moment) if removed.moment else None
        return math.inf if age is None else self._keep - age

    def _until(self, removed: Removed) -> datetime | None:
        """When its time will be up, by the wall clock as it is set now; None if that is never."""
        left = self._left(removed)
        if removed.removed is None or left == math.inf:
            return None
        planned = removed.removed + timedelta(seconds=self._keep)
        until = timestamp(self._steps.wall_clock() + left)
        return planned if abs((until - planned).total_seconds()) < JUMP else until
