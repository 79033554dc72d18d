"""The verb that brings backups back: as a new volume, or in the place of what a volume has."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path, PurePath

from convoy_py.engine.memory.entry import Entry, Work
from convoy_py.engine.memory.restoring import Restoring
from convoy_py.engine.memory.views import volume_view
from convoy_py.engine.running.jobs import Job, Jobs, Progress
from convoy_py.engine.running.mirror import as_on_disk
from convoy_py.engine.running.operations import Operations, translated
from convoy_py.engine.steps.backups import OF_NO_BACKUP, Archiving
from convoy_py.engine.steps.host import Host
from convoy_py.engine.verbs.finding import Finding
from convoy_py.engine.verbs.repositories import Repositories
from convoy_py.engine.verbs.room import Room
from convoy_py.engine.verbs.snapshots import Snapshots
from convoy_py.errors import ConvoyError, Invalid, Unsupported
from convoy_py.linux import files
from convoy_py.logs import event
from convoy_py.models.backup import BackupView
from convoy_py.models.names import check_name
from convoy_py.models.volume import Options, View
from convoy_py.state.records import Pending, Repository, timestamp

log = logging.getLogger("convoy.engine")


class Restores:
    """What becomes of backups on one daemon."""

    def __init__(
        self,
        operations: Operations,
        repositories: Repositories,
        finding: Finding,
        snapshots: Snapshots,
        room: Room,
        archiving: Archiving,
        *,
        host: Host,
        jobs: Jobs,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives seconds that never go back."""
        self._host = host
        self._clock = clock
        self._running: dict[str, Job[View]] = {}  # restores in the background, by the volume's name
        self._operations = operations
        self._entries = operations.entries
        self._repositories = repositories
        self._finding = finding
        self._snapshots = snapshots
        self._room = room
        self._archiving = archiving
        self._jobs = jobs

    async def restore(
        self,
        reference: str,
        repository: str,
        name: str,
        options: Options,
        progress: Progress,
        *,
        at: datetime | str | None = None,
    ) -> View:
        """Make a volume with the data of a backup in it; what is not asked for is as it was.

        `reference` names a backup, or a volume: then it is the newest of that, or the one that `at`
        says (`Finding.newest`). Without a name it gets the volume's. One that is there gets the
        data in the place of its own, which stays as a snapshot; it must not be in use, and stays
        what it is otherwise.
        """
        if options.given().keys() & OF_NO_BACKUP:
            named = "from, path, per_mount, backup and schedule"
            raise Invalid(f"what is restored takes none of {named}")
        found = await self._finding.newest(reference, repository, progress, at)
        name = check_name(name or found.volume)
        async with self._operations.locked(name):
            if name not in self._entries.volumes:
                record = self._repositories.get(found.repository)
                made = await self._built(name, record, found.id, found.url, options, progress)
                self._entries.put(made)
                return volume_view(self._entries.get(name))
        if options.given():
            raise Invalid(
                f"volume {name} exists already, and stays what it is: restore under another name "
                "to have it with other options"
            )
        await self._put_back(name, found, progress)
        return volume_view(self._entries.get(name))

    @asynccontextmanager
    async def fetched(
        self,
        volume: str,
        reference: str,
        repository: str,
        ways: Sequence[PurePath],
        progress: Progress,
    ) -> AsyncIterator[tuple[Path, str]]:
        """A folder beside the volumes with the first of `ways` that a backup has, and its URL.

        Which backup is meant, `Finding.of` says. The folder goes with the block.
        """
        found = await self._finding.of(volume, reference, repository, progress)
        if found.raw:
            raise Unsupported(
                f"{found.url} is an image (--raw), of which no single file can be read: `convoy "
                "restore` all of it under another name (--as), and take the file from there"
            )
        record = self._repositories.get(found.repository)
        run = self._repositories.threads_of(record.name).run_long
        progress.note = f"reading {found.url}"
        home = await self._operations.do(volume, "restore-file", self._host.store.stage)
        try:
            with translated(volume, "restore-file"):
                await run(self._archiving.fetch, record, found.id, ways, home, progress)
            progress.done = progress.total = 0
            yield home, found.url
        finally:
            try:
                await self._operations.do_long(volume, "restore-file", files.remove_tree, home)
            except ConvoyError as error:
                event(log, logging.WARNING, "swept at the next start", volume=volume, failure=error)

    # In the background

    async def begin(self, name: str, options: Options, *, known_only: bool = False) -> None:
        """Have a volume begin as the backup which the options name; the caller has its lock.

        Once this returns it is a volume, which is being restored: whatever comes between, it gets
        its data or says why not. What can be refused before that is; with `known_only` also a
        repository that is named by its place and not known: its server, which anybody may have
        chosen, would be told the credentials of the settings.
        """
        assert options.backup is not None
        if known_only:
            self._finding.check_known(options.backup)
        progress = Progress()
        found = await self._finding.named(options.backup, name, progress)
        record = self._repositories.get(found.repository)
        run = self._repositories.threads_of(record.name).run_long
        with translated(name, "restore"):
            await run(self._archiving.foreseen, record, found.id, options, progress)
        pending = Pending(
            repository=record.name,
            backup=found.id,
            url=found.url,
            created=timestamp(self._host.wall_clock()),
            options=options.shown(),
        )
        note = self._host.restore_store.note
        await self._operations.do(name, "restore", note, name, pending)
        entry = Entry(name, self._host.reference_store.none())
        entry.restoring = Restoring(record.name, found.id, found.url, options)
        self._entries.put(entry)
        self._start(entry)

    def resume(self) -> None:
        """Go on with what an earlier daemon was to restore."""
        for entry in list(self._entries.volumes.values()):
            if entry.restoring is not None:
                self._start(entry)

    async def resume_failed(self) -> None:
        """The same as a chore: a repository that was away may be back."""
        self.resume()

    async def settled(self, name: str, seconds: float) -> None:
        """Wait for a restore that has just begun, but not for longer.

        One that failed by then raises why, and leaves nothing, unless somebody was told of it.
        """
        entry, job = self._entries.find(name), self._running.get(name)
        if entry is None or (restoring := entry.restoring) is None:
            return
        if job is None or not await self._jobs.wait(job, seconds):
            restoring.known = True
            return
        assert job.task is not None
        if (error := job.task.exception()) is not None:
            if not restoring.known:
                async with self._operations.locked(name):
                    await self.give_up(name)
            raise error

    async def cancel(self, name: str) -> None:
        """Have the restore of a volume that is not there yet end, and wait for that."""
        job = self._running.get(name)
        if job is not None:
            job.progress.cancelled = f"volume {name} was removed"
            await self._jobs.wait(job, self._operations.time_limit)

    async def give_up(self, name: str) -> bool:
        """Forget a volume that is not there yet; whether it was one. The caller has its lock."""
        entry = self._entries.find(name)
        if entry is None or name in self._running:
            return False
        if entry.restoring is None and not entry.only_noted:
            return False
        await self._operations.do(name, "remove", self._host.restore_store.forget, name)
        self._entries.forget(name)
        return True

    def _start(self, entry: Entry) -> None:
        """Unless it is going on."""
        restoring = entry.restoring
        assert restoring is not None
        restoring.begin = partial(self._start, entry)
        if entry.name in self._running or self._entries.find(entry.name) is not entry:
            return
        work = Work(f"its restore from {restoring.url}", still=True)
        complete = partial(self._complete, entry, restoring, work)
        self._running[entry.name] = self._jobs.start("restore", entry.name, complete)
        entry.reason, entry.work = "", work

    async def _complete(
        self, entry: Entry, restoring: Restoring, work: Work, progress: Progress
    ) -> View:
        name, found = entry.name, restoring
        restoring.steps, restoring.begun = progress, self._clock()
        try:
            record = self._repositories.get(found.repository)
            async with as_on_disk(self._operations, self._host, name):
                made = await self._built(
                    name, record, found.backup, found.url, found.options, progress
                )
            async with self._operations.locked(name):
                self._entries.put(made)
                await self._noted_no_more(name)  # under the lock: another may get the name
        except Exception as error:
            entry.reason = (
                f"its restore from {found.url} failed: {error}; the next mount begins it again, "
                "and to remove the volume gives it up"
            )
            raise
        finally:
            del self._running[name]
            restoring.steps = entry.work = None
            work.ended.set()
        return volume_view(made)

    async def _noted_no_more(self, name: str) -> None:
        try:
            await self._operations.do(name, "restore", self._host.restore_store.forget, name)
        except ConvoyError as error:  # the next start sees that it is there
            event(log, logging.WARNING, "note not deleted", volume=name, failure=error)

    # Steps

    async def _built(
        self,
        name: str,
        record: Repository,
        backup: str,
        url: str,
        options: Options,
        progress: Progress,
    ) -> Entry:
        run = self._repositories.threads_of(record.name).run_long
        progress.note = f"restoring {url}"
        with translated(name, "restore"):
            return await self._room.made_for(
                lambda: run(self._archiving.restore, name, record, backup, options, progress)
            )

    async def _put_back(self, name: str, found: BackupView, progress: Progress) -> None:
        """Build the data beside, then have the volume go back to it as to a snapshot."""
        record = self._repositories.get(found.repository)
        run = self._repositories.threads_of(record.name).run_long
        volume = self._entries.get(name)
        await self._snapshots.check_unused(name)
        progress.note = f"restoring {found.url}"
        with translated(name, "restore"):
            beside = await self._room.made_for(
                lambda: run(self._archiving.restore_beside, volume, record, found.id, progress)
            )
        try:
            await self._snapshots.go_back(volume, beside, found.url, progress)
        finally:
            await run(self._archiving.abandon, beside)
