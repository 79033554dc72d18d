"""Stand-ins for the verbs on repositories and backups."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.verbs.backups import Backups
from convoy_py.engine.verbs.proofs import Proofs
from convoy_py.engine.verbs.repositories import Repositories, Secret
from convoy_py.engine.verbs.restores import Restores
from convoy_py.engine.verbs.schedules import Schedules
from convoy_py.engine.verbs.volumes import Volumes
from convoy_py.errors import NotFound
from convoy_py.models.backup import BackupView, RepositoryView
from convoy_py.models.hooks import NO_HOOKS, Hooks
from convoy_py.models.schedule import FinishedRun, LastRun, ScheduleView, Task, TaskView
from convoy_py.models.session import Done, KeyFound, LockFound, Pruned
from convoy_py.models.volume import Options, View
from convoy_py.state.records import Proof

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


FAILED = FinishedRun(
    task=Task.BACKUP,
    volume="db",
    volume_id="01234567-89ab-4def-8123-456789abcdef",
    repository="offsite",
    due=CREATED,
    began=CREATED,
    seconds=1.5,
    error="no route to host",
    failures=1,
)
KEY = KeyFound(id="cd" * 32, created="2026-01-02T03:04:05Z", user="root", host="here", in_use=True)


class FakeRepositories(Repositories):
    """Those that were added; nothing is opened. `secrets` are what was found in their files."""

    def __init__(self) -> None:
        self.known: dict[str, RepositoryView] = {}
        self.proven: list[tuple[str, Proof]] = []
        self.secrets: list[str] = []

    def all_proofs(self) -> list[tuple[str, Proof]]:
        return self.proven

    def views(self) -> list[RepositoryView]:
        return list(self.known.values())

    def inspect(self, name: str) -> RepositoryView:
        if name not in self.known:
            raise NotFound(f"no such repository: {name}")
        return self.known[name]

    async def add(
        self,
        name: str,
        location: str,
        password: Secret,
        credentials: Secret,
        progress: Progress,
        *,
        keeper: bool = False,
        make: bool = True,
    ) -> RepositoryView:
        self.secrets += [password.content, credentials.content]
        self.known[name] = RepositoryView(
            name=name,
            location=location,
            id="0123456789abcdef" * 4,
            created=CREATED,
            password_file=password.file,
            credentials_file=credentials.file,
            keeper="here" if keeper else "",
        )
        return self.known[name]

    async def keys(self, name: str, progress: Progress) -> Sequence[KeyFound]:
        self.inspect(name)
        return [KEY]

    async def add_key(self, name: str, password: str, progress: Progress) -> KeyFound:
        self.secrets.append(password)
        return KEY

    async def remove_key(self, name: str, key: str, progress: Progress) -> KeyFound:
        if not KEY.id.startswith(key):
            raise NotFound(f"no key {key}")
        return KEY

    async def unlock(self, name: str, progress: Progress, *, everything: bool) -> Done:
        lock = LockFound(id="ab" * 32, exclusive=True, told="exclusively by root@there")
        return Done(unlocked=(lock,)) if everything else Done(locked=(lock,))

    async def remove(self, name: str) -> None:
        self.inspect(name)
        del self.known[name]


class FakeBackups(Backups):
    """What was asked is told by `asked`; there is one backup, of the volume `db`."""

    def __init__(self, volumes: Volumes, repositories: FakeRepositories) -> None:
        self.volumes = volumes
        self.repositories = repositories
        self.asked: list[object] = []
        self.problems: list[str] = []
        self.failure: Exception | None = None
        self.backup = BackupView(
            id="fedcba9876543210" * 4,
            repository="offsite",
            location="/srv/backups",
            volume="db",
            host="here",
            created=CREATED,
            size=1000,
            added=10,
            files=3,
        )

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
        self.asked.append((list(sources), to, everything, compose_project, raw, hooks))
        if self.failure:
            raise self.failure
        return [self.backup]

    async def views(
        self, volume: str, repository: str, progress: Progress, *, described: bool = False
    ) -> list[BackupView]:
        self.asked.append((volume, repository, described))
        return [self.backup] if volume in ("", self.backup.volume) else []

    async def find(self, reference: str, repository: str, progress: Progress) -> BackupView:
        if reference not in (self.backup.url, self.backup.id, self.backup.id[:8]):
            raise NotFound(f"no backup {reference}")
        return self.backup

    async def remove_repository(self, name: str) -> None:
        await self.repositories.remove(name)

    async def delete(
        self, references: Sequence[str], repository: str, progress: Progress
    ) -> list[BackupView]:
        return [await self.find(each, repository, progress) for each in references]

    async def protect(
        self, references: Sequence[str], repository: str, progress: Progress, *, on: bool
    ) -> list[BackupView]:
        found = [await self.find(each, repository, progress) for each in references]
        return [view.model_copy(update={"protected": on}) for view in found]

    async def forget(
        self, volume: str, repository: str, keep: str, progress: Progress, *, dry_run: bool = False
    ) -> tuple[list[BackupView], list[str]]:
        self.asked.append((volume, repository, keep, dry_run))
        return [self.backup], self.problems

    async def prune(self, repository: str, progress: Progress, *, dry_run: bool = False) -> Pruned:
        self.asked.append((repository, dry_run))
        return Pruned(
            snapshots=3,
            kept=5,
            repacked=2,
            deleted=1,
            repacked_bytes=3000,
            freed_bytes=2048,
            unneeded_bytes=10,
        )

    async def verify(self, repository: str, read_data: int, progress: Progress) -> list[str]:
        self.asked.append((repository, read_data))
        if self.failure:
            raise self.failure
        return self.problems


class FakeProofs(Proofs):
    """Proves what is asked for, but for the problems of the backups."""

    def __init__(self, backups: FakeBackups) -> None:
        self.backups = backups

    async def prove(
        self, references: Sequence[str], repository: str, progress: Progress
    ) -> tuple[list[BackupView], list[str]]:
        self.backups.asked.append((list(references), repository))
        found = self.backups.backup.model_copy(update={"proven": CREATED})
        return [found], self.backups.problems


class FakeRestores(Restores):
    """Makes an empty volume."""

    def __init__(self, volumes: Volumes) -> None:
        self.volumes = volumes
        self.asked: list[object] = []

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
        self.asked.append((reference, repository, name, options, at))
        name = name or "db"
        await self.volumes.create(name, options)
        return self.volumes.get(name)


class FakeSchedules(Schedules):
    """By volume; what is set is run at once, and `error` is what becomes of it."""

    def __init__(self, volumes: Volumes) -> None:
        self.volumes = volumes
        self.known: dict[str, dict[str, Any]] = {}
        self.error = ""

    def views(self) -> list[ScheduleView]:
        return [self.inspect(volume) for volume in sorted(self.known)]

    def inspect(self, volume: str) -> ScheduleView:
        self.volumes.get(volume)
        if volume not in self.known:
            raise NotFound(f"volume {volume} has no schedule")
        fields = self.known[volume]
        return ScheduleView(
            volume=volume,
            snapshot=self._told(fields.get("schedule_snapshot"), ""),
            backup=self._told(fields.get("schedule_backup"), fields.get("schedule_to") or ""),
            to=fields.get("schedule_to") or "",
            keep=fields.get("schedule_keep") or "",
        )

    async def set(self, volume: str, changes: Mapping[str, str | bool | None]) -> ScheduleView:
        self.volumes.get(volume)
        self.known[volume] = {**self.known.get(volume, {}), **changes}
        return self.inspect(volume)

    async def remove(self, volume: str) -> None:
        self.inspect(volume)
        del self.known[volume]

    def _told(self, expression: str | None, repository: str) -> TaskView | None:
        if not expression:
            return None
        last = LastRun(
            due=CREATED,
            began=CREATED,
            seconds=1.5,
            repository=repository,
            what="" if self.error else "made",
            size=1000,
            added=10,
            error=self.error,
        )
        good = None if self.error else CREATED
        return TaskView(
            expression=expression,
            next=CREATED + timedelta(days=1),
            running=False,
            last=last,
            good=good,
            failures=1 if self.error else 0,
        )
