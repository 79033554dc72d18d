"""The snapshots that backups to come are compared with: one of each volume and repository stays."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from convoy_py.engine.memory.entries import Entries
from convoy_py.engine.memory.views import all_snapshot_views, bases
from convoy_py.engine.steps.imaging import image_of
from convoy_py.engine.verbs.repositories import Repositories
from convoy_py.engine.verbs.snapshots import Snapshots
from convoy_py.errors import ConvoyError
from convoy_py.logs import event
from convoy_py.models.backup import BackupView
from convoy_py.models.names import volume_of
from convoy_py.models.snapshot import Way
from convoy_py.state.records import SnapshotRecord

log = logging.getLogger("convoy.engine")

# Of so many volumes they are deleted at a time, which is to wait for the disk.
_AT_A_TIME = 8


class Bases:
    """Those of one daemon's volumes; they are unlisted, and known by their full names."""

    def __init__(self, entries: Entries, repositories: Repositories, snapshots: Snapshots) -> None:
        self._entries = entries
        self._repositories = repositories
        self._snapshots = snapshots
        self._begun: set[str] = set()  # snapshots that are yet to be backed up

    def begin(self, names: Iterable[str]) -> None:
        """Keep what was taken to be backed up, whatever else is, until `settle`."""
        self._begun.update(names)

    async def settle(
        self, repository: str, names: Sequence[str], done: Sequence[BackupView]
    ) -> None:
        """Of what has begun, and is backed up or has failed, keep what is to be compared with."""
        turns = asyncio.Semaphore(_AT_A_TIME)

        async def settled(name: str) -> None:
            async with turns:
                await self._settle(repository, name, done)

        self._begun.difference_update(names)
        await asyncio.gather(*map(settled, names))

    async def forget(self, repository: str) -> None:
        """Delete all of a repository that is not known any more."""
        for volume in list(self._entries.volumes.values()):
            for base in bases(volume, repository):
                await self._delete(base)

    async def sweep(self) -> None:
        """Delete what no backup to come is compared with; at start, when none is going on.

        What was backed up is the oldest that a repository has of a volume: a backup deletes all
        that are older, and one that was cut off leaves newer ones. Of a repository that nobody
        knows any more none is needed.
        """
        for volume in list(self._entries.volumes.values()):
            for repository in {view.base_of for view in all_snapshot_views(volume)} - {""}:
                found = bases(volume, repository)
                gone = await self._repositories.is_nobodys(repository)
                await self._drop(found if gone else found[:-1])

    async def _settle(self, repository: str, name: str, done: Sequence[BackupView]) -> None:
        entry = self._entries.find(name)
        if entry is None or not isinstance(entry.record, SnapshotRecord):
            return
        volume = self._entries.get(volume_of(name))
        older = [each for each in bases(volume, repository) if each != name]
        view = next((view for view in done if view.snapshot == entry.record.uuid), None)
        if view is None:
            superfluous = [name]
        elif entry.record.way is Way.COPY:
            superfluous = [name, *older]  # it has room of its own for every byte
        elif view.raw and image_of(entry) is None:
            superfluous = [name]  # what was backed up, a clone, is gone
        else:
            superfluous = older
        await self._drop(superfluous)

    async def _drop(self, found: Sequence[str]) -> None:
        """Delete what no backup is compared with any more, but not what has just begun."""
        for base in found:
            if base not in self._begun:
                await self._delete(base)

    async def _delete(self, base: str) -> None:
        try:
            await self._snapshots.delete(base)
        except ConvoyError as error:
            event(log, logging.WARNING, "not deleted", volume=base, failure=error)
