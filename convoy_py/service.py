"""The composition root: builds every object once, recovers, serves, drains and stops."""

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial

from convoy_py import __version__
from convoy_py.api.app import admin_app, docker_app, quiesce, serve
from convoy_py.api.connections import Shortage
from convoy_py.backends import BACKENDS
from convoy_py.config import Configuration
from convoy_py.docker_volumes import Docker
from convoy_py.engine.accounts import Accounts
from convoy_py.engine.blocking import Blocking
from convoy_py.engine.cloning import Cloning
from convoy_py.engine.copies import Copies
from convoy_py.engine.copying import Copying
from convoy_py.engine.deletions import Deletions
from convoy_py.engine.janitor import Janitor
from convoy_py.engine.jobs import Jobs
from convoy_py.engine.ledger import Ledger
from convoy_py.engine.operations import Operations
from convoy_py.engine.pausing import Pausing
from convoy_py.engine.recovery import Recovery
from convoy_py.engine.releases import Releases
from convoy_py.engine.reopening import Reopening
from convoy_py.engine.sizes import Sizes
from convoy_py.engine.snapshots import Snapshots
from convoy_py.engine.steps import Steps
from convoy_py.engine.trash import LOOK, TrashBin
from convoy_py.engine.verbs import Verbs
from convoy_py.engine.volumes import Volumes
from convoy_py.linux import outside, peers, signals, sockets
from convoy_py.metrics import Metrics
from convoy_py.state.passed import PassedTime
from convoy_py.state.references import ReferenceStore
from convoy_py.state.store import Store

log = logging.getLogger("convoy.daemon")

_wall_clock = time.time  # noqa: TID251 - the one place that hands the clock out


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


# A managed plugin is killed 10 s after SIGTERM.
DRAIN = 8.0


def run(
    configuration: Configuration,
    store: Store,
    plugin: socket.socket,
    admin: socket.socket,
    heard: signals.Signals,
) -> int:
    """Serve the two listening sockets until a signal; `store` is open and locked."""
    asyncio.run(_Service(configuration, store).run(plugin, admin, heard))
    return 0


class _Service:
    def __init__(self, configuration: Configuration, store: Store) -> None:
        settings = configuration.settings
        self._configuration = configuration
        self._blocking = Blocking()
        self._metrics = Metrics(__version__)
        boot = peers.boot_id()
        self._steps = steps = Steps(
            store,
            ReferenceStore(settings.run_dir, boot),
            {name: BACKENDS[name](settings) for name in settings.drivers},
            Ledger(settings.root, overcommit=settings.overcommit, reserve=settings.reserve),
            settings.mounts.resolve(),  # as the kernel's table names it
            PassedTime(settings.root, boot, _boottime, _wall_clock),
        )
        self._operations = operations = Operations(self._blocking, refuse=store.presence.refuse)
        jobs = Jobs(operations, _wall_clock)
        frozen = settings.run_dir / "frozen"
        copying = Copying(steps, frozen, settings.freeze_limit, self._metrics)
        cloning = Cloning(steps, copying)
        deletions = Deletions(operations, steps)
        trash = TrashBin(operations, steps, deletions, time.monotonic, keep=settings.trash_keep)
        volumes = Volumes(
            operations, steps, cloning, deletions, time.monotonic, jobs=jobs, trash=trash
        )
        containers = Docker(settings.engine_host)
        self._pausing = Pausing(containers, settings.run_dir / "paused")
        releases = Releases(volumes, steps, containers)
        sizes = Sizes(volumes, steps, jobs, self._metrics, time.monotonic)
        self._verbs = Verbs(
            volumes=volumes,
            snapshots=Snapshots(
                volumes,
                steps,
                copying,
                deletions,
                containers,
                self._pausing,
                rollback_keep=settings.rollback_keep,
            ),
            copies=Copies(volumes, steps, copying, cloning, containers, self._pausing),
            releases=releases,
            sizes=sizes,
            accounts=Accounts(operations),
            trash=trash,
            jobs=jobs,
        )
        self._recovery = recovery = Recovery(steps, copying, time.monotonic)
        self._reopening = Reopening(operations, steps, recovery, trash, self._sweep)
        chores: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (partial(self._blocking.run, store.fill_ballast), settings.janitor_interval),
            (trash.expire, settings.janitor_interval),
            (releases.sweep, settings.janitor_interval),
            (self._let_go, settings.janitor_interval),
            (trash.watch, LOOK),
            (sizes.watch, 1.0),
        ]
        if settings.trim_interval:
            chores.append((sizes.trim_in_background, settings.trim_interval))
        self._janitor = Janitor(
            volumes,
            steps,
            self._metrics,
            time.monotonic,
            interval=settings.janitor_interval,
            usage_interval=settings.usage_interval,
            grace=settings.reference_grace,
            chores=chores,
        )

    async def run(
        self, plugin: socket.socket, admin: socket.socket, heard: signals.Signals
    ) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(Shortage())
        loop.add_reader(heard, _heed, heard, stop)
        heard.serve()
        settings, verbs, metrics = self._configuration.settings, self._verbs, self._metrics
        seen = outside.look((settings.root, settings.mounts))
        runners = [
            await serve(docker_app(verbs.volumes, metrics, _wall_clock, seen), plugin),
            await serve(admin_app(verbs, metrics, self._configuration, _wall_clock, seen), admin),
        ]
        background = asyncio.create_task(self._background())
        # What was loaded so far lives as long as the daemon: the collector need not visit it.
        gc.freeze()
        ended = asyncio.create_task(stop.wait())
        await asyncio.wait({background, ended}, return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        sockets.notify("STOPPING=1")
        background.cancel()
        await asyncio.gather(*map(quiesce, runners, (plugin, admin)))
        self._verbs.jobs.stop()
        await asyncio.gather(
            self._operations.drain(DRAIN), *(runner.cleanup() for runner in runners)
        )
        self._blocking.close()
        failed = await asyncio.gather(background, return_exceptions=True)
        ended.cancel()
        if isinstance(failed[0], Exception):
            raise failed[0]

    async def _let_go(self) -> None:
        await self._blocking.run(self._pausing.recover)

    async def _background(self) -> None:
        """Read the records, begin to answer, and then look after what is there."""
        began = time.monotonic()
        entries = await self._blocking.run(self._recovery.load)
        self._verbs.trash.open(await self._blocking.run(self._steps.trash.load))
        self._operations.open(entries)
        sockets.notify("READY=1")
        log.info(
            "ready version=%s volumes=%d root=%s seconds=%.3f",
            __version__,
            len(entries),
            self._configuration.settings.root,
            time.monotonic() - began,
        )
        await self._let_go()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reopening.run())
            await self._sweep()
            group.create_task(self._janitor.run())

    async def _sweep(self) -> None:
        """Take away what recovery found half done."""
        await self._verbs.snapshots.sweep(self._recovery.half_taken)
        await self._verbs.copies.sweep(self._recovery.half_restored)
        await self._blocking.run(self._recovery.sweep)


def _heed(heard: signals.Signals, stop: asyncio.Event) -> None:
    """Stop at a signal that ends us; an administrator hears what another one does: nothing."""
    for number in heard.read():
        if number in signals.ENDING:
            stop.set()
        else:
            log.warning(
                "%s does nothing: settings are read at start, and the log's file is opened anew by "
                "itself; restart the daemon for new settings, containers go on meanwhile",
                signals.name(number),
            )
