"""Which backup is meant: by URL, by the digits of its id, or as the newest of a volume."""

from collections.abc import Sequence
from datetime import datetime
from string import hexdigits

from pydantic import ValidationError

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.verbs.repositories import Repositories
from convoy_py.errors import Invalid, NoRepository, NotFound
from convoy_py.models.backup import BackupView, Description, is_url, parse_url
from convoy_py.models.session import BackupFound, Describe, ListBackups
from convoy_py.models.sizes import parse_size
from convoy_py.state.records import Repository

LATEST = "latest"  # the newest backup of a volume


class Finding:
    """The backups in the repositories that one daemon knows."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    async def views(
        self,
        volume: str,
        repository: str,
        progress: Progress,
        *,
        described: bool = False,
        to_restore: str = "",
    ) -> list[BackupView]:
        """The backups of one volume, or of all; of one repository, or of all that are known.

        What the newest of the volume `to_restore` says of it is known to `Sessions` then.
        A place that may have a repository, and has none, has no backups.
        """
        names = [repository] if repository else [v.name for v in self._repositories.views()]
        task = ListBackups(described=described, newest_of=to_restore)
        found: list[BackupView] = []
        for name in names:
            try:
                record = await self._repositories.reached(name, progress)
            except NoRepository:
                continue
            found += await self._in(record, progress, task)
        return [view for view in found if volume in ("", view.volume)]

    async def one(self, reference: str, repository: str, progress: Progress) -> BackupView:
        """One, by its URL, its id, or the start of that; raises NotFound, Invalid."""
        (found,) = await self.several([reference], repository, progress)
        return found

    async def described(self, reference: str, repository: str, progress: Progress) -> BackupView:
        """The same, with what it says of its volume."""
        found = await self.one(reference, repository, progress)
        record = self._repositories.get(found.repository)
        done = await self._repositories.run(record, Describe(backup=found.id), progress)
        return found.model_copy(update=_told(done.description))

    async def several(
        self, references: Sequence[str], repository: str, progress: Progress
    ) -> list[BackupView]:
        """Each as by `one`; a repository is asked once for all of them."""
        named = [await self._named(reference, repository, progress) for reference in references]
        views = {
            name: await self._in(self._repositories.get(name), progress, ListBackups())
            for name in dict.fromkeys(record.name for record, _ in named)
        }
        return [
            _one(views[record.name], digits, f"in repository {record.name}")
            for record, digits in named
        ]

    async def newest(
        self,
        reference: str,
        repository: str,
        progress: Progress,
        at: datetime | str | None = None,
    ) -> BackupView:
        """The newest of a volume, or as `one`; Invalid if more than one host has that volume.

        `at` says which of the volume's: the newest up to a moment, or one by its id.
        """
        if is_url(reference):
            if at:
                raise Invalid(f"{reference} is one backup: a time or an id is for a volume's name")
            return await self.one(reference, repository, progress)
        views = await self.views("", repository, progress, to_restore=reference)
        if found := [view for view in views if view.volume == reference]:
            return _at(found, reference, at)
        if at:
            raise NotFound(f"no backup of a volume {reference}: `convoy backup list` shows them")
        known = [repository] if repository else [each.name for each in self._repositories.views()]
        if known and not set(reference) <= set(hexdigits):
            raise NotFound(
                f"no backup of a volume {reference} in {', '.join(known)}: `convoy backup list` "
                "shows them"
            )
        name = self._repositories.chosen(repository).name
        return _one(
            [view for view in views if view.repository == name], reference, f"in repository {name}"
        )

    async def of(
        self, volume: str, reference: str, repository: str, progress: Progress
    ) -> BackupView:
        """One of a volume: its `latest`, or as `one`."""
        if reference == LATEST:
            name = self._repositories.chosen(repository).name
            return _latest(name, volume, await self.views(volume, name, progress))
        found = await self.one(reference, repository, progress)
        if found.volume != volume:
            raise Invalid(f"backup {reference} is of the volume {found.volume}, not of {volume}")
        return found

    async def named(self, option: str, volume: str, progress: Progress) -> BackupView:
        """What the option `backup` of a volume means: a URL, or its newest in a repository."""
        if is_url(option):
            return await self.one(option, "", progress)
        views = await self.views(volume, option, progress, to_restore=volume)
        return _latest(option, volume, views)

    def check_known(self, option: str) -> None:
        """Raise NotFound where the repository of an option `backup` would have to be reached."""
        self._repositories.get(parse_url(option).location if is_url(option) else option)

    async def _named(
        self, reference: str, repository: str, progress: Progress
    ) -> tuple[Repository, str]:
        """In which repository it is looked for, and by the first digits of which id."""
        if is_url(reference):
            url = parse_url(reference)
            return await self._repositories.reached(url.location, progress), url.id
        if set(reference) & set("/:?"):
            parse_url(reference)  # a place alone, perhaps: it says what would be right
        return await self._repositories.reached(repository, progress), reference

    async def _in(
        self, record: Repository, progress: Progress, task: ListBackups
    ) -> list[BackupView]:
        done = await self._repositories.run(record, task, progress)
        proofs = self._repositories.proofs(record.name)
        views = [view_of(record, each) for each in done.backups]
        return [
            view.model_copy(update={"proven": proofs[view.id].proven})
            if view.id in proofs
            else view
            for view in views
        ]


def view_of(record: Repository, found: BackupFound) -> BackupView:
    known = {**vars(found), **_told(found.description)}
    del known["description"]
    return BackupView(repository=record.name, location=record.location, **known)


def _told(text: str) -> dict[str, object]:
    """What a description tells of the volume that was backed up; nothing if it makes no sense."""
    try:
        description = Description.model_validate_json(text)
    except ValidationError:
        return {}
    options = description.options
    try:
        size = parse_size(options.get("size", "0"))
    except ValueError:
        size = 0
    return {
        "driver": options.get("backend", ""),
        "volume_size": size,
        "volume_created": description.created,
    }


def _at(backups: Sequence[BackupView], volume: str, at: datetime | str | None) -> BackupView:
    if isinstance(at, str):
        return _one(backups, at, f"of a volume {volume}")
    found = [view for view in backups if at is None or view.created <= at]
    if not found:
        oldest = min(view.created for view in backups).isoformat(timespec="seconds")
        raise NotFound(f"no backup of a volume {volume} is so old: the oldest is of {oldest}")
    return _newest(found, volume)


def _latest(repository: str, volume: str, backups: Sequence[BackupView]) -> BackupView:
    if not backups:
        raise NotFound(f"repository {repository} has no backup of a volume {volume}")
    return _newest(backups, volume)


def _newest(backups: Sequence[BackupView], volume: str) -> BackupView:
    ordered = sorted(backups, key=lambda view: view.created)
    newest = {view.host: view for view in ordered}
    if len(newest) > 1:
        told = ", ".join(f"{host}: {view.url}" for host, view in sorted(newest.items()))
        raise Invalid(
            f"more than one host has backed up a volume {volume}: name the backup that is meant by "
            f"its URL ({told})"
        )
    return ordered[-1]


def _one(backups: Sequence[BackupView], digits: str, where: str) -> BackupView:
    found = [each for each in backups if each.id.startswith(digits.lower())] if digits else []
    if len(found) == 1:
        return found[0]
    if found:
        raise Invalid(f"backup {digits} is ambiguous {where}: give more digits")
    raise NotFound(f"no backup {digits} {where}: `convoy backup list` shows them")
