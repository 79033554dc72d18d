"""Builds every object of one daemon's engine, once, and has it begin."""

import asyncio
import logging
import platform
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from convoy_py.docker_volumes import Docker
from convoy_py.engine.memory.timetable import Timetable
from convoy_py.engine.running.announcing import Announcing
from convoy_py.engine.running.deletions import Deletions
from convoy_py.engine.running.hooks import Hooking
from convoy_py.engine.running.jobs import Jobs
from convoy_py.engine.running.operations import TIME_LIMIT_SECONDS, Operations
from convoy_py.engine.running.pausing import Pausing
from convoy_py.engine.running.sharing import Sharing
from convoy_py.engine.running.threads import Blocking
from convoy_py.engine.steps.backups import Archiving
from convoy_py.engine.steps.claiming import Claiming
from convoy_py.engine.steps.cloning import Cloning
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.imaging import Imaging
from convoy_py.engine.steps.membership import Membership
from convoy_py.engine.steps.sessions import Sessions
from convoy_py.engine.steps.snapshots import Copying
from convoy_py.engine.steps.volumes import Steps
from convoy_py.engine.upkeep.autogrow import Autogrow
from convoy_py.engine.upkeep.following import Following
from convoy_py.engine.upkeep.janitor import Janitor
from convoy_py.engine.upkeep.recovery import Recovery
from convoy_py.engine.upkeep.reopening import Reopening
from convoy_py.engine.upkeep.runs import Runs
from convoy_py.engine.upkeep.scheduler import Scheduler
from convoy_py.engine.verbs import Verbs
from convoy_py.engine.verbs.adoptions import Adoptions
from convoy_py.engine.verbs.backups import Backups
from convoy_py.engine.verbs.copies import Copies
from convoy_py.engine.verbs.daemon import Daemon
from convoy_py.engine.verbs.finding import Finding
from convoy_py.engine.verbs.images import Images
from convoy_py.engine.verbs.proofs import Proofs
from convoy_py.engine.verbs.releases import Releases
from convoy_py.engine.verbs.repositories import Repositories, Secret
from convoy_py.engine.verbs.restores import Restores
from convoy_py.engine.verbs.room import LOOK_SECONDS, Room
from convoy_py.engine.verbs.schedules import Schedules
from convoy_py.engine.verbs.snapshots import Snapshots
from convoy_py.engine.verbs.space import SpaceVerbs
from convoy_py.engine.verbs.takeovers import Takeovers
from convoy_py.engine.verbs.trash import TrashBin
from convoy_py.engine.verbs.uses import Uses
from convoy_py.engine.verbs.volumes import Volumes
from convoy_py.errors import ConvoyError, Unavailable
from convoy_py.linux import zones
from convoy_py.metrics import Metrics
from convoy_py.settings import Settings
from convoy_py.state.news import News
from convoy_py.state.repositories import RepositoryStore

log = logging.getLogger("convoy.recovery")

# Between two tries of a restore that failed, for which nobody asks.
RESUME_SECONDS = 300.0
# How long the other hosts of a root are told that this one goes.
LEAVING_SECONDS = 3.0
# Docker gives a Mount two minutes.
PATIENCE_SECONDS = 100.0


class Engine:
    """The verbs of one daemon, and what goes on beside them."""

    # Of the other hosts, where the root is shared.
    sharing: Sharing | None = None
    following: Following | None = None

    def __init__(
        self,
        settings: Settings,
        host: Host,
        docker: Docker,
        metrics: Metrics,
        clock: Callable[[], float],
        *,
        time_limit: float = TIME_LIMIT_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """`clock` gives seconds that never go back; an engine waits `time_limit` seconds.

        A Mount of what is being restored waits `patience` seconds.
        """
        self.host = host
        self.steps = steps = Steps(host)
        self.blocking = Blocking()
        self.operations = operations = Operations(
            self.blocking, time_limit=time_limit, refuse=host.store.presence.refuse
        )
        self.jobs = jobs = Jobs(operations, host.wall_clock)
        self.announcing = Announcing(operations, host.wall_clock)
        self.deletions = deletions = Deletions(operations, steps)
        notes, run_dir = host.store.notes, settings.run_dir
        self.pausing = pausing = Pausing(docker, run_dir / "paused", notes / "stopped")
        self.hooking = Hooking(docker, pausing, self.blocking, notes / "hooks", settings.hook_limit)
        frozen = run_dir / "frozen"
        copying = Copying(steps, frozen, settings.freeze_limit, metrics)
        cloning = Cloning(steps, copying)
        self.trash = trash = TrashBin(operations, host, deletions, keep=settings.trash_keep)
        self.room = room = Room(operations, trash, host, deletions, clock)
        self.uses = uses = Uses(
            operations,
            room,
            steps,
            cloning,
            deletions=deletions,
            clock=clock,
            patience=patience,
        )
        self.snapshots = Snapshots(
            operations,
            uses,
            room,
            host,
            copying,
            deletions=deletions,
            containers=docker,
            hooking=self.hooking,
            rollback_keep=settings.rollback_keep,
        )
        self._compose_backups(settings, steps, copying, docker, clock)
        self.volumes = volumes = Volumes(
            operations,
            uses,
            trash,
            room,
            cloning,
            restores=self.restores,
            schedules=self.schedules,
            deletions=deletions,
            jobs=jobs,
        )
        self.copies = Copies(
            operations,
            volumes,
            uses,
            trash,
            room,
            host,
            copying=copying,
            cloning=cloning,
            restores=self.restores,
        )
        self.adoptions = Adoptions(operations, volumes, room, cloning, docker, pausing)
        self.releases = Releases(operations, volumes, uses, trash, host, docker)
        self.space = SpaceVerbs(operations, uses, room, host, jobs)
        self.autogrow = Autogrow(operations, uses, self.space, metrics, clock)
        self.takeovers, self.daemon = Takeovers(operations, host), Daemon(operations, host)
        self.recovery = Recovery(steps, copying, clock)
        self._clock = clock
        self.reopening = Reopening(operations, host, self.recovery, trash, self.sweep)
        self.janitor = Janitor(
            operations,
            uses,
            host,
            metrics,
            clock,
            interval=settings.janitor_interval,
            usage_interval=settings.usage_interval,
            grace=settings.reference_grace,
            chores=self._chores(settings),
        )

    def _compose_backups(
        self,
        settings: Settings,
        steps: Steps,
        copying: Copying,
        docker: Docker,
        clock: Callable[[], float],
    ) -> None:
        """What has to do with repositories, the backups in them, and with schedules."""
        operations, host = self.operations, self.host
        self._repository_store = store = RepositoryStore(host.store)
        name = settings.host or platform.node()
        sessions = Sessions(store, name, settings.repository_patience)
        archiving = Archiving(steps, sessions)
        self.repositories = repositories = Repositories(
            operations,
            host,
            store,
            sessions,
            default=settings.default_repository or "",
            password=_secret(settings.backup_password_file),
            credentials=_secret(settings.backup_credentials_file),
        )
        finding = Finding(repositories)
        self.backups = Backups(
            operations,
            repositories,
            self.snapshots,
            self.uses,
            finding,
            archiving,
            images=Images(operations, self.uses, self.room, Imaging(steps, copying)),
            announcing=self.announcing,
            docker=docker,
        )
        self.proofs = Proofs(host, name, repositories, finding, archiving)
        self.restores = Restores(
            operations,
            repositories,
            finding,
            self.snapshots,
            self.room,
            archiving,
            host=host,
            jobs=self.jobs,
            clock=clock,
        )

        timetable = Timetable(name, zones.chosen(settings.timezone))
        self.schedules = Schedules(operations, host, repositories, timetable)
        runs = Runs(
            operations,
            host,
            self.jobs,
            self.schedules,
            self.snapshots,
            backups=self.backups,
            proofs=self.proofs,
            announcing=self.announcing,
            clock=clock,
        )
        self.scheduler = Scheduler(operations, host, self.jobs, timetable, self.schedules, runs)

    def share(self, membership: Membership, news: News) -> None:
        """Be one of several hosts of the root; before `open`."""
        self.host.membership = membership
        claiming = Claiming(self.host.store, self.host.mounts_dir, membership, news.tell)
        self.sharing = Sharing(self.operations, self.host, claiming)
        self.operations.claims = self.sharing
        self.takeovers.share(self.sharing, claiming)
        membership.lost = claiming.lost
        self.following = Following(
            self.operations,
            self.host,
            self.sharing,
            claiming,
            news,
            trash=self.trash,
            clock=self._clock,
        )

    @property
    def verbs(self) -> Verbs:
        """What the edges call."""
        return Verbs(
            daemon=self.daemon,
            volumes=self.volumes,
            uses=self.uses,
            snapshots=self.snapshots,
            copies=self.copies,
            adoptions=self.adoptions,
            releases=self.releases,
            repositories=self.repositories,
            backups=self.backups,
            proofs=self.proofs,
            restores=self.restores,
            schedules=self.schedules,
            space=self.space,
            takeovers=self.takeovers,
            trash=self.trash,
            room=self.room,
            jobs=self.jobs,
        )

    async def open(self) -> int:
        """Read the records, put right what a crash left, begin to answer; tells how many."""
        run = self.blocking.run
        if self.host.membership:
            self.host.membership.start()
        entries = await run(self.recovery.load)
        self.trash.open(await run(self.host.trash.load))
        await run(self._repository_store.sweep)
        known = await run(self._repository_store.load)
        self.repositories.open(known, await run(self._repository_store.all_proofs, known))
        if self.sharing:
            await self.sharing.begin(entries)
        self.operations.open(entries)
        self.restores.resume()
        return len(entries)

    async def leave(self) -> None:
        """Tell the other hosts of the root that this one does nothing more there; the last step."""
        if self.sharing and self.host.membership:
            leaving = asyncio.create_task(self._leave(self.sharing, self.host.membership))
            await asyncio.wait({leaving}, timeout=LEAVING_SECONDS)

    async def _leave(self, sharing: Sharing, membership: Membership) -> None:
        await sharing.tidy()
        await self.blocking.run(partial(membership.stop, is_idle=sharing.is_idle))

    async def run(self) -> None:
        """Look after what is there until cancelled; `open` comes first."""
        await self.let_go()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.reopening.run())
            if self.following is not None:
                group.create_task(self.following.run())
            try:
                await self.sweep()
            except ConvoyError as error:
                log.warning("swept at the next start: %s", error)
            group.create_task(self.janitor.run())
            group.create_task(self.scheduler.run())

    async def let_go(self) -> None:
        """Start the containers again that a daemon which is over held up."""
        await self.blocking.run(self.pausing.recover)

    async def sweep(self) -> None:
        """Take away what recovery found half done."""
        await self.snapshots.sweep(self.recovery.half_taken)
        await self.copies.sweep(self.recovery.half_restored)
        self.restores.resume()
        await self.blocking.run(self.recovery.sweep)
        # After that: what was left half made may be a mount of a snapshot.
        await self.backups.bases.sweep()
        # Else others might wait for half an hour, until they may call them stale.
        with suppress(Unavailable):  # the daemon is stopping, or its disk hangs
            for name in await self.repositories.left_locked():
                let_go = partial(self.repositories.let_go, name)
                self.jobs.start("repository-unlock", name, let_go)

    def _chores(self, settings: Settings) -> list[tuple[Callable[[], Awaitable[None]], float]]:
        """What is to be done now and then, and how often, in seconds."""
        often = settings.janitor_interval
        chores: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (partial(self.blocking.run, self.host.store.fill_ballast), often),
            (partial(self.blocking.run, self.recovery.sweep), often),
            (self.trash.expire, often),
            (self.releases.sweep, often),
            (self.let_go, often),
            (partial(self.blocking.run_long, self.hooking.recover), often),
            (self.restores.resume_failed, RESUME_SECONDS),
            (self.room.watch, LOOK_SECONDS),
            (self.autogrow.watch, 1.0),
        ]
        if settings.trim_interval:
            chores.append((self.space.trim_in_background, settings.trim_interval))
        return chores


def _secret(file: Path | None) -> Secret:
    return Secret(str(file) if file else "")
