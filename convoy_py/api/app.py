"""Puts the two edges together as aiohttp applications, and serves them on sockets."""

import asyncio
import socket
from collections.abc import Callable

from aiohttp import web

from convoy_py.api.admin import Admin
from convoy_py.api.connections import Runner
from convoy_py.api.plugin import Plugin
from convoy_py.api.recording import Recorder
from convoy_py.api.requests import LARGEST_BODY, READ_SECONDS
from convoy_py.api.rest import Edge, others
from convoy_py.api.routes import ROUTES
from convoy_py.config import Configuration
from convoy_py.engine.verbs import Verbs
from convoy_py.linux.outside import Outside
from convoy_py.linux.sockets import BACKLOG
from convoy_py.metrics import Metrics

# aiohttp waits this long for handlers to end, and as long again after it has stopped their reads.
SHUTDOWN_SECONDS = 4.0
# What a client still sends after its answer is read so long, or it would lose the answer.
LINGERING_SECONDS = 1.0
# A client writes its request as soon as it is connected; no longer than this is waited for it.
BEGINNING_SECONDS = 0.5
# Loops take a few turns from accepting a connection to serving it.
_ATTACHING_SECONDS = 0.01

RECORDER = web.AppKey("recorder", Recorder)


def docker_app(
    verbs: Verbs, metrics: Metrics, clock: Callable[[], float], outside: Outside
) -> web.Application:
    """The plugin socket's application. `clock` is POSIX time in seconds."""
    app = web.Application(client_max_size=LARGEST_BODY)
    plugin = Plugin(verbs, metrics, clock, outside)
    app[RECORDER] = plugin.recorder
    app.add_routes(plugin.routes())
    return app


def admin_app(
    verbs: Verbs,
    metrics: Metrics,
    configuration: Configuration,
    clock: Callable[[], float],
    outside: Outside,
) -> web.Application:
    """The admin socket's application. Raises InvalidSetting for an unknown `socket_group`."""
    app = web.Application(client_max_size=LARGEST_BODY)
    admin = Admin(verbs, metrics, configuration, clock, outside)
    edge = Edge(metrics, configuration.socket_gid(), verbs.daemon.ready)
    app[RECORDER] = edge.recorder
    for route in (*ROUTES, *others(ROUTES)):
        app.router.add_route(route.endpoint.method, route.endpoint.path, edge.serve(route, admin))
    return app


async def serve(app: web.Application, sock: socket.socket) -> web.AppRunner:
    """Serve `app` on a listening socket until the runner's cleanup(), which drains within 8 s.

    A call goes on when its client has gone: an operation is never left half done.
    """
    runner = Runner(
        app,
        recorder=app[RECORDER],
        access_log=None,
        handler_cancellation=False,
        shutdown_timeout=SHUTDOWN_SECONDS,
        tcp_keepalive=False,
        auto_decompress=False,
        # Before a request's headers are complete, a connection counts as idle.
        keepalive_timeout=READ_SECONDS,
        lingering_time=LINGERING_SECONDS,
    )
    await runner.setup()
    await web.SockSite(runner, sock, backlog=BACKLOG).start()
    return runner


async def quiesce(runner: web.AppRunner, sock: socket.socket) -> None:
    """Accept no more connections, and wait a moment for the requests of those that were accepted.

    aiohttp's own cleanup() closes a connection of which it has not read the request yet: an engine
    would then repeat that request, without its body.
    """
    loop = asyncio.get_running_loop()
    loop.remove_reader(sock)  # of uvloop it is none
    await asyncio.sleep(_ATTACHING_SECONDS)
    for site in runner.sites:
        await site.stop()
    await asyncio.sleep(_ATTACHING_SECONDS)
    end = loop.time() + BEGINNING_SECONDS
    # Each connection carries one request and ends with its answer.
    while runner.server and runner.server.connections and loop.time() < end:  # noqa: ASYNC110 - aiohttp has no such event
        await asyncio.sleep(_ATTACHING_SECONDS)
