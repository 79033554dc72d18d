"""How the sockets behave as a whole: slow clients, and the end of the daemon."""

import asyncio

import pytest

from convoy_py.api import app
from convoy_py.api.app import docker_app
from convoy_py.metrics import Metrics
from tests.fakes import NOW, FakeVolumes
from tests.unit.api.conftest import Serve
from tests.unit.api.wire import DOCKER

MOUNT = {"Name": "db", "ID": "x"}


async def test_headers_that_do_not_come_are_given_up(
    serving: Serve, engine: FakeVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that dribbles its headers is cut off, as is one that says nothing."""
    monkeypatch.setattr(app, "READ_TIMEOUT", 0.05)
    plugin, _ = await serving(docker_app(engine, Metrics("0"), lambda: NOW))
    assert await plugin.exchange(f"POST /VolumeDriver.List HTTP/1.1\r\n{DOCKER}".encode()) == b""
    assert await plugin.exchange(b"") == b""


async def test_calls_in_flight_are_answered_before_the_end(
    serving: Serve, engine: FakeVolumes
) -> None:
    """A stopping daemon takes no new calls and finishes those it has."""
    plugin, runner = await serving(docker_app(engine, Metrics("0"), lambda: NOW))
    engine.add("db")
    engine.gate.clear()
    waiting = asyncio.create_task(plugin.call("Mount", MOUNT))
    await engine.entered.wait()
    stopping = asyncio.create_task(runner.cleanup())
    while runner.sites:  # not listening any more
        await asyncio.sleep(0)
    engine.gate.set()
    assert (await waiting).status == 200
    await stopping


async def test_a_call_that_hangs_does_not_hold_up_the_end(
    serving: Serve, engine: FakeVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice aiohttp's time-out is the longest that a stop may take."""
    monkeypatch.setattr(app, "SHUTDOWN_TIMEOUT", 0.05)
    plugin, runner = await serving(docker_app(engine, Metrics("0"), lambda: NOW))
    engine.gate.clear()
    waiting = asyncio.create_task(plugin.request("/VolumeDriver.Mount", MOUNT))
    await engine.entered.wait()
    async with asyncio.timeout(5):
        await runner.cleanup()
    assert await waiting is None
