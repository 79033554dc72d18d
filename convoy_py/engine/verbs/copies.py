"""The verbs on data itself: clone, diff, restore-file, convert."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.views import snapshot_views, volume_view
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.mirror import as_on_disk
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.cloning import Cloning, Converted
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.parts import opened
from convoy_py.engine.steps.snapshots import Copying
from convoy_py.engine.verbs.restores import Restores
from convoy_py.engine.verbs.room import Room
from convoy_py.engine.verbs.trash import TrashBin
from convoy_py.engine.verbs.uses import Uses
from convoy_py.engine.verbs.volumes import Volumes
from convoy_py.errors import (
    AlreadyExists,
    Conflict,
    Invalid,
)
from convoy_py.escapes import escaped, meanings, printable
from convoy_py.linux import trees
from convoy_py.linux.trees import Change
from convoy_py.models.names import joined
from convoy_py.models.volume import Options, View
from convoy_py.state.trash import trash_key

log = logging.getLogger("convoy.engine")

# So many changes are told one by one, and so many characters of their paths; all are counted.
TOLD_CHANGES = 1000
TOLD_CHARACTERS = 2**20


@dataclass
class Differences:
    """What came between two trees; `bytes` are those of added and changed files.

    The paths of `changes` are as users see them.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    bytes: int = 0
    changes: list[Change] = field(default_factory=list)
    truncated: bool = False
    characters: int = 0  # of all paths


class Copies:
    """What becomes of volumes' data, but for snapshots."""

    def __init__(
        self,
        operations: Operations,
        volumes: Volumes,
        uses: Uses,
        trash: TrashBin,
        room: Room,
        host: Host,
        *,
        copying: Copying,
        cloning: Cloning,
        restores: Restores,
    ) -> None:
        self._restores = restores
        self._operations = operations
        self._entries = operations.entries
        self._volumes = volumes
        self._uses = uses
        self._trash = trash
        self._room = room
        self._host = host
        self._copying = copying
        self._cloning = cloning

    async def clone(self, source: str, name: str, options: Options, progress: Progress) -> View:
        """Make a volume that begins as a copy of a volume or a snapshot; as `create` with `from`.

        What the options leave out is as at the source.
        """
        self._entries.get(source)
        if name in self._entries.volumes:
            raise AlreadyExists(f"volume {name} exists already")
        if options.source not in (None, source):
            raise Invalid(f"option from: the clone is made of {source}")
        asked = options.model_copy(update={"source": source})
        return await self._volumes.clone(name, asked, progress)

    async def diff(self, volume: str, one: str, other: str, progress: Progress) -> Differences:
        """What came between two snapshots of a volume; an empty name is the volume as it is now."""
        names = [joined(volume, one), joined(volume, other)]
        if names[0] == names[1]:
            raise Invalid(f"{names[0]} does not differ from itself: name two snapshots")
        async with self._steady(volume, names, "a comparison") as (older, newer):
            return await self._operations.do_long(volume, "diff", _compare, older, newer, progress)

    async def restore_file(self, volume: str, snapshot: str, path: str, progress: Progress) -> int:
        """Bring one file, or one folder with all in it, back from a snapshot; returns the bytes.

        It replaces what is there, atomically. `path` is as a container sees it below the volume,
        or as `diff` tells it.
        """
        ways = [_below(path, meaning) for meaning in meanings(path)]
        names = [joined(volume, snapshot), volume]
        doing = f"the restoring of {printable(path)}"
        async with self._steady(volume, names, doing) as (source, entry):
            await self._put(opened(source), source.name, entry, ways, progress)
        return progress.done

    async def restore_file_of_backup(
        self, volume: str, backup: str, repository: str, path: str, progress: Progress
    ) -> int:
        """The same from a backup of the volume, see `Finding.of`."""
        ways = [_below(path, meaning) for meaning in meanings(path)]
        self._entries.get(volume).usable()
        doing = f"the restoring of {printable(path)}"
        async with (
            self._restores.fetched(volume, backup, repository, ways, progress) as (home, url),
            self._steady(volume, [volume], doing) as (entry,),
        ):
            await self._put(nullcontext(home), url, entry, ways, progress)
        return progress.done

    async def _put(
        self,
        source: AbstractContextManager[Path],
        told: str,
        entry: Entry,
        ways: Sequence[PurePath],
        progress: Progress,
    ) -> None:
        put = self._copying.restore
        await self._operations.do_long(
            entry.name, "restore-file", put, source, told, entry, ways, progress
        )

    async def sweep(self, half_restored: Sequence[Entry]) -> None:
        """Take away what was being restored when an earlier daemon ended."""
        for entry in half_restored:
            await self._operations.put_right(entry, self._copying.sweep_restored, entry)

    async def convert(self, volume: str, options: Options, progress: Progress) -> View:
        """Change a volume that nobody uses into one of another backend, filesystem or size.

        The old data goes to the trash. Raises Conflict if there are snapshots, which cannot follow.
        """
        self._host.store.refuse_shared("to convert a volume")
        async with self._operations.locked(volume) as locked:
            entry = self._entries.get(volume)
            if views := snapshot_views(entry):
                names = ", ".join(joined(volume, view.name) for view in views)
                raise Conflict(
                    f"volume {volume} has snapshots, which a conversion cannot take along "
                    f"({names}): delete them, or `convoy clone {volume} NEW` with the options"
                )
            await self._uses.vacate(entry, "convert", *entry.within())
            async with self._uses.steady("its conversion", locked, entry, still=True):
                backend, place = entry.usable()
                usage = await self._operations.do(
                    volume, "convert", backend.usage, place, self._host.wall_clock()
                )
                progress.total = 2 * usage.content
                progress.note = "copying and comparing"
                converted = await self._room.made_for(
                    lambda: self._operations.do_long(
                        volume, "convert", self._cloning.convert, entry, options, progress
                    )
                )
                return volume_view(await self._swap(entry, converted))

    async def _swap(self, volume: Entry, converted: Converted) -> Entry:
        """Let what a volume was converted into take its place; called without its lock."""
        operations, name = self._operations, volume.name
        # Only now, for what changes records meanwhile, such as `protect`, need not wait so long.
        async with operations.locked(name):
            # If the root was away meanwhile, the volume was read again, and may have been mounted.
            old = volume.volume_record() if operations.entries.find(name) is volume else None
            async with (
                self._trash.as_on_disk(trash_key(converted.old)),
                as_on_disk(operations, self._host, name),
            ):
                new, removed = await operations.do(
                    name, "convert", self._cloning.swap, converted, old
                )
            self._trash.add(removed)
            operations.entries.put(new)
            return new

    @asynccontextmanager
    async def _steady(
        self, volume: str, names: Sequence[str], doing: str
    ) -> AsyncIterator[list[Entry]]:
        """The entries of these names, all of one volume, which stay as they are meanwhile."""
        async with self._operations.locked_idle(*names) as locked:
            entries = [self._entries.get(name) for name in names]
            for entry in entries:
                entry.usable()
            async with self._uses.steady(doing, locked, *entries):
                yield entries


def _compare(one: Entry, other: Entry, progress: Progress) -> Differences:
    found = Differences()
    with opened(one) as before, opened(other) as after:
        for change in trees.compare(before, after, progress, content=False):
            _count(found, change)
    return found


def _count(found: Differences, change: Change) -> None:
    setattr(found, change.kind, getattr(found, change.kind) + 1)
    if change.kind != "removed":
        found.bytes += change.size
    found.characters += len(change.path)
    if len(found.changes) < TOLD_CHANGES and found.characters <= TOLD_CHARACTERS:
        found.changes.append(replace(change, path=escaped(change.path)))
    else:
        found.truncated = True


def _below(told: str, path: str) -> PurePath:
    """A path below a volume's root; it is `told` so by a user."""
    relative = PurePath(path.lstrip("/"))
    if not relative.parts or ".." in relative.parts or "\0" in path:
        raise Invalid(f"path {told!r}: name a file or folder below the volume's root")
    return relative
