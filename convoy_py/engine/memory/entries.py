"""What is known in memory: every volume, with its snapshots and private clones."""

import asyncio
from collections.abc import Iterator

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.views import snapshot_views
from convoy_py.errors import Invalid, NotFound, SnapshotNotFound, VolumeNotFound
from convoy_py.models.names import NameKind, kind_of, name_within, split_source, volume_of
from convoy_py.state.records import Record


class Entries:
    """The entries of one daemon, by name. No I/O, and used by one thread only."""

    def __init__(self) -> None:
        self.volumes: dict[str, Entry] = {}  # what is within one is in its entry
        self.rescheduled = asyncio.Event()  # set where one that has a schedule came or was changed

    def get(self, name: str) -> Entry:
        """The entry of a volume, a snapshot or a private clone; raises NotFound."""
        found = self.find(name)
        if found is not None:
            return found
        if kind_of(name) is NameKind.SNAPSHOT and (volume := self.volumes.get(volume_of(name))):
            raise SnapshotNotFound(name, [view.name for view in snapshot_views(volume)])
        raise VolumeNotFound(volume_of(name))

    def find(self, name: str) -> Entry | None:
        """The same; None if there is none."""
        volume = self.volumes.get(volume_of(name))
        if volume is None or volume.name == name:
            return volume
        return self._family(name).get(name)

    def snapshot(self, name: str) -> tuple[Entry, Entry]:
        """(volume, snapshot) of `db@nightly`, or of `nightly` where only one volume has it.

        The short form is Convoy's, whose snapshots had one name space. Raises NotFound.
        """
        volume, snapshot = split_source(name)
        if snapshot:
            return self.get(volume), self.get(name)
        found = [
            (entry, each)
            for entry in self.volumes.values()
            for full, each in entry.snapshots.items()
            if name_within(full) == name
        ]
        if len(found) == 1:
            return found[0]
        if not found:
            raise NotFound(f"no such snapshot: {name}; a full name is such as db@nightly")
        names = ", ".join(each.name for _, each in found)
        raise Invalid(f"snapshot {name} is ambiguous: say which of {names}")

    def everything(self) -> Iterator[Entry]:
        """Every volume and what is within it."""
        for entry in list(self.volumes.values()):
            yield from (entry, *entry.within())

    def uuids(self) -> set[str]:
        """Of all volumes whose records can be read."""
        return {entry.record.uuid for entry in self.volumes.values() if entry.record}

    def put(self, entry: Entry) -> None:
        """Make a volume, snapshot or clone known."""
        if entry.name == volume_of(entry.name):
            self.volumes[entry.name] = entry
            if isinstance(entry.record, Record) and entry.record.spec.is_scheduled:
                self.rescheduled.set()
        else:
            self._family(entry.name)[entry.name] = entry

    def forget(self, name: str) -> None:
        if name == volume_of(name):
            del self.volumes[name]
        else:
            del self._family(name)[name]

    def _family(self, name: str) -> dict[str, Entry]:
        volume = self.volumes[volume_of(name)]
        return volume.clones if kind_of(name) is NameKind.CLONE else volume.snapshots
