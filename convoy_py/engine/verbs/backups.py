"""The verbs on backups: create, list, inspect, delete, forget, prune, verify."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from convoy_py.containers import Container
from convoy_py.docker_volumes import Docker, Known
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.views import bases
from convoy_py.engine.running.announcing import Announcing
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.operations import Operations, translated
from convoy_py.engine.steps.backups import Archiving, Chosen
from convoy_py.engine.steps.parts import for_backup
from convoy_py.engine.verbs.bases import Bases
from convoy_py.engine.verbs.finding import Finding, view_of
from convoy_py.engine.verbs.images import Images
from convoy_py.engine.verbs.repositories import Repositories
from convoy_py.engine.verbs.snapshots import Snapshots
from convoy_py.engine.verbs.uses import Uses
from convoy_py.errors import (
    BackupProtected,
    Conflict,
    ConvoyError,
    Invalid,
    NotFound,
    OperationFailed,
    replaced,
)
from convoy_py.logs import event
from convoy_py.models.backup import BackupView
from convoy_py.models.hooks import NO_HOOKS, Hooks
from convoy_py.models.names import NameKind, joined, kind_of, volume_of
from convoy_py.models.session import Delete, Forget, Protect, Prune, Pruned, Verify
from convoy_py.restic.retention import Policy
from convoy_py.state.records import Repository

log = logging.getLogger("convoy.engine")


class Backups:
    """The backups of one daemon's volumes, and of all others in the repositories that it knows."""

    def __init__(
        self,
        operations: Operations,
        repositories: Repositories,
        snapshots: Snapshots,
        uses: Uses,
        finding: Finding,
        archiving: Archiving,
        *,
        images: Images,
        announcing: Announcing,
        docker: Docker,
    ) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._repositories = repositories
        self._snapshots = snapshots
        self._uses = uses
        self._finding = finding
        self._archiving = archiving
        self.bases = Bases(operations.entries, repositories, snapshots)
        self._images = images
        self._announcing = announcing
        self._docker = docker

    async def create(
        self,
        sources: Sequence[str],
        to: str,
        progress: Progress,
        *,
        everything: bool = False,
        compose_project: str = "",
        raw: bool = False,
        hooks: Hooks = NO_HOOKS,
    ) -> list[BackupView]:
        """Back up volumes, by a snapshot of all at one moment, or snapshots that are there.

        If `raw`, their filesystems as they are, each as one file: Unsupported where one is no
        image. One session has all of them. The snapshot stays, unlisted, as what the next backup
        is compared with, where that costs nothing; the one of before goes.
        """
        repository = await self._repositories.reached(to, progress, make=True)
        taken = [name for name in sources if kind_of(name) is NameKind.SNAPSHOT]
        for name in taken:
            self._entries.get(name)
        volumes = [name for name in sources if name not in taken]
        if everything:
            known = sorted(self._entries.volumes.items())
            volumes = [name for name, entry in known if not (entry.path or entry.restoring)]
        if volumes or compose_project or not taken:
            volumes = await self._snapshots.chosen(volumes, compose_project, "")
        if not volumes and hooks != NO_HOOKS:
            raise Invalid("before, after, pause and stop are of a snapshot that is yet to be taken")
        ids = {
            name: self._entries.get(name).volume_record().uuid
            for name in dict.fromkeys([*volumes, *map(volume_of, taken)])
        }
        if raw:
            self._images.check(ids)
        with self._announcing.by_hand(ids, repository.name) as done:
            await self._created(repository, taken, volumes, hooks, progress, done, raw=raw)
        return done

    async def begin(self, volume: str, to: str, progress: Progress) -> tuple[str, list[str]]:
        """Take the snapshot that a scheduled backup into a repository is to be of.

        Its name, and what went wrong with containers after it was taken.
        """
        record, known = self._repositories.get(to), await self._known([volume])
        hooks = self._entries.get(volume).volume_record().spec.scheduled_hooks
        (name,), failed = await self._taken([volume], hooks, record, progress, known)
        return name, failed

    async def finish(
        self, begun: Sequence[str], to: str, progress: Progress
    ) -> tuple[list[BackupView], Sequence[str]]:
        """Back up what has begun, in one session; also tells of which volumes that failed, and why.

        Raises what all failed of.
        """
        record, known = self._repositories.get(to), await self._known([*map(volume_of, begun)])
        raw = [name for name in begun if self._is_raw(volume_of(name))]
        return await self._finished(record, [], begun, progress, known, scheduled=True, raw=raw)

    async def views(
        self, volume: str, repository: str, progress: Progress, *, described: bool = False
    ) -> list[BackupView]:
        """The backups of one volume, or of all; of one repository, or of all that are known.

        `described` ones tell of their volume, too, for which each is looked into. Raises NotFound
        for a volume that there neither is nor has been.
        """
        found = await self._finding.views(volume, repository, progress, described=described)
        if volume and not found and volume not in self._entries.volumes:
            where = repository or "any repository that is known"
            raise NotFound(
                f"no such volume: {volume}, and no backup of one in {where}; `convoy backup list` "
                "shows all"
            )
        return found

    async def find(self, reference: str, repository: str, progress: Progress) -> BackupView:
        """One, described, by its URL, its id, or the start of that; raises NotFound, Invalid."""
        return await self._finding.described(reference, repository, progress)

    async def delete(
        self, references: Sequence[str], repository: str, progress: Progress
    ) -> list[BackupView]:
        """Delete backups; what of their data no other has is given back by a prune.

        Raises BackupProtected, and then none is deleted.
        """
        found = await self._finding.several(references, repository, progress)
        for view in found:
            if view.protected:
                raise BackupProtected(view.url)
        for name in sorted({view.repository for view in found}):
            ids = tuple(view.id for view in found if view.repository == name)
            await self._repositories.run(
                self._repositories.get(name), Delete(backups=ids), progress
            )
        return found

    async def protect(
        self, references: Sequence[str], repository: str, progress: Progress, *, on: bool
    ) -> list[BackupView]:
        """Have backups stay, whatever a policy keeps and until that is taken back."""
        found = await self._finding.several(references, repository, progress)
        for name in sorted({view.repository for view in found}):
            ids = tuple(dict.fromkeys(view.id for view in found if view.repository == name))
            task = Protect(backups=ids, on=on)
            await self._repositories.run(self._repositories.get(name), task, progress)
        return [view.model_copy(update={"protected": on}) for view in found]

    async def forget_scheduled(
        self, volumes: Sequence[str], repository: str, keep: str, progress: Progress
    ) -> list[str]:
        """Delete what a policy does not keep of the backups that schedules made of volumes.

        Those that somebody made by hand stay, and count for nothing. Returns what `forget` does of
        which nothing was deleted.
        """
        record = self._repositories.get(repository)
        task = Forget(volumes=tuple(volumes), keep=keep, scheduled=True)
        return list((await self._repositories.run(record, task, progress)).problems)

    async def forget(
        self, volume: str, repository: str, keep: str, progress: Progress, *, dry_run: bool = False
    ) -> tuple[list[BackupView], list[str]]:
        """Delete the backups of this host that a policy does not keep: of a volume, or of all.

        `keep` is such as `24h,7d,4w,12m`. Returns what is gone, or with `dry_run` would be, and
        of which volumes nothing was deleted, and why.
        """
        record = self._repositories.chosen(repository)
        try:
            Policy.parse(keep)
        except ValueError as error:
            raise Invalid(str(error)) from None
        volumes = (volume,) if volume else ()
        task = Forget(volumes=volumes, keep=keep, dry_run=dry_run)
        done = await self._repositories.run(record, task, progress)
        return [view_of(record, each) for each in done.backups], list(done.problems)

    async def prune(self, repository: str, progress: Progress, *, dry_run: bool = False) -> Pruned:
        """Give back what no snapshot in a repository needs, or only say what that is.

        Raises Denied on any host but the repository's keeper.
        """
        record = self._repositories.chosen(repository)
        if not dry_run:
            self._repositories.check_keeper(record)
        done = await self._repositories.run(record, Prune(dry_run=dry_run), progress)
        assert done.pruned
        return done.pruned

    async def verify(self, repository: str, read_data: int, progress: Progress) -> list[str]:
        """What is wrong with a repository; reads that part of a hundred of its packs."""
        record = self._repositories.chosen(repository)
        done = await self._repositories.run(record, Verify(read_data=read_data), progress)
        return list(done.problems)

    async def remove_repository(self, name: str) -> None:
        """Forget a repository, which stays as it is; what its next backups need goes.

        Raises Conflict while schedules back up to it.
        """
        specs = {volume: entry.spec for volume, entry in sorted(self._entries.volumes.items())}
        if users := [each for each, spec in specs.items() if spec and spec.schedule_to == name]:
            raise Conflict(
                f"schedules back up to repository {name}: those of {', '.join(users)} (`convoy "
                "schedule set --to OTHER`, or `--no-backup`, takes them elsewhere)"
            )
        await self._repositories.remove(name)
        await self.bases.forget(name)

    # Steps

    async def _created(
        self,
        repository: Repository,
        taken: Sequence[str],
        volumes: Sequence[str],
        hooks: Hooks,
        progress: Progress,
        done: list[BackupView],
        *,
        raw: bool,
    ) -> None:
        """Put into `done` what is backed up, and raise what the rest failed of."""
        known = await self._known([*volumes, *map(volume_of, taken)])
        refused = _refused(known.users)
        wrong = {volume: refused[volume] for volume in volumes if volume in refused}
        good = [volume for volume in volumes if volume not in wrong]
        if wrong and not (good or taken):
            raise Invalid("; ".join(dict.fromkeys(wrong.values())))
        made: list[str] = []
        failed: list[str] = []
        if good:
            made, failed = await self._taken(good, hooks, repository, progress, known)
        images = [*taken, *made] if raw else ()
        backed_up, problems = await self._finished(
            repository, taken, made, progress, known, raw=images
        )
        done += backed_up
        told = ", ".join(view.volume for view in done) or "nothing"
        problems = [*(f"{volume}: {why}" for volume, why in wrong.items()), *problems]
        if problems:
            problems = [*problems, *failed]
            raise OperationFailed(f"not backed up: {'; '.join(problems)} (backed up: {told})")
        if failed:
            raise OperationFailed(f"{told} backed up; but {'; '.join(failed)}")

    def _is_raw(self, volume: str) -> bool:
        """Whether its schedule's backups are of its image."""
        entry = self._entries.find(volume)
        return bool(entry and entry.spec and entry.spec.schedule_raw)

    async def _known(self, volumes: Sequence[str]) -> Known:
        """What the Docker Engine knows of volumes; nothing where none answers."""
        try:
            return await self._operations.blocking.run(self._docker.known, volumes)
        except ConvoyError as error:
            event(log, logging.INFO, "no labels are looked at", failure=error)
            return Known()

    async def _taken(
        self,
        volumes: Sequence[str],
        hooks: Hooks,
        record: Repository,
        progress: Progress,
        known: Known,
    ) -> tuple[list[str], list[str]]:
        """Take the snapshots of volumes that a backup is to be of; and what failed after that."""
        for user in known.users:
            if not set(volumes).isdisjoint(user.volumes):
                hooks = hooks.labelled(user.id, user.name, user.labels)
        views, failed = await self._snapshots.take(
            volumes, "", progress, hooks, purpose=for_backup(record.name)
        )
        names = [joined(view.volume, view.name) for view in views]
        self.bases.begin(names)
        return names, failed

    async def _finished(
        self,
        record: Repository,
        taken: Sequence[str],
        made: Sequence[str],
        progress: Progress,
        known: Known,
        *,
        scheduled: bool = False,
        raw: Sequence[str] = (),
    ) -> tuple[list[BackupView], Sequence[str]]:
        """Back up snapshots, the `raw` ones of them as images.

        Of those that were `made` for it one of each volume stays.
        """
        done: list[BackupView] = []
        try:
            async with self._images.of(raw, progress) as found:
                images = {name: each for name, each in found.items() if isinstance(each, Entry)}
                wrong = {name: e for name, e in found.items() if isinstance(e, ConvoyError)}
                names = [name for name in [*taken, *made] if name not in wrong]
                if not names:
                    raise next(iter(wrong.values()))
                done, problems = await self._back_up(
                    record, names, progress, known, images, scheduled=scheduled
                )
        finally:
            await self.bases.settle(record.name, made, done)
        return done, [*problems, *(f"{volume_of(name)}: {why}" for name, why in wrong.items())]

    async def _back_up(
        self,
        record: Repository,
        names: Sequence[str],
        progress: Progress,
        known: Known,
        images: Mapping[str, Entry],
        *,
        scheduled: bool,
    ) -> tuple[list[BackupView], Sequence[str]]:
        """Back up snapshots, which stay as they are meanwhile; also tells of which that failed.

        Raises Conflict if none is there any more.
        """
        chosen: dict[str, Chosen] = {}
        kept: dict[str, Entry] = {}
        for name in names:
            volume, snapshot = self._entries.find(volume_of(name)), self._entries.find(name)
            if volume and snapshot:
                older = bases(volume, record.name)
                kept |= {each: self._entries.get(each) for each in older} | {name: snapshot}
                image = images.get(name)
                chosen[name] = Chosen(volume, snapshot, (), known, scheduled, image)
        if not chosen:
            raise replaced("a snapshot")
        # By these names until the end: that of an entry changes with its volume's.
        async with self._operations.locked_idle(*kept) as locked:
            there = {name: each for name, each in kept.items() if self._entries.find(name) is each}
            ready = [
                replace(each, bases=tuple(_others(bases(each.volume, record.name), name, there)))
                for name, each in chosen.items()
                if name in there
            ]
            if not ready:
                raise replaced("a snapshot")
            async with self._uses.steady("a backup of it", locked, *there.values()):
                await locked.release(*kept)
                progress.note = f"backing up to {record.name}"
                with translated(", ".join(names), "backup"):
                    done = await self._repositories.threads_of(record.name).run_long(
                        self._archiving.back_up, record, ready, progress
                    )
        gone = [
            f"{volume_of(name)}: {replaced('a snapshot')}" for name in names if name not in there
        ]
        return [view_of(record, each) for each in done.backups], [*done.problems, *gone]


def _refused(users: Iterable[Container]) -> dict[str, str]:
    """Volumes of containers whose labels make no sense, and why: they ask for who knows what."""
    refused: dict[str, str] = {}
    for user in users:
        try:
            NO_HOOKS.labelled(user.id, user.name, user.labels)
        except Invalid as error:
            refused |= dict.fromkeys(user.volumes, str(error))
    return refused


def _others(found: Sequence[str], name: str, there: Mapping[str, Entry]) -> Iterator[Entry]:
    """What a snapshot is compared with, of what is there."""
    return (there[each] for each in found if each != name and each in there)
