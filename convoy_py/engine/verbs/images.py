"""The images of snapshots that are backed up as they are: had, or made where there is none."""

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.imaging import Imaging, image_of
from convoy_py.engine.verbs.room import Room
from convoy_py.engine.verbs.uses import Uses
from convoy_py.errors import Cancelled, ConvoyError, Unsupported, replaced
from convoy_py.logs import event
from convoy_py.models.names import volume_of

log = logging.getLogger("convoy.engine")

_NO_IMAGE = (
    "only what is kept in an image (backend loopback) can be backed up as one file (--raw); a "
    "backup of its files, without --raw, is all there is, and can be restored anywhere"
)


class Images:
    """What raw backups of one daemon's volumes read."""

    def __init__(self, operations: Operations, uses: Uses, room: Room, imaging: Imaging) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._uses = uses
        self._room = room
        self._imaging = imaging

    def check(self, volumes: Iterable[str]) -> None:
        """Raise Unsupported, naming those of the volumes that are no images."""
        if others := [name for name in volumes if image_of(self._entries.get(name)) is None]:
            raise Unsupported(f"{', '.join(others)}: {_NO_IMAGE}")

    @asynccontextmanager
    async def of(
        self, snapshots: Sequence[str], progress: Progress
    ) -> AsyncIterator[dict[str, Entry | ConvoyError]]:
        """By the name of each snapshot, what has its image: itself, or a clone, which goes again.

        For a clone its volume stays as it is no longer than a copy of its image takes. Or why there
        is none: that costs no other snapshot its backup.
        """
        found: dict[str, Entry | ConvoyError] = {}
        clones: list[Entry] = []
        try:
            for name in snapshots:
                try:
                    snapshot = self._entries.get(name)
                    if image_of(self._entries.get(volume_of(name))) is None:
                        raise Unsupported(_NO_IMAGE)
                    if image_of(snapshot) is None:
                        snapshot = await self._clone(snapshot, progress)
                        clones.append(snapshot)
                    found[name] = snapshot
                except Cancelled:
                    raise
                except ConvoyError as error:
                    found[name] = error
            yield found
        finally:
            for clone in clones:
                await self._abandon(clone)

    async def _clone(self, snapshot: Entry, progress: Progress) -> Entry:
        name = snapshot.name
        volume = self._entries.get(volume_of(name))
        async with self._operations.locked_idle(volume.name, name) as locked:
            if self._entries.find(name) is not snapshot:
                raise replaced("a snapshot")
            async with self._uses.steady("a copy of its image", locked, volume, snapshot):
                clone = self._imaging.clone
                do = self._operations.do_long
                return await self._room.made_for(
                    lambda: do(volume.name, "backup", clone, volume, snapshot, progress)
                )

    async def _abandon(self, clone: Entry) -> None:
        try:
            await self._operations.do_long(clone.name, "backup", self._imaging.abandon, clone)
        except ConvoyError as error:
            event(log, logging.WARNING, "swept at next start", volume=clone.name, failure=error)
