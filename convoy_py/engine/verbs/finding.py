"""Which backup is meant: by URL, by the digits of its id, or as the newest of a volume."""

from collections.abc import Sequence

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps.backups import Archiving
from convoy_py.engine.verbs.repositories import Repositories
from convoy_py.errors import Invalid, NotFound
from convoy_py.models.backup import BackupView, is_url, parse_url
from convoy_py.models.session import BackupFound, ListBackups
from convoy_py.state.records import Repository


class Finding:
    """The backups in the repositories that one daemon knows."""

    def __init__(self, repositories: Repositories, archiving: Archiving) -> None:
        self._repositories = repositories
        self._archiving = archiving

    async def views(self, volume: str, repository: str, progress: Progress) -> list[BackupView]:
        """The backups of one volume, or of all; of one repository, or of all that are known."""
        names = [repository] if repository else [v.name for v in self._repositories.views()]
        found: list[BackupView] = []
        for name in names:
            found += await self._in(self._repositories.get(name), progress)
        return [view for view in found if volume in ("", view.volume)]

    async def one(self, reference: str, repository: str, progress: Progress) -> BackupView:
        """One, by its URL, its id, or the start of that; raises NotFound, Invalid."""
        if is_url(reference):
            url = parse_url(reference)
            record, digits = self._repositories.at(url.location), url.id
        else:
            record, digits = self._repositories.chosen(repository), reference
        return _one(await self._in(record, progress), digits, record.name)

    async def newest(self, reference: str, repository: str, progress: Progress) -> BackupView:
        """The newest of a volume, or as `one`; Invalid if more than one host has that volume."""
        if not is_url(reference):
            views = await self.views(reference, repository, progress)
            if len({view.host for view in views}) > 1:
                newest = {view.host: view for view in sorted(views, key=lambda view: view.created)}
                told = ", ".join(f"{host}: {view.url}" for host, view in sorted(newest.items()))
                raise Invalid(
                    f"more than one host has backed up a volume {reference}: name the backup that "
                    f"is meant by its URL ({told})"
                )
            if views:
                return max(views, key=lambda view: view.created)
        return await self.one(reference, repository, progress)

    async def named(self, option: str, volume: str, progress: Progress) -> BackupView:
        """What the option `backup` of a volume means: a URL, or its newest in a repository."""
        if is_url(option):
            return await self.one(option, "", progress)
        views = await self.views(volume, option, progress)
        if not views:
            raise NotFound(f"repository {option} has no backup of a volume {volume}")
        return await self.newest(volume, option, progress)

    async def _in(self, record: Repository, progress: Progress) -> list[BackupView]:
        run = self._repositories.threads.run_long
        done = await run(self._archiving.run, record, ListBackups(), progress)
        return [view_of(record, each) for each in done.backups]


def view_of(record: Repository, found: BackupFound) -> BackupView:
    return BackupView(repository=record.name, location=record.location, **found.model_dump())


def _one(backups: Sequence[BackupView], digits: str, name: str) -> BackupView:
    found = [each for each in backups if each.id.startswith(digits.lower())] if digits else []
    if len(found) == 1:
        return found[0]
    if found:
        raise Invalid(f"backup {digits} is ambiguous in repository {name}: give more digits")
    raise NotFound(f"no backup {digits} in repository {name}: `convoy backup list` shows them")
