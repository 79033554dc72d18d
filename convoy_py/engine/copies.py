"""The verbs on data itself: clone, diff, restore-file, convert, adopt."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePath

from convoy_py.docker_volumes import Docker, LocalVolume
from convoy_py.engine.cloning import Cloning, Converted
from convoy_py.engine.copying import Copying
from convoy_py.engine.entry import Entry
from convoy_py.engine.jobs import Progress
from convoy_py.engine.mirror import as_on_disk
from convoy_py.engine.operations import Operations
from convoy_py.engine.parts import opened
from convoy_py.engine.pausing import Pausing, stopped
from convoy_py.engine.steps import Steps
from convoy_py.engine.volumes import Volumes
from convoy_py.errors import (
    AlreadyExists,
    Conflict,
    ConvoyError,
    Invalid,
    NoAnswer,
    NotFound,
    Unsettled,
    VolumeInUse,
    failed,
)
from convoy_py.escapes import meanings, printable
from convoy_py.linux import files, trees
from convoy_py.linux.trees import Change
from convoy_py.logs import event
from convoy_py.models.names import check_name, joined
from convoy_py.models.volume import Options, View
from convoy_py.state.trash import trash_key

log = logging.getLogger("convoy.engine")

# So many changes are told one by one, and so many characters of their paths; all are counted.
TOLD = 1000
TOLD_CHARACTERS = 2**20


@dataclass
class Differences:
    """What came between two trees; `bytes` are those of added and changed files."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    bytes: int = 0
    changes: list[Change] = field(default_factory=list)
    truncated: bool = False
    characters: int = 0  # of all paths


@dataclass(frozen=True)
class AdoptedVolume:
    """One of Docker's volumes that was, or would be, taken over."""

    docker_volume: str
    name: str
    bytes: int
    files: int = 0
    note: str = ""  # what stands in the way, or what to do next


class Copies:
    """What becomes of volumes' data, but for snapshots."""

    def __init__(
        self,
        volumes: Volumes,
        steps: Steps,
        copying: Copying,
        cloning: Cloning,
        docker: Docker,
        pausing: Pausing,
    ) -> None:
        self._volumes = volumes
        self._trash = volumes.trash
        self._operations: Operations = volumes.operations
        self._steps = steps
        self._copying = copying
        self._cloning = cloning
        self._docker = docker
        self._pausing = pausing

    async def clone(self, source: str, name: str, options: Options, progress: Progress) -> View:
        """Make a volume that begins as a copy of a volume or a snapshot; as `create` with `from`.

        What the options leave out is as at the source.
        """
        self._operations.entry(source)
        if name in self._operations.entries:
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
            restore = self._copying.restore
            await self._operations.do_long(
                volume, "restore-file", restore, source, entry, ways, progress
            )
        return progress.done

    async def sweep(self, half_restored: Sequence[Entry]) -> None:
        """Take away what was being restored when an earlier daemon ended."""
        for entry in half_restored:
            await self._operations.put_right(entry, self._copying.sweep_restored, entry)

    async def convert(self, volume: str, options: Options, progress: Progress) -> View:
        """Change a volume that nobody uses into one of another backend, filesystem or size.

        The old data goes to the trash. Raises Conflict if there are snapshots, which cannot follow.
        """
        async with self._operations.hold(volume) as held:
            entry = self._operations.entry(volume)
            if entry.snapshots:
                names = ", ".join(entry.snapshots)
                raise Conflict(
                    f"volume {volume} has snapshots, which a conversion cannot take along "
                    f"({names}): delete them, or `convoy clone {volume} NEW` with the options"
                )
            await self._volumes.vacate(entry, "convert", *entry.within())
            async with self._volumes.steady("its conversion", held, entry, still=True):
                backend, place = entry.usable()
                usage = await self._operations.do(
                    volume, "convert", backend.usage, place, self._steps.wall_clock()
                )
                progress.total = 2 * (usage.used or usage.allocated or 0)
                progress.note = "copying and comparing"
                converted = await self._trash.with_room(
                    lambda: self._operations.do_long(
                        volume, "convert", self._cloning.convert, entry, options, progress
                    )
                )
                return (await self._swap(entry, converted)).view()

    async def _swap(self, volume: Entry, converted: Converted) -> Entry:
        """Let what a volume was converted into take its place; its lock is not held."""
        operations, name = self._operations, volume.name
        # Only now, for what changes records meanwhile, such as `protect`, need not wait so long.
        async with operations.hold(name):
            # If the root was away meanwhile, the volume was read again, and may have been mounted.
            old = volume.volume_record() if operations.find(name) is volume else None
            async with (
                self._trash.as_on_disk(trash_key(converted.old)),
                as_on_disk(operations, self._steps, name),
            ):
                new, removed = await operations.do(
                    name, "convert", self._cloning.swap, converted, old
                )
            self._trash.add(removed)
            operations.put(new)
            return new

    async def adopt(
        self,
        docker_volume: str,
        compose_project: str,
        name: str,
        options: Options,
        progress: Progress,
        *,
        dry_run: bool = False,
        stop_containers: bool = False,
    ) -> list[AdoptedVolume]:
        """Copy volumes of Docker's `local` driver, which stay as they are, into volumes of ours.

        All or none. Containers that were stopped stay so, for they would go on writing to the old
        volumes; if it fails they are started again. With `dry_run` only say what would be done.
        """
        run = self._operations.blocking.run
        if docker_volume:
            found = [await run(self._docker.local_volume, docker_volume)]
        else:
            found = await run(self._docker.local_volumes_of_project, compose_project)
        if not found:
            raise NotFound(
                f"compose project {compose_project} has no volume of Docker's own driver local"
            )
        if name and len(found) != 1:
            raise Invalid("one name fits one volume: leave it out")
        plans = [
            await self._adoption(local, name or local.name, options, dry_run=dry_run)
            for local in found
        ]
        if dry_run:
            return plans
        users = {user.id: user for local in found for user in local.users}
        if users and not stop_containers:
            used = ", ".join(local.name for local in found if local.users)
            holders = [*map(str, users.values())]
            raise VolumeInUse(used, [f"{', '.join(holders)} (--stop-containers stops them)"])
        progress.total = 2 * sum(plan.bytes for plan in plans)
        adopted: list[AdoptedVolume] = []
        blocking = self._operations.blocking
        async with stopped(self._pausing, blocking, list(users.values()), stay=True):
            try:
                for local, plan in zip(found, plans, strict=True):
                    adopted.append(await self._adopt(local, plan, options, progress))
            except BaseException as error:
                if stay := await self._take_back(adopted):
                    told = f"{error}; adopted all the same: {', '.join(stay)}"
                    raise Unsettled(told) from error
                raise
        return adopted

    async def _take_back(self, adopted: Sequence[AdoptedVolume]) -> list[str]:
        """Delete volumes again that were adopted; returns the names of those that stay.

        The first Mount of one is its point of no return: then it may have more than was copied.
        """
        stay = []
        for each in adopted:
            entry = self._operations.entries.get(each.name)
            if entry is not None and entry.mounted_at:
                stay.append(each.name)
                continue
            try:
                await self._volumes.remove(each.name, to_trash=False)
            except ConvoyError as error:
                event(log, logging.WARNING, "adopted all the same", volume=each.name, failure=error)
                stay.append(each.name)
        return stay

    async def _adoption(
        self, local: LocalVolume, name: str, options: Options, *, dry_run: bool
    ) -> AdoptedVolume:
        """What taking over a volume would come to; raises what stands in the way.

        That its storage hangs is told, in a `dry_run`, beside what is known of the others.
        """
        check_name(name)
        if name in self._operations.entries:
            raise AlreadyExists(f"volume {name} exists already: give another name")
        threads = await self._operations.blocking.of(str(local.mountpoint))
        try:
            size, takes = await threads.ask(
                f"Docker volume {local.name}", partial(_measured, local)
            )
        except NoAnswer as error:
            if not dry_run:
                raise
            return AdoptedVolume(local.name, name, 0, note=str(error))
        except OSError as error:
            raise failed(f"volume {name}: adopt failed", error) from error
        await self._operations.do(name, "adopt", self._cloning.check_adoption, name, takes, options)
        users = ", ".join(map(str, local.users))
        note = f"in use by {users}, to be stopped first" if users else ""
        return AdoptedVolume(local.name, name, size, note=note)

    async def _adopt(
        self, local: LocalVolume, plan: AdoptedVolume, options: Options, progress: Progress
    ) -> AdoptedVolume:
        name = plan.name
        progress.note = f"copying and comparing {local.name}"
        async with self._operations.hold(name):
            if name in self._operations.entries:
                raise AlreadyExists(f"volume {name} exists already: give another name")
            entry, files = await self._trash.with_room(
                lambda: self._operations.do_long_at(
                    str(local.mountpoint),
                    name,
                    "adopt",
                    lambda: self._cloning.adopt(name, local.folder, options, progress),
                )
            )
            self._operations.put(entry)
        note = (
            f"Docker's own {local.name} is as it was: remove its containers and `docker volume rm "
            f"{local.name}`, then start them with driver convoy"
        )
        return replace(plan, files=files, note=note)

    @asynccontextmanager
    async def _steady(
        self, volume: str, names: Sequence[str], doing: str
    ) -> AsyncIterator[list[Entry]]:
        """The entries of these names, all of one volume, which stay as they are meanwhile."""
        async with self._operations.hold_idle(*names) as held:
            entries = [self._operations.entry(name) for name in names]
            for entry in entries:
                entry.usable()
            async with self._volumes.steady(doing, held, *entries):
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
    if len(found.changes) < TOLD and found.characters <= TOLD_CHARACTERS:
        found.changes.append(change)
    else:
        found.truncated = True


def _measured(local: LocalVolume) -> tuple[int, int]:
    """(bytes to be copied, bytes of the host that the copy takes)."""
    folder = local.folder
    return trees.measure(folder)[1], files.disk_usage(folder)[1]


def _below(told: str, path: str) -> PurePath:
    """A path below a volume's root; it is `told` so by a user."""
    relative = PurePath(path.lstrip("/"))
    if not relative.parts or ".." in relative.parts or "\0" in path:
        raise Invalid(f"path {told!r}: name a file or folder below the volume's root")
    return relative
