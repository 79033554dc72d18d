"""The trash: what was removed stays for a while, and can be had back."""

import asyncio
import bisect
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from convoy_py.engine.memory.aging import Aging
from convoy_py.engine.memory.views import volume_view
from convoy_py.engine.running.deletions import PATIENCE_SECONDS, Deletions
from convoy_py.engine.running.mirror import as_on_disk
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps import loading
from convoy_py.engine.steps.host import UNKNOWN, Host
from convoy_py.errors import (
    AlreadyExists,
    ConvoyError,
    Corrupt,
    NotFound,
    Unsettled,
)
from convoy_py.logs import event
from convoy_py.models.names import check_name
from convoy_py.models.trash import RemovedView
from convoy_py.models.volume import View
from convoy_py.state.trash import RemovedVolume, age

log = logging.getLogger("convoy.trash")
T = TypeVar("T")


class TrashBin:
    """The removed volumes of one daemon, in memory, oldest first."""

    def __init__(
        self,
        operations: Operations,
        host: Host,
        deletions: Deletions,
        *,
        keep: float,
    ) -> None:
        """`keep` is in seconds; 0: nothing is kept."""
        self._operations = operations
        self._host = host
        self._deletions = deletions
        self._aging = Aging(host.trash.passed, host.wall_clock, keep=keep)
        self._removed: list[RemovedVolume] = []
        self.added = 0  # how often something was put in

    @property
    def keeps(self) -> bool:
        return self._aging.keep > 0

    def notes(self) -> list[str]:
        """What is to be known of why things are kept for longer than the wall clock says."""
        return self._aging.notes()

    def open(self, removed: Sequence[RemovedVolume]) -> None:
        """Take what lay in the trash at start."""
        self._removed = list(removed)

    def add(self, removed: RemovedVolume) -> None:
        """Take in what was removed, or could not be restored or purged."""
        bisect.insort(self._removed, removed, key=age)
        self.added += 1

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

    def contents(self) -> list[RemovedVolume]:
        """Everything in the trash, oldest first, as it lies on the disk."""
        return list(self._removed)

    async def purge(self, name: str = "") -> list[str]:
        """Delete one volume, or all of its name, or with no name everything; returns their keys."""
        chosen = self._named(name) if name else list(self._removed)
        return await self._operations.bounded(name or "--all", "purge", self._purge(chosen))

    async def expire(self) -> None:
        """Delete what was kept for its time."""
        await self._operations.blocking.run(self._aging.look)
        for removed in list(self._removed):
            if self._aging.seconds_left(removed.moment) <= 0:
                event(log, logging.INFO, "purged: its time is up", volume=removed.name)
                try:
                    await self.delete(removed)
                except ConvoyError as error:
                    event(log, logging.WARNING, "not purged", volume=removed.name, failure=error)

    async def delete(self, removed: RemovedVolume) -> asyncio.Task[bool] | None:
        """Begin to delete something; None if another purge, or a restore, was quicker."""
        if removed not in self._removed:
            return None
        async with self._taken(removed):
            home = await self._operations.do(
                removed.name, "purge", self._host.trash.retire, removed
            )
        record = removed.record
        spec, data = (record.spec, record.data) if record else (UNKNOWN, None)
        return self._deletions.begun(self._host.nameless(home, spec, data))

    # Steps

    async def _restore(self, removed: RemovedVolume, name: str, target: str) -> View:
        operations = self._operations
        async with operations.locked(target):
            if target in operations.entries.volumes:
                raise AlreadyExists(
                    f"volume {target} exists; restore it under another name: "
                    f"`convoy trash restore {name} --as OTHER`"
                )
            if removed not in self._removed:
                raise NotFound(f"{name} is in the trash no longer")
            async with self._taken(removed), as_on_disk(operations, self._host, target):
                record = await operations.do(
                    target, "restore", self._host.trash.restore, removed, target
                )
            entry = await operations.do(
                target, "restore", loading.entry, self._host, target, record
            )
            operations.entries.put(entry)
            return volume_view(entry)

    async def _purge(self, chosen: Sequence[RemovedVolume]) -> list[str]:
        keys, problem = [], None
        for removed in chosen:
            try:
                if await self.delete(removed):
                    keys.append(removed.key)
            except ConvoyError as error:
                # What somebody deleted by hand is gone, as it was to be.
                if isinstance(error, Unsettled) or self._is_there(removed):
                    problem = error
        await self._deletions.settled(PATIENCE_SECONDS)
        if problem is not None:
            raise problem
        return keys

    @asynccontextmanager
    async def _taken(self, removed: RemovedVolume) -> AsyncIterator[None]:
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
            found = await self._operations.blocking.run(self._host.trash.find, key)
            await self._operations.blocking.run(self._host.store.presence.refuse)
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "not looked at again", volume=key, failure=error)
            return
        self._removed = [removed for removed in self._removed if removed.key != key]
        if found is not None:
            self.add(found)

    def _is_there(self, removed: RemovedVolume) -> bool:
        return any(each.key == removed.key for each in self._removed)

    def _named(self, name: str) -> list[RemovedVolume]:
        """Those of a key, or of a name; oldest first. Raises NotFound."""
        found = [r for r in self._removed if r.key == name] or [
            r for r in self._removed if r.name == name
        ]
        if not found:
            raise NotFound(f"no {name} in the trash; `convoy trash list` shows what is there")
        return found

    def _view(self, removed: RemovedVolume) -> RemovedView:
        return RemovedView(
            name=removed.name,
            key=removed.key,
            backend=removed.record.spec.backend if removed.record else "",
            removed=removed.removed,
            until=self._aging.until(removed.removed, removed.moment),
            snapshots=removed.snapshots,
        )
