"""The life of one daemon: recovers, serves, drains and stops."""

import asyncio
import gc
import logging
import platform
import socket
import time
from collections.abc import Callable
from pathlib import Path

from convoy_py import __version__
from convoy_py.api.app import admin_app, docker_app, quiesce, serve
from convoy_py.api.connections import Shortage
from convoy_py.api.webhooks import Webhooks
from convoy_py.backends import BACKENDS, mountpoints
from convoy_py.config import Configuration
from convoy_py.docker_volumes import Docker
from convoy_py.engine.compose import PATIENCE_SECONDS, Engine
from convoy_py.engine.memory.ledger import Ledger
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.membership import Membership
from convoy_py.linux import mounts, outside, peers, signals, sockets
from convoy_py.metrics import Metrics
from convoy_py.state.news import News
from convoy_py.state.passed import PassedTime
from convoy_py.state.references import ReferenceStore
from convoy_py.state.store import Store

log = logging.getLogger("convoy.daemon")

_wall_clock = time.time  # noqa: TID251 - the one place that hands the clock out


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


# A managed plugin is killed 10 s after SIGTERM.
DRAIN_SECONDS = 8.0


def run(
    configuration: Configuration,
    store: Store,
    plugin: socket.socket,
    admin: socket.socket,
    heard: signals.Signals,
    membership: Membership | None = None,
) -> int:
    """Serve the two listening sockets until a signal; `store` is open and locked.

    `membership` is that of this host on a shared root.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_Service(configuration, store, membership).run(plugin, admin, heard))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """That of uvloop where it is installed (the extra `fast`); without one asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - it may be missing
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class _Service:
    def __init__(
        self, configuration: Configuration, store: Store, membership: Membership | None
    ) -> None:
        settings = configuration.settings
        self._configuration = configuration
        self._metrics = Metrics(__version__)
        boot = peers.boot_id()
        managed = outside.is_of_plugin(mounts.holding(Path("/")))
        mounts_dir = settings.mounts.resolve()  # as the kernel's table names it
        if managed:
            mounts_dir /= mountpoints.GUARDED
        host = Host(
            store,
            ReferenceStore(settings.run_dir, boot),
            {name: BACKENDS[name](settings) for name in settings.drivers},
            Ledger(settings.root, overcommit=settings.overcommit, reserve=settings.reserve),
            mounts_dir,
            PassedTime(store.notes, boot, _boottime, _wall_clock),
        )
        docker = Docker(settings.docker_address)
        # Docker gives Mount two minutes, and a managed plugin half a minute for each call.
        self._engine = Engine(
            settings,
            host,
            docker,
            self._metrics,
            time.monotonic,
            patience=25.0 if managed else PATIENCE_SECONDS,
        )
        if membership is not None:
            self._engine.share(membership, News(store.root, membership.me))
        if settings.webhook or settings.ping:
            name = settings.host or platform.node()
            self._engine.announcing.listen(
                Webhooks(
                    settings.webhook,
                    settings.ping,
                    name,
                    time.monotonic,
                    self._engine.operations.entries.uuids,
                    self._engine.blocking,
                )
            )

    async def run(
        self, plugin: socket.socket, admin: socket.socket, heard: signals.Signals
    ) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(Shortage())
        loop.add_reader(heard, _heed, heard, stop)
        heard.serve()
        settings, verbs, metrics = self._configuration.settings, self._engine.verbs, self._metrics
        seen = outside.look((settings.root, settings.mounts))
        runners = [
            await serve(docker_app(verbs, metrics, _wall_clock, seen), plugin),
            await serve(admin_app(verbs, metrics, self._configuration, _wall_clock, seen), admin),
        ]
        background = asyncio.create_task(self._background())
        # What was loaded so far lives as long as the daemon: the collector need not visit it.
        gc.freeze()
        ended = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({background, ended}, return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        sockets.notify("STOPPING=1")
        background.cancel()
        await asyncio.gather(*map(quiesce, runners, (plugin, admin)))
        verbs.jobs.stop()
        await asyncio.gather(
            self._engine.operations.drain(DRAIN_SECONDS), *(runner.cleanup() for runner in runners)
        )
        if background not in done:  # else who failed is not the one to tell the other hosts
            await self._engine.leave()
        self._engine.blocking.close()
        failed = await asyncio.gather(background, return_exceptions=True)
        ended.cancel()
        if isinstance(failed[0], Exception):
            raise _alone(failed[0])

    async def _background(self) -> None:
        """Read the records, begin to answer, and then look after what is there."""
        began = time.monotonic()
        volumes = await self._engine.open()
        sockets.notify("READY=1")
        log.info(
            "ready version=%s loop=%s volumes=%d root=%s seconds=%.3f",
            __version__,
            type(asyncio.get_running_loop()).__module__.partition(".")[0],
            volumes,
            self._configuration.settings.root,
            time.monotonic() - began,
        )
        await self._engine.run()


def _alone(error: Exception) -> Exception:
    """What ended a group of tasks, if it is one: that is told in a line."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


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
