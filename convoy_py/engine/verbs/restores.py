"""The verb that brings backups back: as a new volume, or in the place of what a volume has."""

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.views import volume_view
from convoy_py.engine.running.jobs import Jobs, Progress
from convoy_py.engine.running.operations import Operations, translated
from convoy_py.engine.steps.backups import OF_NO_BACKUP, Archiving
from convoy_py.engine.verbs.finding import Finding
from convoy_py.engine.verbs.repositories import Repositories
from convoy_py.engine.verbs.room import Room
from convoy_py.engine.verbs.snapshots import Snapshots
from convoy_py.errors import Invalid
from convoy_py.models.backup import BackupView
from convoy_py.models.names import check_name
from convoy_py.models.volume import Options, View


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
        jobs: Jobs,
    ) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._repositories = repositories
        self._finding = finding
        self._snapshots = snapshots
        self._room = room
        self._archiving = archiving
        self._jobs = jobs

    async def restore(
        self, reference: str, repository: str, name: str, options: Options, progress: Progress
    ) -> View:
        """Make a volume with the data of a backup in it; what is not asked for is as it was.

        `reference` names a backup, or a volume: then it is the newest of that. Without a name it
        gets the volume's. One that is there gets the data in the place of its own, which stays as a
        snapshot; it must not be in use, and stays what it is otherwise.
        """
        if options.given().keys() & OF_NO_BACKUP:
            raise Invalid("what is restored takes none of from, path, per_mount and backup")
        found = await self._finding.newest(reference, repository, progress)
        name = check_name(name or found.volume)
        async with self._operations.locked(name):
            if name not in self._entries.volumes:
                self._entries.put(await self._built(name, found, options, progress))
                return volume_view(self._entries.get(name))
        if options.given():
            raise Invalid(
                f"volume {name} exists already, and stays what it is: restore under another name "
                "to have it with other options"
            )
        await self._put_back(name, found, progress)
        return volume_view(self._entries.get(name))

    async def fill(self, name: str, options: Options, progress: Progress | None) -> Entry:
        """A volume that begins as the backup which the options name; the caller has its lock."""
        assert options.backup is not None
        backup = options.backup

        async def work(progress: Progress) -> Entry:
            found = await self._finding.named(backup, name, progress)
            return await self._built(name, found, options, progress)

        if progress is not None:
            return await work(progress)
        return await self._jobs.run("restore", name, work)

    async def _built(
        self, name: str, found: BackupView, options: Options, progress: Progress
    ) -> Entry:
        record = self._repositories.get(found.repository)
        run = self._repositories.threads_of(record.name).run_long
        progress.note = f"restoring {found.url}"
        with translated(name, "restore"):
            return await self._room.made_for(
                lambda: run(self._archiving.restore, name, record, found.id, options, progress)
            )

    async def _put_back(self, name: str, found: BackupView, progress: Progress) -> None:
        """Build the data beside, then have the volume go back to it as to a snapshot."""
        record = self._repositories.get(found.repository)
        run = self._repositories.threads_of(record.name).run_long
        volume = self._entries.get(name)
        progress.note = f"restoring {found.url}"
        with translated(name, "restore"):
            beside = await self._room.made_for(
                lambda: run(self._archiving.restore_beside, volume, record, found.id, progress)
            )
        try:
            await self._snapshots.go_back(volume, beside, found.url, progress)
        finally:
            await run(self._archiving.abandon, beside)
