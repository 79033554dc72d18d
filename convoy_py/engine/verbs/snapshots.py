"""The verbs on snapshots: plan, create (of one volume or a group), delete, rollback."""

import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from convoy_py.backends.base import Place
from convoy_py.containers import Container, DockerContainers
from convoy_py.engine.memory import references
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.views import snapshot_view, snapshot_views
from convoy_py.engine.running.deletions import Deletions
from convoy_py.engine.running.hooks import Hooking
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.mirror import as_on_disk
from convoy_py.engine.running.operations import Locked, Operations
from convoy_py.engine.running.pausing import stopped
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.parts import BY_HAND, BY_ROLLBACK, Part, Purpose, planned, power
from convoy_py.engine.steps.snapshots import Copying
from convoy_py.engine.verbs.room import Room
from convoy_py.engine.verbs.uses import Uses
from convoy_py.errors import (
    AlreadyExists,
    Cancelled,
    ConvoyError,
    Invalid,
    OperationFailed,
    Unavailable,
    Unsettled,
    replaced,
)
from convoy_py.logs import event
from convoy_py.models.hooks import NO_HOOKS, Hooks
from convoy_py.models.names import NameKind, check_name, joined, kind_of, name_within
from convoy_py.models.snapshot import Plan, SnapshotView
from convoy_py.state.records import timestamp
from convoy_py.wire.snapshots import RolledBack

log = logging.getLogger("convoy.engine")


class Snapshots:
    """The snapshots of one daemon's volumes."""

    def __init__(
        self,
        operations: Operations,
        uses: Uses,
        room: Room,
        host: Host,
        copying: Copying,
        *,
        deletions: Deletions,
        containers: DockerContainers,
        hooking: Hooking,
        rollback_keep: int = 0,
    ) -> None:
        """`rollback_keep`: how many of those that rollbacks make a volume keeps; 0 means all."""
        self._operations = operations
        self._entries = operations.entries
        self._host = host
        self._copying = copying
        self._deletions = deletions
        self._room = room
        self._uses = uses
        self._containers = containers
        self._pausing = hooking.pausing
        self._hooking = hooking
        self._rollback_keep = rollback_keep

    def views(self, volume: str = "") -> list[SnapshotView]:
        """The snapshots of one volume, or of all; those of each volume oldest first."""
        if volume:
            return list(snapshot_views(self._entries.get(volume)))
        entries = sorted(self._entries.volumes.items())
        return [view for _, entry in entries for view in snapshot_views(entry)]

    def inspect(self, name: str) -> SnapshotView:
        """One, by its full name or by a short one that is clear."""
        _, snapshot = self._entries.snapshot(name)
        return snapshot_view(snapshot)

    async def plan(self, volume: str) -> Plan:
        """How a snapshot of a volume would be made now."""
        backend, place = self._entries.get(volume).usable()
        return await self._operations.do(volume, "plan", power(backend, volume).plan, place)

    async def create(
        self,
        volumes: Sequence[str],
        name: str,
        progress: Progress,
        *,
        hooks: Hooks = NO_HOOKS,
        compose_project: str = "",
        container: str = "",
        purpose: Purpose = BY_HAND,
    ) -> list[SnapshotView]:
        """As `take`; raises OperationFailed as well for what went wrong after they were taken."""
        names = await self.chosen(volumes, compose_project, container)
        views, problems = await self.take(names, name, progress, hooks, purpose=purpose)
        if problems:
            told = ", ".join(joined(view.volume, view.name) for view in views)
            raise OperationFailed(f"{told} was taken; but {'; '.join(problems)}")
        return views

    async def take(
        self,
        names: Sequence[str],
        name: str,
        progress: Progress,
        hooks: Hooks = NO_HOOKS,
        *,
        purpose: Purpose = BY_HAND,
    ) -> tuple[list[SnapshotView], list[str]]:
        """Snapshots of volumes, all at one moment: all are made, or none; and what failed later.

        Without a name it is made up from the time. Waits for other long work. Raises AlreadyExists,
        Unsupported.
        """
        if name:
            check_name(name, "snapshot")
        take = partial(self._create, names, name, progress, purpose)
        return await self._hooking.around(hooks, names, progress, take)

    async def _create(
        self,
        names: Sequence[str],
        name: str,
        progress: Progress,
        purpose: Purpose,
        users: Sequence[Container],
        *,
        still: bool,
    ) -> list[SnapshotView]:
        """With `still`, nobody but `users`, who are paused, and operators uses the volumes."""
        progress.done = progress.total = 0
        group = secrets.token_hex(8) if len(names) > 1 else ""
        async with self._operations.locked_idle(*names) as locked:
            sources = [self._entries.get(volume) for volume in names]
            chosen = name or self._fresh_name(names, purpose.prefix)
            for volume in names:
                if self._entries.find(joined(volume, chosen)):
                    raise AlreadyExists(f"snapshot {joined(volume, chosen)} already exists")
            doing = f"the snapshot {chosen}, which is being taken"
            async with self._uses.steady(doing, locked, *sources):
                parts = await self._parts(sources, chosen, group, progress, purpose, paused=still)
                pausing = partial(self._pausing.paused, users) if users else nullcontext
                entries = await self._take(parts, progress, pausing)
        return [snapshot_view(entry) for entry in entries]

    async def delete(self, name: str) -> None:
        """Delete one, by its full name or by a short one that is clear.

        Raises NotFound; VolumeInUse, naming who has it mounted.
        """
        volume, snapshot = self._entries.snapshot(name)
        await self._operations.bounded(
            snapshot.name, "delete", self._delete(volume.name, snapshot.name)
        )

    async def rollback(
        self,
        volume: str,
        snapshot: str,
        progress: Progress,
        *,
        stop_containers: bool = False,
        keep: bool = True,
    ) -> RolledBack:
        """Replace a volume's data by a snapshot's, after a snapshot of what is there.

        Refused while the volume is in use, unless its containers are to be stopped for that time.
        Unless it is to be kept, that snapshot is deleted once the volume has the other data.
        """
        full = joined(volume, snapshot)
        self._entries.get(full)
        blocking = self._operations.blocking
        users: list[Container] = []
        if stop_containers:
            progress.note = "stopping containers"
            users = await blocking.run(self._containers.users, [volume])
        saved: Entry | None = None
        try:
            async with stopped(self._pausing, blocking, users) as halted:
                saved = await self._rollback(volume, full, progress)
        except (OperationFailed, Unavailable) as error:
            if saved is None:
                raise
            done = f"{volume} is as {full} was, and what it was is {saved.name}"
            raise type(error)(f"{done}; but {error}") from error
        names = [str(container) for container in halted]
        gone = await self._delete_automatic(volume, full, "" if keep else saved.name)
        saved_as = "" if saved.name in gone else saved.name
        return RolledBack(
            snapshot=full,
            saved_as=saved_as,
            stopped=names,
            deleted=[name for name in gone if name != saved.name],
        )

    async def sweep(self, half_taken: Sequence[tuple[Entry, Path]]) -> None:
        """Take away what was being taken when an earlier daemon ended."""
        for volume, home in half_taken:
            await self._operations.put_right(volume, self._copying.sweep, volume, home.name)

    # Steps

    async def chosen(self, volumes: Sequence[str], project: str, container: str) -> list[str]:
        """The names of the volumes that are meant; each is one of ours."""
        run = self._operations.blocking.run
        found: list[str] = []
        if project:
            found += await run(self._containers.volumes_of_project, project)
        if container:
            found += await run(self._containers.volumes_of_container, container)
        ours = [name for name in found if name in self._entries.volumes]
        names = list(dict.fromkeys([*volumes, *ours]))
        if not names:
            raise Invalid(
                f"none of the volumes of {project or container} is one of ours"
                if project or container
                else "no volume is named"
            )
        for name in names:
            if kind_of(name) is NameKind.SNAPSHOT:
                raise Invalid(f"{name} is a snapshot; name a volume")
            self._entries.get(name)
        return names

    def _fresh_name(self, volumes: Sequence[str], prefix: str) -> str:
        """A name from the time that none of the volumes has for a snapshot."""
        now = timestamp(self._host.wall_clock())
        name = stem = f"{prefix}{now:%Y%m%d-%H%M%S}"
        number = 1
        while any(self._entries.find(joined(volume, name)) for volume in volumes):
            number += 1
            name = f"{stem}-{number}"
        return name

    async def _parts(
        self,
        volumes: Sequence[Entry],
        name: str,
        group: str,
        progress: Progress,
        purpose: Purpose,
        *,
        paused: bool,
    ) -> list[Part]:
        """How the snapshots of these volumes are to be taken."""
        parts = []
        for volume in volumes:
            plan = await self.plan(volume.name)
            progress.total += plan.bytes
            # What people hold by `convoy mount` cannot be made to stand still.
            held = references.operators(volume.references)
            parts.append(
                planned(
                    volume,
                    name,
                    plan,
                    self._host.wall_clock(),
                    group,
                    purpose,
                    paused=paused and not held,
                )
            )
        progress.note = ", ".join(f"{each.volume.name}: {each.record.way.value}" for each in parts)
        return parts

    async def _take(
        self,
        parts: Sequence[Part],
        progress: Progress,
        pausing: Callable[[], AbstractContextManager[object]] = nullcontext,
        *,
        saving: bool = False,
    ) -> list[Entry]:
        """Take them and make them known; those that are `saving` data also on a full disk."""
        first = parts[0].volume.name
        # What is done at once need not wait for what is not.
        at_once = all(part.record.way.instant for part in parts)
        do = self._operations.do if at_once else self._operations.do_long
        take = self._copying.take_when_full if saving and at_once else self._copying.take
        names = [part.volume.name for part in parts]
        async with as_on_disk(self._operations, self._host, *names):
            entries = await self._room.made_for(
                lambda: do(first, "snapshot", take, parts, progress, pausing())
            )
        for entry in entries:
            self._entries.put(entry)
        return entries

    async def _delete(self, volume: str, name: str) -> None:
        async with self._operations.locked(volume):
            entry = self._entries.get(name)
            self._entries.get(volume).idle()
            if entry.place is None:
                home = self._host.snapshot_store.home(volume, name_within(name))
                place = self._host.nameless(home)
            else:
                await self._uses.vacate(entry, "delete")
                place = entry.place
            gone = await self._retired(volume, name, place)
        await self._deletions.delete(gone)

    async def _retired(self, volume: str, name: str, place: Place) -> Place:
        """Take a snapshot away that nobody uses; returns where it is to be destroyed."""
        async with as_on_disk(self._operations, self._host, volume):
            gone = await self._operations.do(name, "delete", self._copying.retire, place)
        self._entries.forget(name)
        return gone

    async def _delete_automatic(self, volume: str, source: str, unwanted: str) -> list[str]:
        """Delete one snapshot, and of those that rollbacks made the oldest that are too many.

        Not the `source` of the rollback. What is in use stays. Returns the names of what is gone.
        """
        found = [
            joined(volume, view.name)
            for view in self.views(volume)
            if view.automatic and joined(volume, view.name) != unwanted
        ]
        surplus = found[: -self._rollback_keep] if self._rollback_keep else []
        gone = []
        for name in filter(None, (unwanted, *surplus)):
            if name == source:
                continue
            try:
                await self._delete(volume, name)
            except ConvoyError as error:
                event(log, logging.WARNING, "not deleted", volume=name, failure=error)
            else:
                gone.append(name)
        return gone

    async def _rollback(self, volume: str, full: str, progress: Progress) -> Entry:
        self._host.store.refuse_without_exchange("a rollback")
        async with self._operations.locked(volume) as locked:
            entry, snapshot = self._entries.get(volume), self._entries.get(full)
            snapshot.idle()
            return await self._replaced(locked, entry, snapshot, full, progress)

    async def check_unused(self, volume: str) -> None:
        """Raise VolumeInUse, naming who uses it, before something is built for `go_back`."""
        self._host.store.refuse_without_exchange("to replace what a volume has")
        async with self._operations.locked(volume):
            entry = self._entries.get(volume)
            entry.usable()
            await self._vacate(entry)

    async def go_back(self, volume: Entry, beside: Entry, source: str, progress: Progress) -> Entry:
        """Replace a volume's data by what was built `beside` from a `source`, as by a snapshot's.

        Returns the snapshot of what was there.
        """
        async with self._operations.locked(volume.name) as locked:
            if self._entries.find(volume.name) is not volume:
                raise replaced(f"volume {volume.name}")
            return await self._replaced(locked, volume, beside, source, progress)

    async def _replaced(
        self, locked: Locked, entry: Entry, goal: Entry, told: str, progress: Progress
    ) -> Entry:
        """Save what a volume has as a snapshot, and give it the data of the goal."""
        goal.usable()
        volume = entry.name
        await self._vacate(entry)
        async with self._uses.steady(f"the rollback to {told}", locked, entry, goal, still=True):
            plan = await self.plan(volume)
            progress.total += 2 * plan.bytes
            progress.note = f"saving what is there ({plan.way.value})"
            name = self._fresh_name([volume], BY_ROLLBACK.prefix)
            part = planned(entry, name, plan, self._host.wall_clock(), purpose=BY_ROLLBACK)
            (saved,) = await self._take([part], progress, saving=True)
            progress.note = f"going back to {told} ({plan.way.value})"
            await self._go_back(entry, goal, saved, progress)
            entry.overwritten()
        return saved

    async def _vacate(self, volume: Entry) -> None:
        # What lies inside the volume's image holds its device.
        inside = [each for each in volume.snapshots.values() if each.lies_inside]
        await self._uses.vacate(volume, "rollback", *inside)

    async def _go_back(
        self, volume: Entry, snapshot: Entry, saved: Entry, progress: Progress
    ) -> None:
        try:
            await self._room.made_for(
                lambda: self._operations.do_long(
                    volume.name, "rollback", self._copying.rollback, volume, snapshot, progress
                )
            )
        except Cancelled:
            # Then all is as it was; after any other failure it is safer to have what was saved.
            gone = await self._retired(volume.name, saved.name, saved.usable()[1])
            self._deletions.begin(gone)
            raise
        except Unsettled as error:
            volume.overwritten()
            raise Unsettled(f"{error}; what was there before is {saved.name}") from error
