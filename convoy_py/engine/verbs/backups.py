"""The verbs on backups: create, list, inspect, delete, verify, restore."""

import logging
from collections.abc import Collection, Mapping, Sequence

from convoy_py.backends.base import COMMON
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.views import bases, volume_view
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.operations import Operations, translated
from convoy_py.engine.steps.backups import Archiving, Chosen
from convoy_py.engine.verbs.repositories import Repositories
from convoy_py.engine.verbs.room import Room
from convoy_py.engine.verbs.snapshots import Snapshots
from convoy_py.engine.verbs.uses import Uses
from convoy_py.errors import AlreadyExists, Conflict, ConvoyError, Invalid, NotFound
from convoy_py.logs import event
from convoy_py.models.backup import BackupView, is_url, parse_url
from convoy_py.models.names import NameKind, check_name, joined, kind_of, volume_of
from convoy_py.models.options import is_known, parse_options
from convoy_py.models.session import BackupFound, Delete, Done, ListBackups, Task, Verify
from convoy_py.models.snapshot import Way
from convoy_py.models.volume import Options, View
from convoy_py.state.records import Repository, SnapshotRecord

log = logging.getLogger("convoy.engine")


class Backups:
    """The backups of one daemon's volumes, and of all others in the repositories that it knows."""

    def __init__(
        self,
        operations: Operations,
        repositories: Repositories,
        snapshots: Snapshots,
        uses: Uses,
        room: Room,
        archiving: Archiving,
    ) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._repositories = repositories
        self._snapshots = snapshots
        self._uses = uses
        self._room = room
        self._archiving = archiving

    async def create(
        self,
        sources: Sequence[str],
        to: str,
        progress: Progress,
        *,
        everything: bool = False,
        compose_project: str = "",
        pause: bool = False,
    ) -> list[BackupView]:
        """Back up volumes, by a snapshot of all at one moment, or snapshots that are there.

        One session has all of them. The snapshot stays, unlisted, as what the next backup is
        compared with, where that costs nothing; the one of before goes.
        """
        repository = self._repositories.get(to) if to else self._repositories.only()
        taken = [name for name in sources if kind_of(name) is NameKind.SNAPSHOT]
        for name in taken:
            self._entries.get(name)
        volumes = [name for name in sources if name not in taken]
        if everything:
            volumes = sorted(self._entries.volumes)
        if volumes or compose_project or not taken:
            volumes = await self._snapshots.chosen(volumes, compose_project, "")
        made: list[str] = []
        if volumes:
            views = await self._snapshots.create(
                volumes, "", progress, pause=pause, base_of=repository.name
            )
            made = [joined(view.volume, view.name) for view in views]
        done: list[BackupView] = []
        try:
            done = await self._back_up(repository, [*taken, *made], progress)
        finally:
            for name in made:
                await self._let_bases_go(repository, name, done)
        return done

    async def views(self, volume: str, repository: str, progress: Progress) -> list[BackupView]:
        """The backups of one volume, or of all; of one repository, or of all that are known."""
        chosen = (
            [self._repositories.get(repository)]
            if repository
            else [self._repositories.get(view.name) for view in self._repositories.views()]
        )
        found = []
        for record in chosen:
            done = await self._run(record, ListBackups(), progress)
            found += [_view(record, each) for each in done.backups]
        return [view for view in found if volume in ("", view.volume)]

    async def find(self, reference: str, repository: str, progress: Progress) -> BackupView:
        """One, by its URL, its id, or the start of that; raises NotFound, Invalid."""
        if is_url(reference):
            url = parse_url(reference)
            record, digits = self._repositories.at(url.location), url.id
        else:
            record = self._repositories.get(repository) if repository else self._repositories.only()
            digits = reference
        done = await self._run(record, ListBackups(), progress)
        return _view(record, _one(done.backups, digits, record.name))

    async def delete(
        self, references: Sequence[str], repository: str, progress: Progress
    ) -> list[BackupView]:
        """Delete backups; what of their data no other has is given back by a prune."""
        found = [await self.find(each, repository, progress) for each in references]
        for name in sorted({view.repository for view in found}):
            ids = tuple(view.id for view in found if view.repository == name)
            await self._run(self._repositories.get(name), Delete(backups=ids), progress)
        return found

    async def verify(self, repository: str, read_data: int, progress: Progress) -> list[str]:
        """What is wrong with a repository; reads that part of a hundred of its packs."""
        record = self._repositories.get(repository) if repository else self._repositories.only()
        done = await self._run(record, Verify(read_data=read_data), progress)
        return list(done.problems)

    async def restore(
        self,
        reference: str,
        repository: str,
        name: str,
        options: Options,
        progress: Progress,
    ) -> View:
        """Make a volume with the data of a backup in it; what is not asked for is as it was.

        `reference` names a backup, or a volume: then it is the newest of that. Without a name it
        gets the volume's.
        """
        found = await self._newest(reference, repository, progress)
        name = check_name(name or found.volume)
        record = self._repositories.get(found.repository)
        async with self._operations.locked(name):
            if name in self._entries.volumes:
                raise AlreadyExists(f"volume {name} exists already: restore under another name")
            with translated(name, "restore"):
                described = await self._repositories.threads.run_long(
                    self._archiving.describe, record, found.id, progress
                )
                wanted = _as_before(described.options, options, self._archiving.backends)

                async def built() -> None:
                    entry = await self._repositories.threads.run_long(
                        self._archiving.restore, name, record, found.id, wanted, progress
                    )
                    self._entries.put(entry)

                await self._room.made_for(built)
        return volume_view(self._entries.get(name))

    # Steps

    async def _run(self, record: Repository, task: Task, progress: Progress) -> Done:
        return await self._repositories.threads.run_long(
            self._archiving.run, record, task, progress
        )

    async def _back_up(
        self, record: Repository, names: Sequence[str], progress: Progress
    ) -> list[BackupView]:
        """Back up snapshots, which stay as they are meanwhile."""
        chosen: list[Chosen] = []
        kept: list[Entry] = []
        for name in names:
            volume, snapshot = self._entries.get(volume_of(name)), self._entries.get(name)
            older = [self._entries.get(each) for each in bases(volume, record.name) if each != name]
            chosen.append(Chosen(volume, snapshot, tuple(older)))
            kept += [snapshot, *older]
        async with self._operations.locked_idle(*(entry.name for entry in kept)) as locked:
            if any(self._entries.find(entry.name) is not entry for entry in kept):
                raise Conflict("a snapshot was replaced meanwhile; repeat the command")
            async with self._uses.steady("a backup of it", locked, *kept):
                progress.note = f"backing up to {record.name}"
                with translated(", ".join(names), "backup"):
                    done = await self._repositories.threads.run_long(
                        self._archiving.back_up, record, chosen, progress
                    )
        return [_view(record, each) for each in done.backups]

    async def _let_bases_go(
        self, record: Repository, name: str, done: Sequence[BackupView]
    ) -> None:
        """Keep the one snapshot of a volume that the next backup is compared with."""
        entry = self._entries.find(name)
        if entry is None or not isinstance(entry.record, SnapshotRecord):
            return
        volume = self._entries.get(volume_of(name))
        older = [each for each in bases(volume, record.name) if each != name]
        backed_up = any(view.snapshot == entry.record.uuid for view in done)
        if not backed_up:
            superfluous = [name]
        elif entry.record.way is Way.COPY:
            superfluous = [name, *older]  # it has room of its own for every byte
        else:
            superfluous = older
        for each in superfluous:
            try:
                await self._snapshots.delete(each)
            except ConvoyError as error:
                event(log, logging.WARNING, "not deleted", volume=each, failure=error)

    async def _newest(self, reference: str, repository: str, progress: Progress) -> BackupView:
        if not is_url(reference):
            views = await self.views(reference, repository, progress)
            if len({view.host for view in views}) > 1:
                told = ", ".join(sorted({f"{view.host}: {view.url}" for view in views}))
                raise Invalid(
                    f"more than one host has backed up a volume {reference}: give the URL of the "
                    f"backup that is meant ({told})"
                )
            if views:
                return max(views, key=lambda view: view.created)
        return await self.find(reference, repository, progress)


def _one(backups: Sequence[BackupFound], digits: str, name: str) -> BackupFound:
    found = [each for each in backups if each.id.startswith(digits.lower())] if digits else []
    if len(found) == 1:
        return found[0]
    if found:
        raise Invalid(f"backup {digits} is ambiguous in repository {name}: give more digits")
    raise NotFound(f"no backup {digits} in repository {name}: `convoy backup list` shows them")


def _as_before(described: Mapping[str, str], asked: Options, backends: Collection[str]) -> Options:
    """The options of a volume that is restored: what is not asked for is as it was.

    What a newer daemon knew, and what belonged to its host, is left out.
    """
    backend = described.get("backend")
    known = {key: value for key, value in described.items() if is_known(key) and key != "backend"}
    kept = parse_options(known).given() | {"backend": backend}
    for key in ("path", "source", "per_mount"):
        kept.pop(key, None)
    if backend not in backends or asked.backend not in (None, backend):
        # What one backend means by anything else may mean nothing to another.
        kept = {key: kept[key] for key in kept.keys() & (COMMON | {"size"}) - {"backend"}}
    elif asked.fs not in (None, kept.get("fs")):
        kept.pop("inodes", None)
    return Options.model_validate({**kept, **asked.given()})


def _view(record: Repository, found: BackupFound) -> BackupView:
    return BackupView(repository=record.name, location=record.location, **found.model_dump())
