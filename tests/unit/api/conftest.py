"""The two edges, served on real Unix sockets over an engine in memory."""

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from convoy_py.api import access
from convoy_py.api.app import admin_app, docker_app, serve
from convoy_py.config import Configuration
from convoy_py.linux.outside import Outside
from convoy_py.linux.peers import Peer
from convoy_py.metrics import Metrics
from convoy_py.settings import Settings
from tests.fakes import NOW, FakeVerbs, FakeVolumes
from tests.unit.api.wire import Socket

Serve = Callable[[web.Application], Awaitable[tuple[Socket, web.AppRunner]]]


@pytest.fixture
async def engine() -> FakeVolumes:
    return FakeVolumes()


@pytest.fixture
async def verbs(engine: FakeVolumes) -> FakeVerbs:
    return FakeVerbs(engine)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("0")


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serve]:
    """Serves an application on a new socket until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(app: web.Application) -> tuple[Socket, web.AppRunner]:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            path = tmp_path / f"{sock.fileno()}.sock"
            sock.bind(str(path))
            sock.listen()
            runner = await serve(app, sock)
            stack.push_async_callback(runner.cleanup)
            return Socket(path), runner

        yield start


@pytest.fixture
async def plugin(serving: Serve, engine: FakeVolumes, metrics: Metrics) -> Socket:
    served, _ = await serving(docker_app(FakeVerbs(engine), metrics, lambda: NOW + 7, Outside()))
    return served


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> Peer:
    """Who the kernel says is asking: root, whoever runs the tests."""
    root = Peer(os.getpid(), 0, 0)
    monkeypatch.setattr(access, "peer", lambda sock: root)
    return root


@pytest.fixture
def configuration() -> Configuration:
    sources = dict.fromkeys(Settings.model_fields, "default") | {"root": "flag"}
    return Configuration(Settings(root=Path("/srv/volumes")), sources)


@pytest.fixture
async def admin(
    serving: Serve,
    verbs: FakeVerbs,
    metrics: Metrics,
    configuration: Configuration,
    caller: Peer,
) -> Socket:
    served, _ = await serving(admin_app(verbs, metrics, configuration, lambda: NOW + 7, Outside()))
    return served


@pytest.fixture
def counted(metrics: Metrics) -> Callable[[], dict[str, float]]:
    """How often each operation was counted, by its labels."""

    def read() -> dict[str, float]:
        found = {}
        for line in metrics.render().decode().splitlines():
            if line.startswith("convoy_operations_total{"):
                labels, _, value = line.removeprefix("convoy_operations_total{").partition("} ")
                found[labels] = float(value)
        return found

    return read
